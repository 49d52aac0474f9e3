//! One run of a loader: reads the layers, checks them and merges them.

mod libpq_sources;
mod profiles;
mod readers;
mod secrets;
mod shared_sections;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use figment::value::{Dict, Value};
use figment::{Figment, Profile, Provider};

use self::shared_sections::SharedSections;
use crate::error::{Error, Place, Problem, ProblemKind, Warning, WarningKind};
use crate::load::extract::value::flag_of;
use crate::load::extract::{self, Found};
use crate::load::interpolate::{self, Scope};
use crate::load::loaded::Loaded;
use crate::load::loader::rules::UnknownKeys;
use crate::load::loader::{Input, Loader};
use crate::load::normalise;
use crate::load::validate;
use crate::model::config::Config;
use crate::model::settings::Settings;
use crate::redact::suspicion;
use crate::schema::keys;
use crate::source::document::Document;
use crate::source::environment::{self, Variables};
use crate::source::layer::{self, Findings, Layer, MOST_TOLD, Numbered, Origin};
use crate::source::user_files::expand_home;

/// What has been found out about the writer, when the readers' tree is assembled.
struct Settled<'a> {
    settings: &'a Settings,
    found: &'a [Found],
    /// The number of layers that are not libpq's sources.
    own: usize,
}

/// Layers, from the strongest to the weakest.
pub(crate) struct Assembly<'a> {
    loader: &'a Loader,
    variables: &'a Variables,
    findings: Findings,
    layers: Vec<Layer>,
    figment: Figment,
    merged: Dict,
    /// Whether this is the tree of the readers: the section `readers`, laid over the rest.
    of_readers: bool,
    /// Whether references in documents are resolved.
    resolves: bool,
    /// Whether the place of every value is needed: finding one takes time proportional to the text.
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
            of_readers: false,
            resolves: true,
            tells_sources: false,
        }
    }

    pub(crate) fn with_sources(mut self) -> Self {
        self.tells_sources = true;
        self
    }

    pub(crate) fn load(mut self) -> Result<Loaded, Error> {
        let inputs = self.read_inputs();
        // If a text is missing, the following checks would report false problems.
        Error::check(std::mem::take(&mut self.findings.problems))?;
        let mut layers = vec![self.code_layer()];
        if self.loader.env {
            layers.push(environment::layer(self.variables, &mut self.findings));
        }
        layers.extend(inputs.into_iter().rev());
        self.resolves = self.loader.resolve_env && resolves(&layers);
        let mut readers = Vec::new();
        for mut layer in layers {
            readers.extend(layer.take_readers());
            self.add(layer);
        }
        let own = self.layers.len();
        // The `PG*` variables set server parameters in both sections.
        let shared = SharedSections::of(&self.merged);
        if self.uses_libpq() {
            self.add_service();
            self.add_libpq();
        }
        let (mut settings, found) = self.settle(&shared, None);
        let mut sources = match self.tells_sources {
            true => self.sources(&shared),
            false => BTreeMap::new(),
        };
        if !readers.is_empty() {
            let writer = Settled {
                settings: &settings,
                found: &found,
                own,
            };
            let readers = self.readers(readers, &writer, &mut sources);
            settings.readers = Some(readers);
        }
        let mut findings = self.report(found);
        let order = |a: &Problem, b: &Problem| a.place.order().cmp(&b.place.order());
        findings.problems.sort_by(order);
        Error::check(findings.problems)?;
        let config = Config::checked(settings);
        Ok(Loaded::new(config, findings.warnings, sources))
    }

    /// Extracts and checks the settings. What was found for the writer already, if these are the
    /// readers', is not found again.
    fn settle(
        &mut self,
        shared: &SharedSections,
        writer: Option<&Settled<'_>>,
    ) -> (Settings, Vec<Found>) {
        let (mut settings, mut found) = extract::settings(&self.merged);
        found.extend(self.check_secrets(&mut settings.connection_settings, writer));
        shared.fill(&mut settings);
        let settings = normalise::settings(settings);
        let hidden = |key: &str| self.written(&layer::key_path(key)).is_some();
        found.extend(
            validate::problems(&settings, &hidden)
                .into_iter()
                .map(|(key, kind)| (layer::key_path(&key), kind))
                // The same problem is reported for the section that is there.
                .filter(|(path, _)| !shared.contains(&path[0])),
        );
        (settings, found)
    }

    /// Reports the problems of the merged tree.
    fn report(mut self, mut found: Vec<Found>) -> Findings {
        found.truncate(self.findings.room());
        let problems: Vec<Problem> = found
            .into_iter()
            .map(|(path, kind)| self.problem(path, kind))
            .collect();
        self.findings.problems.extend(problems);
        self.findings
    }

    /// Returns the texts as layers, weakest first.
    fn read_inputs(&mut self) -> Vec<Layer> {
        let mut layers = Vec::new();
        for input in &self.loader.inputs {
            let document = match input {
                Input::File(path) if is_login(path) => {
                    let reason = "expected the path of a file, not a connection string; \
                                  in a file, `connection_settings.url` takes one";
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
                    self.warn_of_comments(&document);
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

    fn warn_of_comments(&mut self, document: &Document) {
        for path in document.cut.iter().take(MOST_TOLD) {
            let shown = match path.as_slice() {
                [wrapper, rest @ ..] if wrapper == keys::WRAPPER => rest,
                path => path,
            };
            let place = document.place(path);
            let warning = Warning::new(place, shown.join("."), WarningKind::CutByComment);
            self.findings.warnings.push(warning);
        }
    }

    fn code_layer(&self) -> Layer {
        let mut dict = Dict::new();
        for (path, value) in &self.loader.set {
            layer::insert(&mut dict, &layer::key_path(path), value.clone());
        }
        Layer::new(Origin::Code, dict)
    }

    /// Merges a layer below the existing ones.
    fn add(&mut self, mut layer: Layer) {
        layer.check_names(&mut self.findings);
        let variables = self.variables;
        let lookup = |name: &str| variables.value(name);
        if self.resolves && matches!(layer.origin, Origin::Document(_)) {
            let scope = Scope {
                lookup: &lookup,
                folder: layer.folder(),
                allow_sensitive_defaults: self.loader.allow_sensitive_defaults,
            };
            let merged = &self.merged;
            let skip = |path: &[String]| path == [keys::RESOLVE_ENV] || is_set(merged, path);
            let found = interpolate::resolve(&mut layer.dict, &scope, &skip);
            layer.report(&mut self.findings, found.problems);
            layer.references = found.references;
            layer.url = found.url;
        }
        layer.drop_unset();
        layer.expand_password_file(&mut self.findings);
        layer.drop_overridden_secrets(&self.merged);
        layer.drop_overridden_parameters(&self.merged);
        layer.rename_aliases(&mut self.findings);
        let overridden = self.layers.iter().any(|stronger| stronger.had_url);
        layer.expand_url(overridden, &mut self.findings);
        layer.anchor_paths(&lookup);
        layer.anchor_secrets(&lookup);
        self.push(layer);
    }

    /// Merges a layer that has been prepared.
    fn push(&mut self, layer: Layer) {
        let figment = std::mem::take(&mut self.figment);
        self.figment = figment.join(Numbered(self.layers.len(), &layer));
        self.layers.push(layer);
        let mut data = self
            .figment
            .data()
            .expect("every layer is a tree already, and trees can be joined");
        self.merged = data.remove(&Profile::Default).unwrap_or_default();
    }

    /// Returns a problem of a merged value, with the place in the layer that the value came from.
    fn problem(&self, path: Vec<String>, mut kind: ProblemKind) -> Problem {
        if let ProblemKind::Invalid { value, .. } = &mut kind
            && self.written(&path).is_some()
        {
            *value = None;
        }
        if let Some(layer) = self.layer_of(&path) {
            kind = layer.with_parameter(&path, kind);
        }
        let (place, key) = self.spot(&path);
        Problem::new(place, key, kind)
    }

    /// Returns the place of a merged value, and its key as it was written there.
    fn spot(&self, path: &[String]) -> (Place, String) {
        match self.layer_of(path) {
            Some(layer) if !self.inherits(path) => (layer.place(path), layer.name_of(path)),
            _ => (self.any_place(path), self.name_of(path)),
        }
    }

    /// Whether this is the tree of the readers, and its section does not set the value.
    fn inherits(&self, path: &[String]) -> bool {
        let sets = |layer: &Layer| layer.is_of_readers();
        self.of_readers && !self.layer_of(path).is_some_and(sets)
    }

    fn name_of(&self, path: &[String]) -> String {
        let section = self.of_readers.then_some(keys::READERS);
        let names = section.into_iter().chain(path.iter().map(String::as_str));
        names.collect::<Vec<_>>().join(".")
    }

    /// Returns the text of a value that came from a reference, as written. The value itself is not
    /// repeated in errors: it may be a secret in the wrong place.
    fn written(&self, path: &[String]) -> Option<&str> {
        let key = path.get(..2).unwrap_or(path);
        let layer = self.layer_of(key)?;
        layer.references.get(key).map(String::as_str)
    }

    /// Returns the place of every value that a layer has set, by section and key.
    fn sources(&self, shared: &SharedSections) -> BTreeMap<String, Place> {
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
        shared.tell(&mut sources);
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

    /// The place of a value that no layer has set: the section around it, in the first document.
    fn any_place(&self, path: &[String]) -> Place {
        let layers = self.layers.iter();
        // An error of the readers' tree is about their section.
        let own = layers.filter(|layer| layer.is_of_readers() == self.of_readers);
        let mut places = own.map(|layer| layer.place(path));
        let document = |place: &Place| matches!(place, Place::File { .. } | Place::Text { .. });
        places.find(document).unwrap_or(Place::Code)
    }
}

/// Whether the key that turns references off leaves them on; the strongest layer that sets it
/// decides.
fn resolves(layers: &[Layer]) -> bool {
    let value = |layer: &Layer| flag_of(layer.dict.get(keys::RESOLVE_ENV)?);
    layers.iter().find_map(value).unwrap_or(true)
}

/// Whether the path is a connection string instead.
fn is_login(path: &Path) -> bool {
    suspicion::is_connection_string(&path.to_string_lossy()) && !path.exists()
}

/// Whether a stronger layer has a value there; sections are not values.
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
    // The short form of a key that is set.
    let last = match last.as_str() {
        keys::PASSWORD_FILE => "password",
        last => last,
    };
    dict.get(last).is_some_and(|value| match value.as_dict() {
        Some(dict) => interpolate::reference(dict).is_some(),
        None => true,
    })
}
