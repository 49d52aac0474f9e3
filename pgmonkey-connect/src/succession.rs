//! Which handle serves the callers of a handle that was retired.
//!
//! A reload retires a handle in favour of another: its successor. Clones of the retired one find
//! the successor here. The successor of a handle is always the newest one: when that is retired
//! too, all that it has succeeded get the new one, so no chain builds up however often a handle is
//! replaced, and a clone of a retired handle keeps only the newest one open.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::process::PerProcess;

/// A handle that can be retired in favour of another of its type.
pub trait Succeed: Clone {
    /// The handle's own, shared by its clones. The handle's last clone drops it.
    fn succession(&self) -> &Arc<Succession<Self>>;
}

/// What a handle knows of those before and after it, and of its users.
pub struct Succession<H> {
    line: Mutex<Line<H>>,
    stage: AtomicU8,
}

struct Line<H> {
    successor: Option<H>,
    /// The handles whose successor this one is.
    predecessors: Vec<Weak<Succession<H>>>,
}

/// Only configuration files have given the handle.
const OF_FILES: u8 = 0;
/// A configuration in code has been given the handle too.
const CLAIMED: u8 = 1;
/// Another handle has its place, or will in a moment.
const RETIRED: u8 = 2;

/// Held while a line changes, so that no two handles become each other's successor.
static ORDER: OnceLock<PerProcess<Mutex<()>>> = OnceLock::new();

impl<H> Default for Succession<H> {
    fn default() -> Self {
        Self {
            line: Mutex::new(Line {
                successor: None,
                predecessors: Vec::new(),
            }),
            stage: AtomicU8::new(OF_FILES),
        }
    }
}

impl<H: Clone> Succession<H> {
    /// The handle to use instead, if this one was retired.
    pub fn successor(&self) -> Option<H> {
        self.line().successor.clone()
    }

    /// Records that a configuration in code was given the handle; false if it has been retired,
    /// and another one should be given.
    #[inline]
    pub fn claim(&self) -> bool {
        if self.stage.load(Ordering::Relaxed) == CLAIMED {
            return true;
        }
        matches!(self.advance(OF_FILES, CLAIMED), Ok(_) | Err(CLAIMED))
    }

    /// Whether a configuration in code was given the handle.
    pub fn is_claimed(&self) -> bool {
        self.stage.load(Ordering::Acquire) == CLAIMED
    }

    /// Whether the handle was given up or has a successor.
    pub fn is_retired(&self) -> bool {
        self.stage.load(Ordering::Acquire) == RETIRED
    }

    /// Gives up a handle that no configuration in code was given: from now on
    /// [`claim`](Self::claim) returns false. Returns false if one was, or if it has been retired.
    pub fn give_up(&self) -> bool {
        self.advance(OF_FILES, RETIRED).is_ok()
    }

    fn advance(&self, from: u8, to: u8) -> Result<u8, u8> {
        let order = Ordering::AcqRel;
        self.stage
            .compare_exchange(from, to, order, Ordering::Acquire)
    }

    fn line(&self) -> MutexGuard<'_, Line<H>> {
        // No code that can panic runs under the lock.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a successor, and returns the one before for the caller to drop.
    fn follow(&self, new: H) -> Option<H> {
        self.line().successor.replace(new)
    }
}

/// Makes `new`, or the successor that it has already, the successor of `old` and of all that `old`
/// has succeeded. Returns false, and changes nothing, if `old` has a successor, or would be its
/// own.
///
/// A configuration in code that was given `old` counts as one that was given `new`.
pub fn succeed<H: Succeed>(old: &H, new: &H) -> bool {
    let order = ORDER.get_or_init(PerProcess::default).get();
    let order = order.lock().unwrap_or_else(PoisonError::into_inner);
    let newest = new.succession().successor();
    let new = newest.as_ref().unwrap_or(new);
    let (from, to) = (old.succession(), new.succession());
    if Arc::ptr_eq(from, to) || from.successor().is_some() {
        drop(order);
        return false;
    }
    if from.stage.swap(RETIRED, Ordering::AcqRel) == CLAIMED {
        to.claim();
    }
    let mut followers = mem::take(&mut from.line().predecessors);
    followers.push(Arc::downgrade(from));
    let live: Vec<_> = followers.iter().filter_map(Weak::upgrade).collect();
    let replaced: Vec<_> = live.iter().map(|one| one.follow(new.clone())).collect();
    let mut line = to.line();
    let gone = |one: &Weak<Succession<H>>| one.strong_count() == 0;
    line.predecessors.retain(|one| !gone(one));
    line.predecessors
        .extend(followers.into_iter().filter(|one| !gone(one)));
    drop(line);
    drop(order);
    // The last references to a handle may be among them: never dropped under a lock.
    drop((replaced, live));
    true
}

impl<H> fmt::Debug for Succession<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Succession").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone)]
    struct Handle {
        number: usize,
        succession: Arc<Succession<Self>>,
    }

    impl Handle {
        fn new(number: usize) -> Self {
            Self {
                number,
                succession: Arc::default(),
            }
        }

        fn serves(&self) -> usize {
            let successor = self.succession.successor();
            successor.map_or(self.number, |next| next.number)
        }
    }

    impl Succeed for Handle {
        fn succession(&self) -> &Arc<Succession<Self>> {
            &self.succession
        }
    }

    #[test]
    fn an_old_clone_keeps_only_the_newest() {
        let handles: Vec<_> = (0..4).map(Handle::new).collect();
        for pair in handles.windows(2) {
            assert!(succeed(&pair[0], &pair[1]));
        }
        let ends: Vec<_> = handles
            .iter()
            .map(|one| Arc::downgrade(&one.succession))
            .collect();
        let first = handles[0].clone();
        drop(handles);
        let live: Vec<_> = ends.iter().map(|end| end.strong_count() > 0).collect();
        assert_eq!(live, [true, false, false, true]);
        assert_eq!(first.serves(), 3);
        drop(first);
        assert!(ends.iter().all(|end| end.strong_count() == 0));
    }

    #[test]
    fn a_handle_given_to_code_is_not_given_up() {
        let (one, other) = (Handle::new(0), Handle::new(1));
        assert!(one.succession.claim() && one.succession.claim());
        assert!(!one.succession.give_up() && other.succession.give_up());
        assert!(!other.succession.claim() && !other.succession.give_up());
        let new = Handle::new(2);
        assert!(succeed(&one, &new), "a reload retires any");
        assert!(new.succession.is_claimed() && !one.succession.claim());
    }

    proptest! {
        /// However handles are retired, no handle is its own successor, each clone serves one that
        /// was not retired, and none is left once the clones are dropped.
        #[test]
        fn any_history_ends_at_a_handle_that_is_not_retired(
            steps in prop::collection::vec((0_usize..6, 0_usize..6), 0..30)
        ) {
            let handles: Vec<_> = (0..6).map(Handle::new).collect();
            let mut serves: Vec<usize> = (0..6).collect();
            for (old, new) in steps {
                let to = serves[new];
                let changes = serves[old] == old && to != old;
                prop_assert_eq!(succeed(&handles[old], &handles[new]), changes);
                if changes {
                    serves.iter_mut().filter(|one| **one == old).for_each(|one| *one = to);
                }
                let found: Vec<_> = handles.iter().map(Handle::serves).collect();
                prop_assert_eq!(&found, &serves);
            }
            let ends: Vec<_> = handles.iter().map(|one| Arc::downgrade(&one.succession)).collect();
            drop(handles);
            prop_assert!(ends.iter().all(|end| end.strong_count() == 0));
        }
    }
}
