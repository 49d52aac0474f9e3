//! Whether `pg_hba.conf` admits a file's client: now, under other modes, and with which line to
//! add.

use std::net::IpAddr;

use pgmonkey::Config;
use pgmonkey::config::{Host, SslMode};
use serde::Serialize;

use super::facts::{Facts, demands_tls};
use super::hba::{Client, Rule, Verdict, first_match, quoted, several_files};

/// A line for `pg_hba.conf`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) database: String,
    pub(crate) user: String,
    /// Empty for `local`.
    pub(crate) address: String,
    pub(crate) method: &'static str,
    pub(crate) options: &'static str,
    /// Whether the address is a placeholder for the client's.
    pub(crate) placeholder: bool,
}

/// From the weakest to the strongest.
const MODES: [SslMode; 6] = [
    SslMode::Disable,
    SslMode::Allow,
    SslMode::Prefer,
    SslMode::Require,
    SslMode::VerifyCa,
    SslMode::VerifyFull,
];

/// The placeholder for an unknown client address.
pub(crate) const PLACEHOLDER: &str = "CLIENT_ADDRESS/32";

/// How the server sees the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// At this address.
    At(IpAddr),
    /// On its Unix socket.
    Local,
    /// Unknown: the server could not be queried.
    Unknown,
}

impl Seen {
    /// From the server's answer.
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Local, Self::At)
    }
}

/// The line that this file's client needs.
pub(crate) fn entry(config: &Config, seen: Seen) -> Entry {
    let settings = &config.connection_settings;
    let sockets = settings
        .targets()
        .iter()
        .all(|t| matches!(t.host, Host::Unix(_)));
    let local = seen == Seen::Local || (seen == Seen::Unknown && sockets);
    let certificate = settings.sslcert.is_some();
    let tls = demands_tls(settings.sslmode) || certificate;
    let (kind, address) = match seen {
        _ if local => ("local", String::new()),
        Seen::At(address) => (host(tls), network(address)),
        _ => (host(tls), PLACEHOLDER.to_owned()),
    };
    Entry {
        kind,
        database: quoted(&settings.effective_dbname()),
        user: quoted(&settings.effective_user()),
        placeholder: address == PLACEHOLDER,
        address,
        method: "scram-sha-256",
        // The server checks a client certificate only if the client has one.
        options: if certificate && !local {
            "clientcert=verify-full"
        } else {
            ""
        },
    }
}

fn host(tls: bool) -> &'static str {
    if tls { "hostssl" } else { "host" }
}

/// The address as a network that contains only this address.
fn network(address: IpAddr) -> String {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    format!("{address}/{bits}")
}

impl Entry {
    pub(crate) fn columns(&self) -> [&str; 6] {
        [
            self.kind,
            &self.database,
            &self.user,
            &self.address,
            self.method,
            self.options,
        ]
    }
}

/// The outcome of a mode.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) sslmode: &'static str,
    /// `admitted`, `rejected`, `no_line`, `no_tls` or `unclear`.
    pub(crate) outcome: &'static str,
    /// Whether the session would be encrypted.
    pub(crate) tls: bool,
    /// The line that applies.
    pub(crate) line: Option<u32>,
    pub(crate) file: Option<String>,
    pub(crate) rule: Option<String>,
    pub(crate) method: Option<String>,
    /// Why it is unclear.
    pub(crate) why: Option<String>,
    /// The line in words.
    #[serde(skip)]
    place: String,
}

/// The outcome for this session. The session is open: lines that say otherwise are not those that
/// the server uses.
pub(crate) fn this_session(rules: &[Rule], facts: &Facts, mode: SslMode) -> Outcome {
    let found = outcome(mode, facts.client.tls, first_match(rules, &facts.client));
    let found = found.placed(rules);
    let doubt = facts.doubt.clone().or_else(|| contradiction(&found, facts));
    match doubt {
        Some(why) => found.unclear(why),
        None => found.by_login(facts),
    }
}

/// The outcome under each mode, trying the attempts in the order of the mode.
pub(crate) fn under_each_mode(rules: &[Rule], facts: &Facts, session: &Outcome) -> Vec<Outcome> {
    let doubt = match facts.doubt.is_some() || session.outcome == "unclear" {
        true => session.why.clone(),
        false => None,
    };
    let modes = MODES.iter().map(|mode| {
        let found = under(rules, &facts.client, *mode, facts.has_tls()).placed(rules);
        match &doubt {
            Some(why) if found.outcome != "no_tls" => found.unclear(why.clone()),
            _ => found.by_login(facts),
        }
    });
    modes.collect()
}

/// What the lines say that this session shows to be wrong.
fn contradiction(found: &Outcome, facts: &Facts) -> Option<String> {
    let login = facts.login.as_deref();
    let fits = match (found.outcome, found.method.as_deref(), login) {
        ("rejected" | "no_line", ..) => {
            return Some(
                "this session is open, so the lines that the server uses are others, or a name in \
                 quotes has another meaning"
                    .to_owned(),
            );
        }
        ("admitted", Some(method), Some(login)) => match method {
            "trust" | "peer" | "ident" | "cert" => login == "none",
            "scram-sha-256" => login == "scram-sha-256",
            "md5" => ["md5", "scram-sha-256"].contains(&login),
            "password" | "ldap" | "pam" | "bsd" | "radius" => login == "password",
            _ => true,
        },
        _ => true,
    };
    let method = found.method.as_deref().unwrap_or_default();
    (!fits).then(|| {
        format!(
            "{} has the method {method}, but this session logged in by {}: the server uses other \
             lines, or a name in quotes has another meaning",
            found.place,
            login.unwrap_or_default()
        )
    })
}

fn under(rules: &[Rule], client: &Client, mode: SslMode, server_has_tls: bool) -> Outcome {
    // A Unix socket is never encrypted.
    let has_tls = server_has_tls && client.address.is_some();
    let attempts: &[bool] = match mode {
        SslMode::Disable => &[false],
        _ if client.address.is_none() => &[false],
        SslMode::Allow if has_tls => &[false, true],
        SslMode::Prefer if has_tls => &[true, false],
        SslMode::Allow | SslMode::Prefer => &[false],
        _ if has_tls => &[true],
        _ => &[],
    };
    let tried = attempts.iter().map(|tls| {
        let client = Client {
            tls: *tls,
            ..client.clone()
        };
        outcome(mode, *tls, first_match(rules, &client))
    });
    let tried: Vec<Outcome> = tried.collect();
    let refused = |outcome: &Outcome| ["rejected", "no_line"].contains(&outcome.outcome);
    let at = tried.iter().position(|outcome| !refused(outcome));
    let at = at.unwrap_or(0);
    tried.into_iter().nth(at).unwrap_or_else(|| Outcome {
        outcome: "no_tls",
        ..outcome(mode, true, Verdict::None)
    })
}

fn outcome(mode: SslMode, tls: bool, verdict: Verdict<'_>) -> Outcome {
    let (word, rule) = match verdict {
        Verdict::Line(rule) if rule.rejects() => ("rejected", Some(rule)),
        Verdict::Line(rule) => ("admitted", Some(rule)),
        Verdict::Unclear(rule) => ("unclear", Some(rule)),
        Verdict::None => ("no_line", None),
    };
    Outcome {
        sslmode: mode.as_str(),
        outcome: word,
        tls,
        line: rule.map(|rule| rule.line_number),
        file: rule.and_then(|rule| rule.file_name.clone()),
        rule: rule.map(Rule::text),
        method: rule.and_then(|rule| rule.auth_method.clone()),
        why: None,
        place: String::new(),
    }
}

impl Outcome {
    /// The same with the line in words, with its file if there are several.
    fn placed(mut self, rules: &[Rule]) -> Self {
        self.place = match (&self.file, self.line) {
            (Some(file), Some(line)) if several_files(rules) => format!("{file}:{line}"),
            (_, line) => format!("line {}", line.unwrap_or_default()),
        };
        self
    }

    fn unclear(self, why: String) -> Self {
        Self {
            outcome: "unclear",
            why: Some(why),
            ..self
        }
    }

    /// The same with the method that this role's password has under `md5`.
    fn by_login(mut self, facts: &Facts) -> Self {
        let scram = facts.login.as_deref() == Some("scram-sha-256");
        if scram && self.method.as_deref() == Some("md5") {
            self.method = Some("scram-sha-256".to_owned());
        }
        self
    }

    /// The outcome in words.
    pub(crate) fn sentence(&self) -> String {
        let place = &self.place;
        let method = self.method.as_deref().unwrap_or_default();
        let how = if self.tls { "with TLS" } else { "without TLS" };
        match (self.outcome, &self.why) {
            ("unclear", Some(why)) => return format!("unclear: {why}"),
            ("admitted", _) if method == "scram-sha-256" && self.is_md5_line() => {
                return format!(
                    "{how}, admitted by {place} (method md5, which is SCRAM for this role's password)"
                );
            }
            _ => {}
        }
        match self.outcome {
            "admitted" => format!("{how}, admitted by {place} (method {method})"),
            "rejected" => format!("{how}, rejected by {place}"),
            "unclear" => {
                format!("{how}, decided by {place} or a later one: only the server can tell")
            }
            "no_tls" => "fails: the server has no TLS".to_owned(),
            _ => format!("{how}, rejected: no line matches"),
        }
    }

    fn is_md5_line(&self) -> bool {
        let words = |rule: &String| rule.split(' ').any(|word| word == "md5");
        self.rule.as_ref().is_some_and(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(connection: &str) -> Config {
        let yaml = format!("connection_settings: {{ {connection} }}");
        let loader = Config::loader().libpq_sources(false).yaml(yaml);
        loader.load().expect("valid config")
    }

    fn entry_of(connection: &str, seen: Seen) -> String {
        entry(&config(connection), seen)
            .columns()
            .join(" ")
            .trim_end()
            .to_owned()
    }

    #[test]
    fn the_line_is_for_the_client_not_for_the_server() {
        let at = |text: &str| Seen::At(text.parse().expect("an address"));
        let file = "host: 10.0.0.5, user: app, dbname: shop";
        assert_eq!(
            entry_of(&format!("{file}, sslmode: verify-full"), at("10.0.0.77")),
            "hostssl shop app 10.0.0.77/32 scram-sha-256"
        );
        assert_eq!(
            entry_of(&format!("{file}, sslmode: disable"), at("2001:db8::7")),
            "host shop app 2001:db8::7/128 scram-sha-256"
        );
        assert_eq!(
            entry_of(file, Seen::Unknown),
            "host shop app CLIENT_ADDRESS/32 scram-sha-256"
        );
        let with_certificate = format!("{file}, sslcert: a.crt, sslkey: a.key");
        assert_eq!(
            entry_of(&with_certificate, at("10.0.0.77")),
            "hostssl shop app 10.0.0.77/32 scram-sha-256 clientcert=verify-full"
        );
        assert_eq!(
            entry_of("host: /tmp, user: all, dbname: a b", Seen::Unknown),
            "local \"a b\" \"all\"  scram-sha-256"
        );
    }

    fn rules() -> Vec<Rule> {
        let rule = |line_number, kind: &str, method: &str| Rule {
            line_number,
            kind: Some(kind.to_owned()),
            database: Some(vec!["all".into()]),
            user_name: Some(vec!["all".into()]),
            address: Some("all".into()),
            auth_method: Some(method.to_owned()),
            ..Rule::default()
        };
        vec![
            rule(1, "hostnossl", "reject"),
            rule(2, "hostssl", "scram-sha-256"),
        ]
    }

    fn words(server_has_tls: bool) -> Vec<(&'static str, &'static str, bool)> {
        let client = Client {
            database: "d".into(),
            user: "u".into(),
            roles: ["u".to_owned()].into(),
            address: "10.0.0.7".parse().ok(),
            server: None,
            tls: false,
        };
        let under = |mode: &SslMode| under(&rules(), &client, *mode, server_has_tls);
        let outcomes = MODES.iter().map(under);
        outcomes.map(|o| (o.sslmode, o.outcome, o.tls)).collect()
    }

    #[test]
    fn each_mode_tries_in_its_own_order() {
        assert_eq!(
            words(true),
            [
                ("disable", "rejected", false),
                ("allow", "admitted", true),
                ("prefer", "admitted", true),
                ("require", "admitted", true),
                ("verify-ca", "admitted", true),
                ("verify-full", "admitted", true),
            ]
        );
        let without = words(false);
        assert!(
            without[..3]
                .iter()
                .all(|(_, word, tls)| *word == "rejected" && !tls)
        );
        assert!(without[3..].iter().all(|(_, word, _)| *word == "no_tls"));
    }
}
