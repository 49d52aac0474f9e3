//! Settings whose value is one of a few words.

use std::fmt;
use std::str::FromStr;

/// A type whose values are written as words.
pub(crate) trait Choice: Copy + 'static {
    /// All values with their words, in the order of the documentation.
    const ALL: &'static [(Self, &'static str)];

    /// Returns the value of a word.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, name)| *name == word)
            .map(|(value, _)| *value)
    }
}

/// The error for a text that is not one of the allowed words; it lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    allowed: Vec<&'static str>,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {}", self.allowed.join(", "))
    }
}

impl std::error::Error for UnknownWord {}

fn parse<T: Choice>(word: &str) -> Result<T, UnknownWord> {
    T::from_word(word).ok_or_else(|| UnknownWord {
        allowed: T::ALL.iter().map(|(_, name)| *name).collect(),
    })
}

macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Returns the word for it in a configuration file.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl Choice for $name {
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$variant, $word),)+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                parse(word)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                parse(&word).map_err(serde::de::Error::custom)
            }
        }
    };
}

mod require_auth;

pub use require_auth::{AuthMethod, RequireAuth, RequireAuthError};

choice! {
    /// The type of handle that a file describes.
    #[derive(Default)]
    ConnectionType {
        /// One shared session, blocking.
        #[default]
        Normal = "normal",
        /// A pool of sessions, blocking.
        Pool = "pool",
        /// One shared session, async.
        Async = "async",
        /// A pool of sessions, async.
        AsyncPool = "async_pool",
    }
}

impl ConnectionType {
    /// The four types.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Pool, Self::Async, Self::AsyncPool];

    /// Whether the handle is for async code.
    pub fn is_async(self) -> bool {
        matches!(self, Self::Async | Self::AsyncPool)
    }

    /// Whether the handle holds several sessions.
    pub fn is_pool(self) -> bool {
        matches!(self, Self::Pool | Self::AsyncPool)
    }
}

choice! {
    /// How much TLS a session requires, as in libpq.
    #[derive(Default)]
    SslMode {
        /// Never TLS.
        Disable = "disable",
        /// Plain text first, TLS if the server refuses that.
        Allow = "allow",
        /// TLS first, plain text if that fails.
        #[default]
        Prefer = "prefer",
        /// TLS; the certificate is verified only if there is a root certificate, as in `verify-ca`.
        Require = "require",
        /// TLS with a certificate signed by a trusted root.
        VerifyCa = "verify-ca",
        /// As `verify-ca`, and the certificate must be for the host.
        VerifyFull = "verify-full",
    }
}

choice! {
    /// How TLS negotiation starts.
    #[derive(Default)]
    SslNegotiation {
        /// With PostgreSQL's SSLRequest message.
        #[default]
        Postgres = "postgres",
        /// Directly with the TLS handshake (PostgreSQL 17 and later).
        Direct = "direct",
    }
}

choice! {
    /// A TLS protocol version that rustls supports.
    #[derive(Default)]
    TlsVersion {
        /// TLS 1.2.
        #[default]
        Tls12 = "TLSv1.2",
        /// TLS 1.3.
        Tls13 = "TLSv1.3",
    }
}

choice! {
    /// Whether SCRAM authentication is bound to the TLS channel.
    #[derive(Default)]
    ChannelBinding {
        /// Never.
        Disable = "disable",
        /// If the server offers it.
        #[default]
        Prefer = "prefer",
        /// Always; otherwise the attempt fails.
        Require = "require",
    }
}

choice! {
    /// Which servers are acceptable.
    #[derive(Default)]
    TargetSessionAttrs {
        /// Every server.
        #[default]
        Any = "any",
        /// A server whose sessions are read-write.
        ReadWrite = "read-write",
        /// A server whose sessions are read-only.
        ReadOnly = "read-only",
        /// A server that is not in recovery.
        Primary = "primary",
        /// A server in recovery.
        Standby = "standby",
        /// A server in recovery if there is one, else every server.
        PreferStandby = "prefer-standby",
    }
}

choice! {
    /// The order in which hosts and addresses are tried.
    #[derive(Default)]
    LoadBalanceHosts {
        /// As written.
        #[default]
        Disable = "disable",
        /// Shuffled for each session.
        Random = "random",
    }
}

choice! {
    /// What is reset when a session is released to its pool.
    #[derive(Default)]
    Reset {
        /// An open transaction, and settings, role, temporary objects, LISTENs and advisory locks
        /// if a statement since the checkout can have changed them.
        #[default]
        Auto = "auto",
        /// An open transaction.
        Transaction = "transaction",
        /// An open transaction, settings, role, temporary objects, LISTENs and advisory locks,
        /// after every use.
        Session = "session",
        /// Nothing.
        None = "none",
    }
}

choice! {
    /// How much of a statement's text is shown in events, spans and statistics. The values of
    /// parameters never are.
    #[derive(Default)]
    StatementTextMode {
        /// Nothing: only the operation and what it acts on.
        None = "none",
        /// A text with parameters as it is, any other with `?` in place of its literals.
        #[default]
        Parameterized = "parameterized",
        /// All of it.
        All = "all",
    }
}

choice! {
    /// The connection pooler between the program and the server.
    Pooler {
        /// None: each session of the client is a session of the server.
        None = "none",
        /// Session pooling: a client has a session of the server until it disconnects.
        Session = "session",
        /// Transaction pooling: each transaction gets a session of the server.
        Transaction = "transaction",
        /// Statement pooling: each statement gets a session of the server.
        Statement = "statement",
    }
}

impl Pooler {
    /// Whether statements of one client session may run on different sessions of the server.
    pub fn switches_sessions(self) -> bool {
        matches!(self, Self::Transaction | Self::Statement)
    }
}

choice! {
    /// How session settings reach the server, and whether it is checked that they do.
    #[derive(Default)]
    SettingsDelivery {
        /// In the startup packet, or by a statement if a pooler refuses that and assigns a server
        /// session to each client. The first session of each address is checked with one statement.
        #[default]
        Verify = "verify",
        /// In the startup packet, unchecked.
        Startup = "startup",
        /// By a statement after the login, unchecked. It changes another client's session behind a
        /// pooler in transaction mode.
        Statements = "statements",
        /// With the `BEGIN` of each transaction, for a pooler in transaction mode. Statements
        /// outside a transaction are refused.
        Transaction = "transaction",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_word() {
        for kind in ConnectionType::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(kind.is_pool(), kind.as_str().ends_with("pool"));
            assert_eq!(kind.is_async(), kind.as_str().starts_with("async"));
        }
        assert!("Pool".parse::<ConnectionType>().is_err());
        assert!(" pool".parse::<ConnectionType>().is_err());
    }

    #[test]
    fn unknown_words_are_answered_with_the_known() {
        let error = "full".parse::<SslMode>().unwrap_err().to_string();
        assert!(
            error.contains("verify-full") && !error.contains("`full`"),
            "{error}"
        );
    }
}
