//! Session settings on their way to the server: in the startup packet, so that they cost no
//! round trip and survive `RESET ALL`; as `SET` statements where a pooler takes no `options`.
//!
//! Reference: PostgreSQL, "Server Configuration: Shell Interaction" and libpq `options`.

use pgmonkey_config::SessionSettings;
use tokio_postgres::error::SqlState;

use crate::Error;
use crate::sql::literal;

/// The `options` text of the startup packet: what the file's `options` say, then each session
/// setting as `-c name=value`, blanks and backslashes escaped as the server reads them.
///
/// `None` when there is nothing to say.
///
/// # Errors
///
/// [`Error::SessionSetting`] for a name that no server parameter can have.
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

/// The same settings as one text of `SET` statements, quoted, for a server that refused
/// [`options`].
pub fn set_statements(settings: &SessionSettings) -> String {
    settings
        .iter()
        .map(|(name, value)| {
            format!(
                "SELECT pg_catalog.set_config({}, {}, false);",
                literal(name),
                literal(value)
            )
        })
        .collect()
}

/// Whether the server, most likely a pooler, refused the startup packet for its `options`.
pub fn options_refused(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        *error.code() == SqlState::PROTOCOL_VIOLATION && error.message().contains("startup param")
    })
}

/// The session setting that made a connect fail, if the server's words name one.
///
/// The server quotes the parameter's name in its message, as in `unrecognized configuration
/// parameter "statment_timeout"`; the quotes are the same in every language it speaks.
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
        // Not all of it: behind the name there may be a value.
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
    fn statements_are_quoted() {
        assert_eq!(
            set_statements(&settings(&[("search_path", "it's, b")])),
            "SELECT pg_catalog.set_config('search_path', 'it''s, b', false);"
        );
        assert_eq!(
            set_statements(&settings(&[("my.x", "a\\'b")])),
            "SELECT pg_catalog.set_config('my.x', E'a\\\\''b', false);"
        );
    }
}
