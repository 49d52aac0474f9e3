//! Watches the standbys of a cluster's reading side: asks each of them how far it is, and resolves
//! their names again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use pgmonkey_connect::failover::Name;
use pgmonkey_connect::plan::Address;
use pgmonkey_connect::standbys::{Asked, StandbyStep, Standbys};
use pgmonkey_connect::{Error, limits};
use tokio_postgres::SimpleQueryMessage;

use crate::pool::Shared;
use crate::runtimes;
use crate::session::connect::{ConnectOptions, Connected, carry_out, resolve};

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
        let (pool, standbys) = (Arc::downgrade(self), Arc::clone(standbys));
        let askers = Arc::new(Askers::default());
        runtimes::drivers().spawn(async move {
            while let Some(pause) = keep(&pool, &standbys, &askers) {
                tokio::time::sleep(pause).await;
            }
        });
    }

    async fn ask_standby(self: Arc<Self>, asked: Asked, askers: Arc<Askers>) {
        let answer = self.ask(&asked, &askers).await;
        if asked.answered(answer.as_deref()) {
            self.end_misplaced();
        }
    }

    /// Asks on the session that is kept for it, or on a new one if that is lost.
    async fn ask(&self, asked: &Asked, askers: &Askers) -> Result<Vec<SimpleQueryMessage>, Error> {
        if let Some(session) = askers.take(asked.address())
            && let Ok(answer) = ask_on(&session, asked).await
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
        let session = carry_out(connect_target, search, options).await?;
        let answer = ask_on(&session, asked).await?;
        askers.keep(asked.address().clone(), session);
        Ok(answer)
    }

    async fn resolve_standbys(self: &Arc<Self>, standbys: &Standbys, name: &Name) {
        let deadline = Instant::now() + limits::STATEMENT;
        let found = resolve(&name.name, name.port, Some(deadline)).await;
        standbys.resolved(name, &found.unwrap_or_default());
    }
}

async fn ask_on(session: &Connected, asked: &Asked) -> Result<Vec<SimpleQueryMessage>, Error> {
    let observer = session.connected_to.observer();
    observer.limit_to(Some(Instant::now() + limits::LOOK));
    let answer = session.client.simple_query(asked.question()).await;
    observer.limit_to(None);
    answer.map_err(|error| Error::of_session(error, &**observer))
}

/// Does one round; returns the pause until the next one, if there will be another. Standbys are
/// asked by tasks of their own.
fn keep(pool: &Weak<Shared>, standbys: &Arc<Standbys>, askers: &Arc<Askers>) -> Option<Duration> {
    let pool = pool.upgrade().filter(|pool| !pool.core.is_closed())?;
    loop {
        let (pool, standbys) = (Arc::clone(&pool), Arc::clone(standbys));
        match standbys.step(Instant::now()) {
            StandbyStep::Pause(pause) => return Some(pause),
            StandbyStep::End => return None,
            StandbyStep::EndMisplaced => pool.end_misplaced(),
            StandbyStep::Ask(asked) => {
                let asking = pool.ask_standby(asked, Arc::clone(askers));
                runtimes::openings().spawn(asking);
            }
            StandbyStep::Resolve(names) => {
                runtimes::openings().spawn(async move {
                    for name in &names {
                        pool.resolve_standbys(&standbys, name).await;
                    }
                });
            }
        }
    }
}
