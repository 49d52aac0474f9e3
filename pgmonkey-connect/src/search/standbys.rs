//! The servers that a cluster reads from: how old their data is, which of them are used, and how
//! sessions are spread over them.
//!
//! Each is asked once a second, on a session of its own, while the pool has sessions. One that does
//! not answer, or whose data is older than `max_lag`, loses the pool's sessions: idle ones at once,
//! those in use when they are released. Each new session goes to the server with the fewest. Once
//! another server can be used, or a name has another address, sessions move to it, at most one a
//! second.
//!
//! The driver crates carry the steps out, blocking or async, and decide nothing.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgmonkey_config::{Config, Target, TargetSessionAttrs};
use tokio_postgres::SimpleQueryMessage;

use super::failover::{Name, name_of};
use super::plan::{self, Lookup};
use crate::Error;
use crate::attempt::{Address, Attempt};
use crate::role::{Requirement, RoleMismatch};
use crate::status::StandbyStatus;
use crate::telemetry::events;
use crate::wire::Observer;

pub(crate) mod answer;
mod lag;
mod limits;
mod replayed;
mod standby;

pub(crate) use answer::{Answer, QUESTION};

pub use limits::ReaderLimits;
pub use replayed::Reach;
pub(crate) use replayed::Replayed;
use standby::{Standby, Standing};

/// How often each standby is asked, and at most one session is moved.
const EVERY: Duration = Duration::from_secs(1);
/// How often names are resolved: a name that stands for several servers may give one at a time.
const RESOLVED_EVERY: Duration = Duration::from_secs(2);
/// How long an address is kept that its name no longer gives, and how long the standbys of a pool
/// without sessions are still asked.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The servers of one pool.
#[derive(Debug)]
pub struct Standbys {
    name: Arc<str>,
    targets: Vec<Target>,
    limits: ReaderLimits,
    /// Whether a primary is used only while no standby can be.
    prefers_standbys: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The name of the pool.
    name: Arc<str>,
    standbys: Vec<Standby>,
    /// Whether the driver crate carries out steps.
    runs: bool,
    /// The number of the current round, in which each standby is asked once.
    round: u64,
    next_round: Option<Instant>,
    resolve_at: Option<Instant>,
    /// When the pool last had a session.
    seen_at: Option<Instant>,
    /// How many sessions have been opened: tells which standby had its turn last.
    turns: u64,
}

/// The next step. Exhaustive, because a driver crate must carry out every one.
#[derive(Debug)]
pub enum StandbyStep {
    /// Ask again after this pause.
    Pause(Duration),
    /// Ask this standby, at once and apart from everything else; then ask for the next step.
    Ask(Asked),
    /// Resolve these names, then call [`Standbys::resolved`] for each; then ask for the next step.
    Resolve(Vec<Name>),
    /// End sessions that must not be handed out; then ask for the next step.
    EndMisplaced,
    /// The pool has had no session for a while: nothing is to be done until one is opened.
    End,
}

/// A standby to ask. If it is dropped without an answer, it is asked again in the next round.
#[derive(Debug)]
pub struct Asked {
    standbys: Arc<Standbys>,
    target: Target,
    address: Address,
}

impl Standbys {
    /// The servers of a cluster's readers.
    pub(crate) fn new(config: &Config, limits: ReaderLimits, name: &Arc<str>) -> Arc<Self> {
        let settings = &config.connection_settings;
        let targets = settings.targets();
        let mut state = State::of(name);
        for target in &targets {
            if let Lookup::Known(address) = plan::lookup(target) {
                state.standby(target, &address);
            }
        }
        Arc::new(Self {
            name: Arc::clone(name),
            targets,
            limits,
            prefers_standbys: settings.target_session_attrs == TargetSessionAttrs::PreferStandby,
            state: Mutex::new(state),
        })
    }

    /// Whether the writer is read from while no standby can be used.
    pub fn falls_back(&self) -> bool {
        self.limits.fallback
    }

    /// Adds the session of an attempt that begins.
    pub(crate) fn add(&self, attempt: &Attempt, observer: &Arc<Observer>) {
        let mut state = self.state();
        state.turns += 1;
        let turn = state.turns;
        state.seen_at = Some(Instant::now());
        let standby = state.standby(&attempt.target, &attempt.address);
        standby.turn = turn;
        standby.add(observer);
    }

    /// Where a host, or an address of it, comes among the others: those that are not used come
    /// last, then the one with the fewest sessions comes first.
    pub(crate) fn rank(&self, target: &Target, address: Option<&Address>) -> (bool, usize, u64) {
        let mut state = self.state();
        let prefers = self.prefers_standbys && state.has_good_standby();
        let of = |standby: &&mut Standby| {
            standby.target == *target && address.is_none_or(|at| *at == standby.address)
        };
        let ranks = state.standbys.iter_mut().filter(of).map(|standby| {
            let is_out = standby.standing.is_out() || prefers && standby.standing.is_primary();
            (is_out, standby.sessions(), standby.turn)
        });
        ranks.min().unwrap_or_default()
    }

    /// Checks the answer of the server of an attempt, and records it.
    pub(crate) fn judge(
        &self,
        attempt: &Attempt,
        requirement: Requirement,
        answer: &[SimpleQueryMessage],
    ) -> Result<Answer, RoleMismatch> {
        let Some(answer) = Answer::of(answer) else {
            return Err(RoleMismatch::of(requirement));
        };
        requirement.or_mismatch(answer.fits(requirement))?;
        match self.record(&attempt.target, &attempt.address, &answer) {
            Standing::Lagging(lag) => Err(RoleMismatch::lagging(lag, self.limits.max_lag)),
            _ => Ok(answer),
        }
    }

    fn record(&self, target: &Target, address: &Address, answer: &Answer) -> Standing {
        let now = Instant::now();
        let mut state = self.state();
        let standby = state.standby(target, address);
        let (standing, changed) = standby.answered(answer, self.limits.max_lag, now);
        let status = changed.then(|| standby.status(now));
        drop(state);
        if let Some(status) = status {
            events::standby_changed(&self.name, &status);
        }
        standing
    }

    /// Records that an attempt did not reach its server.
    pub(crate) fn unreached(&self, attempt: &Attempt, cause: &dyn std::fmt::Display) {
        self.away(&attempt.target, &attempt.address, &cause.to_string());
    }

    /// Returns whether the standby was used before.
    fn away(&self, target: &Target, address: &Address, cause: &str) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let standby = state.standby(target, address);
        let changed = standby.is_away(cause);
        let status = changed.then(|| standby.status(now));
        drop(state);
        if let Some(status) = status {
            events::standby_changed(&self.name, &status);
        }
        changed
    }

    /// Whether the pool may have a session for a reader, as far as is known.
    pub fn is_usable(&self) -> bool {
        let state = self.state();
        let has_unresolved = state.standbys.is_empty();
        has_unresolved || state.standbys.iter().any(|one| !one.standing.is_out())
    }

    /// Whether the driver crate must begin to carry out steps: it has not, and there are sessions.
    pub fn starts(&self) -> bool {
        let mut state = self.state();
        state.seen_at.is_some() && !std::mem::replace(&mut state.runs, true)
    }

    /// Describes the standbys in the order of the hosts.
    pub fn status(&self) -> Vec<StandbyStatus> {
        let now = Instant::now();
        let mut state = self.state();
        let place = |target: &Target| self.targets.iter().position(|other| other == target);
        let mut standbys: Vec<&mut Standby> = state.standbys.iter_mut().collect();
        standbys.sort_by_cached_key(|one| (place(&one.target), one.address.to_string()));
        standbys.into_iter().map(|one| one.status(now)).collect()
    }

    /// Returns the next step.
    pub fn step(self: &Arc<Self>, now: Instant) -> StandbyStep {
        let mut state = self.state();
        if state.next_round.is_none_or(|at| now >= at) {
            state.next_round = Some(now + EVERY);
            state.round += 1;
            state.look(&self.targets, now);
            if state.is_over(now) {
                state.runs = false;
                return StandbyStep::End;
            }
            if state.moves_one(self.prefers_standbys) {
                return StandbyStep::EndMisplaced;
            }
        }
        if let Some(names) = state.names_to_resolve(&self.targets, now) {
            return StandbyStep::Resolve(names);
        }
        let round = state.round;
        let due = |one: &&mut Standby| !one.is_asked && one.round < round;
        if let Some(standby) = state.standbys.iter_mut().find(due) {
            (standby.is_asked, standby.round) = (true, round);
            return StandbyStep::Ask(Asked {
                standbys: Arc::clone(self),
                target: standby.target.clone(),
                address: standby.address.clone(),
            });
        }
        let next = state.next_round.unwrap_or(now);
        StandbyStep::Pause(next.saturating_duration_since(now))
    }

    /// Receives the addresses of a name: each is another standby.
    pub fn resolved(&self, name: &Name, addresses: &[IpAddr]) {
        let now = Instant::now();
        let mut state = self.state();
        let targets = self.targets.iter();
        for target in targets.filter(|target| name_of(target).as_ref() == Some(name)) {
            for ip in addresses {
                let address = Address::Tcp((*ip, target.port).into());
                state.standby(target, &address).given_at = Some(now);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Entries are only replaced as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(name: &Arc<str>) -> Self {
        Self {
            name: Arc::clone(name),
            standbys: Vec::new(),
            runs: false,
            round: 0,
            next_round: None,
            resolve_at: None,
            seen_at: None,
            turns: 0,
        }
    }

    /// The entry of a standby, which is made if there is none.
    fn standby(&mut self, target: &Target, address: &Address) -> &mut Standby {
        let is_it = |one: &Standby| one.address == *address && one.target == *target;
        let at = self.standbys.iter().position(is_it).unwrap_or_else(|| {
            let standby = Standby::new(&self.name, target, address);
            self.standbys.push(standby);
            self.standbys.len() - 1
        });
        &mut self.standbys[at]
    }

    fn has_good_standby(&self) -> bool {
        let mut standings = self.standbys.iter().map(|one| &one.standing);
        standings.any(|standing| *standing == Standing::Good)
    }

    /// Looks at all sessions, and forgets addresses that their names no longer give.
    fn look(&mut self, targets: &[Target], now: Instant) {
        for standby in &mut self.standbys {
            standby.look(now);
        }
        let is_old = |at: Option<Instant>| {
            at.is_none_or(|at| now.saturating_duration_since(at) >= FORGOTTEN)
        };
        self.standbys.retain_mut(|one| {
            let is_named = name_of(&one.target).is_some();
            let is_known = targets.contains(&one.target);
            let goes = is_named && is_old(one.given_at) && one.sessions() == 0 && !one.is_asked;
            is_known && !goes
        });
        if self.standbys.iter_mut().any(|one| one.sessions() > 0) {
            self.seen_at = Some(now);
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let unused = |at: Instant| now.saturating_duration_since(at) >= FORGOTTEN;
        self.seen_at.is_none_or(unused)
    }

    fn names_to_resolve(&mut self, targets: &[Target], now: Instant) -> Option<Vec<Name>> {
        if self.resolve_at.is_some_and(|at| now < at) {
            return None;
        }
        self.resolve_at = Some(now + RESOLVED_EVERY);
        let mut names: Vec<Name> = targets.iter().filter_map(name_of).collect();
        names.dedup();
        (!names.is_empty()).then_some(names)
    }

    /// Has one session move: from a primary if a standby can be used, or from the standby with the
    /// most sessions if another has two less. Returns whether one does.
    fn moves_one(&mut self, prefers_standbys: bool) -> bool {
        let prefers = prefers_standbys && self.has_good_standby();
        if prefers && let Some(primary) = self.standbys.iter_mut().find(|one| one.is_primary()) {
            return primary.gives_one_up();
        }
        let mut good: Vec<_> = self.standbys.iter_mut().collect();
        good.retain(|one| one.standing == Standing::Good || !prefers && one.standing.is_primary());
        let least = good.iter_mut().map(|one| one.sessions()).min();
        let most = good.into_iter().max_by_key(|one| one.counted());
        match (least, most) {
            (Some(least), Some(most)) => most.counted() >= least + 2 && most.gives_one_up(),
            _ => false,
        }
    }
}

impl Asked {
    /// Its host.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Its address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What to ask.
    pub fn question(&self) -> &'static str {
        QUESTION
    }

    /// Receives the answer. Returns whether sessions must be ended that must not be handed out.
    pub fn answered(self, answer: Result<&[SimpleQueryMessage], &Error>) -> bool {
        let read = answer.map(Answer::of);
        match read {
            Ok(Some(answer)) => {
                let standing = self.standbys.record(&self.target, &self.address, &answer);
                standing.is_out()
            }
            Ok(None) => {
                let why = "the server's answer to the question for its lag is not understood";
                self.standbys.away(&self.target, &self.address, why)
            }
            Err(error) => {
                let why = error.to_string();
                self.standbys.away(&self.target, &self.address, &why)
            }
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut state = self.standbys.state();
        state.standby(&self.target, &self.address).is_asked = false;
    }
}

#[cfg(test)]
mod tests;
