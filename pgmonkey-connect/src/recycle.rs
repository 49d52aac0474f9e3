//! What a returned session needs before the next borrower may have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pgmonkey_config::{Pooler, Reset};
use tokio_postgres::error::SqlState;

use crate::dialing::{Dialing, Way};
use crate::sql::Effects;
use crate::startup::SettingStatement;
use crate::wire::{Observer, WireState};

/// What to do with a session that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is clean: hand it on as it is, send nothing.
    Keep,
    /// A transaction is open or failed: send `ROLLBACK`.
    RollBack,
    /// Requests are unanswered: cancel them, take the answers, send `ROLLBACK`.
    CancelAndDrain,
    /// It cannot be made clean: drop it and open another.
    Discard,
}

impl Verdict {
    /// Its name, as events give it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::RollBack => "roll_back",
            Self::CancelAndDrain => "cancel_and_drain",
            Self::Discard => "discard",
        }
    }
}

/// The verdict for a session seen in `state`.
///
/// With [`Reset::None`] the caller has asked for sessions as they were left, so that open
/// transactions stay; unanswered requests are still drained, for their answers would reach the
/// next borrower.
#[inline]
pub fn verdict(state: WireState, reset: Reset) -> Verdict {
    match state {
        WireState::Idle => Verdict::Keep,
        WireState::InTransaction | WireState::Failed => match reset {
            Reset::None => Verdict::Keep,
            _ => Verdict::RollBack,
        },
        WireState::Busy(_) => Verdict::CancelAndDrain,
        WireState::Starting | WireState::Closed => Verdict::Discard,
    }
}

/// What is to be undone of a session's state, once it is in no transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undo {
    /// Nothing: send nothing.
    Nothing,
    /// What [`Restore::text`] undoes.
    PutBack,
    /// What cannot be undone: drop the session and open another.
    Replace,
}

/// How many statements a session may have on the server beyond what its cache keeps: the driver's own,
/// and those of futures that were dropped while they prepared one, which nobody can close.
const STATEMENTS_BEYOND: usize = 32;

/// Whether a session has so many statements on the server that it is to be replaced.
#[inline]
pub fn has_too_many(statements: u32, capacity: usize) -> bool {
    statements as usize > capacity.saturating_add(STATEMENTS_BEYOND)
}

/// How a session is put back as it was when it was opened.
#[derive(Debug)]
pub struct Restore {
    text: String,
    settings: Option<SettingStatement>,
    pooler: Option<Pooler>,
    /// Whether a pooler stands in front of the server, as found out by any session of the handle.
    behind: Arc<AtomicBool>,
    /// Whether the program's own hook changed the session when it was opened.
    was_changed: bool,
}

impl Restore {
    /// For a session that was opened just now, by `way`.
    pub fn new(dialing: &Dialing, way: Way, observer: &Observer) -> Self {
        let settings = match way {
            Way::Startup => None,
            Way::Statements => dialing.settings_statement(),
        };
        let pooler = dialing.pooler();
        let behind = Arc::clone(dialing.behind_pooler());
        if pooler.is_none() && way == Way::Statements {
            // A server takes the settings with the startup packet.
            behind.store(true, Ordering::Relaxed);
        }
        let text = match (pooler, observer.backend_pid()) {
            (None, pid) if pid != 0 => format!("{}{RESTORE}", only_on(pid)),
            _ => RESTORE.to_owned(),
        };
        let was_changed = observer.left_behind() != Effects::NONE;
        observer.put_back();
        Self {
            text,
            settings,
            pooler,
            behind,
            was_changed,
        }
    }

    /// The statements that put the session back, in one round trip. Where it is not known what
    /// stands between, they begin with one that fails on any other session of the server.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What gives it its settings again, where a pooler took none with the startup packet: the
    /// statements have reset them.
    pub fn settings(&self) -> Option<&SettingStatement> {
        self.settings.as_ref()
    }

    /// What is to be undone of a session that came back. `left` is what its statements may have
    /// left behind, `None` where nobody watches the wire; `used` is whether it was used at all.
    #[inline]
    pub fn undo(&self, reset: Reset, left: Option<Effects>, used: bool) -> Undo {
        match (reset, left) {
            (_, Some(left)) if left.has(Effects::FORGETS) => Undo::Replace,
            (Reset::Session, _) | (Reset::Auto, None) if used => match self.switches() {
                true if reset == Reset::Auto => Undo::Nothing,
                _ => Undo::PutBack,
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
            false => Undo::PutBack,
        }
    }

    /// Whether it is to be told, once for the handle, that what was left behind is not undone:
    /// behind a pooler that gives each transaction another session of the server.
    pub fn tells_out_of_reach(&self, reset: Reset, left: Effects) -> bool {
        let out_of_reach = reset == Reset::Auto && left != Effects::NONE && self.switches();
        out_of_reach && !self.behind.swap(true, Ordering::Relaxed)
    }

    fn switches(&self) -> bool {
        self.pooler.is_some_and(Pooler::switches_sessions)
    }

    /// Takes note of why the statements failed; whether it was because another session of the
    /// server answered, for the first time.
    pub fn failed(&self, error: &tokio_postgres::Error) -> bool {
        let other = error.code() == Some(&SqlState::DIVISION_BY_ZERO);
        other && !self.behind.swap(true, Ordering::Relaxed)
    }
}

/// A statement that fails, and with it those behind it in the same text, on any other process of
/// the server than `pid`.
fn only_on(pid: u32) -> String {
    format!(
        "SELECT 1 OPERATOR(pg_catalog./) (pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) {pid})\
         ::pg_catalog.int4 /* pgmonkey: fails where a pooler stands between */; "
    )
}

/// What puts a session back as it was when it was opened, in one round trip: settings, role,
/// cursors, listens, advisory locks and temporary objects. Prepared statements stay.
///
/// Reference: PostgreSQL, `DISCARD`, whose `ALL` it is but for the prepared statements.
const RESTORE: &str = "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; CLOSE ALL; UNLISTEN *; \
     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; RESET ALL";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_idle_session_goes_straight_back() {
        let expected = [
            (WireState::Idle, Verdict::Keep),
            (WireState::InTransaction, Verdict::RollBack),
            (WireState::Failed, Verdict::RollBack),
            (WireState::Busy(2), Verdict::CancelAndDrain),
            (WireState::Starting, Verdict::Discard),
            (WireState::Closed, Verdict::Discard),
        ];
        for (state, wanted) in expected {
            assert_eq!(verdict(state, Reset::Transaction), wanted, "{state:?}");
            assert_eq!(verdict(state, Reset::Session), wanted, "{state:?}");
            assert_eq!(verdict(state, Reset::Auto), wanted, "{state:?}");
        }
    }

    #[test]
    fn reset_none_leaves_transactions_but_not_answers() {
        assert_eq!(verdict(WireState::Failed, Reset::None), Verdict::Keep);
        assert_eq!(
            verdict(WireState::Busy(1), Reset::None),
            Verdict::CancelAndDrain
        );
    }

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
        assert_eq!(undo(Some(Effects::CHANGES)), Undo::PutBack);
        let lasts = Effects::CHANGES | Effects::LASTS;
        assert_eq!(undo(Some(lasts)), Undo::Replace);
        // Where nobody watches, all that was used is put back.
        assert_eq!(undo(None), Undo::PutBack);
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
        assert_eq!(undo, Undo::PutBack);
        // A pooler was met, and the file does not say how it pools.
        let unknown = restorer(None);
        unknown.behind.store(true, Ordering::Relaxed);
        let undo = unknown.undo(Reset::Auto, Some(Effects::CHANGES), true);
        assert_eq!(undo, Undo::Replace);
    }
}
