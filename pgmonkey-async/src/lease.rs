//! A session on loan, and what becomes of it when it comes back.
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use pgmonkey_connect::events;
use pgmonkey_connect::ledger::LoanId;
use pgmonkey_connect::recycle::Verdict;

use crate::engine::Loan;
use crate::gate::Place;
use crate::hooks::Hooks;
use crate::pool::Shared;

/// A session on loan with all that ends when it comes back. Dropped half-way, it leaves the books
/// right and the place free, and the session ends.
pub(crate) struct Lease {
    pub(crate) pool: Arc<Shared>,
    loan: Option<Loan>,
    number: Option<LoanId>,
    right: Option<Place>,
}

impl Lease {
    pub(crate) fn new(pool: Arc<Shared>, loan: Loan, number: LoanId, right: Place) -> Self {
        Self {
            pool,
            loan: Some(loan),
            number: Some(number),
            right: Some(right),
        }
    }

    pub(crate) fn loan(&self) -> &Loan {
        self.loan.as_ref().expect("only the drop takes the loan")
    }

    pub(crate) fn loan_mut(&mut self) -> &mut Loan {
        self.loan.as_mut().expect("only the drop takes the loan")
    }

    /// Takes the session back: at once if it is clean, else as soon as it was made clean.
    pub(crate) fn release(self) {
        if !self.pool.origin.is_here() {
            return;
        }
        if let Some(holder) = &self.pool.holder {
            holder.release();
        }
        let reset = self.pool.settings.reset;
        let hooks = self.pool.hooks.clone().filter(Hooks::asks_after_release);
        if hooks.is_none() && self.loan().is_clean(reset) {
            self.loan().tell_out_of_reach(reset);
            events::recycled(self.pool.ledger.name(), Verdict::Keep);
            return self.put();
        }
        // A runtime that shuts down drops the task, and the session with it.
        let runtime = self.loan().runtime().clone();
        let recycling = Recycling::begin(&self.pool);
        runtime.spawn(async move {
            let mut lease = self;
            if lease.loan_mut().recycle(reset).await && lease.is_wanted(hooks).await {
                lease.put();
            }
            drop(recycling);
        });
    }

    /// Lets the hook say whether a session that was made clean is kept.
    async fn is_wanted(&mut self, hooks: Option<Hooks>) -> bool {
        match hooks {
            Some(hooks) => self.loan_mut().ask_after_release(&hooks).await,
            None => true,
        }
    }

    /// Ends the loan of a session that is clean.
    fn put(mut self) {
        let now = Instant::now();
        if self.pool.is_closed() || self.loan_mut().is_over(now) {
            return;
        }
        if let (Some(loan), Some(place)) = (self.loan.take(), self.right.take()) {
            self.end_loan();
            self.pool.put(loan, now, place);
        }
    }

    fn end_loan(&mut self) {
        if let Some(number) = self.number.take() {
            self.pool.ledger.returned(number);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.pool.origin.is_here() {
            // Dropping them would wait for the parent's threads.
            let pool = Arc::clone(&self.pool);
            return mem::forget((pool, self.loan.take(), self.right.take()));
        }
        self.end_loan();
        if let Some(loan) = self.loan.take() {
            self.pool.discard(loan);
        }
        drop(self.right.take());
    }
}

/// One session that is being made clean.
struct Recycling(Arc<Shared>);

impl Recycling {
    fn begin(pool: &Arc<Shared>) -> Self {
        pool.recycling.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(pool))
    }
}

impl Drop for Recycling {
    fn drop(&mut self) {
        self.0.recycling.fetch_sub(1, Ordering::SeqCst);
        self.0.recycled.notify_waiters();
    }
}
