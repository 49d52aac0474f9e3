//! The settings that the server announces, among them whether it is a standby.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use super::{ANNOUNCED, Observer, ROLE_KNOWN, STANDARD_STRINGS, STANDBY};
use crate::wire::limit::LimitExceeded;

#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub(super) known: HashMap<String, String>,
    /// The original values of those that have changed since the session was opened or reset.
    pub(super) before: HashMap<String, String>,
}

impl Observer {
    /// The latest value of a setting announced by the server (`server_version`, `in_hot_standby`,
    /// `search_path` from PostgreSQL 18 on, …).
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.parameters().known.get(name).cloned()
    }

    pub(super) fn parameters(&self) -> MutexGuard<'_, Parameters> {
        // No panic can leave it half-changed.
        self.parameters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server is a standby, as announced from PostgreSQL 14 on and again on promotion;
    /// `None` if the server has not announced it. Costs one load.
    #[inline]
    pub fn in_recovery(&self) -> Option<bool> {
        let word = self.word.load(Ordering::Acquire);
        (word & ROLE_KNOWN != 0).then_some(word & STANDBY != 0)
    }
}

/// Stores an announced setting: its name, NUL, its value and NUL.
pub(super) fn remember(observer: &Observer, body: &[u8]) {
    let mut texts = body
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text));
    let (Some(name), Some(value)) = (texts.next(), texts.next()) else {
        return;
    };
    match &*name {
        "in_hot_standby" => note_role(observer, value == "on"),
        "standard_conforming_strings" => observer.set(STANDARD_STRINGS, value == "on"),
        _ => {}
    }
    let mut parameters = observer.parameters();
    let Parameters { known, before } = &mut *parameters;
    if !known.contains_key(&*name)
        && let Some(exceeded) = LimitExceeded::of_parameters(known.len())
    {
        let _ = observer.exceeded.set(exceeded);
        return;
    }
    let replaced = known.insert(name.clone().into_owned(), value.clone().into_owned());
    // A role change is the server's own, not a change by the session.
    if name == "in_hot_standby" {
        return;
    }
    match before.get(&*name) {
        Some(was) if *was == value => {
            before.remove(&*name);
        }
        Some(_) => {}
        None => {
            if replaced.as_deref() != Some(&*value) {
                before.insert(name.into_owned(), replaced.unwrap_or_default());
            }
        }
    }
    observer.set(ANNOUNCED, !before.is_empty());
}

fn note_role(observer: &Observer, standby: bool) {
    if standby {
        observer
            .word
            .fetch_or(ROLE_KNOWN | STANDBY, Ordering::AcqRel);
    } else {
        observer.word.fetch_and(!STANDBY, Ordering::AcqRel);
        observer.word.fetch_or(ROLE_KNOWN, Ordering::AcqRel);
    }
}
