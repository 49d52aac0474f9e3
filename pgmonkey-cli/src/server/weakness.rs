//! Weak spots of a server, as far as the role may see them.

use serde::Serialize;

use super::facts::Facts;
use super::hba::Rule;

/// A setting that makes an attack easier.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Weakness {
    pub(crate) what: String,
    pub(crate) advice: &'static str,
}

/// All weak spots that the role may see.
pub(crate) fn of(facts: &Facts) -> Vec<Weakness> {
    let mut found = Vec::new();
    let mut add = |what: String, advice| found.push(Weakness { what, advice });
    let remote = facts
        .client
        .address
        .is_some_and(|address| !address.is_loopback());
    if facts.value("ssl") == Some("off") {
        let what = "ssl is off: all data crosses the network in the clear";
        add(what.to_owned(), "set ssl = on with a certificate");
    } else if remote && !facts.client.tls {
        let what = "this session crosses a network without TLS";
        add(what.to_owned(), "use sslmode: verify-full");
    }
    if let Some(version @ ("" | "TLSv1" | "TLSv1.1")) = facts.value("ssl_min_protocol_version") {
        let what = match version {
            "" => "every version of TLS is accepted".to_owned(),
            version => format!("{version} is accepted"),
        };
        add(what, "set ssl_min_protocol_version = 'TLSv1.2'");
    }
    if facts.value("password_encryption") == Some("md5") {
        let what = "new passwords are stored as MD5";
        add(what.to_owned(), "set password_encryption = 'scram-sha-256'");
    }
    if let Some(count @ 1..) = facts.md5_roles {
        let what = format!("{count} roles that may log in have a password stored as MD5");
        add(
            what,
            "set their passwords again with password_encryption = 'scram-sha-256'",
        );
    }
    if facts.superuser {
        let what = format!("{} is a superuser", facts.client.user);
        add(
            what,
            "use a role with only the privileges that the program needs",
        );
    }
    let rules = facts.rules.iter().flatten();
    found.extend(rules.filter_map(of_rule));
    found
}

fn of_rule(rule: &Rule) -> Option<Weakness> {
    let line = format!("pg_hba.conf line {} ({})", rule.line_number, rule.text());
    let weakness = |what: String, advice| Some(Weakness { what, advice });
    // A line with an error that was read anyway is a hostssl line without ssl: it has no effect.
    if let (Some(error), None) = (&rule.error, &rule.kind) {
        let what = format!(
            "pg_hba.conf line {} cannot be read: {error}",
            rule.line_number
        );
        return weakness(
            what,
            "correct it: until then the server uses the previous lines",
        );
    }
    if rule.error.is_some() {
        return None;
    }
    let encrypted = matches!(
        rule.kind.as_deref(),
        Some("hostssl" | "hostgssenc" | "local")
    );
    match rule.auth_method.as_deref()? {
        "trust" => weakness(
            format!("{line} admits everyone without authentication"),
            "use scram-sha-256 instead of trust",
        ),
        "md5" => weakness(
            format!("{line} accepts MD5 passwords"),
            "use scram-sha-256 instead of md5",
        ),
        "password" if !encrypted => weakness(
            format!("{line} makes clients send passwords in the clear"),
            "use scram-sha-256 instead of password",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: &str, method: &str) -> Rule {
        Rule {
            line_number: 7,
            kind: Some(kind.to_owned()),
            auth_method: Some(method.to_owned()),
            ..Rule::default()
        }
    }

    #[test]
    fn weak_methods_are_told_by_their_line() {
        for (kind, method, weak) in [
            ("host", "trust", true),
            ("local", "trust", true),
            ("hostssl", "md5", true),
            ("host", "password", true),
            ("hostssl", "password", false),
            ("host", "scram-sha-256", false),
            ("host", "reject", false),
        ] {
            let found = of_rule(&rule(kind, method));
            assert_eq!(found.is_some(), weak, "{kind} {method}");
            assert!(found.is_none_or(|weakness| weakness.what.contains("line 7")));
        }
    }
}
