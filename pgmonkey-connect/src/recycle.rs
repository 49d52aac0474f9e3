//! What a returned session needs before the next borrower may have it.

use pgmonkey_config::Reset;

use crate::wire::WireState;

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

/// What puts a session back as it was when it was opened, in one round trip, for
/// [`Reset::Session`]: settings, role, cursors, listens, advisory locks and temporary objects.
/// Prepared statements stay.
///
/// `settings` are the statements that gave it its settings, where a pooler took none with the
/// startup packet: `RESET ALL` would undo them.
///
/// Reference: PostgreSQL, `DISCARD`, whose `ALL` it is but for the prepared statements.
pub fn restore(settings: &str) -> String {
    format!(
        "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; CLOSE ALL; UNLISTEN *; \
         SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; RESET ALL; {settings}"
    )
}

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
}
