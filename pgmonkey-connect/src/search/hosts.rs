//! Which hosts a search tries, in which order, and how long: all of them, or those of a probe.

use std::sync::Arc;
use std::time::Instant;

use pgmonkey_config::Target;

use super::failover::{self, DeadSuspect, Failover, Scope, Suspect};
use super::plan;
use super::server_search::ServerSearch;
use super::standbys::Asked;
use super::target::ConnectTarget;
use crate::attempt::Attempt;
use crate::random::draw;

impl ConnectTarget {
    /// Starts a search that shows whether the suspect answers, and has the role.
    pub fn probe(&self, suspect: &Suspect) -> ServerSearch<'_> {
        ServerSearch::within(self, Scope::Only(suspect.suspected()))
    }

    /// Starts a search that shows whether another host has the role of the suspect.
    pub fn probe_others(&self, suspect: &DeadSuspect) -> ServerSearch<'_> {
        ServerSearch::within(self, Scope::Beside(suspect.suspected()))
    }

    /// Starts a search for a session on which to ask this standby, whatever its role.
    pub fn ask_standby(&self, asked: &Asked) -> ServerSearch<'_> {
        ServerSearch::within(
            self,
            Scope::Standby(Box::new((asked.target().clone(), asked.address().clone()))),
        )
    }

    /// What watches the hosts of the handle's sessions; `None` if there is nothing to watch.
    #[inline]
    pub fn failover(&self) -> Option<&Arc<Failover>> {
        self.failover.as_ref()
    }

    /// As [`deadline`](Self::deadline); a probe has less time.
    pub(crate) fn deadline_of(&self, is_probe: bool, now: Instant) -> Option<Instant> {
        match is_probe {
            true => now.checked_add(failover::limit(self.limit())),
            false => self.deadline(now),
        }
    }

    /// The hosts within this scope, in the order in which to try them: one whose sessions were given
    /// up comes last.
    pub(crate) fn targets(&self, scope: &Scope, now: Instant) -> Vec<Target> {
        let mut targets = plan::targets(self.settings(), draw);
        targets.retain(|target| scope.admits_target(target));
        if let Some(failover) = &self.failover {
            targets.sort_by_cached_key(|target| failover.avoids(target, None, now));
        }
        if let Some(standbys) = &self.standbys {
            targets.sort_by_cached_key(|target| standbys.rank(target, None));
        }
        targets
    }

    /// The attempts within this scope, in the same order.
    pub(crate) fn ordered(&self, scope: &Scope, mut attempts: Vec<Attempt>) -> Vec<Attempt> {
        attempts.retain(|attempt| scope.admits(&attempt.address));
        if let Some(failover) = &self.failover {
            let now = Instant::now();
            attempts.sort_by_cached_key(|attempt| {
                failover.avoids(&attempt.target, Some(&attempt.address), now)
            });
        }
        if let Some(standbys) = &self.standbys {
            let rank = |one: &Attempt| standbys.rank(&one.target, Some(&one.address));
            attempts.sort_by_cached_key(rank);
        }
        attempts
    }
}
