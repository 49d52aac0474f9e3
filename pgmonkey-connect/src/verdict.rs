//! What a returned session needs, as far as its state on the wire says.

use pgmonkey_config::Reset;

use crate::wire::WireState;

/// What to do with a returned session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is clean: keep it and send nothing.
    Keep,
    /// A transaction is open or failed: send `ROLLBACK`.
    RollBack,
    /// Requests are unanswered: cancel them, read the answers, send `ROLLBACK`.
    CancelAndDrain,
    /// It cannot be cleaned: close it and open another.
    Discard,
}

impl Verdict {
    /// The verdict's name in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::RollBack => "roll_back",
            Self::CancelAndDrain => "cancel_and_drain",
            Self::Discard => "discard",
        }
    }
}

/// Returns the verdict for a session in `state`.
///
/// [`Reset::None`] asks for sessions as the previous caller left them, so open transactions stay.
/// Unanswered requests are drained even then: their answers would reach the next caller.
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
}
