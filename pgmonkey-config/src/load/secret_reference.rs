//! `password` and `sslpassword` as references that are kept: `{ from_file: path }`, in short
//! `password_file: path`, and `{ from_command: [program, argument, …], ttl, timeout }`.

use std::path::PathBuf;

use figment::value::{Dict, Value};

use crate::error::ProblemKind;
use crate::load::duration;
use crate::load::extract::value::{number_or_text, text_of};
use crate::load::interpolate::{reference, secret_file, unreadable};
use crate::load::prepare::{is_unset, not_resolved};
use crate::load::validate::secrets::NO_TIMEOUT;
use crate::model::secret_source::{SecretCommand, SecretSource};
use crate::schema::keys::{self, Kind};
use crate::schema::suggest;
use crate::source::files;
use crate::source::layer::{Findings, Layer, connection_path};
use crate::source::user_files::expand_home;

/// The keys whose value may be a reference that is kept.
const KEYS: [&str; 2] = ["password", "sslpassword"];

/// The keys of a command.
const PARTS: [&str; 3] = ["from_command", "ttl", "timeout"];

/// Whether the mapping is a reference that is kept, under one of the keys that may have one.
pub(crate) fn is_at(path: &[String], dict: &Dict) -> bool {
    let [section, key] = path else { return false };
    let kept = dict.contains_key("from_file") || dict.contains_key("from_command");
    section == "connection_settings"
        && KEYS.contains(&key.as_str())
        && kept
        && !dict.contains_key("from_env")
}

/// The error for a command under another key.
pub(crate) fn only_password() -> ProblemKind {
    ProblemKind::Reference("from_command is only for `password`".into())
}

/// A problem, under the key itself or under one of the keys in it.
pub(crate) type Fault = (Option<String>, ProblemKind);

/// Reads the mapping.
pub(crate) fn parse(dict: &Dict) -> Result<SecretSource, Fault> {
    let fail = |text: &str| (None, ProblemKind::Reference(text.to_owned()));
    let forms = "expected from_env, from_file or from_command as the only key; with from_command, \
                 ttl and timeout";
    match reference(dict) {
        Some("from_file") if dict.len() == 1 => match dict.get("from_file") {
            Some(Value::String(_, path)) if !path.is_empty() => {
                Ok(SecretSource::File(PathBuf::from(path)))
            }
            _ => Err(fail(
                "from_file: expected the path of the file with the secret",
            )),
        },
        Some("from_command") if !dict.contains_key("from_file") => {
            command(dict).map(SecretSource::Command)
        }
        Some("from_env") if dict.len() == 1 => {
            let kind = not_resolved(&Value::from(dict.clone()));
            Err((None, kind.unwrap_or_else(only_password)))
        }
        _ => Err(fail(forms)),
    }
}

fn command(dict: &Dict) -> Result<SecretCommand, Fault> {
    if let Some(name) = dict.keys().find(|name| !PARTS.contains(&name.as_str())) {
        let suggestion = suggest::nearest(name, PARTS).map(str::to_owned);
        let note = None;
        return Err((
            Some(name.clone()),
            ProblemKind::UnknownKey { suggestion, note },
        ));
    }
    let invalid = |key: Option<&str>, expected: String| {
        let value = None;
        (
            key.map(str::to_owned),
            ProblemKind::Invalid { value, expected },
        )
    };
    let items = match dict.get("from_command") {
        Some(Value::Array(_, items)) => items.iter().map(text_of).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let expected = "from_command as a list of texts: the program, then each of its arguments; no \
                        shell splits or expands them";
        return Err(invalid(None, expected.to_owned()));
    };
    let mut command = SecretCommand::new(items);
    let time = |name: &str| match dict.get(name).filter(|value| !is_unset(value)) {
        None => Ok(None),
        Some(value) => number_or_text(value)
            .and_then(|text| duration::parse(&text))
            .filter(|time| keys::SECONDS.takes(*time))
            .map(Some)
            .ok_or_else(|| invalid(Some(name), keys::SECONDS.expected())),
    };
    command.ttl = time("ttl")?.filter(|ttl| !ttl.is_zero());
    command.timeout = time("timeout")?.unwrap_or(command.timeout);
    if command.timeout.is_zero() {
        return Err(invalid(Some("timeout"), NO_TIMEOUT.to_owned()));
    }
    Ok(command)
}

impl Layer {
    /// Writes `password_file` as the reference that it stands for.
    pub(crate) fn expand_password_file(&mut self, findings: &mut Findings) {
        let short = connection_path(keys::PASSWORD_FILE);
        let Some(dict) = self.connection() else {
            return;
        };
        let Some(value) = dict.remove(keys::PASSWORD_FILE) else {
            return;
        };
        if dict.contains_key("password") {
            let reason = "stands for `password: { from_file: … }`, and `password` is also set; \
                          remove one";
            let kind = ProblemKind::Conflict(reason.to_owned());
            findings.problems.push(self.problem(&short, kind));
            return;
        }
        if value.as_str().is_none() {
            let kind = ProblemKind::Invalid {
                value: None,
                expected: Kind::Path.expected(),
            };
            findings.problems.push(self.problem(&short, kind));
            return;
        }
        let file = Dict::from([("from_file".to_owned(), value)]);
        dict.insert("password".to_owned(), Value::from(file));
        let long = connection_path("password");
        if let Some(written) = self.references.remove(&short) {
            self.references.insert(long.clone(), written);
        }
        self.renamed.insert(long, short);
    }

    /// Removes the secrets that a stronger layer sets: merging would mix the keys of two
    /// references.
    pub(crate) fn drop_overridden_secrets(&mut self, merged: &Dict) {
        let stronger = merged.get("connection_settings").and_then(Value::as_dict);
        if let (Some(stronger), Some(own)) = (stronger, self.connection()) {
            for key in KEYS {
                if stronger.contains_key(key) {
                    own.remove(key);
                }
            }
        }
    }

    /// Resolves the paths in references from the folder of the file; `~/` is the home directory.
    pub(crate) fn anchor_secrets(&mut self, lookup: &dyn Fn(&str) -> Option<String>) {
        let folder = self.folder();
        let anchored = |text: &str| {
            let path = expand_home(text, lookup);
            let path = folder
                .as_ref()
                .map_or(path.clone(), |folder| folder.join(path));
            let path = std::path::absolute(&path).unwrap_or(path);
            path.into_os_string().into_string().ok()
        };
        let Some(own) = self.connection() else {
            return;
        };
        for key in KEYS {
            let Some(Value::Dict(_, dict)) = own.get_mut(key) else {
                continue;
            };
            let program = match dict.get_mut("from_command") {
                Some(Value::Array(_, items)) => items.first_mut(),
                _ => None,
            };
            // A name without a slash is searched for in PATH.
            if let Some(Value::String(_, program)) = program
                && program.contains('/')
                && let Some(path) = anchored(program)
            {
                *program = path;
            }
            if let Some(Value::String(_, file)) = dict.get_mut("from_file")
                && !file.is_empty()
                && let Some(path) = anchored(file)
            {
                *file = path;
            }
        }
    }
}

/// Reads the file once: a missing one is an error now, not when the first session is opened. The
/// content is not kept, unless the file is a pipe, which can be read only once.
///
/// `shown` is the path as it may be displayed.
pub(crate) fn check_file(source: &mut SecretSource, shown: &str) -> Result<(), ProblemKind> {
    let SecretSource::File(path) = source else {
        return Ok(());
    };
    if files::is_pipe_at(path) {
        let text = secret_file(path).map_err(|reason| unreadable(shown, &reason))?;
        *source = SecretSource::from(text);
        return Ok(());
    }
    match SecretSource::read_file(&*path) {
        Ok(_) => Ok(()),
        Err(error) => Err(unreadable(shown, error.reason())),
    }
}
