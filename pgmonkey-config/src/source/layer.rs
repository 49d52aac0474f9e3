//! Layers: the values of one source as a tree of sections and keys, with the place of each key.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::document::Document;
use super::url::template::UrlTemplate;
use crate::error::{Place, Problem, ProblemKind, Warning};
use crate::schema::keys;

/// The origin of a layer's values.
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

/// The values of one source.
// No `Debug` here and on its fields: the trees contain the secrets in plain text.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) origin: Origin,
    /// The path of the sections in the document: in the wrapper, or in a profile.
    pub(crate) prefix: Vec<String>,
    /// The section of the table with the names at the top of the tree: `` or `readers`.
    pub(crate) top: &'static str,
    pub(crate) dict: Dict,
    /// Keys that were written under another name.
    pub(crate) renamed: BTreeMap<Vec<String>, Vec<String>>,
    /// Keys whose values came from references, with the text as written.
    pub(crate) references: BTreeMap<Vec<String>, String>,
    /// The connection string, if it has references.
    pub(crate) url: Option<UrlTemplate>,
    /// Whether it has a connection string, which replaces those of weaker layers as a whole.
    pub(crate) had_url: bool,
}

/// How unknown keys are treated, and the problems and warnings so far.
pub(crate) struct Findings {
    pub(crate) deny_unknown: bool,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
}

/// The maximum number of reported problems, and of reported warnings.
pub(crate) const MOST_TOLD: usize = 100;

impl Findings {
    /// Returns how many more problems may be reported: a text that is not a configuration at all
    /// may have any number of them. The first is always reported.
    pub(crate) fn room(&self) -> usize {
        MOST_TOLD.saturating_sub(self.problems.len())
    }
}

impl Layer {
    pub(crate) fn new(origin: Origin, dict: Dict) -> Self {
        Self {
            origin,
            prefix: Vec::new(),
            top: "",
            dict,
            renamed: BTreeMap::new(),
            references: BTreeMap::new(),
            url: None,
            had_url: false,
        }
    }

    /// Removes `readers` and returns it as a layer of its own, if it is a section.
    pub(crate) fn take_readers(&mut self) -> Option<Self> {
        let Some(Value::Dict(..)) = self.dict.get(keys::READERS) else {
            // Null counts as not set; anything else is reported with the other names.
            return None;
        };
        let Some(Value::Dict(_, dict)) = self.dict.remove(keys::READERS) else {
            return None;
        };
        let readers = Self::new(self.origin.clone(), dict);
        Some(readers.with_prefix(self.prefix.clone()).of_readers())
    }

    /// Makes this a layer of the section `readers`.
    pub(crate) fn of_readers(mut self) -> Self {
        self.prefix.push(keys::READERS.to_owned());
        self.top = keys::READERS;
        self
    }

    pub(crate) fn is_of_readers(&self) -> bool {
        self.top == keys::READERS
    }

    pub(crate) fn with_prefix(mut self, prefix: Vec<String>) -> Self {
        self.prefix = prefix;
        self
    }

    /// Creates a layer with values of `connection_settings` only.
    pub(crate) fn of_connection(origin: Origin, dict: Dict) -> Self {
        let top = Dict::from([("connection_settings".to_owned(), Value::from(dict))]);
        Self::new(origin, top)
    }

    /// Returns the folder of the file, if the source is a file.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        match &self.origin {
            Origin::Document(document) => document.folder(),
            _ => None,
        }
    }

    /// Returns the place of a key of this layer.
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
            Origin::Variables(names) => match names.get(&[&self.prefix, path].concat()) {
                Some(name) => Place::Variable(name.clone()),
                None => Place::Code,
            },
            Origin::Code => Place::Code,
        }
    }

    /// Returns a key of this layer as it was written.
    pub(crate) fn name_of(&self, path: &[String]) -> String {
        let path = self.renamed.get(path).map_or(path, Vec::as_slice);
        let prefix = match self.prefix.as_slice() {
            [wrapper, rest @ ..] if wrapper == keys::WRAPPER => rest,
            prefix => prefix,
        };
        [prefix, path].concat().join(".")
    }

    pub(crate) fn problem(&self, path: &[String], kind: ProblemKind) -> Problem {
        let kind = self.with_parameter(path, kind);
        Problem::new(self.place(path), self.name_of(path), kind)
    }

    /// Names the parameter of a URL that a problem is about.
    pub(crate) fn with_parameter(&self, path: &[String], kind: ProblemKind) -> ProblemKind {
        let of_url = self.renamed.get(path).and_then(|path| path.last());
        let (Some(name), true) = (path.last(), of_url.is_some_and(|key| key == "url")) else {
            return kind;
        };
        let named = |text: String| format!("{text} (its part `{name}`)");
        match kind {
            ProblemKind::Invalid { value, expected } => ProblemKind::Invalid {
                value,
                expected: named(expected),
            },
            ProblemKind::Conflict(text) => ProblemKind::Conflict(named(text)),
            ProblemKind::Unsupported { advice } => ProblemKind::Unsupported {
                advice: named(advice),
            },
            kind => kind,
        }
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

    pub(crate) fn connection(&mut self) -> Option<&mut Dict> {
        match self.dict.get_mut("connection_settings") {
            Some(Value::Dict(_, dict)) => Some(dict),
            _ => None,
        }
    }
}

/// A layer as a provider for figment; the number identifies the layer of a merged value.
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

/// Splits a dotted key into section and key; names of server parameters may contain dots too.
pub(crate) fn key_path(text: &str) -> Vec<String> {
    let (mut path, rest) = match text.split_once('.') {
        Some((keys::READERS, rest)) => (vec![keys::READERS.to_owned()], rest),
        _ => (Vec::new(), text),
    };
    path.extend(rest.splitn(2, '.').map(str::to_owned));
    path
}

/// Sets a key of a tree, unless something that is no section is in its way.
pub(crate) fn insert(dict: &mut Dict, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        dict.insert(first.clone(), value);
        return;
    }
    let entry = dict
        .entry(first.clone())
        .or_insert_with(|| Value::from(Dict::new()));
    if let Value::Dict(_, inner) = entry {
        insert(inner, rest, value);
    }
}
