//! Environment variables: the process's or given ones, and `PGMONKEY_*` as a source of values.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use crate::error::{Place, Warning, WarningKind};
use crate::keys;
use crate::layer::{Findings, Layer, Origin};

const PREFIX: &str = "PGMONKEY_";

/// Variables of our own that set no key.
const NOT_KEYS: [&str; 1] = ["PROFILE"];

/// Where environment variables are looked up.
pub(crate) struct Variables(Option<BTreeMap<String, String>>);

impl Variables {
    /// The given variables, or the process's.
    pub(crate) fn new(given: Option<BTreeMap<String, String>>) -> Self {
        Self(given)
    }

    /// The text of a variable; one that is no Unicode counts as not set.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        match &self.0 {
            Some(given) => given.get(name).cloned(),
            // The standard library panics at names that no variable can have.
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

/// `PGMONKEY_SECTION__KEY` and `PGMONKEY_KEY`: always text, so that the password 007 stays that.
///
/// Other variables with the prefix belong to somebody else; they are warned about.
pub(crate) fn layer(variables: &Variables, findings: &mut Findings) -> Layer {
    let mut names = BTreeMap::new();
    let mut dict = Dict::new();
    for (rest, text) in variables.prefixed() {
        let variable = format!("{PREFIX}{rest}");
        let path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        if keys::find("", &path[0]).is_none() || path[0] == keys::PROFILES {
            if !NOT_KEYS.contains(&rest.as_str()) {
                let kind = WarningKind::UnknownKey { suggestion: None };
                let warning = Warning::new(Place::Variable(variable), None, kind);
                findings.warnings.push(warning);
            }
            continue;
        }
        // A parameter of an extension has a dot, which no variable can have: `my__custom`.
        let (section, key) = (&path[0], path[1..].join("."));
        if key.is_empty() {
            names.insert(vec![section.clone()], variable);
            dict.insert(section.clone(), Value::from(text));
            continue;
        }
        names.insert(vec![section.clone(), key.clone()], variable);
        let entry = dict
            .entry(section.clone())
            .or_insert_with(|| Value::from(Dict::new()));
        if let Value::Dict(_, keys) = entry {
            keys.insert(key, Value::from(text));
        }
    }
    Layer::new(Origin::Variables(names), dict)
}

/// libpq's variables whose keys cannot be honoured here; the keys' own rule decides.
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

/// What the environment says about those: (key, value, variable).
pub(crate) fn refused(
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Vec<(&'static str, String, &'static str)> {
    let found = |(key, variable): &(&'static str, &'static str)| {
        let text = lookup(variable).filter(|text| !text.is_empty())?;
        Some((*key, text, *variable))
    };
    REFUSED.iter().filter_map(found).collect()
}
