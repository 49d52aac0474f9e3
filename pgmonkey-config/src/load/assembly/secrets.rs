//! Checks the references that the configuration keeps, and the files that hold secrets.

use std::path::Path;

use super::{Assembly, Settled};
use crate::error::{Place, ProblemKind, Warning, WarningKind};
use crate::load::extract::Found;
use crate::load::secret_reference;
use crate::model::connection::ConnectionSettings;
use crate::model::secret_source::SecretSource;
use crate::redact::told;
use crate::source::layer::{Layer, Origin, connection_path};
use crate::source::{files, passfile};

impl Assembly<'_> {
    /// Warns of a file with a secret that other users can read.
    pub(super) fn warn_of_permissions(&mut self, layer: &Layer) {
        let Origin::Document(document) = &layer.origin else {
            return;
        };
        let Some(path) = document.path().filter(|path| readable_by_others(path)) else {
            return;
        };
        if layer.holds_secret() {
            let place = Place::File {
                path: path.to_owned(),
                position: None,
            };
            let warning = Warning::new(place, None, WarningKind::ReadableByOthers);
            self.findings.warnings.push(warning);
        }
    }

    /// Reads each secret file once, and refuses a command unless commands are allowed.
    pub(super) fn check_secrets(
        &mut self,
        settings: &mut ConnectionSettings,
        writer: Option<&Settled<'_>>,
    ) -> Vec<Found> {
        let mut problems = Vec::new();
        let writer = writer.map(|writer| &writer.settings.connection_settings);
        for (name, source, of_writer) in [
            (
                "password",
                &mut settings.password,
                writer.map(|writer| &writer.password),
            ),
            (
                "sslpassword",
                &mut settings.sslpassword,
                writer.map(|writer| &writer.sslpassword),
            ),
        ] {
            let path = connection_path(name);
            if let Some(checked) = of_writer.filter(|_| self.inherits(&path)) {
                // A pipe can be read only once.
                source.clone_from(checked);
                continue;
            }
            let written = self.written(&path).map(str::to_owned);
            match source {
                Some(SecretSource::Command(command)) if !self.loader.allow_commands => {
                    let program = told("passfile", command.program()).into_owned();
                    let program = written.is_none().then_some(program);
                    problems.push((path, ProblemKind::CommandNotAllowed { program }));
                }
                Some(source @ SecretSource::File(_)) => {
                    self.warn_of_secret_file(&path, source, written.as_deref());
                    let SecretSource::File(file) = &source else {
                        continue;
                    };
                    let shown = written.unwrap_or_else(|| file.to_string_lossy().into_owned());
                    if let Err(kind) = secret_reference::check_file(source, &shown) {
                        problems.push((path, kind));
                    }
                }
                _ => {}
            }
        }
        self.warn_of_passfile(settings);
        problems
    }

    fn warn_of_secret_file(
        &mut self,
        key: &[String],
        source: &SecretSource,
        written: Option<&str>,
    ) {
        let SecretSource::File(file) = source else {
            return;
        };
        let Some(mode) = files::mode_open_to_others_at(file) else {
            return;
        };
        let path = written.map_or_else(|| file.clone(), Into::into);
        let kind = WarningKind::SecretFileReadableByOthers { path, mode };
        self.warn(key, kind);
    }

    /// Warns of a password file that would be searched if its permissions were right.
    fn warn_of_passfile(&mut self, settings: &ConnectionSettings) {
        let key = connection_path("passfile");
        if settings.password.is_some() || self.inherits(&key) {
            return;
        }
        let variables = self.variables;
        let path = match &settings.passfile {
            Some(path) => path.clone(),
            None if !self.uses_libpq() => return,
            None => match passfile::default_path(&|name| variables.value(name)) {
                Some(path) => path,
                None => return,
            },
        };
        let Some(mode) = files::mode_open_to_others_at(&path) else {
            return;
        };
        let written = self.written(&key).map(Into::into);
        let shown = written.unwrap_or_else(|| path.clone());
        let kind = WarningKind::PassFileIgnored { path: shown, mode };
        if settings.passfile.is_some() {
            self.warn(&key, kind);
        } else {
            let place = Place::File {
                path,
                position: None,
            };
            self.findings.warnings.push(Warning::new(place, None, kind));
        }
    }

    fn warn(&mut self, key: &[String], kind: WarningKind) {
        let (place, key) = self.spot(key);
        let warning = Warning::new(place, key, kind);
        self.findings.warnings.push(warning);
    }
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    // A pipe or a device has no content that other users could read later.
    let metadata = std::fs::metadata(path).ok();
    metadata.is_some_and(|m| m.is_file() && m.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn readable_by_others(_path: &Path) -> bool {
    false
}
