//! A section that is absent is taken from its counterpart, so that one file suits all four types.

use std::collections::BTreeMap;

use figment::value::Dict;

use crate::error::Place;
use crate::model::pool::PoolSettings;
use crate::model::settings::Settings;

/// The sections for blocking handles and their counterparts for async ones.
const PAIRS: [[&str; 2]; 2] = [
    ["pool_settings", "async_pool_settings"],
    ["sync_settings", "async_settings"],
];

/// The sections that are absent, each with the one that stands for it.
#[derive(Default)]
pub(super) struct SharedSections(Vec<(&'static str, &'static str)>);

impl SharedSections {
    /// Finds the absent sections. Those that are null have been removed from the tree; one without a
    /// key that is set, such as `{}`, stays and has the defaults.
    pub(super) fn of(merged: &Dict) -> Self {
        let missing = |[one, other]: [&'static str; 2]| {
            let has = [one, other].map(|name| merged.contains_key(name));
            match has {
                [true, false] => Some((other, one)),
                [false, true] => Some((one, other)),
                _ => None,
            }
        };
        Self(PAIRS.into_iter().filter_map(missing).collect())
    }

    /// Whether the section is absent.
    pub(super) fn contains(&self, section: &str) -> bool {
        self.0.iter().any(|(absent, _)| *absent == section)
    }

    /// Fills in the absent sections.
    pub(super) fn fill(&self, settings: &mut Settings) {
        for (absent, _) in &self.0 {
            match *absent {
                "async_pool_settings" => {
                    settings.async_pool_settings = settings.pool_settings.clone();
                }
                "pool_settings" => {
                    // Only async pools can multiplex.
                    settings.pool_settings = PoolSettings {
                        multiplex: false,
                        ..settings.async_pool_settings.clone()
                    };
                }
                "async_settings" => settings.async_settings = settings.sync_settings.clone(),
                _ => settings.sync_settings = settings.async_settings.clone(),
            }
        }
    }

    /// Adds the places of the values that were filled in.
    pub(super) fn tell(&self, sources: &mut BTreeMap<String, Place>) {
        for (absent, from) in &self.0 {
            let shared: Vec<(String, Place)> = sources
                .iter()
                .filter_map(|(key, place)| {
                    let name = key.strip_prefix(from)?.strip_prefix('.')?;
                    let place = Place::Section {
                        name: from,
                        place: Box::new(place.clone()),
                    };
                    Some((format!("{absent}.{name}"), place))
                })
                .filter(|(key, _)| key != "pool_settings.multiplex")
                .collect();
            for (key, place) in shared {
                sources.entry(key).or_insert(place);
            }
        }
    }
}
