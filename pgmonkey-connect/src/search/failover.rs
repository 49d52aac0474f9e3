//! Whether sessions are given up because their host stands still while another one has taken over,
//! or because its name has another address by now.
//!
//! A host that is frozen, or cut off, closes no session: its callers would wait for the network's
//! own limits, often a quarter of an hour. A statement that has been silent for a second is no sign
//! of that, since it may take as long on a healthy server. So the host is asked by a login. Only if
//! that gets no answer, or finds the wrong role, and a login at another host finds the right one,
//! are the sessions at the first host given up.
//!
//! The driver crates carry the steps out, blocking or async, and decide nothing.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use pgmonkey_config::{ConnectionSettings, Host, Target, TargetSessionAttrs};

use crate::attempt::{Address, Attempt};
use crate::role::Requirement;
use crate::status::CloseReason;
use crate::wire::{Observer, WireState};

mod probe;

pub use probe::{DeadSuspect, Suspect};
pub(crate) use probe::{Scope, limit};

/// How often sessions are looked at.
const EVERY: Duration = Duration::from_millis(500);
/// How long a statement may be silent before its host is asked.
const SILENT: Duration = Duration::from_secs(1);
/// The pause after a host has answered, doubled up to the longest: a statement that takes long costs
/// few logins.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a host must not have answered before another one counts as having taken over: there is
/// one primary, so another one means that the first is not.
const PRIMARY_OUT: Duration = Duration::from_secs(2);
/// As above, where the other host could have served all the time.
const OTHERS_OUT: Duration = Duration::from_secs(10);
/// How long a host that was given up is tried last.
const AVOIDED: Duration = Duration::from_secs(60);
/// How often names are resolved for `follow_dns`.
const RESOLVED_EVERY: Duration = Duration::from_secs(2);

/// The sessions of one handle, and what is known of their hosts.
#[derive(Debug)]
pub struct Failover {
    /// Whether another host may take over.
    has_others: bool,
    follows_dns: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: Vec<Watched>,
    hosts: Vec<HostState>,
    /// Whether the driver crate carries out steps.
    runs: bool,
    /// When names are to be resolved next.
    resolve_at: Option<Instant>,
}

#[derive(Debug)]
struct Watched {
    observer: Weak<Observer>,
    place: Place,
    /// The requests sent and the bytes received when it was last looked at, and since when they
    /// have been the same.
    seen: (u32, u64),
    since: Instant,
}

/// Where a session is, and the role that its server must have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    target: Target,
    address: Address,
    requirement: Requirement,
}

/// What is known of one host.
#[derive(Debug)]
struct HostState {
    place: Place,
    /// Whether a probe is under way.
    is_asked: bool,
    ask_at: Instant,
    pause: Duration,
    /// Since when it has answered no probe.
    out_since: Option<Instant>,
    avoided_until: Option<Instant>,
}

/// The next step. Exhaustive, because a driver crate must carry out every one.
#[derive(Debug)]
pub enum FailoverStep {
    /// Ask again after this pause.
    Pause(Duration),
    /// Ask this host, at once and apart from everything else, and report with
    /// [`Suspect::answered`] and [`DeadSuspect::asked_others`]; then ask for the next step.
    Probe(Suspect),
    /// Resolve these names, then call [`Failover::resolved`] for each; then ask for the next step.
    Resolve(Vec<Name>),
    /// No session is left: nothing is to be done until the next one is opened.
    End,
}

/// A name to resolve.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// The host name.
    pub name: String,
    /// The port, for resolvers that need one.
    pub port: u16,
}

impl Failover {
    /// `None` if neither another host nor another address is ever looked for.
    pub(crate) fn new(settings: &ConnectionSettings) -> Option<Arc<Self>> {
        let targets = settings.targets();
        let has_role = settings.target_session_attrs != TargetSessionAttrs::Any;
        // A name may have several addresses.
        let is_name = |target: &Target| name_of(target).is_some();
        let has_others = targets.len() > 1 || has_role && targets.iter().any(is_name);
        let follows_dns = settings.follow_dns;
        (has_others || follows_dns).then(|| {
            Arc::new(Self {
                has_others,
                follows_dns,
                state: Mutex::default(),
            })
        })
    }

    /// Whether another host may take over.
    pub fn has_others(&self) -> bool {
        self.has_others
    }

    /// Adds the session of an attempt that begins.
    pub(crate) fn add(
        &self,
        attempt: &Attempt,
        requirement: Requirement,
        observer: &Arc<Observer>,
    ) {
        observer.watch();
        let watched = Watched {
            observer: Arc::downgrade(observer),
            place: Place {
                target: attempt.target.clone(),
                address: attempt.address.clone(),
                requirement,
            },
            seen: (observer.requests(), observer.received()),
            since: Instant::now(),
        };
        let mut state = self.state();
        // Of attempts that failed; a listener has rounds only while it waits for an answer.
        let lives = |session: &Watched| session.observer.strong_count() > 0;
        state.sessions.retain(lives);
        state.sessions.push(watched);
    }

    /// Whether the driver crate must begin to carry out steps: it has not, and there are sessions.
    pub fn starts(&self) -> bool {
        let mut state = self.state();
        !state.sessions.is_empty() && !std::mem::replace(&mut state.runs, true)
    }

    /// Whether a host that was given up is to be tried after the others, at this address or as a
    /// whole.
    pub(crate) fn avoids(&self, target: &Target, address: Option<&Address>, now: Instant) -> bool {
        self.state().hosts.iter().any(|host| {
            host.avoided_until.is_some_and(|until| now < until)
                && host.place.target == *target
                && address.is_none_or(|address| *address == host.place.address)
        })
    }

    /// Returns the next step.
    pub fn step(self: &Arc<Self>, now: Instant) -> FailoverStep {
        let mut state = self.state();
        state.forget_ended(now);
        if state.sessions.is_empty() {
            state.runs = false;
            return FailoverStep::End;
        }
        if let Some(names) = state.names_to_resolve(now).filter(|_| self.follows_dns) {
            return FailoverStep::Resolve(names);
        }
        match state.suspect(now).filter(|_| self.has_others) {
            Some(place) => FailoverStep::Probe(Suspect {
                failover: Arc::clone(self),
                place,
                began: now,
            }),
            None => FailoverStep::Pause(EVERY),
        }
    }

    /// Receives the addresses of a name. Sessions at others end as soon as they are released. Says
    /// nothing if the name could not be resolved. Returns whether there are such sessions.
    pub fn resolved(&self, name: &Name, addresses: &[IpAddr]) -> bool {
        if addresses.is_empty() {
            return false;
        }
        let state = self.state();
        let mut found = false;
        for session in &state.sessions {
            let Address::Tcp(at) = &session.place.address else {
                continue;
            };
            let is_of = session.place.name().as_ref() == Some(name);
            if is_of
                && !addresses.contains(&at.ip())
                && let Some(observer) = session.observer.upgrade()
            {
                found |= observer.outdated().is_none();
                observer.outdate(CloseReason::Address);
            }
        }
        found
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Entries are only replaced as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_ended(&mut self, now: Instant) {
        self.sessions.retain(|session| {
            let observer = session.observer.upgrade();
            observer.is_some_and(|observer| observer.state() != WireState::Closed)
        });
        let Self {
            sessions, hosts, ..
        } = self;
        hosts.retain(|host| {
            host.is_asked
                || host.avoided_until.is_some_and(|until| now < until)
                || sessions.iter().any(|session| session.place == host.place)
        });
    }

    /// The names of the sessions, if they are to be resolved again.
    fn names_to_resolve(&mut self, now: Instant) -> Option<Vec<Name>> {
        if self.resolve_at.is_some_and(|at| now < at) {
            return None;
        }
        self.resolve_at = Some(now + RESOLVED_EVERY);
        let names = self.sessions.iter().filter_map(|one| one.place.name());
        let names: HashSet<Name> = names.collect();
        (!names.is_empty()).then(|| names.into_iter().collect())
    }

    /// Looks at all sessions; returns a host that is to be asked now.
    fn suspect(&mut self, now: Instant) -> Option<Place> {
        let mut silent = Vec::new();
        for session in &mut self.sessions {
            let Some(observer) = session.observer.upgrade() else {
                continue;
            };
            let waits = matches!(observer.state(), WireState::Busy(_) | WireState::Starting);
            let seen = (observer.requests(), observer.received());
            if !waits || seen != session.seen {
                (session.seen, session.since) = (seen, now);
            } else if now.saturating_duration_since(session.since) >= SILENT {
                silent.push(session.place.clone());
            }
        }
        self.calm(&silent);
        let place = silent.into_iter().find(|place| {
            let host = self.hosts.iter().find(|host| host.place == *place);
            host.is_none_or(|host| !host.is_asked && now >= host.ask_at)
        })?;
        self.host(&place, now).is_asked = true;
        Some(place)
    }

    /// Forgets what was learned of hosts at which no statement is silent any more.
    fn calm(&mut self, silent: &[Place]) {
        for host in &mut self.hosts {
            if !host.is_asked && !silent.contains(&host.place) {
                (host.pause, host.out_since) = (FIRST_PAUSE, None);
            }
        }
    }

    fn host(&mut self, place: &Place, now: Instant) -> &mut HostState {
        let known = self.hosts.iter().position(|host| host.place == *place);
        let at = known.unwrap_or_else(|| {
            self.hosts.push(HostState {
                place: place.clone(),
                is_asked: false,
                ask_at: now,
                pause: FIRST_PAUSE,
                out_since: None,
                avoided_until: None,
            });
            self.hosts.len() - 1
        });
        &mut self.hosts[at]
    }
}

impl Place {
    /// The name that led to the address, if one was resolved.
    fn name(&self) -> Option<Name> {
        name_of(&self.target)
    }
}

pub(super) fn name_of(target: &Target) -> Option<Name> {
    match (&target.host, target.hostaddr) {
        (Host::Name(name), None) => Some(Name {
            name: name.clone(),
            port: target.port,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
