//! Watches the standbys of a cluster's reading side: asks each of them how far it is, and resolves
//! their names again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use pgmonkey_connect::failover::Name;
use pgmonkey_connect::plan::Address;
use pgmonkey_connect::standbys::{Asked, StandbyStep, Standbys};
use pgmonkey_connect::{Error, limits};
use postgres::SimpleQueryMessage;

use crate::pool::Shared;
use crate::session::connect::{ConnectOptions, Connected, carry_out, resolve};
use crate::threads::keeper::{Keeper, Kept};
use crate::threads::openers::Opener;
use crate::threads::sockets;

/// How many standbys are asked at the same time: one that does not answer delays few others.
const ASKED_TOGETHER: u32 = 4;

/// A pool's registration for this; none before the first session is opened.
#[derive(Default)]
pub(crate) struct StandbyWatch(Mutex<Option<Registered>>);

struct Registered {
    /// Dropped first: no call begins after it.
    keeper: Keeper,
    _rounds: Arc<Rounds>,
}

/// What the keeper calls. Holds the pool weakly.
struct Rounds {
    pool: Weak<Shared>,
    standbys: Arc<Standbys>,
    askers: Arc<Askers>,
    /// Apart from the openings, which may all be waiting for a host that does not answer.
    opener: Opener,
}

/// The sessions on which standbys are asked, apart from those of the pool.
#[derive(Default)]
struct Askers(Mutex<HashMap<Address, Connected>>);

impl Askers {
    fn take(&self, address: &Address) -> Option<Connected> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(address)
    }

    fn keep(&self, address: Address, session: Connected) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(address, session);
    }

    /// Closes all, which may block.
    fn end(&self) {
        let sessions = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for session in sessions.into_values() {
            let farewell = Instant::now() + limits::FAREWELL;
            session.connected_to.observer().limit_to(Some(farewell));
        }
    }
}

impl Shared {
    /// Whether this is the reading side of a cluster.
    pub(crate) fn is_reading(&self) -> bool {
        self.factory.connect_target.standbys().is_some()
    }

    /// Begins to watch the standbys, unless that is under way or there are none.
    #[inline]
    pub(crate) fn watch_standbys(self: &Arc<Self>) {
        if let Some(standbys) = self.factory.connect_target.standbys()
            && standbys.starts()
        {
            self.start_standby_watch(standbys);
        }
    }

    fn start_standby_watch(self: &Arc<Self>, standbys: &Arc<Standbys>) {
        // No code that can panic runs under the lock.
        let watch = self.standby_watch.0.lock();
        let mut watch = watch.unwrap_or_else(PoisonError::into_inner);
        if let Some(registered) = &*watch {
            return registered.keeper.wake();
        }
        let key = format!("standbys {}", self.factory.connect_target.servers());
        let rounds = Arc::new(Rounds {
            pool: Arc::downgrade(self),
            standbys: Arc::clone(standbys),
            askers: Arc::default(),
            opener: Opener::register(key.into(), ASKED_TOGETHER),
        });
        let kept = Arc::downgrade(&rounds) as Weak<dyn Kept>;
        *watch = Some(Registered {
            keeper: Keeper::register(kept, Duration::ZERO),
            _rounds: rounds,
        });
    }

    fn ask_standby(self: &Arc<Self>, asked: Asked, askers: &Askers) {
        let answer = self.ask(&asked, askers);
        if asked.answered(answer.as_deref()) {
            self.end_misplaced();
        }
    }

    /// Asks on the session that is kept for it, or on a new one if that is lost.
    fn ask(&self, asked: &Asked, askers: &Askers) -> Result<Vec<SimpleQueryMessage>, Error> {
        if let Some(session) = askers.take(asked.address())
            && let Ok((session, answer)) = ask_on(session, asked)
        {
            askers.keep(asked.address().clone(), session);
            return Ok(answer);
        }
        let connect_target = &self.factory.connect_target;
        let options = ConnectOptions {
            provider: self.factory.provider.as_ref(),
            ..ConnectOptions::default()
        };
        let search = connect_target.ask_standby(asked);
        let session = carry_out(connect_target, search, options)?;
        let (session, answer) = ask_on(session, asked)?;
        askers.keep(asked.address().clone(), session);
        Ok(answer)
    }

    fn resolve_standbys(self: &Arc<Self>, standbys: &Standbys, name: &Name) {
        let deadline = Instant::now() + limits::STATEMENT;
        let found = resolve(name.name.clone(), name.port, Some(deadline));
        standbys.resolved(name, &found.unwrap_or_default());
    }
}

/// A session, and the answer to a question that was asked on it.
type Answered = (Connected, Vec<SimpleQueryMessage>);

/// Asks, and returns the session if it can be asked again.
fn ask_on(mut session: Connected, asked: &Asked) -> Result<Answered, Error> {
    let until = Instant::now() + limits::LOOK;
    let observer = Arc::clone(session.connected_to.observer());
    if !session.observed {
        return ask_until(until, session, asked);
    }
    observer.limit_to(Some(until));
    let answer = session.client.simple_query(asked.question());
    observer.limit_to(None);
    let answer = answer.map_err(|error| Error::of_session(error, Some(&*observer)))?;
    Ok((session, answer))
}

/// Asks on a Unix socket, where the wire is not observed and so does not end the question.
fn ask_until(until: Instant, session: Connected, asked: &Asked) -> Result<Answered, Error> {
    let question = asked.question();
    let mut session = session;
    let ask = move || {
        let answer = session.client.simple_query(question);
        answer.map(|answer| (session, answer))
    };
    match sockets::on_thread("pgmonkey-ask", asked.address(), until, ask) {
        Ok(Some(answered)) => answered.map_err(|error| Error::of_session(error, None)),
        Ok(None) => Err(Error::Unanswered {
            address: asked.address().to_string(),
            limit: limits::LOOK,
        }),
        Err(error) => Err(Error::other(error)),
    }
}

impl Kept for Rounds {
    /// Never blocks: standbys are asked on the threads that open sessions.
    fn keep(&self, now: Instant) -> Duration {
        let Some(pool) = self.pool.upgrade().filter(|pool| !pool.core.is_closed()) else {
            self.end();
            return Duration::MAX;
        };
        loop {
            let (pool, standbys) = (Arc::clone(&pool), Arc::clone(&self.standbys));
            match standbys.step(now) {
                StandbyStep::Pause(pause) => return pause,
                StandbyStep::End => {
                    self.end();
                    return Duration::MAX;
                }
                StandbyStep::EndMisplaced => pool.end_misplaced(),
                StandbyStep::Ask(asked) => {
                    let askers = Arc::clone(&self.askers);
                    self.opener.submit(move || pool.ask_standby(asked, &askers));
                }
                StandbyStep::Resolve(names) => self.opener.submit(move || {
                    let again = |name| pool.resolve_standbys(&standbys, name);
                    names.iter().for_each(again);
                }),
            }
        }
    }
}

impl Rounds {
    fn end(&self) {
        let askers = Arc::clone(&self.askers);
        self.opener.submit(move || askers.end());
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.end();
    }
}
