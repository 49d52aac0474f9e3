//! How session settings reach the server: in the startup packet, which costs no round trip and
//! survives `RESET ALL`; by a statement if a pooler does not accept `options`.
//!
//! Reference: PostgreSQL, "Server Configuration: Shell Interaction" and libpq `options`.

use std::error::Error as StdError;
use std::fmt;

use bytes::BytesMut;
use pgmonkey_config::{REDACTED, SessionSettings};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::Error;
use crate::error::pooler::{self, Report};

type BoxError = Box<dyn StdError + Sync + Send>;

/// The `options` text of the startup packet: the configured `options`, then each session setting as
/// `-c name=value`, with whitespace and backslashes escaped as the server expects.
///
/// `None` if there is nothing to send.
///
/// # Errors
///
/// [`Error::SessionSetting`] for an invalid parameter name.
pub fn options(
    own: Option<&str>,
    settings: &SessionSettings,
    section: &'static str,
) -> Result<Option<String>, Error> {
    let mut text = own.unwrap_or_default().to_owned();
    for (name, value) in settings.iter() {
        check_name(name, section)?;
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str("-c ");
        text.push_str(name);
        text.push('=');
        for letter in value.chars() {
            if letter.is_ascii_whitespace() || letter == '\\' {
                text.push('\\');
            }
            text.push(letter);
        }
    }
    Ok((!text.is_empty()).then_some(text))
}

/// The same settings as one statement with parameters, for a server that refused [`options`].
///
/// The drivers log the statements that they send and the `Debug` form of parameters. A setting may
/// contain a secret, so it is sent as a parameter whose `Debug` form is redacted.
#[derive(Debug)]
pub struct SettingStatement {
    text: String,
    parameters: Vec<Hidden>,
}

impl SettingStatement {
    /// `None` if nothing is to be set.
    pub fn new(settings: &SessionSettings) -> Option<Self> {
        let mut parameters = Vec::new();
        let mut calls = Vec::new();
        for (name, value) in settings.iter() {
            let at = parameters.len() + 1;
            calls.push(format!("pg_catalog.set_config(${at}, ${}, false)", at + 1));
            parameters.extend([Hidden(name.to_owned()), Hidden(value.to_owned())]);
        }
        (!calls.is_empty()).then(|| Self {
            text: format!("SELECT {}", calls.join(", ")),
            parameters,
        })
    }

    /// The statement's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The parameters, with their types: names and values, alternating.
    pub fn parameters(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        let typed = |parameter| (parameter as &(dyn ToSql + Sync), Type::TEXT);
        self.parameters.iter().map(typed).collect()
    }
}

/// Text that is redacted in `Debug`.
struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl ToSql for Hidden {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        self.0.to_sql(kind, out)
    }

    fn accepts(kind: &Type) -> bool {
        <String as ToSql>::accepts(kind)
    }

    to_sql_checked!();
}

/// Whether the server, most likely a pooler, refused the startup packet because of its `options`.
pub fn options_refused(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|error| pooler::refuses_options(Report::of(error)))
}

/// Whether a statement failed without ending its session.
pub(crate) fn is_of_statement(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|error| !Report::of(error).is_fatal)
}

/// The session setting that made the login fail, if the server's message names one.
///
/// The server quotes the parameter's name, as in `unrecognized configuration parameter
/// "statment_timeout"`; the quotes are the same in every message language.
pub fn blamed_setting<'a>(
    error: &tokio_postgres::Error,
    settings: &'a SessionSettings,
) -> Option<&'a str> {
    let error = error.as_db_error()?;
    settings.iter().map(|(name, _)| name).find(|name| {
        error
            .message()
            .to_ascii_lowercase()
            .contains(&format!("\"{}\"", name.to_ascii_lowercase()))
    })
}

fn check_name(name: &str, section: &'static str) -> Result<(), Error> {
    let mut letters = name.chars();
    let first_fits = letters
        .next()
        .is_some_and(|letter| letter.is_alphabetic() || letter == '_');
    if first_fits && letters.all(|letter| letter.is_alphanumeric() || "_.$".contains(letter)) {
        return Ok(());
    }
    Err(Error::SessionSetting {
        // Only the name: a value may follow it.
        key: format!(
            "{section}.{}",
            name.split(['=', ' ']).next().unwrap_or_default()
        ),
        reason: "not a parameter name: letters, digits, _ and . only".to_owned(),
        code: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> SessionSettings {
        let mut settings = SessionSettings::default();
        for (name, value) in pairs {
            settings.insert(*name, *value);
        }
        settings
    }

    #[test]
    fn nothing_to_say_is_no_options() {
        assert_eq!(
            options(None, &settings(&[]), "sync_settings").expect("valid"),
            None
        );
    }

    #[test]
    fn blanks_and_backslashes_are_escaped() {
        let text = options(
            Some("-c geqo=off"),
            &settings(&[("work_mem", "64MB"), ("my.x", "a b\\c")]),
            "sync_settings",
        );
        assert_eq!(
            text.expect("valid").as_deref(),
            Some("-c geqo=off -c work_mem=64MB -c my.x=a\\ b\\\\c")
        );
    }

    #[test]
    fn a_name_cannot_carry_another_option() {
        let error = options(None, &settings(&[("a -c b", "1")]), "async_settings")
            .expect_err("a blank in a name");
        assert!(
            error.to_string().starts_with("async_settings.a: "),
            "{error}"
        );
    }

    #[test]
    fn a_setting_travels_as_a_parameter_that_hides_itself() {
        let statement = SettingStatement::new(&settings(&[("a.token", "it's"), ("b", "2")]));
        let statement = statement.expect("something is to be set");
        assert_eq!(
            statement.text(),
            "SELECT pg_catalog.set_config($1, $2, false), pg_catalog.set_config($3, $4, false)"
        );
        let shown = format!("{:?} {statement:?}", statement.parameters());
        assert!(
            !shown.contains("it's") && shown.contains(REDACTED),
            "{shown}"
        );
        assert!(SettingStatement::new(&settings(&[])).is_none());
    }
}
