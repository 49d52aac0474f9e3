//! What a returned session needs before the next caller may have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pgmonkey_config::{Pooler, Reset};
use tokio_postgres::error::SqlState;

use crate::search::startup::SettingStatement;
use crate::search::target::{ConnectTarget, SettingsMode};
use crate::sql::Effects;
use crate::wire::Observer;

pub use crate::verdict::{Verdict, verdict};

/// What to undo of a session's state, once it is in no transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undo {
    /// Nothing: send nothing.
    Nothing,
    /// Changes that [`Restore::text`] undoes.
    Reset,
    /// Changes that cannot be undone: close the session and open another.
    Replace,
}

/// How many statements a session may have on the server beyond its cache's capacity: the driver's
/// own, and those of futures dropped while preparing one, which cannot be closed any more.
const STATEMENTS_BEYOND: usize = 32;

/// Whether a session has so many statements on the server that it must be replaced.
#[inline]
pub fn has_too_many(statements: u32, capacity: usize) -> bool {
    statements as usize > capacity.saturating_add(STATEMENTS_BEYOND)
}

/// Restores a session to its state after opening.
#[derive(Debug)]
pub struct Restore {
    text: String,
    settings: Option<SettingStatement>,
    pooler: Option<Pooler>,
    /// Whether any of the handle's sessions detected a pooler in front of the server.
    behind: Arc<AtomicBool>,
    /// Whether the `after_connect` hook changed the session.
    was_changed: bool,
}

impl Restore {
    /// For a session just opened, whose settings were sent in `mode`.
    pub fn new(connect_target: &ConnectTarget, mode: SettingsMode, observer: &Observer) -> Self {
        let settings = match mode {
            SettingsMode::Startup | SettingsMode::Transactions => None,
            SettingsMode::Statements => connect_target.settings_statement(),
        };
        let pooler = connect_target.pooler();
        let behind = Arc::clone(connect_target.behind_pooler());
        if pooler.is_none() && connect_target.fell_back(mode) {
            // A server without a pooler accepts settings in the startup packet.
            behind.store(true, Ordering::Relaxed);
        }
        let text = match (pooler, observer.backend_pid()) {
            (None, pid) if pid != 0 => format!("{}{RESTORE}", only_on(pid)),
            _ => RESTORE.to_owned(),
        };
        let was_changed = observer.left_behind() != Effects::NONE;
        observer.reset();
        Self {
            text,
            settings,
            pooler,
            behind,
            was_changed,
        }
    }

    /// The statements that restore the session, in one round trip. Unless the config says which
    /// pooler is in between, they begin with one that fails on any other session of the server.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The statement that applies the settings again after [`text`](Self::text) has reset them.
    /// `None` if they were sent in the startup packet.
    pub fn settings(&self) -> Option<&SettingStatement> {
        self.settings.as_ref()
    }

    /// Returns what to undo of a returned session. `left` is what its statements may have left
    /// behind, `None` if the wire is not observed; `used` says whether it was used at all.
    #[inline]
    pub fn undo(&self, reset: Reset, left: Option<Effects>, used: bool) -> Undo {
        match (reset, left) {
            (_, Some(left)) if left.has(Effects::FORGETS) => Undo::Replace,
            (Reset::Session, _) | (Reset::Auto, None) if used => match self.switches() {
                true if reset == Reset::Auto => Undo::Nothing,
                _ => Undo::Reset,
            },
            (Reset::Auto, Some(left)) if left != Effects::NONE => self.undo_changes(left),
            _ => Undo::Nothing,
        }
    }

    fn undo_changes(&self, left: Effects) -> Undo {
        if self.switches() {
            return Undo::Nothing;
        }
        let unknown_pooler = self.pooler.is_none() && self.behind.load(Ordering::Relaxed);
        match left.has(Effects::LASTS) || self.was_changed || unknown_pooler {
            true => Undo::Replace,
            false => Undo::Reset,
        }
    }

    /// Whether to warn, once for each handle, that changes left behind are not undone because a
    /// pooler gives each transaction another session of the server.
    pub fn tells_out_of_reach(&self, reset: Reset, left: Effects) -> bool {
        let out_of_reach = reset == Reset::Auto && left != Effects::NONE && self.switches();
        out_of_reach && !self.behind.swap(true, Ordering::Relaxed)
    }

    fn switches(&self) -> bool {
        self.pooler.is_some_and(Pooler::switches_sessions)
    }

    /// Records why the statements failed; true if another session of the server answered, the
    /// first time that this is seen.
    pub fn failed(&self, error: &tokio_postgres::Error) -> bool {
        let other = error.code() == Some(&SqlState::DIVISION_BY_ZERO);
        other && !self.behind.swap(true, Ordering::Relaxed)
    }
}

/// A statement that fails, together with those after it in the same text, on any server process
/// other than `pid`.
fn only_on(pid: u32) -> String {
    format!(
        "SELECT 1 OPERATOR(pg_catalog./) (pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) {pid})\
         ::pg_catalog.int4 /* pgmonkey: fails where a pooler stands between */; "
    )
}

/// Restores a session to its state after opening, in one round trip: settings, role, cursors,
/// listens, advisory locks and temporary objects. Prepared statements stay.
///
/// Reference: PostgreSQL, `DISCARD`; equals `DISCARD ALL` except for prepared statements.
const RESTORE: &str = "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; CLOSE ALL; UNLISTEN *; \
     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; RESET ALL";

#[cfg(test)]
mod tests {
    use super::*;

    fn restorer(pooler: Option<Pooler>) -> Restore {
        Restore {
            text: RESTORE.to_owned(),
            settings: None,
            pooler,
            behind: Arc::default(),
            was_changed: false,
        }
    }

    #[test]
    fn auto_undoes_what_may_have_been_changed_and_nothing_else() {
        let undo = |left| restorer(None).undo(Reset::Auto, left, true);
        assert_eq!(undo(Some(Effects::NONE)), Undo::Nothing);
        assert_eq!(undo(Some(Effects::CHANGES)), Undo::Reset);
        let lasts = Effects::CHANGES | Effects::LASTS;
        assert_eq!(undo(Some(lasts)), Undo::Replace);
        // If the wire is not observed, every used session is reset.
        assert_eq!(undo(None), Undo::Reset);
        assert_eq!(restorer(None).undo(Reset::Auto, None, false), Undo::Nothing);
    }

    #[test]
    fn what_the_driver_prepared_is_missed_in_every_mode() {
        let left = Some(Effects::CHANGES | Effects::LASTS | Effects::FORGETS);
        for reset in [Reset::Auto, Reset::Session, Reset::Transaction, Reset::None] {
            assert_eq!(
                restorer(None).undo(reset, left, true),
                Undo::Replace,
                "{reset}"
            );
        }
    }

    #[test]
    fn nothing_is_sent_to_another_clients_session() {
        for pooler in [Pooler::Transaction, Pooler::Statement] {
            let restorer = restorer(Some(pooler));
            for left in [None, Some(Effects::CHANGES)] {
                assert_eq!(restorer.undo(Reset::Auto, left, true), Undo::Nothing);
            }
            let tells = || restorer.tells_out_of_reach(Reset::Auto, Effects::CHANGES);
            assert!(tells() && !tells(), "once");
        }
        let session = restorer(Some(Pooler::Session));
        let undo = session.undo(Reset::Auto, Some(Effects::CHANGES), true);
        assert_eq!(undo, Undo::Reset);
        // A pooler was detected, and the config does not say which pooling mode it uses.
        let unknown = restorer(None);
        unknown.behind.store(true, Ordering::Relaxed);
        let undo = unknown.undo(Reset::Auto, Some(Effects::CHANGES), true);
        assert_eq!(undo, Undo::Replace);
    }
}
