//! Resolves the references `${VAR}`, `${VAR:-default}`, `{ from_env: VAR }` and
//! `{ from_file: path }`.

mod template;
mod url;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use self::template::Template;
use crate::error::ProblemKind;
use crate::load::secret_reference;
use crate::redact::suspicion;
use crate::schema::keys;
use crate::source::document::reason;
use crate::source::files;
use crate::source::url::template::UrlTemplate;
use crate::source::user_files::expand_home;

/// The context in which references are resolved.
pub(crate) struct Scope<'a> {
    pub(crate) lookup: &'a dyn Fn(&str) -> Option<String>,
    /// The folder from which relative paths of `from_file` are resolved.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) allow_sensitive_defaults: bool,
}

/// What was found in a tree.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) problems: Vec<(Vec<String>, ProblemKind)>,
    /// The keys whose values come from references, and the text of each as written.
    pub(crate) references: BTreeMap<Vec<String>, String>,
    /// `connection_settings.url`, if it has references.
    pub(crate) url: Option<UrlTemplate>,
}

/// Replaces the references in a tree, except under the keys for which `skip` returns true: a
/// stronger layer has set those, so the targets of their references need not exist.
pub(crate) fn resolve(
    dict: &mut Dict,
    scope: &Scope<'_>,
    skip: &dyn Fn(&[String]) -> bool,
) -> Found {
    let mut walk = Walk {
        scope,
        skip,
        path: Vec::new(),
        found: Found::default(),
    };
    walk.dict(dict);
    walk.found
}

/// Returns the key that makes the value a reference, resolved or not.
pub(crate) fn reference(dict: &Dict) -> Option<&'static str> {
    ["from_env", "from_file", "from_command"]
        .into_iter()
        .find(|name| dict.contains_key(*name))
}

struct Walk<'a> {
    scope: &'a Scope<'a>,
    skip: &'a dyn Fn(&[String]) -> bool,
    path: Vec<String>,
    found: Found,
}

impl Walk<'_> {
    fn dict(&mut self, dict: &mut Dict) {
        for (key, value) in dict {
            self.path.push(key.clone());
            if !(self.skip)(&self.path) {
                self.value(value);
            }
            self.path.pop();
        }
    }

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(_, text) if text.contains("${") => {
                let written = text.clone();
                match self.text(text) {
                    Ok(Some(resolved)) if resolved == written => {}
                    Ok(Some(resolved)) => {
                        *text = resolved;
                        self.note(written);
                    }
                    Ok(None) => self.note(written),
                    Err(kind) => self.problem(kind),
                }
            }
            Value::Array(_, items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Dict(_, dict) if secret_reference::is_at(&self.path, dict) => {
                // It stays a reference; the texts in it are resolved.
                dict.values_mut().for_each(|part| self.value(part));
            }
            Value::Dict(_, dict) if reference(dict).is_some() => match self.indirect(dict) {
                Ok((text, written)) => {
                    *value = Value::from(text);
                    self.note(written);
                }
                Err(kind) => self.problem(kind),
            },
            Value::Dict(_, dict) => self.dict(dict),
            _ => {}
        }
    }

    fn note(&mut self, written: String) {
        self.found.references.insert(self.path.clone(), written);
    }

    fn problem(&mut self, kind: ProblemKind) {
        self.found.problems.push((self.path.clone(), kind));
    }

    /// Returns the text with its references replaced; `None` if the references of a `url` are
    /// filled in later.
    fn text(&mut self, text: &str) -> Result<Option<String>, ProblemKind> {
        if self.path == ["connection_settings", "url"] {
            self.found.url = Some(url::template(text, self.scope)?);
            return Ok(None);
        }
        let template = Template {
            scope: self.scope,
            sensitive: self.path.iter().any(|key| keys::is_sensitive(key)),
        };
        template.expand(text).map(Some)
    }

    /// Returns the value, and the words for where it came from.
    fn indirect(&self, dict: &Dict) -> Result<(String, String), ProblemKind> {
        let entries: Vec<_> = dict.iter().collect();
        let [(name, Value::String(_, target))] = entries.as_slice() else {
            return Err(match dict.contains_key("from_command") {
                true => secret_reference::only_password(),
                false => ProblemKind::Reference(
                    "expected from_env or from_file as the only key, with text as its value".into(),
                ),
            });
        };
        match name.as_str() {
            "from_env" => {
                let value = (self.scope.lookup)(target);
                let value = value.ok_or_else(|| not_set(target, "set it"))?;
                Ok((value, "its variable".to_owned()))
            }
            "from_file" => self.content(target),
            _ => Err(secret_reference::only_password()),
        }
    }

    fn content(&self, target: &str) -> Result<(String, String), ProblemKind> {
        let template = Template {
            scope: self.scope,
            sensitive: self.path.iter().any(|key| keys::is_sensitive(key)),
        };
        let resolved = template.expand(target)?;
        let path = self.scope.path(&resolved);
        match secret_file(&path) {
            Ok(text) => Ok((text, "its file".to_owned())),
            // The value of a reference is not repeated: it may be a secret in the wrong place.
            Err(reason) => {
                let shown = match resolved == target {
                    true => path.to_string_lossy().into_owned(),
                    false => target.to_owned(),
                };
                Err(unreadable(&shown, &reason))
            }
        }
    }
}

/// The error for a file that cannot be read, named as it is displayed.
pub(crate) fn unreadable(shown: &str, reason: &str) -> ProblemKind {
    let path = match suspicion::is_connection_string(shown) {
        true => String::new(),
        false => format!(" {shown}"),
    };
    ProblemKind::Reference(format!("from_file{path}: {reason}"))
}

impl Scope<'_> {
    fn path(&self, text: &str) -> PathBuf {
        let path = expand_home(text, self.lookup);
        match &self.folder {
            Some(folder) => folder.join(path),
            None => path,
        }
    }
}

/// Reads a value from a file or a pipe.
pub(crate) fn secret_file(path: &Path) -> Result<String, String> {
    let bytes = files::read_or_pipe(path, files::OWN_LIMIT).map_err(|error| reason(&error))?;
    files::line_of(bytes).map_err(str::to_owned)
}

fn not_set(name: &str, advice: &str) -> ProblemKind {
    // A text that cannot be a variable's name may be the secret itself.
    let of_name = |c: char| c.is_ascii_alphanumeric() || "_${}".contains(c);
    let name = match name.chars().all(of_name) {
        true => format!(" {name}"),
        false => String::new(),
    };
    ProblemKind::Reference(format!("environment variable{name} is not set; {advice}"))
}
