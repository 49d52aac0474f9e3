//! Splits a document into its own layer and that of the selected profile.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::Assembly;
use crate::error::{Place, Problem, ProblemKind, Warning, WarningKind};
use crate::load::prepare::is_unset;
use crate::redact::suspicion;
use crate::schema::keys;
use crate::source::layer::Layer;

impl Assembly<'_> {
    /// Unwraps a document and adds the selected profile, if any, as a stronger layer.
    pub(super) fn split(&mut self, layer: Layer) -> Vec<Layer> {
        let mut layer = self.unwrap(layer);
        self.warn_of_permissions(&layer);
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

    /// Checks every profile and returns the selected one.
    fn overlay(&mut self, layer: &Layer, profiles: Option<Value>) -> Option<Layer> {
        let mut profiles = self.profiles(layer, profiles);
        let mut overlay = None;
        if let Some((name, place)) = self.chosen(!profiles.is_empty()) {
            overlay = profiles.remove(&name);
            if overlay.is_none() {
                let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
                let known = match known.as_slice() {
                    [] => "no profiles are defined".to_owned(),
                    known => format!("the defined profiles are {}", known.join(", ")),
                };
                let name = told_name(&name);
                let kind = ProblemKind::Reference(format!("no profile {name}; {known}"));
                let key = keys::PROFILES.to_owned();
                self.findings.problems.push(Problem::new(place, key, kind));
            }
        }
        for profile in profiles.values_mut() {
            if let Some(mut readers) = profile.take_readers() {
                readers.check_names(&mut self.findings);
            }
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

    /// Returns the mapping; an empty one if nothing is set.
    fn sections(&mut self, layer: &Layer, path: Vec<String>, value: Option<Value>) -> Option<Dict> {
        match value {
            None => Some(Dict::new()),
            Some(Value::Dict(_, dict)) => Some(dict),
            Some(value) if is_unset(&value) => Some(Dict::new()),
            Some(_) => {
                let kind = ProblemKind::Invalid {
                    value: None,
                    expected: "named overlays (name: sections)".to_owned(),
                };
                layer.report(&mut self.findings, vec![(path, kind)]);
                None
            }
        }
    }

    /// Returns the name of the profile, and where it was selected.
    fn chosen(&self, any: bool) -> Option<(String, Place)> {
        if let Some(name) = &self.loader.profile {
            return Some((name.clone(), Place::Code));
        }
        let name = self.variables.value("PGMONKEY_PROFILE")?;
        let place = Place::Variable("PGMONKEY_PROFILE".to_owned());
        // The variable may be meant for another file.
        (any && !name.is_empty()).then_some((name, place))
    }
}

/// Returns a name from the input for display, hidden if it is a connection string.
fn told_name(name: &str) -> String {
    match suspicion::is_connection_string(name) {
        true => "of that name".to_owned(),
        false => format!("`{name}`"),
    }
}
