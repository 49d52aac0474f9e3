//! How files are read, case by case: behaviour kept from Python pgmonkey, and its defects.

mod defects;
mod file;
mod identity;
mod interpolation;
mod keys;
mod layers;
mod readers;
mod redaction;
mod secret_references;
mod shared_sections;
mod tls;

use pgmonkey_config::{Config, Error, Loader, Secret, SecretSource, Warning};

/// Returns a loader that sees only the given environment.
pub(crate) fn loader(variables: &[(&str, &str)]) -> Loader {
    let variables = variables.iter().copied();
    // A home directory without files of libpq.
    Loader::new().variables([("HOME", "/nonexistent")].into_iter().chain(variables))
}

pub(crate) fn load(yaml: &str) -> Result<Config, Error> {
    loader(&[]).yaml(yaml).load()
}

pub(crate) fn good(yaml: &str) -> Config {
    load(yaml).unwrap_or_else(|error| panic!("{yaml}\n{error}"))
}

/// Returns the text of the error; formatting it must not panic.
pub(crate) fn bad(yaml: &str) -> String {
    match load(yaml) {
        Ok(config) => panic!("accepted: {yaml}\n{config:?}"),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn warned(yaml: &str) -> (Config, Vec<Warning>) {
    loader(&[]).yaml(yaml).load_with_warnings().unwrap()
}

/// Returns the connection section with the given lines.
pub(crate) fn connection(line: &str) -> String {
    format!("connection_settings:\n  {line}\n")
}

pub(crate) fn password(config: &Config) -> Option<&str> {
    config
        .connection_settings
        .password
        .as_ref()
        .and_then(SecretSource::value)
        .map(Secret::expose)
}

/// Returns the password, read from its file if it is in one.
pub(crate) fn read_password(config: &Config) -> Option<String> {
    let secret = match config.connection_settings.password.as_ref()? {
        SecretSource::File(path) => SecretSource::read_file(path).unwrap(),
        source => source.value()?.clone(),
    };
    Some(secret.expose().to_owned())
}

#[track_caller]
pub(crate) fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}
