//! The verdicts of user-supplied hooks, and what they mean for a session.

use std::sync::Arc;

use crate::Error;

pub use crate::error::HookFailure;

/// A hook's decision about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookVerdict {
    /// Use the session.
    Keep,
    /// Close the session.
    Discard,
}

/// What to do with a session after its `before_acquire` hook.
#[derive(Debug)]
pub enum Approval {
    /// Hand it out.
    Accept,
    /// Close it and take another at once.
    TryAnother,
    /// Close it and treat it as a session that could not be opened.
    Fail(Error),
}

/// Interprets the answer of a `before_acquire` hook. A session that has been handed out before may
/// have aged, so another is tried; what is wrong with a new session is wrong with the next as well.
pub fn approval(answer: Result<HookVerdict, HookFailure>, was_acquired: bool) -> Approval {
    const HOOK: &str = "before_acquire";
    match answer {
        Ok(HookVerdict::Keep) => Approval::Accept,
        _ if was_acquired => Approval::TryAnother,
        Ok(HookVerdict::Discard) => {
            Approval::Fail(Error::Hook(Arc::new(HookFailure::Refused { hook: HOOK })))
        }
        Err(failure) => Approval::Fail(Error::Hook(Arc::new(failure))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> HookFailure {
        HookFailure::LeftOpen { hook: "test" }
    }

    #[test]
    fn a_used_session_is_replaced_and_a_new_one_counts_as_not_opened() {
        let keep_min_size = || Ok(HookVerdict::Keep);
        assert!(matches!(approval(keep_min_size(), true), Approval::Accept));
        assert!(matches!(approval(keep_min_size(), false), Approval::Accept));
        let refused = || Ok(HookVerdict::Discard);
        assert!(matches!(approval(refused(), true), Approval::TryAnother));
        assert!(matches!(
            approval(Err(failed()), true),
            Approval::TryAnother
        ));
        let Approval::Fail(error) = approval(refused(), false) else {
            panic!("it is new");
        };
        assert!(error.is_transient(), "{error}");
        let Approval::Fail(error) = approval(Err(failed()), false) else {
            panic!("it is new");
        };
        assert!(!error.is_transient(), "{error}");
    }
}
