//! A caller's request, and selecting an idle session by what is known of it.

use std::sync::Arc;

use super::Shell;
use crate::pool::outcome::{Request, Ticket};
use crate::pool::{Caller, Checkout};

/// Acquires an idle session that `fits`, if there is one. No caller that waits may use it, or
/// it would not be idle.
pub fn acquire_idle<P: Shell>(
    pool: &Arc<P>,
    caller: &Caller,
    fits: impl Fn(&P::Session) -> bool,
) -> Option<Checkout<P>> {
    let granted = pool
        .core()
        .lock()
        .acquire_idle(request(pool, caller, None), fits)?;
    Some(Checkout::new(Arc::clone(pool), granted))
}

/// What a caller asks a pool for.
pub(super) fn request<P: Shell>(pool: &Arc<P>, caller: &Caller, ticket: Option<Ticket>) -> Request {
    Request {
        location: caller.location,
        began: caller.began,
        home: caller.home,
        timeout: caller.timeout.unwrap_or(pool.core().timeout),
        moved: caller.timeout.is_some() && ticket.is_none(),
        turns_away: caller.turns_away,
        ticket,
    }
}
