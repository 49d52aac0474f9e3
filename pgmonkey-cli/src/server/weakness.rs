//! Weak spots of a server, as far as the role may see them.

use serde::Serialize;

use super::facts::Facts;
use super::hba::{Rule, several_files};

/// A setting that makes an attack easier.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Weakness {
    pub(crate) what: String,
    pub(crate) advice: String,
}

/// All weak spots that the role may see.
pub(crate) fn of(facts: &Facts) -> Vec<Weakness> {
    let mut found = Vec::new();
    let mut add = |what: String, advice: &str| {
        found.push(Weakness {
            what,
            advice: advice.to_owned(),
        });
    };
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
    let rules = facts.rules.as_deref().unwrap_or_default();
    let several = several_files(rules);
    let of_rule = |rule| of_rule(rule, several, facts.md5_roles);
    found.extend(rules.iter().filter_map(of_rule));
    found
}

fn of_rule(rule: &Rule, several: bool, md5_roles: Option<i64>) -> Option<Weakness> {
    let place = match several {
        true => rule.place(true),
        false => format!("pg_hba.conf {}", rule.place(false)),
    };
    let line = format!("{place} ({})", rule.text());
    let weakness = |what: String, advice: &str| {
        let advice = advice.to_owned();
        Some(Weakness { what, advice })
    };
    if let Some(error) = &rule.error {
        let what = format!("{place} cannot be read: {error}");
        let advice = "correct it: until then the server uses the lines that it loaded before";
        return rule.is_broken().then(|| weakness(what, advice)).flatten();
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
            &without_md5(md5_roles),
        ),
        "password" if !encrypted => weakness(
            format!("{line} makes clients send passwords in the clear"),
            "use scram-sha-256 instead of password",
        ),
        _ => None,
    }
}

/// What to do about a line with md5, in the order that locks no role out: the line admits SCRAM
/// passwords as well, so it changes last.
fn without_md5(roles: Option<i64>) -> String {
    let first = match roles {
        Some(0) => {
            return "no role that may log in has an MD5 password any more: change md5 to scram-sha-256"
                .to_owned();
        }
        Some(1) => "1 role still has an MD5 password".to_owned(),
        Some(count) => format!("{count} roles still have an MD5 password"),
        None => {
            "roles may still have MD5 passwords, which this role may not see (pg_authid)".to_owned()
        }
    };
    format!(
        "{first}. First set password_encryption = 'scram-sha-256', then set those passwords again \
         (\\password in psql), and only when none is left change md5 to scram-sha-256: until then the \
         line admits both"
    )
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
            let found = of_rule(&rule(kind, method), false, None);
            assert_eq!(found.is_some(), weak, "{kind} {method}");
            assert!(found.is_none_or(|weakness| weakness.what.contains("line 7")));
        }
    }

    #[test]
    fn lines_of_included_files_are_named_with_their_file() {
        let mut rule = rule("host", "trust");
        rule.file_name = Some("/etc/hba.d/x.conf".to_owned());
        let found = of_rule(&rule, true, None).expect("weak");
        assert!(
            found.what.starts_with("/etc/hba.d/x.conf:7 ("),
            "{}",
            found.what
        );
    }

    #[test]
    fn the_order_locks_no_role_out() {
        let advice = |roles| {
            of_rule(&rule("host", "md5"), false, roles)
                .expect("weak")
                .advice
        };
        assert!(advice(Some(3)).starts_with("3 roles still have"));
        let all = advice(None);
        let at = |text: &str| all.find(text).expect(text);
        assert!(
            at("password_encryption") < at("passwords again")
                && at("passwords again") < at("change md5")
        );
        assert!(advice(Some(0)).contains("change md5 to scram-sha-256"));
    }
}
