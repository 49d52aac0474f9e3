//! The sessions in use: for what purpose, since when, and from which call site.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::outcome::Ticket;
use super::sync::Instant;

/// Identifies a checkout until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckoutId(u32);

/// The purpose of a session that is not idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// In use by a caller.
    Acquired,
    /// Being checked before it is handed out or kept.
    Checked,
    /// Released and being cleaned.
    Cleaned,
}

/// One session that is not idle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) location: &'static Location<'static>,
    pub(super) since: Instant,
    /// When the session was opened.
    pub(super) opened_at: Instant,
    pub(super) used: Use,
    /// Whether the leak warning was emitted.
    pub(super) warned: bool,
    /// The ticket of the caller; `None` for maintenance.
    pub(super) ticket: Option<Ticket>,
}

/// A checkout held longer than the leak-warning limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// Where the session was acquired.
    pub location: &'static Location<'static>,
    /// The label of the transaction that it was acquired for.
    pub label: Option<Arc<str>>,
    /// How long it has been held.
    pub held: Duration,
}

/// All checkouts, by number.
#[derive(Debug, Default)]
pub(super) struct Checkouts {
    /// `None` where a checkout ended.
    slots: Vec<Option<Entry>>,
    /// Free indexes of `slots`.
    free: Vec<u32>,
    /// The labels of transactions; few have one.
    labels: HashMap<u32, Arc<str>>,
    acquired: u32,
    checked: u32,
    cleaned: u32,
}

impl Checkouts {
    #[inline]
    pub(super) fn begin(&mut self, entry: Entry) -> CheckoutId {
        *self.count(entry.used) += 1;
        if let Some(free) = self.free.pop() {
            self.slots[free as usize] = Some(entry);
            return CheckoutId(free);
        }
        self.slots.push(Some(entry));
        CheckoutId(self.slots.len() as u32 - 1)
    }

    /// Ends a checkout. `None` if it has already ended, which no caller does.
    #[inline]
    pub(super) fn end(&mut self, id: CheckoutId) -> Option<Entry> {
        let ended = self.slots.get_mut(id.0 as usize)?.take()?;
        self.free.push(id.0);
        if !self.labels.is_empty() {
            self.labels.remove(&id.0);
        }
        *self.count(ended.used) -= 1;
        Some(ended)
    }

    /// Releases the memory of ended checkouts, if all have ended.
    pub(super) fn shrink(&mut self) {
        if self.len() == 0 {
            self.slots = Vec::new();
            self.free = Vec::new();
            self.labels = HashMap::new();
        }
    }

    /// Labels a checkout.
    pub(super) fn set_label(&mut self, id: CheckoutId, label: Arc<str>) {
        if self.get(id).is_some() {
            self.labels.insert(id.0, label);
        }
    }

    #[inline]
    pub(super) fn get(&self, id: CheckoutId) -> Option<&Entry> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    /// Changes a checkout's purpose.
    pub(super) fn becomes(&mut self, id: CheckoutId, used: Use, since: Option<Instant>) {
        let Some(Some(entry)) = self.slots.get_mut(id.0 as usize) else {
            return;
        };
        let before = std::mem::replace(&mut entry.used, used);
        entry.since = since.unwrap_or(entry.since);
        *self.count(before) -= 1;
        *self.count(used) += 1;
    }

    /// The checkouts held by callers for `limit` or longer at `now` and not yet reported.
    pub(super) fn overdue(&mut self, now: Instant, limit: Duration) -> Vec<Overdue> {
        let labels = &self.labels;
        let slots = self.slots.iter_mut().zip(0..);
        let acquired = slots.filter_map(|(checkout, at)| Some((checkout.as_mut()?, at)));
        acquired
            .filter(|(checkout, _)| checkout.used == Use::Acquired && !checkout.warned)
            .filter_map(|(checkout, at)| {
                let held = now.saturating_duration_since(checkout.since);
                checkout.warned = held >= limit;
                checkout.warned.then(|| Overdue {
                    location: checkout.location,
                    label: labels.get(&at).cloned(),
                    held,
                })
            })
            .collect()
    }

    /// The longest checkout.
    pub(super) fn longest(&self, now: Instant) -> Option<Overdue> {
        let slots = self.slots.iter().zip(0..);
        let acquired = slots.filter_map(|(checkout, at)| Some((checkout.as_ref()?, at)));
        acquired
            .filter(|(checkout, _)| checkout.used != Use::Checked)
            .min_by_key(|(checkout, _)| checkout.since)
            .map(|(longest, at)| Overdue {
                location: longest.location,
                label: self.labels.get(&at).cloned(),
                held: now.saturating_duration_since(longest.since),
            })
    }

    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.acquired + self.checked + self.cleaned
    }

    /// Sessions held by callers, or released and being cleaned.
    pub(super) fn in_use(&self) -> u32 {
        self.acquired + self.cleaned
    }

    pub(super) fn checked(&self) -> u32 {
        self.checked
    }

    pub(super) fn cleaned(&self) -> u32 {
        self.cleaned
    }

    #[inline]
    fn count(&mut self, used: Use) -> &mut u32 {
        match used {
            Use::Acquired => &mut self.acquired,
            Use::Checked => &mut self.checked,
            Use::Cleaned => &mut self.cleaned,
        }
    }
}
