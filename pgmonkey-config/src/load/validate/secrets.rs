//! Checks the secrets: those in the settings, and the references to others.

use super::{Found, MARK, no_connection_string, no_zero_byte};
use crate::model::connection::ConnectionSettings;
use crate::model::secret_source::{SecretCommand, SecretSource};
use crate::schema::keys;
use crate::secret::REDACTED;

/// The error for a command without a time limit.
pub(crate) const NO_TIMEOUT: &str = "a timeout above 0; the default is 10 s";

pub(super) fn secrets(found: &mut Found<'_>, settings: &ConnectionSettings) {
    for (name, source) in [
        ("password", &settings.password),
        ("sslpassword", &settings.sslpassword),
    ] {
        let key = format!("connection_settings.{name}");
        match source {
            None => {}
            Some(SecretSource::Value(secret)) => {
                no_zero_byte(found, &key, secret.expose());
                if secret.expose() == REDACTED {
                    found.conflict(&key, MARK);
                }
            }
            Some(SecretSource::File(path)) => {
                let path = path.to_string_lossy();
                no_zero_byte(found, &key, &path);
                no_connection_string(found, &key, "passfile", &path);
            }
            Some(SecretSource::Command(source)) => command(found, name, source),
        }
    }
}

fn command(found: &mut Found<'_>, name: &str, source: &SecretCommand) {
    let key = format!("connection_settings.{name}");
    if name == "sslpassword" {
        found.conflict(
            &key,
            "from_command is only for `password`: TLS files are read before a session is opened; \
             use from_file",
        );
    }
    if source.program().is_empty() {
        found.conflict(
            &key,
            "from_command names no program; list it before its arguments",
        );
    }
    for item in &source.command {
        no_zero_byte(found, &key, item);
        if item.contains(REDACTED) {
            found.conflict(&key, MARK);
        }
    }
    for (part, time) in [("ttl", source.ttl), ("timeout", Some(source.timeout))] {
        if let Some(time) = time.filter(|time| !keys::SECONDS.takes(*time)) {
            let expected = format!("{part} in {}", keys::SECONDS.expected());
            found.invalid(&key, Some(format!("{time:?}")), expected);
        }
    }
    if source.timeout.is_zero() {
        found.invalid(&key, None, NO_TIMEOUT);
    }
}
