//! Lines of `pg_hba.conf`: which one applies to a client, determined as the server does it.
//!
//! Reference: PostgreSQL, "The pg_hba.conf File": the first line with a matching type, database,
//! user and address applies; there is no fallback.

use std::collections::BTreeSet;
use std::net::IpAddr;

use pgmonkey::config::redact;
use serde::{Deserialize, Deserializer, Serialize};

/// A line as `pg_hba_file_rules` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Rule {
    /// PostgreSQL 16 and later, where lines may come from several files.
    #[serde(default)]
    pub(crate) rule_number: Option<u32>,
    #[serde(default)]
    pub(crate) file_name: Option<String>,
    pub(crate) line_number: u32,
    /// `local`, `host`, `hostssl`, `hostnossl`, `hostgssenc` or `hostnogssenc`.
    #[serde(rename = "type", default)]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) database: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) user_name: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) address: Option<String>,
    #[serde(default)]
    pub(crate) netmask: Option<String>,
    #[serde(default)]
    pub(crate) auth_method: Option<String>,
    /// Without secrets such as `ldapbindpasswd`.
    #[serde(default, deserialize_with = "without_secrets")]
    pub(crate) options: Option<Vec<String>>,
    /// Why the server cannot read the line.
    #[serde(default)]
    pub(crate) error: Option<String>,
    /// The names that are in quotes in the file, which the view does not show: there `"all"` is a
    /// database of that name, and `"+staff"` a user.
    #[serde(skip)]
    pub(crate) literal: Vec<String>,
}

/// `name=value`, with the value redacted if the name denotes a secret.
fn without_secrets<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Vec<String>>, D::Error> {
    let hidden = |option: String| match option.split_once('=') {
        Some((name, value)) => {
            let shown = redact(&serde_json::json!({ name: value }));
            format!("{name}={}", shown[name].as_str().unwrap_or_default())
        }
        None => option,
    };
    let options: Option<Vec<String>> = Option::deserialize(source)?;
    Ok(options.map(|options| options.into_iter().map(hidden).collect()))
}

/// The client: user, database, address and encryption.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) database: String,
    pub(crate) user: String,
    /// The user, and every role that it is a member of.
    pub(crate) roles: BTreeSet<String>,
    /// As the server sees it; `None` for its Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// The server's address in this session.
    pub(crate) server: Option<IpAddr>,
    pub(crate) tls: bool,
}

/// Which line applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// This line.
    Line(&'a Rule),
    /// This line or a later one: whether it matches cannot be determined here.
    Unclear(&'a Rule),
    /// No line, which is a refusal.
    None,
}

/// Whether a part of a line matches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    Unclear,
}

impl From<bool> for Fit {
    fn from(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }
}

/// The line that applies to a client; lines that the server cannot read are ignored.
pub(crate) fn first_match<'a>(rules: &'a [Rule], client: &Client) -> Verdict<'a> {
    for rule in rules.iter().filter(|rule| rule.error.is_none()) {
        let parts = [
            kind_fits(rule, client),
            any(&rule.database, |name| match rule.is_literal(name) {
                true => (name == client.database).into(),
                false => database_fits(name, client),
            }),
            any(&rule.user_name, |name| match rule.is_literal(name) {
                true => (name == client.user).into(),
                false => user_fits(name, client),
            }),
            address_fits(rule, client),
        ];
        if parts.contains(&Fit::No) {
            continue;
        }
        return match parts.contains(&Fit::Unclear) {
            true => Verdict::Unclear(rule),
            false => Verdict::Line(rule),
        };
    }
    Verdict::None
}

fn kind_fits(rule: &Rule, client: &Client) -> Fit {
    let tcp = client.address.is_some();
    match rule.kind.as_deref().unwrap_or_default() {
        "local" => !tcp,
        // This library never uses GSSAPI encryption.
        "host" | "hostnogssenc" => tcp,
        "hostssl" => tcp && client.tls,
        "hostnossl" => tcp && !client.tls,
        _ => false,
    }
    .into()
}

fn any(names: &Option<Vec<String>>, fits: impl Fn(&str) -> Fit) -> Fit {
    let mut best = Fit::No;
    for name in names.iter().flatten() {
        match fits(name) {
            Fit::Yes => return Fit::Yes,
            Fit::Unclear => best = Fit::Unclear,
            Fit::No => {}
        }
    }
    best
}

fn database_fits(name: &str, client: &Client) -> Fit {
    match name {
        "all" => Fit::Yes,
        "sameuser" => (client.database == client.user).into(),
        "samerole" | "samegroup" => client.roles.contains(&client.database).into(),
        "replication" => Fit::No,
        // A regular expression, PostgreSQL 16 and later.
        name if name.starts_with('/') => Fit::Unclear,
        name => (name == client.database).into(),
    }
}

fn user_fits(name: &str, client: &Client) -> Fit {
    match name.strip_prefix('+') {
        Some(role) => client.roles.contains(role).into(),
        None if name == "all" => Fit::Yes,
        None if name.starts_with('/') => Fit::Unclear,
        None => (name == client.user).into(),
    }
}

fn address_fits(rule: &Rule, client: &Client) -> Fit {
    // A Unix socket has no address, and neither has its line.
    let Some(address) = client.address else {
        return Fit::Yes;
    };
    let text = rule.address.as_deref().unwrap_or("all");
    match (text, text.parse::<IpAddr>()) {
        ("all", _) => Fit::Yes,
        (_, Ok(network)) => {
            let mask = rule.netmask.as_deref().and_then(|mask| mask.parse().ok());
            in_network(address, network, mask).into()
        }
        // The server compares with its own network interfaces.
        ("samehost" | "samenet", _) if client.server == Some(address) => Fit::Yes,
        // A host name: the server resolves it.
        _ => Fit::Unclear,
    }
}

fn in_network(address: IpAddr, network: IpAddr, mask: Option<IpAddr>) -> bool {
    match (address, network, mask) {
        (IpAddr::V4(a), IpAddr::V4(n), Some(IpAddr::V4(m))) => {
            a.to_bits() & m.to_bits() == n.to_bits() & m.to_bits()
        }
        (IpAddr::V6(a), IpAddr::V6(n), Some(IpAddr::V6(m))) => {
            a.to_bits() & m.to_bits() == n.to_bits() & m.to_bits()
        }
        (address, network, None) => address == network,
        _ => false,
    }
}

impl Rule {
    /// Whether the name has no special meaning, because it is in quotes. A regular expression has
    /// one in quotes too.
    fn is_literal(&self, name: &str) -> bool {
        !name.starts_with('/') && self.literal.iter().any(|literal| literal == name)
    }

    /// Whether the server could not read the line. A line with an error that was read anyway is a
    /// `hostssl` line without ssl, which has no effect.
    pub(crate) fn is_broken(&self) -> bool {
        self.error.is_some() && self.kind.is_none()
    }

    /// The line's place: `line 5`, with the file if there are several.
    pub(crate) fn place(&self, several: bool) -> String {
        match &self.file_name {
            Some(file) if several => format!("{file}:{}", self.line_number),
            _ => format!("line {}", self.line_number),
        }
    }

    /// The address with the length of its mask: `10.0.0.0/8`.
    pub(crate) fn network(&self) -> String {
        let address = self.address.clone().unwrap_or_default();
        let bits = |mask: &str| match mask.parse::<IpAddr>().ok()? {
            IpAddr::V4(mask) => Some(mask.to_bits().count_ones()),
            IpAddr::V6(mask) => Some(mask.to_bits().count_ones()),
        };
        match self.netmask.as_deref().and_then(bits) {
            Some(bits) => format!("{address}/{bits}"),
            None => address,
        }
    }

    /// The columns of the line as the file has them, apart from quotes.
    pub(crate) fn columns(&self) -> [String; 6] {
        let list = |names: &Option<Vec<String>>, separator| {
            names.as_deref().unwrap_or_default().join(separator)
        };
        [
            self.kind.clone().unwrap_or_default(),
            list(&self.database, ","),
            list(&self.user_name, ","),
            self.network(),
            self.auth_method.clone().unwrap_or_default(),
            list(&self.options, " "),
        ]
    }

    /// The line as text.
    pub(crate) fn text(&self) -> String {
        let columns = self.columns();
        let set: Vec<&str> = columns
            .iter()
            .map(String::as_str)
            .filter(|text| !text.is_empty())
            .collect();
        set.join(" ")
    }

    /// Whether the line rejects the client.
    pub(crate) fn rejects(&self) -> bool {
        self.auth_method.as_deref() == Some("reject")
    }
}

/// Whether lines come from several files.
pub(crate) fn several_files(rules: &[Rule]) -> bool {
    rules
        .windows(2)
        .any(|pair| pair[0].file_name != pair[1].file_name)
}

/// A name as the file has it: quoted if it would otherwise have a special meaning.
pub(crate) fn quoted(name: &str) -> String {
    let words = ["all", "sameuser", "samerole", "samegroup", "replication"];
    let plain = |c: char| c.is_alphanumeric() || "_-.$".contains(c);
    match name.chars().all(plain) && !words.contains(&name) && !name.is_empty() {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(lines: &[&str]) -> Vec<Rule> {
        let lines = lines.iter().enumerate();
        lines
            .map(|(index, line)| rule(index as u32 + 1, line))
            .collect()
    }

    #[test]
    fn secrets_of_a_line_are_hidden() {
        let line = r#"{ "line_number": 1, "auth_method": "ldap",
            "options": ["ldapserver=db", "ldapbindpasswd=S3cret", "radiussecrets=\"S3cret\"", "clientcert=1", "x"] }"#;
        let rule: Rule = serde_json::from_str(line).expect("a rule");
        let shown = rule.columns().join(" ");
        assert!(
            !shown.contains("S3cret") && shown.contains("ldapserver=db"),
            "{shown}"
        );
        assert!(shown.ends_with("clientcert=1 x"), "{shown}");
    }

    /// `type database user address[ netmask] method`, as the view splits them.
    fn rule(line_number: u32, line: &str) -> Rule {
        let words: Vec<&str> = line.split_whitespace().collect();
        let list = |word: &str| Some(word.split(',').map(str::to_owned).collect());
        let text = |index: usize| words.get(index).map(|word| (*word).to_owned());
        let local = words[0] == "local";
        Rule {
            line_number,
            kind: text(0),
            database: list(words[1]),
            user_name: list(words[2]),
            address: (!local).then(|| words[3].to_owned()),
            netmask: (words.len() == 6).then(|| words[4].to_owned()),
            auth_method: text(words.len() - 1),
            ..Rule::default()
        }
    }

    fn client(address: &str) -> Client {
        Client {
            database: "shop".into(),
            user: "app".into(),
            roles: ["app", "staff"].map(str::to_owned).into(),
            address: address.parse().ok(),
            server: "10.0.0.1".parse().ok(),
            tls: true,
        }
    }

    fn line(lines: &[&str], client: &Client) -> Option<u32> {
        match first_match(&rules(lines), client) {
            Verdict::Line(rule) => Some(rule.line_number),
            Verdict::None => None,
            Verdict::Unclear(rule) => panic!("unclear: {rule:?}"),
        }
    }

    #[test]
    fn the_first_line_that_fits_decides() {
        let lines = [
            "local all all trust",
            "host other all 10.0.0.0 255.0.0.0 trust",
            "host all other 10.0.0.0 255.0.0.0 trust",
            "host shop app 10.0.0.0 255.255.255.0 reject",
            "host all all 10.0.0.0 255.0.0.0 md5",
            "host all all 0.0.0.0 0.0.0.0 scram-sha-256",
        ];
        assert_eq!(line(&lines, &client("10.0.0.7")), Some(4));
        assert_eq!(line(&lines, &client("10.0.1.7")), Some(5));
        assert_eq!(line(&lines, &client("192.168.0.1")), Some(6));
        assert_eq!(line(&lines, &client("2001:db8::7")), None);
        assert_eq!(line(&lines, &client("")), Some(1));
    }

    #[test]
    fn encryption_chooses_among_types() {
        let lines = [
            "hostgssenc all all all gss",
            "hostnossl all all all reject",
            "hostssl all all all cert",
        ];
        let mut client = client("10.0.0.7");
        assert_eq!(line(&lines, &client), Some(3));
        client.tls = false;
        assert_eq!(line(&lines, &client), Some(2));
        assert_eq!(line(&lines[2..], &client), None);
        assert_eq!(line(&["hostnogssenc all all all md5"], &client), Some(1));
    }

    #[test]
    fn names_may_be_lists_groups_and_words() {
        let fits = |database: &str, user: &str| {
            let text = format!("host {database} {user} all md5");
            line(&[text.as_str()], &client("10.0.0.7")).is_some()
        };
        assert!(fits("a,shop", "b,app"));
        assert!(fits("shop", "+staff"));
        assert!(!fits("shop", "+admins"));
        assert!(!fits("sameuser", "all") && !fits("samerole", "all"));
        assert!(!fits("replication", "all"));
        let mut own = client("10.0.0.7");
        own.database = "staff".into();
        assert_eq!(line(&["host samerole all all md5"], &own), Some(1));
        own.database = "app".into();
        assert_eq!(line(&["host sameuser all all md5"], &own), Some(1));
    }

    #[test]
    fn networks_are_of_one_family() {
        let six = "host all all 2001:db8:: ffff:ffff:: md5";
        assert_eq!(line(&[six], &client("2001:db8:ffff::5")), Some(1));
        assert_eq!(line(&[six], &client("2001:db9::5")), None);
        assert_eq!(
            line(&["host all all ::0 ::0 md5"], &client("10.0.0.7")),
            None
        );
        assert_eq!(rule(1, six).network(), "2001:db8::/32");
    }

    #[test]
    fn what_only_the_server_knows_is_unclear() {
        for line in [
            "host all all .example.com md5",
            "host all all samenet md5",
            "host /^s all all md5",
            "host all /^a all md5",
        ] {
            let rules = rules(&[line, "host all all all md5"]);
            let verdict = first_match(&rules, &client("10.0.0.7"));
            assert_eq!(verdict, Verdict::Unclear(&rules[0]), "{line}");
        }
        let own = ["host all all samehost md5"];
        assert_eq!(line(&own, &client("10.0.0.1")), Some(1));
    }

    #[test]
    fn a_name_in_quotes_is_a_name() {
        let mut rules = rules(&["host all +staff all md5", "host all all all md5"]);
        rules[0].literal = vec!["+staff".into()];
        let verdict = first_match(&rules, &client("10.0.0.7"));
        assert_eq!(verdict, Verdict::Line(&rules[1]));
        rules[1].literal = vec!["all".into()];
        assert_eq!(first_match(&rules, &client("10.0.0.7")), Verdict::None);
    }

    #[test]
    fn a_line_with_an_error_is_none() {
        let mut rules = rules(&["host all all all trust", "host all all all md5"]);
        rules[0].error = Some("invalid".into());
        let verdict = first_match(&rules, &client("10.0.0.7"));
        assert_eq!(verdict, Verdict::Line(&rules[1]));
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        for (name, expected) in [
            ("app", "app"),
            ("all", "\"all\""),
            ("a b", "\"a b\""),
            ("a\"b", "\"a\"\"b\""),
            ("größe", "größe"),
        ] {
            assert_eq!(quoted(name), expected);
        }
    }
}
