//! Recognises connection strings and secrets in values that should contain neither.

use crate::schema::keys::{self, Kind};
use crate::schema::suggest;
use crate::source::url;

/// Keywords, besides libpq's, with which connection strings of other drivers start.
const OTHER_KEYWORDS: [&str; 5] = ["database", "server", "uid", "user id", "username"];

/// The error for a connection string in the wrong place; it never repeats the text.
pub(crate) const ADVICE: &str = "a connection string is not allowed here; use `url` for it";

/// Returns whether a text given as a name, such as that of a database or a file, is a connection
/// string: a URL, key=value text, or `user:password@host`.
///
/// A connection string may contain a password, so it must not be shown.
///
/// ```
/// use pgmonkey_config::is_connection_string;
///
/// assert!(is_connection_string("postgres://app:S3cret@db/shop"));
/// assert!(is_connection_string("host=db password=S3cret"));
/// assert!(is_connection_string("app:S3cret@db"));
/// assert!(!is_connection_string("shop") && !is_connection_string("/etc/pgmonkey.yaml"));
/// ```
pub fn is_connection_string(text: &str) -> bool {
    text.contains("://")
        || begins_as_pairs(text)
        || assigns_secret(text, &['=', ':'])
        || has_user_info(text)
}

/// Whether free text, such as an application name, is a connection string or contains a secret.
pub(crate) fn is_login(text: &str) -> bool {
    let url = text.trim_start().to_ascii_lowercase();
    let url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    url || begins_as_pairs(text) || holds_secret(text)
}

/// Whether the text contains a secret: after the name of one, or in a URL.
pub(crate) fn holds_secret(text: &str) -> bool {
    let in_url = |(_, rest): (&str, &str)| has_user_info(rest);
    text.split_once("://").is_some_and(in_url) || assigns_secret(text, &['='])
}

/// Whether the text contains `name=…` with the name of a secret.
fn assigns_secret(text: &str, signs: &[char]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(signs) {
        let (before, after) = rest.split_at(at);
        if keys::is_secret(last_word(before)) && !after[1..].trim().is_empty() {
            return true;
        }
        rest = &after[1..];
    }
    false
}

fn last_word(text: &str) -> &str {
    let of_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    let text = text.trim_end_matches(|c: char| c.is_whitespace() || "\"'".contains(c));
    let start = text.rfind(|c| !of_name(c)).map_or(0, |at| {
        at + text[at..].chars().next().map_or(1, char::len_utf8)
    });
    &text[start..]
}

/// Whether the text starts with `keyword = value`.
fn begins_as_pairs(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| {
        let key = key.trim().to_ascii_lowercase();
        url::KEYWORDS.contains(&key.as_str()) || OTHER_KEYWORDS.contains(&key.as_str())
    })
}

/// Whether the text contains `user:password@host`.
fn has_user_info(text: &str) -> bool {
    // A drive letter, as in `C:\a@b`.
    let text = match text.as_bytes() {
        [drive, b':', b'\\' | b'/', ..] if drive.is_ascii_alphabetic() => &text[2..],
        _ => text,
    };
    let after = text.split_once(':').map(|(_, after)| after);
    after.is_some_and(|after| after.contains('@'))
}

/// Whether an error may repeat a value: only if it resembles a valid one. Anything else may be a
/// secret in the wrong place.
pub(crate) fn may_be_told(name: &str, kind: Kind, text: &str) -> bool {
    if keys::is_secret(name) {
        return false;
    }
    let may_be_any = matches!(kind, Kind::Secret | Kind::Url | Kind::Section);
    if !may_be_any && is_plain_word(text) {
        return true;
    }
    match kind {
        Kind::Word(words) => is_near(text, words()),
        Kind::Methods => text
            .split(',')
            .all(|item| is_near(item.trim().trim_start_matches('!'), METHODS.to_vec())),
        Kind::Flag => is_near(text, vec!["true", "false"]) || is_number(text),
        Kind::Ports | Kind::Count { .. } | Kind::Seconds { .. } | Kind::Milliseconds { .. } => {
            is_number(text)
        }
        Kind::Addresses => text
            .chars()
            .all(|c| c.is_ascii_hexdigit() || ".:, ".contains(c)),
        Kind::Hosts => text.split(',').map(str::trim).all(is_host),
        Kind::Text | Kind::Path | Kind::Roots => is_named(name, text),
        Kind::Secret | Kind::Url | Kind::Section => false,
    }
}

/// Whether the value of a known free-text key is only a name.
pub(crate) fn is_named(name: &str, text: &str) -> bool {
    match name {
        "user" => !text.contains(':') && !is_connection_string(text),
        "application_name" | keys::FALLBACK_APPLICATION_NAME => !is_login(text),
        "options" => super::options(text) == text && !is_login(text),
        _ => !is_connection_string(text),
    }
}

const METHODS: [&str; 7] = [
    "password",
    "md5",
    "gss",
    "sspi",
    "scram-sha-256",
    "oauth",
    "none",
];

/// Words, valid for some key or not, that cannot be secrets.
const COMMON: [&str; 8] = [
    "0", "1", "SSLv3", "TLSv1", "TLSv1.0", "TLSv1.1", "LATIN1", "WIN1252",
];

/// Whether it is a short word in one case, without digits.
fn is_plain_word(text: &str) -> bool {
    let is_lower = |c: char| c.is_ascii_lowercase() || c == '-';
    text.len() <= 8 && (text.chars().all(is_lower) || text.chars().all(|c| c.is_ascii_uppercase()))
}

fn is_near(text: &str, words: Vec<&'static str>) -> bool {
    let text = text.trim();
    COMMON.contains(&text) || is_plain_word(text) || suggest::nearest(text, words).is_some()
}

/// Whether it consists of digits, a sign and a few letters for a unit.
pub(crate) fn is_number(text: &str) -> bool {
    let text = text.trim().trim_start_matches(['-', '+']);
    let letters = text.chars().filter(char::is_ascii_alphabetic).count();
    text.starts_with(|c: char| c.is_ascii_digit())
        && letters <= 3
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "., ".contains(c))
}

fn is_host(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "-._/[]%".contains(c);
    let bare = text.trim_matches(['[', ']']);
    bare.parse::<std::net::IpAddr>().is_ok() || text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_are_known_in_every_spelling() {
        for text in [
            "postgres://h",
            "POSTGRESQL://u:S3cret@h/d",
            "jdbc:postgresql://h/d?user=u&password=S3cret",
            "host=h password=S3cret",
            " dbname = d",
            "Server=h;Port=5432;Pwd=S3cret",
            "User ID=u;Database=d",
            "u:S3cret@h/d",
            "//u:S3cret@h",
            "x PGPASSWORD=S3cret psql",
            "password: S3cret",
        ] {
            assert!(is_connection_string(text), "{text}");
        }
        for text in [
            "shop",
            "größe",
            "a=b",
            "shop:2",
            "me@corp",
            "/run/user@1000/pg",
            "C:\\Users\\me@corp\\pgpass.conf",
            "password",
            "token ring",
        ] {
            assert!(!is_connection_string(text), "{text}");
        }
    }

    #[test]
    fn free_text_may_have_colons_and_links() {
        for text in [
            "app: worker@host",
            "password-reset: worker",
            "https://app.example",
            "a user=5",
            "-c geqo=off",
        ] {
            assert!(!is_login(text), "{text}");
        }
        for text in [
            "postgres://h/d",
            "https://u:S3cret@h",
            "user=u",
            "x api_key=S3cret",
        ] {
            assert!(is_login(text), "{text}");
        }
    }

    #[test]
    fn an_error_repeats_what_is_nearly_right() {
        let told = |name: &str, kind, text: &str| may_be_told(name, kind, text);
        for (kind, text) in [
            (Kind::Ports, "70000"),
            (Kind::Ports, "5432x"),
            (Kind::Seconds { min: 0, max: 0 }, "-1"),
            (Kind::Seconds { min: 0, max: 0 }, "10 min"),
            (Kind::Flag, "tru"),
            (Kind::Addresses, "10.0.0"),
            (Kind::Hosts, "[::1]"),
            (Kind::Hosts, "db_1, db-2"),
        ] {
            assert!(told("x", kind, text), "{text}");
        }
        for kind in [
            Kind::Ports,
            Kind::Seconds { min: 0, max: 0 },
            Kind::Flag,
            Kind::Hosts,
            Kind::Text,
        ] {
            for text in [
                "u:S3cret@h",
                "postgres://u:S3cret@h/d",
                "host=h password=S3cret",
            ] {
                assert!(!told("x", kind, text), "{kind:?} {text}");
            }
        }
        assert!(!told("x", Kind::Ports, "S3cret"));
        assert!(!told("user", Kind::Text, "u:S3cret"));
    }
}
