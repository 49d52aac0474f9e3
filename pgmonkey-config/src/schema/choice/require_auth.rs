//! Which authentication methods a server may request.

use std::fmt;
use std::str::FromStr;

use super::{Choice, UnknownWord, parse};

choice! {
    /// A method with which a server authenticates the client.
    AuthMethod {
        /// The password in clear text.
        Password = "password",
        /// An MD5 hash of the password.
        Md5 = "md5",
        /// Kerberos through GSSAPI.
        Gss = "gss",
        /// Windows SSPI.
        Sspi = "sspi",
        /// SCRAM with SHA-256, with or without channel binding.
        ScramSha256 = "scram-sha-256",
        /// A bearer token.
        Oauth = "oauth",
        /// No authentication exchange (trust, peer, certificate).
        None = "none",
    }
}

/// The authentication methods that a server may request (`require_auth`). Default: all.
///
/// ```
/// use pgmonkey_config::{AuthMethod, RequireAuth};
///
/// let only: RequireAuth = "scram-sha-256, none".parse().unwrap();
/// assert!(only.allows(AuthMethod::None) && !only.allows(AuthMethod::Md5));
///
/// let not: RequireAuth = "!password,!md5".parse().unwrap();
/// assert!(not.allows(AuthMethod::ScramSha256) && !not.allows(AuthMethod::Md5));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RequireAuth {
    // Sorted, without duplicates; `None` allows every method.
    allowed: Option<Vec<AuthMethod>>,
}

impl RequireAuth {
    /// Returns whether a server may use the method.
    pub fn allows(&self, method: AuthMethod) -> bool {
        self.allowed
            .as_ref()
            .is_none_or(|allowed| allowed.contains(&method))
    }

    /// Returns whether every method is allowed.
    pub fn is_any(&self) -> bool {
        self.allowed.is_none()
    }

    /// Returns the allowed methods, sorted.
    pub fn allowed(&self) -> Vec<AuthMethod> {
        AuthMethod::ALL
            .iter()
            .map(|(method, _)| *method)
            .filter(|method| self.allows(*method))
            .collect()
    }
}

impl fmt::Display for RequireAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(allowed) = &self.allowed else {
            return Ok(());
        };
        let words: Vec<&str> = allowed.iter().map(|method| method.as_str()).collect();
        f.write_str(&words.join(","))
    }
}

/// Why a list of authentication methods is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequireAuthError {
    /// A word that is not a method.
    #[error("unknown authentication method; {0}, each with `!` before it to forbid it")]
    Unknown(UnknownWord),
    /// Allowed and forbidden methods in one list.
    #[error("allowed and forbidden (`!`) authentication methods cannot be mixed")]
    Mixed,
    /// A method named twice.
    #[error("the authentication method {0} is named twice")]
    Twice(AuthMethod),
    /// Every method forbidden.
    #[error("every authentication method is forbidden")]
    Nothing,
}

impl FromStr for RequireAuth {
    type Err = RequireAuthError;

    fn from_str(text: &str) -> Result<Self, RequireAuthError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut named = Vec::new();
        let mut negated = 0;
        for word in text.split(',').map(str::trim) {
            let method = word.strip_prefix('!').unwrap_or(word);
            negated += usize::from(method.len() != word.len());
            let method = method.parse().map_err(RequireAuthError::Unknown)?;
            if named.contains(&method) {
                return Err(RequireAuthError::Twice(method));
            }
            named.push(method);
        }
        if negated != 0 && negated != named.len() {
            return Err(RequireAuthError::Mixed);
        }
        let allowed = AuthMethod::ALL
            .iter()
            .map(|(method, _)| *method)
            .filter(|method| named.contains(method) != (negated != 0))
            .collect::<Vec<_>>();
        if allowed.is_empty() {
            return Err(RequireAuthError::Nothing);
        }
        Ok(Self {
            allowed: Some(allowed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn require_auth_lists() {
        let parse = |text: &str| text.parse::<RequireAuth>();
        assert!(parse("").unwrap().is_any());
        assert_eq!(parse("md5").unwrap().allowed(), [AuthMethod::Md5]);
        assert_eq!(parse("!md5").unwrap().allowed().len(), 6);
        assert_eq!(parse("md5,!none"), Err(RequireAuthError::Mixed));
        assert_eq!(
            parse("md5,md5"),
            Err(RequireAuthError::Twice(AuthMethod::Md5))
        );
        assert!(parse("md6").is_err());
        assert_eq!(
            parse("!password,!md5,!gss,!sspi,!scram-sha-256,!oauth,!none"),
            Err(RequireAuthError::Nothing)
        );
        let some = parse("none,md5").unwrap();
        assert_eq!(parse(&some.to_string()).unwrap(), some);
    }
}
