//! Checks the references that the configuration keeps, and the files that hold secrets.

use super::Assembly;
use crate::error::{Place, ProblemKind, Warning, WarningKind};
use crate::load::secret_reference;
use crate::model::connection::ConnectionSettings;
use crate::model::secret_source::SecretSource;
use crate::redact::told;
use crate::source::layer::connection_path;
use crate::source::{files, passfile};

impl Assembly<'_> {
    /// Reads each secret file once, and refuses a command unless commands are allowed.
    pub(super) fn check_secrets(
        &mut self,
        settings: &mut ConnectionSettings,
    ) -> Vec<(Vec<String>, ProblemKind)> {
        let mut problems = Vec::new();
        for (name, source) in [
            ("password", &mut settings.password),
            ("sslpassword", &mut settings.sslpassword),
        ] {
            let path = connection_path(name);
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
        if settings.password.is_some() {
            return;
        }
        let key = connection_path("passfile");
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
