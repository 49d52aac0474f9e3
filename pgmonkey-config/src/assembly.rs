//! One run of a loader: the layers are read, checked and put under each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use figment::value::{Dict, Value};
use figment::{Figment, Profile, Provider};

use crate::config::Config;
use crate::error::{Error, Place, Problem, ProblemKind, Warning, WarningKind};
use crate::extract;
use crate::interpolate::{self, Scope, expand_home};
use crate::keys;
use crate::layer::{Findings, Layer, Numbered, Origin, connection_path, is_unset};
use crate::loaded::Loaded;
use crate::loader::{Input, Loader, UnknownKeys};
use crate::redact::suspicion;
use crate::source::document::Document;
use crate::source::environment::{self, Variables};
use crate::source::{libpq, service};
use crate::validate;

/// Layers, from the strongest to the weakest.
pub(crate) struct Assembly<'a> {
    loader: &'a Loader,
    variables: &'a Variables,
    findings: Findings,
    layers: Vec<Layer>,
    figment: Figment,
    merged: Dict,
    /// Whether the place of every value is wanted: finding a place takes as long as reading the
    /// text before it.
    tells_sources: bool,
}

impl<'a> Assembly<'a> {
    pub(crate) fn new(loader: &'a Loader, variables: &'a Variables) -> Self {
        Self {
            loader,
            variables,
            findings: Findings {
                deny_unknown: loader.unknown_keys == UnknownKeys::Deny,
                problems: Vec::new(),
                warnings: Vec::new(),
            },
            layers: Vec::new(),
            figment: Figment::new(),
            merged: Dict::new(),
            tells_sources: false,
        }
    }

    pub(crate) fn with_sources(mut self) -> Self {
        self.tells_sources = true;
        self
    }

    pub(crate) fn load(mut self) -> Result<Loaded, Error> {
        let inputs = self.read_inputs();
        // Nothing that follows makes sense without the texts.
        Error::check(std::mem::take(&mut self.findings.problems))?;
        self.add(self.code_layer());
        if self.loader.env {
            let found = environment::layer(self.variables, &mut self.findings);
            self.add(found);
        }
        for layer in inputs.into_iter().rev() {
            self.add(layer);
        }
        if self.uses_libpq() {
            self.add_service();
            self.add_libpq();
        }
        self.finish()
    }

    fn finish(mut self) -> Result<Loaded, Error> {
        let (settings, mut found) = extract::settings(&self.merged);
        let settings = validate::normalise(settings);
        found.extend(
            validate::problems(&settings)
                .into_iter()
                .map(|(key, kind)| {
                    let path = key.splitn(2, '.').map(str::to_owned).collect();
                    (path, kind)
                }),
        );
        found.truncate(self.findings.room());
        let problems: Vec<Problem> = found
            .into_iter()
            .map(|(path, kind)| self.problem(path, kind))
            .collect();
        self.findings.problems.extend(problems);
        let order = |a: &Problem, b: &Problem| a.place.order().cmp(&b.place.order());
        self.findings.problems.sort_by(order);
        let sources = match self.tells_sources {
            true => self.sources(),
            false => BTreeMap::new(),
        };
        Error::check(self.findings.problems)?;
        let warnings = self.findings.warnings;
        Ok(Loaded::new(Config::checked(settings), warnings, sources))
    }

    /// The texts as layers, weakest first.
    fn read_inputs(&mut self) -> Vec<Layer> {
        let mut layers = Vec::new();
        for input in &self.loader.inputs {
            let document = match input {
                Input::File(path) if is_login(path) => {
                    let reason = "expected the path of a file, not a connection string";
                    let kind = ProblemKind::Unreadable(reason.to_owned());
                    Err(Problem::new(Place::Code, None, kind).into())
                }
                Input::File(path) => Document::read(&self.home(path)),
                Input::Text(syntax, text) => Document::parse(*syntax, text, None),
                Input::Url(url) => {
                    let dict = Dict::from([("url".to_owned(), Value::from(url.as_str()))]);
                    layers.push(Layer::of_connection(Origin::Url, dict));
                    continue;
                }
                Input::Values(dict) => {
                    layers.extend(self.split(Layer::new(Origin::Code, dict.clone())));
                    continue;
                }
            };
            match document {
                Ok(document) => {
                    let document = Rc::new(document);
                    let dict = document.root.clone();
                    let layer = Layer::new(Origin::Document(document), dict);
                    layers.extend(self.split(layer));
                }
                Err(error) => self.findings.problems.extend(error.into_problems()),
            }
        }
        layers
    }

    fn home(&self, path: &Path) -> PathBuf {
        match path.to_str() {
            Some(text) => expand_home(text, &|name| self.variables.value(name)),
            None => path.to_owned(),
        }
    }

    /// Unwraps a document and adds the profile chosen, if any, as a stronger layer.
    fn split(&mut self, layer: Layer) -> Vec<Layer> {
        let mut layer = self.unwrap(layer);
        self.warn_of_readers(&layer);
        let profiles = layer.dict.remove(keys::PROFILES);
        let overlay = self.overlay(&layer, profiles);
        [Some(layer), overlay].into_iter().flatten().collect()
    }

    fn unwrap(&mut self, mut layer: Layer) -> Layer {
        let Some(Value::Dict(_, inner)) = layer.dict.get(keys::WRAPPER).cloned() else {
            // Anything else under that name is an unknown key.
            return layer;
        };
        layer.dict.remove(keys::WRAPPER);
        let path = |name: &str| [name.to_owned()];
        let place = layer.place(&path(keys::WRAPPER));
        let key = keys::WRAPPER.to_owned();
        let warning = Warning::new(place, key, WarningKind::LegacyWrapper);
        self.findings.warnings.push(warning);
        for name in layer.dict.keys() {
            let place = layer.place(&path(name));
            let warning = Warning::new(place, name.clone(), WarningKind::BesideWrapper);
            self.findings.warnings.push(warning);
        }
        Layer::new(layer.origin, inner).with_prefix(vec![keys::WRAPPER.to_owned()])
    }

    fn warn_of_readers(&mut self, layer: &Layer) {
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

    /// Checks every profile, and gives the one that was chosen.
    fn overlay(&mut self, layer: &Layer, profiles: Option<Value>) -> Option<Layer> {
        let mut profiles = self.profiles(layer, profiles);
        let mut overlay = None;
        if let Some((name, place)) = self.chosen(!profiles.is_empty()) {
            overlay = profiles.remove(&name);
            if overlay.is_none() {
                let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
                let known = match known.as_slice() {
                    [] => "there are no profiles".to_owned(),
                    known => format!("the profiles are {}", known.join(", ")),
                };
                let name = told_name(&name);
                let kind = ProblemKind::Reference(format!("no profile {name}; {known}"));
                let key = keys::PROFILES.to_owned();
                self.findings.problems.push(Problem::new(place, key, kind));
            }
        }
        for profile in profiles.values_mut() {
            profile.check_names(&mut self.findings);
        }
        overlay
    }

    fn profiles(&mut self, layer: &Layer, value: Option<Value>) -> BTreeMap<String, Layer> {
        let path = keys::PROFILES.to_owned();
        let named = match self.sections(layer, vec![path.clone()], value) {
            Some(named) => named,
            None => return BTreeMap::new(),
        };
        let mut profiles = BTreeMap::new();
        for (name, value) in named {
            let own = vec![path.clone(), name.clone()];
            let prefix = [layer.prefix.clone(), own.clone()].concat();
            if let Some(dict) = self.sections(layer, own, Some(value)) {
                let profile = Layer::new(layer.origin.clone(), dict).with_prefix(prefix);
                profiles.insert(name, profile);
            }
        }
        profiles
    }

    /// The mapping there; an empty one if nothing is set.
    fn sections(&mut self, layer: &Layer, path: Vec<String>, value: Option<Value>) -> Option<Dict> {
        match value {
            None => Some(Dict::new()),
            Some(Value::Dict(_, dict)) => Some(dict),
            Some(value) if is_unset(&value) => Some(Dict::new()),
            Some(_) => {
                let kind = ProblemKind::Invalid {
                    value: None,
                    expected: "named overlays, each with sections".to_owned(),
                };
                layer.report(&mut self.findings, vec![(path, kind)]);
                None
            }
        }
    }

    /// The name of the profile, and who chose it.
    fn chosen(&self, any: bool) -> Option<(String, Place)> {
        if let Some(name) = &self.loader.profile {
            return Some((name.clone(), Place::Code));
        }
        let name = self.variables.value("PGMONKEY_PROFILE")?;
        let place = Place::Variable("PGMONKEY_PROFILE".to_owned());
        // The variable may be meant for another file.
        (any && !name.is_empty()).then_some((name, place))
    }

    fn code_layer(&self) -> Layer {
        let mut dict = Dict::new();
        for (path, value) in &self.loader.set {
            insert(&mut dict, path, value.clone());
        }
        Layer::new(Origin::Code, dict)
    }

    /// Puts a layer under those that are there.
    fn add(&mut self, mut layer: Layer) {
        layer.check_names(&mut self.findings);
        let variables = self.variables;
        let lookup = |name: &str| variables.value(name);
        if self.loader.resolve_env && matches!(layer.origin, Origin::Document(_)) {
            let scope = Scope {
                lookup: &lookup,
                folder: layer.folder(),
                allow_sensitive_defaults: self.loader.allow_sensitive_defaults,
            };
            let merged = &self.merged;
            let found = interpolate::resolve(&mut layer.dict, &scope, &|path| is_set(merged, path));
            layer.report(&mut self.findings, found);
        }
        layer.drop_unset();
        layer.drop_overridden_parameters(&self.merged);
        layer.rename_aliases(&mut self.findings);
        let overridden = self.layers.iter().any(|stronger| stronger.had_url);
        layer.expand_url(overridden, &mut self.findings);
        layer.anchor_paths(&lookup);
        let figment = std::mem::take(&mut self.figment);
        self.figment = figment.join(Numbered(self.layers.len(), &layer));
        self.layers.push(layer);
        let mut data = self
            .figment
            .data()
            .expect("every layer is a tree already, and trees can be joined");
        self.merged = data.remove(&Profile::Default).unwrap_or_default();
    }

    fn uses_libpq(&self) -> bool {
        let flag = self.merged.get("libpq_sources").and_then(extract::flag_of);
        flag.unwrap_or(self.loader.libpq_sources)
    }

    fn merged_text(&self, name: &str) -> Option<String> {
        let section = self.merged.get("connection_settings")?.as_dict()?;
        section.get(name)?.as_str().map(str::to_owned)
    }

    fn add_service(&mut self) {
        let own = self.merged_text("service");
        let variable = self.variables.value("PGSERVICE");
        let from_variable = variable.filter(|name| !name.is_empty());
        let Some(name) = own.clone().or(from_variable) else {
            return;
        };
        match self.read_service(&name) {
            Ok(layer) => self.add(layer),
            Err(kind) => {
                let path = connection_path("service");
                let problem = match own {
                    Some(_) => self.problem(path, kind),
                    None => {
                        let place = Place::Variable("PGSERVICE".to_owned());
                        Problem::new(place, path.join("."), kind)
                    }
                };
                self.findings.problems.push(problem);
            }
        }
    }

    fn read_service(&self, name: &str) -> Result<Layer, ProblemKind> {
        if suspicion::is_connection_string(name) {
            return Err(ProblemKind::Conflict(suspicion::ADVICE.to_owned()));
        }
        let file = self.merged_text("servicefile");
        if file.is_some_and(|file| suspicion::is_connection_string(&file)) {
            let reason = format!("servicefile is a path, {}", suspicion::ADVICE);
            return Err(ProblemKind::Conflict(reason));
        }
        let lookup = |name: &str| self.variables.value(name);
        let file = self.merged_text("servicefile").map(PathBuf::from);
        let files = service::find_files(&lookup, file.as_deref());
        for file in &files {
            let found = service::read(file, name)
                .map_err(|error| ProblemKind::Unreadable(error.to_string()))?;
            let Some(parts) = found else {
                continue;
            };
            let parts = parts.into_iter();
            let dict = parts.map(|(key, text)| (key, Value::from(text))).collect();
            let origin = Origin::Service {
                path: file.path.clone(),
                name: name.to_owned(),
            };
            return Ok(Layer::of_connection(origin, dict));
        }
        let searched: Vec<String> = files.iter().map(|f| f.path.display().to_string()).collect();
        let reason = format!("no service `{name}` in {}", searched.join(" or "));
        Err(ProblemKind::Reference(reason))
    }

    fn add_libpq(&mut self) {
        let variables = self.variables;
        let lookup = |name: &str| variables.value(name);
        let mut names = BTreeMap::new();
        let mut connection = Dict::new();
        let refused = environment::refused(&lookup);
        for (key, text, variable) in libpq::variables(&lookup).into_iter().chain(refused) {
            connection.insert(key.to_owned(), Value::from(text));
            names.insert(connection_path(key), variable.to_owned());
        }
        let mut dict = Dict::from([("connection_settings".to_owned(), Value::from(connection))]);
        for section in keys::SESSION_SECTIONS {
            let mut parameters = Dict::new();
            for (name, text, variable) in libpq::session_variables(&lookup) {
                parameters.insert(name.to_owned(), Value::from(text));
                names.insert(
                    vec![section.to_owned(), name.to_owned()],
                    variable.to_owned(),
                );
            }
            dict.insert(section.to_owned(), Value::from(parameters));
        }
        self.add(Layer::new(Origin::Variables(names), dict));
    }

    /// A problem with a merged value, at the place of the layer that it came from.
    fn problem(&self, path: Vec<String>, kind: ProblemKind) -> Problem {
        let layer = self.layer_of(&path);
        let place = layer.map_or_else(|| self.any_place(&path), |layer| layer.place(&path));
        let key = match layer {
            Some(layer) => layer.name_of(&path),
            None => path.join("."),
        };
        Problem::new(place, key, kind)
    }

    /// The place of every value that some layer set, by section and key.
    fn sources(&self) -> BTreeMap<String, Place> {
        let of = |path: &[String]| Some((path.join("."), self.layer_of(path)?.place(path)));
        let mut sources = BTreeMap::new();
        for (section, value) in &self.merged {
            let mut path = vec![section.clone()];
            match value {
                Value::Dict(_, keys) => {
                    sources.extend(keys.keys().filter_map(|key| {
                        path.truncate(1);
                        path.push(key.clone());
                        of(&path)
                    }));
                }
                _ => sources.extend(of(&path)),
            }
        }
        sources
    }

    fn layer_of(&self, path: &[String]) -> Option<&Layer> {
        let (last, sections) = path.split_last()?;
        let mut dict = &self.merged;
        for section in sections {
            dict = dict.get(section)?.as_dict()?;
        }
        let metadata = self.figment.get_metadata(dict.get(last)?.tag())?;
        let number: usize = metadata.source.as_ref()?.custom()?.parse().ok()?;
        self.layers.get(number)
    }

    /// For a value that no layer set: the section around it, in the first document.
    fn any_place(&self, path: &[String]) -> Place {
        let mut places = self.layers.iter().map(|layer| layer.place(path));
        let document = |place: &Place| matches!(place, Place::File { .. } | Place::Text { .. });
        places.find(document).unwrap_or(Place::Code)
    }
}

/// Whether a connection string was given for a file.
fn is_login(path: &Path) -> bool {
    suspicion::is_connection_string(&path.to_string_lossy()) && !path.exists()
}

/// A name that somebody chose, unless it is a connection string.
fn told_name(name: &str) -> String {
    match suspicion::is_connection_string(name) {
        true => "of that name".to_owned(),
        false => format!("`{name}`"),
    }
}

/// Section and key are separated by the first dot; server parameters have dots of their own.
fn insert(dict: &mut Dict, path: &str, value: Value) {
    let Some((section, key)) = path.split_once('.') else {
        dict.insert(path.to_owned(), value);
        return;
    };
    let entry = dict
        .entry(section.to_owned())
        .or_insert_with(|| Value::from(Dict::new()));
    if let Value::Dict(_, keys) = entry {
        keys.insert(key.to_owned(), value);
    }
}

/// Whether a stronger layer has a value there; sections are no values.
fn is_set(merged: &Dict, path: &[String]) -> bool {
    let Some((last, sections)) = path.split_last() else {
        return false;
    };
    let mut dict = merged;
    for section in sections {
        match dict.get(section) {
            Some(Value::Dict(_, inner)) => dict = inner,
            Some(_) => return true,
            None => return false,
        }
    }
    dict.get(last)
        .is_some_and(|value| value.as_dict().is_none())
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    // A pipe or a device has no content that outlives the reading.
    let metadata = std::fs::metadata(path).ok();
    metadata.is_some_and(|m| m.is_file() && m.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn readable_by_others(_path: &Path) -> bool {
    false
}
