//! Prepares a layer for merging: checks its names, expands its connection string, anchors its paths
//! and drops values that count as not set.

use std::collections::BTreeSet;

use figment::value::{Dict, Value};

use crate::error::{ProblemKind, Warning, WarningKind};
use crate::load::extract::value::number_or_text;
use crate::load::interpolate::reference;
use crate::load::secret_reference;
use crate::redact::{suspicion, told};
use crate::schema::keys::{self, Kind, Section};
use crate::schema::suggest;
use crate::source::layer::{Findings, Layer, MOST_TOLD, connection_path};
use crate::source::url::{self, template::UrlTemplate};
use crate::source::user_files::expand_home;

impl Layer {
    /// Checks the structure and the names of the layer, and removes unknown keys.
    pub(crate) fn check_names(&mut self, findings: &mut Findings) {
        let mut dict = std::mem::take(&mut self.dict);
        dict.retain(|name, value| self.check_section(name, value, findings));
        self.dict = dict;
    }

    fn check_section(&self, name: &str, value: &mut Value, findings: &mut Findings) -> bool {
        let path = [name.to_owned()];
        // The profiles of a document have been removed already; elsewhere they have no meaning.
        let key = keys::find(self.top, name).filter(|key| key.name != keys::PROFILES);
        let Some(key) = key else {
            self.unknown(&path, value, findings);
            return false;
        };
        if !matches!(key.kind, Kind::Section) || is_unset(value) {
            return true;
        }
        let Value::Dict(_, dict) = value else {
            let kind = ProblemKind::Invalid {
                value: None,
                expected: Kind::Section.expected(),
            };
            findings.problems.push(self.problem(&path, kind));
            return false;
        };
        if keys::of_section(name).is_some() {
            dict.retain(|key, value| self.check_key(name, key, value, findings));
        }
        true
    }

    fn check_key(&self, section: &str, name: &str, value: &Value, findings: &mut Findings) -> bool {
        let path = [section.to_owned(), name.to_owned()];
        if keys::find(section, name).is_some() {
            return true;
        }
        if section != "connection_settings" {
            self.unknown(&path, value, findings);
            return false;
        }
        if name == keys::FALLBACK_APPLICATION_NAME
            || keys::ALIASES.iter().any(|(alias, _)| *alias == name)
        {
            return true;
        }
        match keys::UNSUPPORTED.iter().find(|key| key.name == name) {
            Some(key) => findings
                .problems
                .extend(refusal(key, value).map(|kind| self.problem(&path, kind))),
            None => self.unknown(&path, value, findings),
        }
        false
    }

    fn unknown(&self, path: &[String], value: &Value, findings: &mut Findings) {
        let (section, name) = match path {
            [name] => (self.top, name),
            [section, name, ..] => (section.as_str(), name),
            [] => return,
        };
        let told = if findings.deny_unknown {
            findings.problems.len()
        } else {
            findings.warnings.len()
        };
        if told >= MOST_TOLD {
            return;
        }
        let (mut suggestion, note) = suggestion(section, name);
        // The key of another section of `readers`.
        if let Some(key) = &mut suggestion
            && self.is_of_readers()
            && key.contains('.')
        {
            *key = format!("{}.{key}", keys::READERS);
        }
        let kind = ProblemKind::UnknownKey {
            suggestion: suggestion.clone(),
            note,
        };
        let mut problem = self.problem(path, kind);
        if matches!(value, Value::Empty(..)) {
            // In `{ password: two,parts }` the second part is read as a key without a value.
            let around = self.name_of(&path[..path.len() - 1]);
            problem.key = (!around.is_empty()).then(|| format!("{around}.…"));
        }
        if findings.deny_unknown {
            findings.problems.push(problem);
        } else {
            let kind = WarningKind::UnknownKey { suggestion, note };
            let warning = Warning::new(problem.place, problem.key, kind);
            findings.warnings.push(warning);
        }
    }

    /// Removes values that count as not set, so that those of weaker layers are used.
    pub(crate) fn drop_unset(&mut self) {
        self.dict.retain(|name, value| {
            if keys::SESSION_SECTIONS.contains(&name.as_str()) {
                // The empty text is a valid value of a server parameter, such as search_path.
                if let Value::Dict(_, dict) = value {
                    dict.retain(|_, value| !matches!(value, Value::Empty(..)));
                }
            } else if let Value::Dict(_, dict) = value {
                dict.retain(|_, value| !is_unset(value));
            }
            !is_unset(value)
        });
    }

    /// Removes server parameters that a stronger layer sets in another case: to the server they are
    /// the same parameter, and the last one would win.
    pub(crate) fn drop_overridden_parameters(&mut self, merged: &Dict) {
        for section in keys::SESSION_SECTIONS {
            let stronger = merged.get(section).and_then(Value::as_dict);
            let own = self.dict.get_mut(section);
            if let (Some(stronger), Some(Value::Dict(_, own))) = (stronger, own) {
                let names: BTreeSet<String> = stronger
                    .keys()
                    .map(|name| name.to_ascii_lowercase())
                    .collect();
                own.retain(|name, _| !names.contains(&name.to_ascii_lowercase()));
            }
        }
    }

    /// Renames keys that were written under an alias.
    pub(crate) fn rename_aliases(&mut self, findings: &mut Findings) {
        for (alias, name) in keys::ALIASES {
            let Some(value) = self.connection().and_then(|dict| dict.remove(*alias)) else {
                continue;
            };
            let path = connection_path(name);
            if self
                .connection()
                .is_some_and(|dict| dict.contains_key(*name))
            {
                let reason = format!("is an alias of `{name}`, which is also set; remove one");
                let kind = ProblemKind::Conflict(reason);
                let problem = self.problem(&connection_path(alias), kind);
                findings.problems.push(problem);
                continue;
            }
            self.renamed.insert(path, connection_path(alias));
            if let Some(dict) = self.connection() {
                dict.insert((*name).to_owned(), value);
            }
        }
    }

    /// Sets the keys of the section that are not set yet to the parts of `url`.
    pub(crate) fn expand_url(&mut self, overridden: bool, findings: &mut Findings) {
        let path = connection_path("url");
        let Some(value) = self.connection().and_then(|dict| dict.remove("url")) else {
            return;
        };
        self.had_url = true;
        if overridden {
            return;
        }
        let template = self.url.take();
        let parts = match url_parts(&value, template.as_ref()) {
            Ok(parts) => parts,
            Err(kind) => {
                findings.problems.push(self.problem(&path, kind));
                return;
            }
        };
        for (name, text) in parts {
            let part = connection_path(&name);
            let own = self
                .connection()
                .is_some_and(|dict| dict.contains_key(&name));
            if own {
                continue;
            }
            if let Some(written) = self.references.get(&path)
                && template.as_ref().is_none_or(|url| url.refers(&text))
            {
                self.references.insert(part.clone(), written.clone());
            }
            let text = match template.as_ref().map(|url| url.fill(&name, &text)) {
                None => text,
                Some(Ok(text)) => text,
                Some(Err(kind)) => {
                    findings.problems.push(self.problem(&path, kind));
                    continue;
                }
            };
            if text.is_empty() {
                continue;
            }
            self.renamed.insert(part.clone(), path.clone());
            if let Some(kind) = of_node_postgres(&name, &text) {
                findings.problems.push(self.problem(&part, kind));
                continue;
            }
            let value = Value::from(text);
            if self.check_key("connection_settings", &name, &value, findings)
                && let Some(dict) = self.connection()
            {
                dict.insert(name, value);
            }
        }
    }

    /// Resolves relative paths from the folder of the file, and `~/` from the home directory.
    pub(crate) fn anchor_paths(&mut self, lookup: &dyn Fn(&str) -> Option<String>) {
        let folder = self.folder();
        let Some(dict) = self.connection() else {
            return;
        };
        for (name, value) in dict {
            let kind = keys::find("connection_settings", name).map(|key| key.kind);
            let Value::String(_, text) = value else {
                continue;
            };
            let is_path = match kind {
                Some(Kind::Path) => true,
                Some(Kind::Roots) => text != "system",
                _ => false,
            };
            if !is_path {
                continue;
            }
            let mut path = expand_home(text, lookup);
            if let Some(folder) = &folder {
                path = folder.join(path);
            }
            if let Ok(anchored) = path.into_os_string().into_string() {
                *text = anchored;
            }
        }
    }

    /// Whether the layer contains a secret literally, not as a reference.
    pub(crate) fn holds_secret(&self) -> bool {
        self.dict.values().any(holds_secret)
    }
}

/// Whether the value is `''` or null.
pub(crate) fn is_unset(value: &Value) -> bool {
    match value {
        Value::Empty(..) => true,
        Value::String(_, text) => text.is_empty(),
        _ => false,
    }
}

/// The parts of a connection string.
fn url_parts(
    value: &Value,
    template: Option<&UrlTemplate>,
) -> Result<Vec<(String, String)>, ProblemKind> {
    let parts = value.as_str().map(|text| match template {
        Some(template) => template.parts(),
        None => url::parse(text),
    });
    match parts {
        Some(parts) => parts.map_err(|error| ProblemKind::Syntax(error.to_string())),
        None => Err(not_resolved(value).unwrap_or_else(|| ProblemKind::Invalid {
            value: None,
            expected: Kind::Url.expected(),
        })),
    }
}

/// A value that only node-postgres knows.
fn of_node_postgres(name: &str, value: &str) -> Option<ProblemKind> {
    let reason =
        "`no-verify` is node-postgres'; write require, which encrypts and checks no certificate";
    (name == "sslmode" && value == "no-verify").then(|| ProblemKind::Conflict(reason.to_owned()))
}

/// Returns the error for a reference if references are not resolved.
pub(crate) fn not_resolved(value: &Value) -> Option<ProblemKind> {
    let name = reference(value.as_dict()?)?;
    if name == "from_command" {
        return Some(secret_reference::only_password());
    }
    Some(ProblemKind::Reference(format!(
        "{name} is not resolved: references work only in files and texts, and resolve_env (a key \
         at the top level, Loader::resolve_env) must not be false"
    )))
}

fn refusal(key: &keys::Unsupported, value: &Value) -> Option<ProblemKind> {
    let text = match value {
        Value::Empty(..) => return None,
        value => number_or_text(value).map_or_else(
            || "a value of another kind".to_owned(),
            |text| text.trim().to_ascii_lowercase(),
        ),
    };
    let same_number = |word: &&str| match (word.parse::<f64>(), text.parse::<f64>()) {
        (Ok(word), Ok(number)) => word == number,
        _ => false,
    };
    let harmless = key.harmless.contains(&text.as_str())
        || (matches!(value, Value::Num(..)) && key.harmless.iter().any(same_number));
    if text.is_empty() || harmless {
        return None;
    }
    let advice = match key.harmless {
        [] => "remove the key".to_owned(),
        harmless => format!("remove the key or set it to {}", harmless.join(" or ")),
    };
    Some(ProblemKind::Unsupported { advice })
}

/// Returns the key that was probably meant, and how its meaning differs.
fn suggestion(section: &str, name: &str) -> (Option<String>, Option<&'static str>) {
    let own = keys::of_section(section).unwrap_or_default();
    let others = [
        "connection_settings",
        "pool_settings",
        "async_pool_settings",
    ];
    // A key that is valid in another section.
    let elsewhere = others
        .iter()
        .find(|other| keys::find(other, name).is_some())
        .or_else(|| of_readers_only(section, name).then_some(&keys::READERS));
    if let Some(synonym) = suggest::synonym(section, name).filter(|_| elsewhere.is_none()) {
        let key = match synonym.key.split_once('.') {
            Some((_, key)) if own.iter().any(|own| own.name == key) => key,
            _ => synonym.key,
        };
        return (Some(key.to_owned()), synonym.note);
    }
    if let Some(other) = elsewhere {
        return (Some(format!("{other}.{name}")), None);
    }
    let near = suggest::nearest(name, own.iter().map(|key| key.name));
    let near = near.filter(|near| *near != name);
    (near.map(str::to_owned), None)
}

/// Whether the name is that of a key of `readers`, and of no other section.
fn of_readers_only(section: &str, name: &str) -> bool {
    let own = keys::find(keys::READERS, name);
    section != keys::READERS && own.is_some_and(|key| key.section == Section::Readers)
}

/// Whether an argument of a command sets a secret, as `--token=…` does.
fn holds_assignment(command: &Value) -> bool {
    let items = command.as_array().unwrap_or_default();
    items
        .iter()
        .filter_map(Value::as_str)
        .any(suspicion::holds_secret)
}

fn holds_secret(value: &Value) -> bool {
    match value {
        Value::Dict(_, dict) => dict.iter().any(|(key, value)| {
            let set = match value {
                Value::String(_, text) => !text.is_empty() && !text.starts_with("${"),
                Value::Dict(_, dict) => match dict.get("from_command") {
                    Some(command) => holds_assignment(command),
                    None => reference(dict).is_none(),
                },
                Value::Empty(..) => false,
                _ => true,
            };
            // A part of the text may be secret, as in `url` and `options`.
            let partly = |text: &str| !text.contains("${") && told(key, text) != text;
            let partly = !keys::is_secret(key) && value.as_str().is_some_and(partly);
            (set && keys::is_secret(key)) || partly || holds_secret(value)
        }),
        Value::Array(_, items) => items.iter().any(holds_secret),
        _ => false,
    }
}
