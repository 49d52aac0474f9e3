//! How files behave, row by row: what Python pgmonkey does and we keep, and what it gets wrong.

mod defects;
mod file;
mod identity;
mod interpolation;
mod keys;
mod layers;
mod redaction;
mod tls;

use pgmonkey_config::{Config, Error, Loader, Secret, Warning};

/// A loader that sees no environment but the given one.
pub(crate) fn loader(variables: &[(&str, &str)]) -> Loader {
    let variables = variables.iter().copied();
    // A home without any file of libpq's.
    Loader::new().variables([("HOME", "/nonexistent")].into_iter().chain(variables))
}

pub(crate) fn load(yaml: &str) -> Result<Config, Error> {
    loader(&[]).yaml(yaml).load()
}

pub(crate) fn good(yaml: &str) -> Config {
    load(yaml).unwrap_or_else(|error| panic!("{yaml}\n{error}"))
}

/// The text of the error, which must be told without a panic.
pub(crate) fn bad(yaml: &str) -> String {
    match load(yaml) {
        Ok(config) => panic!("accepted: {yaml}\n{config:?}"),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn warned(yaml: &str) -> (Config, Vec<Warning>) {
    loader(&[]).yaml(yaml).load_with_warnings().unwrap()
}

/// The connection section with one line in it.
pub(crate) fn connection(line: &str) -> String {
    format!("connection_settings:\n  {line}\n")
}

pub(crate) fn password(config: &Config) -> Option<&str> {
    config
        .connection_settings
        .password
        .as_ref()
        .map(Secret::expose)
}

#[track_caller]
pub(crate) fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}
