//! A writer and its readers.

use std::panic::Location;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use pgmonkey_config::{Config, Readers};
use pgmonkey_connect::cluster::{self, Next, ReadRules, Reading, Side};
use pgmonkey_connect::pool::{self, Acquiring, Caller};
use pgmonkey_connect::standbys::{Reach, ReaderLimits, Standbys};
use pgmonkey_connect::transaction::Options;
use pgmonkey_connect::{ClusterStatus, Error, Token};

use crate::client::guard::ClientGuard;
use crate::client::scoped::Scoped;
use crate::client::transaction::Transaction;
use crate::handle::pool::Pool;
use crate::handle::queries::statements_of_handle;
use crate::options::HandleOptions;
use crate::runtimes;
use crate::session::Session;

/// What begins the transaction of a read.
static READ_ONLY: LazyLock<Options> = LazyLock::new(|| {
    let mut options = Options::default();
    options.read_only = Some(true);
    options
});

/// A pool at the primary and one at its standbys, as the section `readers` of the file says. Without
/// that section both are the same pool.
///
/// Clones are cheap and share the pools. Nothing is sent to a reader because of its text:
/// [`read`](Self::read), [`read_after`](Self::read_after) and [`reader`](Self::reader) read there,
/// everything else uses the writer.
///
/// Sessions of readers are spread evenly over the standbys. Each standby is asked once a second, on a
/// session of its own, how far it is. One that does not answer, or whose data is older than
/// `max_lag`, is not used until it is back.
///
/// ```no_run
/// use pgmonkey_async::{Cluster, Config, Error};
///
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     let cluster = Cluster::new(&Config::from_file("pgmonkey.yaml")?).await?;
///     let insert = "INSERT INTO orders DEFAULT VALUES";
///     let ((), token) = cluster
///         .write_with_token(async |tx| tx.execute(insert, &[]).await.map(drop))
///         .await?;
///     let count = "SELECT count(*) FROM orders";
///     let orders: i64 = cluster
///         .read_after(token, async |tx| Ok(tx.query_one(count, &[]).await?.get(0)))
///         .await?;
///     println!("{orders} orders");
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Cluster {
    writer: Pool,
    reader: Pool,
    wait: Duration,
}

impl Cluster {
    /// Opens both pools, which belong to the caller and are not cached.
    ///
    /// # Errors
    ///
    /// As [`Pool::new`]. Readers that are away are no error: they are used once they are there.
    pub async fn new(config: &Config) -> Result<Self, Error> {
        let writer = Pool::new(config).await?;
        let reader = match &config.readers {
            Some(readers) => {
                let options = HandleOptions {
                    readers: Some(limits(readers)),
                    ..HandleOptions::default()
                };
                Pool::with(&readers.config, options).await?
            }
            None => writer.clone(),
        };
        Ok(Self::of(writer, reader))
    }

    /// Puts the two sides together.
    pub(crate) fn of(writer: Pool, reader: Pool) -> Self {
        Self {
            writer,
            reader,
            wait: cluster::WAIT,
        }
    }

    /// Returns this cluster with another limit of the time that [`read_after`](Self::read_after)
    /// waits for a reader before it goes to the writer. It is 1 s unless this is called.
    #[must_use]
    pub fn wait_for_readers(mut self, limit: Duration) -> Self {
        self.wait = limit;
        self
    }

    /// Returns the pool at the primary.
    pub fn writer(&self) -> &Pool {
        &self.writer
    }

    /// Returns the pool at the standbys. It does not fall back to the writer: while no standby can be
    /// used, its callers wait as those of any pool whose server is away.
    pub fn reader(&self) -> &Pool {
        &self.reader
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.writer
    }

    /// Runs `f` in a transaction on the writer, as [`Pool::transaction`] does.
    ///
    /// # Errors
    ///
    /// As [`Pool::transaction`].
    #[track_caller]
    pub fn write<T, F>(&self, f: F) -> impl Future<Output = Result<T, Error>>
    where
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, Error>,
    {
        self.writer.transaction(f)
    }

    /// As [`write`](Self::write), and returns a token for [`read_after`](Self::read_after). The token
    /// is part of the answer to `COMMIT` and costs no round trip.
    ///
    /// # Errors
    ///
    /// As [`Pool::transaction`].
    #[track_caller]
    pub fn write_with_token<T, F>(&self, f: F) -> impl Future<Output = Result<(T, Token), Error>>
    where
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, Error>,
    {
        let begin = self.writer.begin();
        async move {
            let (transaction, back) = Scoped::new(begin.await?);
            let value = f(transaction).await?;
            match back.take() {
                Some(transaction) => Ok((value, transaction.commit_with_token().await?)),
                None => Err(Error::SessionEscaped),
            }
        }
    }

    /// Runs `f` in a `READ ONLY` transaction on a reader, or on the writer while no reader can be
    /// used and `fallback` is on.
    ///
    /// If the session of a reader is lost, or the server cannot execute a statement for now, as in a
    /// conflict with recovery, `f` runs again on another one. So it does, once, if a cached statement
    /// was prepared for an earlier schema. Change what it captures, and send messages, after `read`
    /// has returned.
    /// `f` must be `Clone`: an async closure is one if what it captures is, and what it captures by
    /// reference is.
    ///
    /// ```no_run
    /// # async fn example(cluster: pgmonkey_async::Cluster) -> Result<(), pgmonkey_async::Error> {
    /// let count = "SELECT count(*) FROM orders";
    /// let orders: i64 = cluster
    ///     .read(async |tx| Ok(tx.query_one(count, &[]).await?.get(0)))
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::transaction`]; the error `25006` if `f` writes.
    #[track_caller]
    pub fn read<T, F>(&self, f: F) -> impl Future<Output = Result<T, Error>>
    where
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, Error> + Clone,
    {
        self.read_at(Location::caller(), None, f)
    }

    /// As [`read`](Self::read), on a reader that has what was written before `token` was returned.
    ///
    /// Waits for one for at most a second, or the time that
    /// [`wait_for_readers`](Self::wait_for_readers) set, then reads from the writer, whatever
    /// `fallback` says. Asks the reader in one round trip, unless its session is known to be far
    /// enough. A token of another timeline, from before a failover, leads to the writer, and so does
    /// any token behind a pooler, where a session does not stay at one server.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    #[track_caller]
    pub fn read_after<T, F>(&self, token: Token, f: F) -> impl Future<Output = Result<T, Error>>
    where
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, Error> + Clone,
    {
        self.read_at(Location::caller(), Some(token), f)
    }

    async fn read_at<T, F>(
        &self,
        location: &'static Location<'static>,
        token: Option<Token>,
        f: F,
    ) -> Result<T, Error>
    where
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, Error> + Clone,
    {
        let reader = self.reader.current();
        let mut reading = Reading::new(self.rules(&reader), token, Instant::now());
        let mut side = match reader.is_itself(&self.writer.current()) {
            true => Side::Writer,
            false => reading.first(),
        };
        while side == Side::Reader {
            let (error, at) = match hold(&reader, location, &mut reading).await {
                Ok(Some(guard)) => {
                    let at = guard.session().connected_to().address().clone();
                    match run(guard, &reading, f.clone()).await {
                        Ok(value) => return Ok(value),
                        Err(error) => (error, Some(at)),
                    }
                }
                Ok(None) => break,
                Err(error) => (error, None),
            };
            match reading.failed(&error, at.as_ref()) {
                Some(next) => side = next,
                None => return Err(error),
            }
        }
        loop {
            match run(self.writer.hold(location).await?, &reading, f.clone()).await {
                Err(error) if reading.reads_anew(&error) => {}
                done => return done,
            }
        }
    }

    /// What is known of the reading side now.
    fn rules(&self, reader: &Pool) -> ReadRules {
        let shared = reader.shared();
        let target = &shared.factory.connect_target;
        let standbys = target.standbys();
        let is_usable = standbys.is_none_or(|one| one.is_usable());
        if !is_usable {
            // They may be watched no longer, if nothing has used them for a while.
            shared.watch_standbys();
        }
        ReadRules {
            fallback: standbys.is_none_or(|one| one.falls_back()),
            wait: self.wait,
            is_usable,
            keeps_server: target.keeps_server(),
        }
    }

    /// Returns the numbers of both sides, and of each standby. Sends nothing.
    pub fn status(&self) -> ClusterStatus {
        let reader = self.reader.current();
        let standbys = reader.shared().factory.connect_target.standbys();
        let standbys = standbys.map_or_else(Vec::new, |standbys: &Arc<Standbys>| standbys.status());
        ClusterStatus::new(self.writer.status(), reader.status(), standbys)
    }

    /// Closes both pools, as [`Pool::close`] does.
    pub fn close(&self) {
        self.reader.close();
        self.writer.close();
    }

    /// Closes both pools and waits until their sessions are closed, for at most `timeout`. Returns
    /// whether all are.
    pub async fn close_timeout(&self, timeout: Duration) -> bool {
        self.close();
        let began = Instant::now();
        let reader = self.reader.close_timeout(timeout).await;
        let left = timeout.saturating_sub(began.elapsed());
        self.writer.close_timeout(left).await && reader
    }
}

statements_of_handle!(Cluster);

/// What the section `readers` says of the use of standbys.
pub(crate) fn limits(readers: &Readers) -> ReaderLimits {
    ReaderLimits {
        max_lag: readers.max_lag,
        fallback: readers.fallback,
    }
}

/// Acquires a session of a reader for one read; `None` if the writer is to serve it.
async fn hold(
    reader: &Pool,
    location: &'static Location<'static>,
    reading: &mut Reading,
) -> Result<Option<ClientGuard>, Error> {
    let mut caller = Caller::new(location, runtimes::here());
    caller.turns_away = reading.turns_away();
    caller.until = reading.until();
    caller.checks = reading.has_failed();
    let Some(token) = reading.token() else {
        return hold_any(reader, caller, reading).await.map(Some);
    };
    loop {
        let next = match look(reader, caller, reading, token).await? {
            Some(guard) => match guard.session().reaches(token).await? {
                Reach::Reached => return Ok(Some(guard)),
                reach => reading.found(guard.session().connected_to().address(), reach),
            },
            None => reading.found_none(Instant::now()),
        };
        match next {
            Next::Another => {}
            Next::Pause(pause) => tokio::time::sleep(pause).await,
            Next::Writer => return Ok(None),
        }
    }
}

/// Acquires a session, of a reader at which this read has not failed if such a one is idle.
async fn hold_any(reader: &Pool, caller: Caller, reading: &Reading) -> Result<ClientGuard, Error> {
    let mut idle = None;
    if reading.has_failed() {
        let fits = |session: &Session| reading.may_use(session.connected_to().address());
        idle = hold_idle(reader, caller, fits).await?;
    }
    match idle {
        Some(guard) => Ok(guard),
        None => reader.hold_for(caller).await,
    }
}

/// Acquires a session of a reader that may have replayed the token; `None` if there is no idle one
/// besides those that were looked at.
async fn look(
    reader: &Pool,
    mut caller: Caller,
    reading: &Reading,
    token: Token,
) -> Result<Option<ClientGuard>, Error> {
    caller.began = Instant::now();
    let fits = |session: &Session| {
        let connected_to = session.connected_to();
        reading.may_try(connected_to.address(), connected_to.reaches(token))
    };
    match hold_idle(reader, caller, fits).await? {
        None if reading.is_fresh() => reader.hold_for(caller).await.map(Some),
        idle => Ok(idle),
    }
}

/// Acquires an idle session that `fits`, if there is one.
async fn hold_idle(
    reader: &Pool,
    mut caller: Caller,
    fits: impl Fn(&Session) -> bool,
) -> Result<Option<ClientGuard>, Error> {
    let shared = reader.shared();
    shared.core.check_origin()?;
    let Some(checkout) = pool::acquire_idle(shared, &caller, |session| fits(session)) else {
        return Ok(None);
    };
    let ready = Acquiring::Ready(checkout);
    let in_use = shared.acquire_checked(ready, &mut caller).await?;
    Ok(Some(ClientGuard::new(in_use)))
}

/// Runs `f` in a transaction that only reads.
async fn run<T, F>(guard: ClientGuard, reading: &Reading, f: F) -> Result<T, Error>
where
    F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, Error>,
{
    if reading.prepares_anew() {
        guard.clear_statements();
    }
    let begun = Transaction::begin_with(guard, &READ_ONLY).await?;
    let (transaction, back) = Scoped::new(begun);
    let value = f(transaction).await?;
    match back.take() {
        Some(transaction) => transaction.commit().await.map(|()| value),
        None => Err(Error::SessionEscaped),
    }
}
