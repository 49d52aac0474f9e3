//! Rejects connection strings in arguments where none belong, without repeating them: they may
//! contain a password.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::Path;

use pgmonkey::config::{REDACTED, is_connection_string};

use crate::error::Error;

/// Options whose value is a connection string, or SQL that may look like one.
const FREE: [&str; 2] = ["--from-url", "--query"];

/// Rejects a connection string used as a file, a table or another name.
pub(crate) fn check(args: &[OsString]) -> Result<(), Error> {
    let texts: Vec<Cow<'_, str>> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let is_wrong = |index: usize| {
        let free = texts[..index].last().is_some_and(|option| is_free(option));
        let value = value(&texts[index]);
        let own = value.len() < texts[index].len() && is_free(&texts[index]);
        !free && !own && is_connection_string(value) && !Path::new(value).exists()
    };
    // The first argument is the program's name.
    match (1..texts.len()).find(|index| is_wrong(*index)) {
        None => Ok(()),
        Some(index) => Err(Error::Failed {
            text: format!(
                "expected a configuration file, but argument {index} is a URL or a list of key=value"
            ),
            hint: Some(
                "`pgmonkey config create FILE --from-url -` creates a file from it".to_owned(),
            ),
        }),
    }
}

/// clap's message for a usage error, with the connection strings in it redacted.
pub(crate) fn usage(error: &clap::Error, args: &[OsString]) -> String {
    let mut text = error.render().to_string();
    for arg in args.iter().skip(1) {
        let arg = arg.to_string_lossy();
        for part in [&*arg, value(&arg)] {
            if is_connection_string(part) {
                text = text.replace(part, REDACTED);
            }
        }
    }
    text
}

/// Whether the arguments ask for JSON, also if they cannot be parsed otherwise.
pub(crate) fn wants_json(args: &[OsString]) -> bool {
    let texts: Vec<Cow<'_, str>> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let is_format = |option: &str| option.len() > 4 && "--format".starts_with(option);
    texts
        .iter()
        .enumerate()
        .any(|(index, text)| match text.split_once('=') {
            Some((option, value)) => is_format(option) && value == "json",
            None => is_format(text) && texts.get(index + 1).is_some_and(|value| value == "json"),
        })
}

/// The value of `--option=value`, otherwise the argument itself.
fn value(arg: &str) -> &str {
    let option = arg.strip_prefix("--").and_then(|rest| rest.split_once('='));
    option.map_or(arg, |(_, value)| value)
}

/// Whether the argument is one of the `FREE` options, possibly abbreviated.
fn is_free(arg: &str) -> bool {
    let name = arg.split('=').next().unwrap_or_default();
    name.len() > 3 && FREE.iter().any(|option| option.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn json_is_asked_for_in_every_spelling() {
        for words in [
            &["--format", "json"][..],
            &["--format=json"],
            &["--form", "json"],
        ] {
            assert!(wants_json(&args(words)), "{words:?}");
        }
        for words in [
            &["--format"][..],
            &["--format", "table"],
            &["json"],
            &["--f", "json"],
        ] {
            assert!(!wants_json(&args(words)), "{words:?}");
        }
    }

    #[test]
    fn connection_strings_are_taken_where_they_belong() {
        for free in [
            &[
                "pgmonkey",
                "config",
                "create",
                "x",
                "--from-url",
                "postgres://u:p@h",
            ][..],
            &[
                "pgmonkey",
                "config",
                "create",
                "x",
                "--from-u=postgres://u:p@h",
            ],
            &[
                "pgmonkey",
                "export",
                "--query",
                "SELECT password='x'",
                "x.csv",
            ],
            &["pgmonkey", "config", "show", "pgmonkey.yaml"],
        ] {
            assert!(check(&args(free)).is_ok(), "{free:?}");
        }
        for wrong in [
            &["pgmonkey", "config", "show", "postgres://u:S3cret@h"][..],
            &["pgmonkey", "config", "show", "--filepath=u:S3cret@h"],
            &["pgmonkey", "import", "host=h password=S3cret", "x.csv"],
            &[
                "pgmonkey",
                "config",
                "show",
                "f",
                "--profile",
                "postgres://u:S3cret@h",
            ],
        ] {
            let error = check(&args(wrong)).expect_err("a secret");
            assert!(!error.to_string().contains("S3cret"), "{error}");
        }
    }
}
