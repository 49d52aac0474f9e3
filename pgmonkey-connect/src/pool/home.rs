//! The runtime in which a session may be used.

use tokio::runtime::Id;

/// The runtime of a session or of a caller; none for a session or caller that belongs to no runtime
/// that could end or be busy.
///
/// A session bound to a runtime is driven by it: the session ends with the runtime and makes no
/// progress while a single-threaded runtime computes. So it is only used there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Home(Option<Id>);

impl Home {
    /// No runtime: a blocking session, or one that the library drives itself.
    pub const ANYWHERE: Self = Self(None);

    /// The runtime with this id.
    #[inline]
    pub fn at(runtime: Id) -> Self {
        Self(Some(runtime))
    }

    /// Whether a session of this home may be used by `caller`.
    #[inline]
    pub fn serves(self, caller: Self) -> bool {
        self.0.is_none() || self == caller
    }
}

/// The runtimes that have used a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Homes {
    /// None, or only runtimes that have ended.
    None,
    One(Home),
    /// Several at the same time: from now on sessions are opened where all may use them.
    Many,
}

impl Homes {
    /// Records a caller's runtime; true if the pool is now used by several for the first time.
    pub(super) fn seen(&mut self, caller: Home) -> bool {
        let before = *self;
        *self = match before {
            // Sessions opened for it may be used in any runtime that comes first later.
            Self::None if caller == Home::ANYWHERE => Self::None,
            Self::None => Self::One(caller),
            Self::One(home) if home == caller => Self::One(home),
            _ => Self::Many,
        };
        before != Self::Many && *self == Self::Many
    }

    /// Records that the runtime at `home` has ended, and its sessions with it.
    pub(super) fn ended(&mut self, home: Home) {
        if *self == Self::One(home) {
            *self = Self::None;
        }
    }

    /// Where to open the next session.
    pub(super) fn next(self) -> Home {
        match self {
            Self::One(home) => home,
            Self::None | Self::Many => Home::ANYWHERE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caller_without_a_runtime_leaves_the_pool_to_the_first_that_has_one() {
        let runtime = Home::at(tokio::runtime::Handle::current().id());
        let mut homes = Homes::None;
        assert!(!homes.seen(Home::ANYWHERE) && homes == Homes::None);
        assert!(!homes.seen(runtime) && homes == Homes::One(runtime));
        assert!(
            homes.seen(Home::ANYWHERE),
            "a session of that runtime does not serve it"
        );
    }
}
