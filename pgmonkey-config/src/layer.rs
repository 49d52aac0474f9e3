//! One source of values: its tree in our shape, and where each of its keys stands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use crate::error::{Place, Problem, ProblemKind, Warning, WarningKind};
use crate::interpolate::expand_home;
use crate::keys::{self, Kind};
use crate::source::document::Document;
use crate::source::url;
use crate::suggest;

/// Where the values of a layer come from.
#[derive(Clone)]
pub(crate) enum Origin {
    Document(Rc<Document>),
    Url,
    Service {
        path: PathBuf,
        name: String,
    },
    /// Environment variables, by the path of the key.
    Variables(BTreeMap<Vec<String>, String>),
    Code,
}

/// A source of values.
// No `Debug` here and on what it is made of: the trees hold the secrets as they were written.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) origin: Origin,
    /// What stands before our keys in the document: the wrapper, or a profile.
    pub(crate) prefix: Vec<String>,
    pub(crate) dict: Dict,
    /// Keys that were written under another name.
    renamed: BTreeMap<Vec<String>, Vec<String>>,
    /// Whether a connection string is part of it: one hides those of weaker layers as a whole.
    pub(crate) had_url: bool,
}

/// How unknown keys are treated, and what was found.
pub(crate) struct Findings {
    pub(crate) deny_unknown: bool,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
}

/// Nobody reads more.
const MOST_TOLD: usize = 100;

impl Findings {
    /// How many problems are still worth telling; a text that is something else altogether may have
    /// any number of them. There is room for the first in any case.
    pub(crate) fn room(&self) -> usize {
        MOST_TOLD.saturating_sub(self.problems.len())
    }
}

impl Layer {
    pub(crate) fn new(origin: Origin, dict: Dict) -> Self {
        Self {
            origin,
            prefix: Vec::new(),
            dict,
            renamed: BTreeMap::new(),
            had_url: false,
        }
    }

    pub(crate) fn with_prefix(mut self, prefix: Vec<String>) -> Self {
        self.prefix = prefix;
        self
    }

    /// A layer with values of `connection_settings` only.
    pub(crate) fn of_connection(origin: Origin, dict: Dict) -> Self {
        let top = Dict::from([("connection_settings".to_owned(), Value::from(dict))]);
        Self::new(origin, top)
    }

    /// The folder of the file, if it is one.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        match &self.origin {
            Origin::Document(document) => document.folder(),
            _ => None,
        }
    }

    /// Where a key of this layer stands.
    pub(crate) fn place(&self, path: &[String]) -> Place {
        let path = self.renamed.get(path).map_or(path, Vec::as_slice);
        match &self.origin {
            Origin::Document(document) => {
                let path: Vec<String> = self.prefix.iter().chain(path).cloned().collect();
                document.place(&path)
            }
            Origin::Url => Place::Url,
            Origin::Service { path, name } => Place::Service {
                path: path.clone(),
                name: name.clone(),
            },
            Origin::Variables(names) => match names.get(path) {
                Some(name) => Place::Variable(name.clone()),
                None => Place::Code,
            },
            Origin::Code => Place::Code,
        }
    }

    /// A key of this layer as it was written.
    pub(crate) fn name_of(&self, path: &[String]) -> String {
        let path = self.renamed.get(path).map_or(path, Vec::as_slice);
        let prefix = match self.prefix.as_slice() {
            [wrapper, rest @ ..] if wrapper == keys::WRAPPER => rest,
            prefix => prefix,
        };
        [prefix, path].concat().join(".")
    }

    fn problem(&self, path: &[String], kind: ProblemKind) -> Problem {
        Problem::new(self.place(path), self.name_of(path), kind)
    }

    pub(crate) fn report(
        &self,
        findings: &mut Findings,
        problems: Vec<(Vec<String>, ProblemKind)>,
    ) {
        let problems = problems
            .into_iter()
            .take(findings.room())
            .map(|(path, kind)| self.problem(&path, kind));
        findings.problems.extend(problems);
    }

    /// Checks shape and names of everything in the layer; what is unknown is taken out.
    pub(crate) fn check_names(&mut self, findings: &mut Findings) {
        let mut dict = std::mem::take(&mut self.dict);
        dict.retain(|name, value| self.check_section(name, value, findings));
        self.dict = dict;
    }

    fn check_section(&self, name: &str, value: &mut Value, findings: &mut Findings) -> bool {
        let path = [name.to_owned()];
        // The profiles of a document have been taken out by now; elsewhere they have no meaning.
        let key = keys::find("", name).filter(|key| key.name != keys::PROFILES);
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
            [name] => ("", name),
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
        let suggestion = suggestion(section, name);
        let kind = ProblemKind::UnknownKey {
            suggestion: suggestion.clone(),
        };
        let mut problem = self.problem(path, kind);
        if matches!(value, Value::Empty(..)) {
            // In `{ password: two,parts }` the second part is read as a key without a value.
            problem.key = (!section.is_empty()).then(|| format!("{section}.…"));
        }
        if findings.deny_unknown {
            findings.problems.push(problem);
        } else {
            let kind = WarningKind::UnknownKey { suggestion };
            let warning = Warning::new(problem.place, problem.key, kind);
            findings.warnings.push(warning);
        }
    }

    /// Takes out what counts as not set, so that weaker layers show through.
    pub(crate) fn drop_unset(&mut self) {
        self.dict.retain(|name, value| {
            if keys::SESSION_SECTIONS.contains(&name.as_str()) {
                // The empty text is a value of a server parameter: an empty search_path is one.
                if let Value::Dict(_, dict) = value {
                    dict.retain(|_, value| !matches!(value, Value::Empty(..)));
                }
            } else if let Value::Dict(_, dict) = value {
                dict.retain(|_, value| !is_unset(value));
            }
            !is_unset(value)
        });
    }

    /// Takes out server parameters that a stronger layer has in another case: to the server they
    /// are the same, and it would take whichever comes last.
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

    /// Gives keys with two names the one that counts.
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
                let reason = format!("stands beside `{name}`, which means the same; keep one");
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

    /// Puts the parts of `url` where the section does not say otherwise.
    pub(crate) fn expand_url(&mut self, overridden: bool, findings: &mut Findings) {
        let path = connection_path("url");
        let Some(value) = self.connection().and_then(|dict| dict.remove("url")) else {
            return;
        };
        self.had_url = true;
        if overridden {
            return;
        }
        let parts = match value.as_str().map(url::parse) {
            Some(Ok(parts)) => parts,
            Some(Err(error)) => {
                let kind = ProblemKind::Syntax(error.to_string());
                findings.problems.push(self.problem(&path, kind));
                return;
            }
            None => {
                let kind = not_resolved(&value).unwrap_or_else(|| ProblemKind::Invalid {
                    value: None,
                    expected: Kind::Url.expected(),
                });
                findings.problems.push(self.problem(&path, kind));
                return;
            }
        };
        for (name, text) in parts {
            let part = connection_path(&name);
            let own = self
                .connection()
                .is_some_and(|dict| dict.contains_key(&name));
            if own || text.is_empty() {
                continue;
            }
            let value = Value::from(text);
            self.renamed.insert(part, path.clone());
            if self.check_key("connection_settings", &name, &value, findings)
                && let Some(dict) = self.connection()
            {
                dict.insert(name, value);
            }
        }
    }

    /// Makes relative paths start from the folder of the file, and `~/` from the home directory.
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

    /// Whether a secret stands in the layer itself.
    pub(crate) fn holds_secret(&self) -> bool {
        self.dict.values().any(holds_secret)
    }

    pub(crate) fn connection(&mut self) -> Option<&mut Dict> {
        match self.dict.get_mut("connection_settings") {
            Some(Value::Dict(_, dict)) => Some(dict),
            _ => None,
        }
    }
}

/// A layer as figment takes it; its number finds the layer of a value again.
pub(crate) struct Numbered<'a>(pub(crate) usize, pub(crate) &'a Layer);

impl Provider for Numbered<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::from("pgmonkey", figment::Source::Custom(self.0.to_string()))
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.1.dict.clone())]))
    }
}

pub(crate) fn connection_path(name: &str) -> Vec<String> {
    vec!["connection_settings".to_owned(), name.to_owned()]
}

/// `''` and null.
pub(crate) fn is_unset(value: &Value) -> bool {
    match value {
        Value::Empty(..) => true,
        Value::String(_, text) => text.is_empty(),
        _ => false,
    }
}

/// The answer to a reference where references are off.
pub(crate) fn not_resolved(value: &Value) -> Option<ProblemKind> {
    let name = crate::interpolate::reference(value.as_dict()?)?;
    Some(ProblemKind::Reference(format!(
        "{name} works only when references are resolved; turn resolve_env on"
    )))
}

fn refusal(key: &keys::Unsupported, value: &Value) -> Option<ProblemKind> {
    let text = match value {
        Value::String(_, text) => text.trim().to_ascii_lowercase(),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => number.to_i128().map(|n| n.to_string()).unwrap_or_default(),
        Value::Empty(..) => return None,
        _ => "a value of another kind".to_owned(),
    };
    if text.is_empty() || key.harmless.contains(&text.as_str()) {
        return None;
    }
    let advice = match key.harmless {
        [] => "remove the key".to_owned(),
        harmless => format!("remove the key or set it to {}", harmless.join(" or ")),
    };
    Some(ProblemKind::Unsupported { advice })
}

/// The key that was probably meant.
fn suggestion(section: &str, name: &str) -> Option<String> {
    let own = keys::of_section(section)?;
    let near = suggest::nearest(name, own.iter().map(|key| key.name));
    if let Some(near) = near.filter(|near| *near != name) {
        return Some(near.to_owned());
    }
    // A key that is right in another section.
    [
        "connection_settings",
        "pool_settings",
        "async_pool_settings",
    ]
    .into_iter()
    .find(|other| keys::find(other, name).is_some())
    .map(|other| format!("{other}.{name}"))
}

fn holds_secret(value: &Value) -> bool {
    match value {
        Value::Dict(_, dict) => dict.iter().any(|(key, value)| {
            let set = match value {
                Value::String(_, text) => !text.is_empty() && !text.starts_with("${"),
                Value::Dict(_, dict) => crate::interpolate::reference(dict).is_none(),
                Value::Empty(..) => false,
                _ => true,
            };
            // A part of the text may be secret, as in `url` and `options`.
            let partly =
                |text: &str| !text.contains("${") && crate::redact::told(key, text) != text;
            let partly = !keys::is_secret(key) && value.as_str().is_some_and(partly);
            (set && keys::is_secret(key)) || partly || holds_secret(value)
        }),
        Value::Array(_, items) => items.iter().any(holds_secret),
        _ => false,
    }
}
