//! The servers' settings: `postgresql.conf` and `pg_hba.conf`.

use std::fmt::Write as _;

/// The superuser of every test server.
pub(crate) const SUPERUSER: &str = "postgres";
/// The database of every test server.
pub(crate) const DATABASE: &str = "pgmonkey";

/// The authentication a server requires over TCP. Its Unix socket requires the password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A password (SCRAM), no TLS.
    #[default]
    Plain,
    /// A password (SCRAM), with TLS or without.
    Tls,
    /// TLS, a client certificate whose common name is the user (`clientcert=verify-full`), and
    /// the password.
    ClientCert,
}

impl Kind {
    /// Whether such a server has TLS.
    #[must_use]
    pub fn has_tls(self) -> bool {
        self != Self::Plain
    }

    /// The text of `pg_hba.conf`, for clients from `networks`.
    pub(crate) fn hba(self, networks: &[&str]) -> String {
        let mut text = String::from("local all all scram-sha-256\n");
        for network in networks {
            for (connection, options) in self.rules() {
                for database in ["all", "replication"] {
                    // Writing to a `String` cannot fail.
                    let _ = writeln!(
                        text,
                        "{connection} {database} all {network} scram-sha-256{options}"
                    );
                }
            }
        }
        text
    }

    fn rules(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Plain => &[("host", "")],
            Self::Tls => &[("hostssl", ""), ("host", "")],
            Self::ClientCert => &[("hostssl", " clientcert=verify-full")],
        }
    }
}

/// Settings of every server: no data needs to survive a crash, so durability is off; the log shows
/// who connects and disconnects.
pub(crate) const COMMON: [(&str, &str); 8] = [
    ("max_connections", "300"),
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("password_encryption", "scram-sha-256"),
    ("log_connections", "on"),
    ("log_disconnections", "on"),
    ("log_line_prefix", "%m [%p] %q%u@%d/%a "),
];

/// Settings of servers with TLS; the files are in the data directory.
pub(crate) const TLS: [(&str, &str); 4] = [
    ("ssl", "on"),
    ("ssl_ca_file", "ca.pem"),
    ("ssl_cert_file", "server.pem"),
    ("ssl_key_file", "server.key"),
];

/// One line of `postgresql.conf`.
pub(crate) fn line(name: &str, value: &str) -> String {
    format!("{name} = '{}'\n", value.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_server_takes_nothing_else_over_tcp() {
        let text = Kind::ClientCert.hba(&["127.0.0.1/32"]);
        let mut tcp = text.lines().filter(|line| line.starts_with("host"));
        assert!(tcp.all(|line| line.starts_with("hostssl") && line.ends_with("verify-full")));
    }

    #[test]
    fn a_quote_in_a_value_is_doubled() {
        assert_eq!(line("a", "it's"), "a = 'it''s'\n");
    }
}
