//! Environment variables, of the process or given by the caller, and the `PGMONKEY_*` source.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::layer::{self, Findings, Layer, Origin};
use crate::error::{Place, Warning, WarningKind};
use crate::schema::keys;

const PREFIX: &str = "PGMONKEY_";

/// Variables with the prefix that are not keys.
const NOT_KEYS: [&str; 1] = ["PROFILE"];

/// Where environment variables are looked up.
pub(crate) struct Variables(Option<BTreeMap<String, String>>);

impl Variables {
    /// Uses the given variables, or those of the process.
    pub(crate) fn new(given: Option<BTreeMap<String, String>>) -> Self {
        Self(given)
    }

    /// Returns the value of a variable; one that is not valid Unicode counts as not set.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        match &self.0 {
            Some(given) => given.get(name).cloned(),
            // The standard library panics on invalid names.
            None if name.is_empty() || name.contains(['=', '\0']) => None,
            None => std::env::var(name).ok(),
        }
    }

    fn prefixed(&self) -> Vec<(String, String)> {
        let all: Vec<(String, String)> = match &self.0 {
            Some(given) => given.clone().into_iter().collect(),
            None => std::env::vars_os()
                .filter_map(|(name, text)| {
                    Some((name.into_string().ok()?, text.into_string().ok()?))
                })
                .collect(),
        };
        let ours =
            |(name, text): (String, String)| Some((name.strip_prefix(PREFIX)?.to_owned(), text));
        all.into_iter().filter_map(ours).collect()
    }
}

/// Reads `PGMONKEY_SECTION__KEY` and `PGMONKEY_KEY`. Values are text: the password 007 keeps its
/// zeros.
///
/// Other variables with the prefix may belong to other programs; each is reported as a warning.
pub(crate) fn layer(variables: &Variables, findings: &mut Findings) -> Layer {
    let mut names = BTreeMap::new();
    let mut dict = Dict::new();
    for (rest, text) in variables.prefixed() {
        let variable = format!("{PREFIX}{rest}");
        let path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        if keys::find("", &path[0]).is_none() || path[0] == keys::PROFILES {
            if !NOT_KEYS.contains(&rest.as_str()) {
                let kind = WarningKind::UnknownKey {
                    suggestion: None,
                    note: None,
                };
                let warning = Warning::new(Place::Variable(variable), None, kind);
                findings.warnings.push(warning);
            }
            continue;
        }
        // A parameter of an extension has a dot, which a variable cannot have: `my__custom`.
        let path = layer::key_path(&path.join("."));
        layer::insert(&mut dict, &path, Value::from(text));
        names.insert(path, variable);
    }
    Layer::new(Origin::Variables(names), dict)
}

/// libpq's variables for unsupported keys; whether one is an error depends on the key's rule.
const REFUSED: &[(&str, &str)] = &[
    ("gssencmode", "PGGSSENCMODE"),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION"),
    ("min_protocol_version", "PGMINPROTOCOLVERSION"),
    ("requirepeer", "PGREQUIREPEER"),
    ("requiressl", "PGREQUIRESSL"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslcompression", "PGSSLCOMPRESSION"),
    ("sslcrldir", "PGSSLCRLDIR"),
];

/// Returns the unsupported variables that are set: (key, value, variable).
pub(crate) fn refused(
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Vec<(&'static str, String, &'static str)> {
    let found = |(key, variable): &(&'static str, &'static str)| {
        let text = lookup(variable).filter(|text| !text.is_empty())?;
        Some((*key, text, *variable))
    };
    REFUSED.iter().filter_map(found).collect()
}
