//! The accounts, and the outcomes reported to the tasks and threads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use anyhow::ensure;
use pgmonkey::Error;
use pgmonkey_testserver::Cluster;
use postgres::SimpleQueryMessage;

const ACCOUNTS: i64 = 20;
const BALANCE: i64 = 1000;

/// One transfer to be made.
#[derive(Clone, Copy)]
pub(crate) struct Transfer {
    pub(crate) id: i64,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) amount: i64,
}

/// The outcome of a transfer as far as its caller knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// The commit was confirmed.
    Committed,
    /// The transfer failed before the commit.
    Undone,
    /// The commit was sent and not answered.
    Unknown,
}

impl Told {
    /// The outcome that a result reports.
    pub(crate) fn by(done: &Result<(), Error>) -> Self {
        match done {
            Ok(()) => Self::Committed,
            Err(error) if error.is_outcome_unknown() => Self::Unknown,
            Err(_) => Self::Undone,
        }
    }
}

/// Whether the session is outside a transaction: inside one, `now()` does not advance. By the
/// simple protocol, because the extended one takes several timestamps per statement.
pub(crate) const OUTSIDE: &str = "SELECT now() = statement_timestamp()";

/// Whether the server returned true.
pub(crate) fn is_yes(answer: &[SimpleQueryMessage]) -> bool {
    answer.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
        _ => false,
    })
}

pub(crate) struct Bank {
    url: String,
    next: AtomicI64,
    told: Mutex<BTreeMap<i64, Told>>,
    pub(crate) dirty: AtomicU64,
    pub(crate) misled: AtomicU64,
    pub(crate) unlucky: AtomicU64,
    pub(crate) unserved: AtomicU64,
    pub(crate) turns: AtomicU64,
    /// Transfers whose commit was confirmed, and those for which that failed.
    pub(crate) confirmed: AtomicU64,
    pub(crate) unconfirmed: AtomicU64,
}

impl Bank {
    pub(crate) fn open(cluster: &Cluster) -> anyhow::Result<Self> {
        cluster.psql(&format!(
            "CREATE TABLE accounts (id int8 PRIMARY KEY, balance int8 NOT NULL); \
             INSERT INTO accounts SELECT n, {BALANCE} FROM generate_series(0, {ACCOUNTS} - 1) n; \
             CREATE TABLE transfers (id int8 NOT NULL, source int8 NOT NULL, target int8 NOT NULL, amount int8 NOT NULL)"
        ))?;
        Ok(Self {
            url: cluster.url(),
            next: AtomicI64::new(1),
            told: Mutex::default(),
            dirty: AtomicU64::new(0),
            misled: AtomicU64::new(0),
            unlucky: AtomicU64::new(0),
            unserved: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            unconfirmed: AtomicU64::new(0),
        })
    }

    /// A transfer with a new number.
    pub(crate) fn draw(&self, random: &mut Random) -> Transfer {
        let from = random.below(ACCOUNTS as u64) as i64;
        let to = (from + 1 + random.below(ACCOUNTS as u64 - 1) as i64) % ACCOUNTS;
        Transfer {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            from,
            to,
            amount: 1 + random.below(9) as i64,
        }
    }

    pub(crate) fn note(&self, transfer: Transfer, told: Told) {
        let mut book = self.told.lock().expect("not poisoned");
        book.insert(transfer.id, told);
    }

    /// Notes a transfer whose outcome is to be known in any case.
    pub(crate) fn note_confirmed(&self, transfer: Transfer, done: &Result<(), Error>) {
        let told = Told::by(done);
        let count = match told {
            Told::Unknown => &self.unconfirmed,
            _ => &self.confirmed,
        };
        count.fetch_add(1, Ordering::SeqCst);
        if let (Told::Unknown, Err(error)) = (told, done) {
            eprintln!("not confirmed: {error}");
        }
        self.note(transfer, told);
    }

    /// Compares the reported outcomes with the database.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let mut client = postgres::Client::connect(&self.url, postgres::NoTls)?;
        let mut made = BTreeMap::<i64, u32>::new();
        for row in client.query("SELECT id FROM transfers", &[])? {
            *made.entry(row.get(0)).or_default() += 1;
        }
        let told = self.told.lock().expect("not poisoned");
        let is_made = |id: &i64| made.contains_key(id);
        let lost = told
            .iter()
            .filter(|(id, told)| **told == Told::Committed && !is_made(id));
        let ghosts = told
            .iter()
            .filter(|(id, told)| **told == Told::Undone && is_made(id));
        let (lost, ghosts) = (lost.count(), ghosts.count());
        let doubled = made.values().filter(|times| **times > 1).count();
        let unheard = made.keys().filter(|id| !told.contains_key(id)).count();
        ensure!(
            (lost, ghosts, doubled, unheard) == (0, 0, 0, 0),
            "{lost} lost, {ghosts} made although rolled back, {doubled} made twice, {unheard} unknown"
        );
        let wrong: i64 = client
            .query_one(
                "SELECT count(*) FROM accounts a WHERE balance <> $1 \
                 + (SELECT coalesce(sum(amount), 0) FROM transfers WHERE target = a.id)::int8 \
                 - (SELECT coalesce(sum(amount), 0) FROM transfers WHERE source = a.id)::int8",
                &[&BALANCE],
            )?
            .get(0);
        let sum: i64 = client
            .query_one("SELECT sum(balance)::int8 FROM accounts", &[])?
            .get(0);
        ensure!(
            wrong == 0,
            "{wrong} accounts do not agree with their transfers"
        );
        ensure!(sum == ACCOUNTS * BALANCE, "money was made or lost: {sum}");
        self.check_counters()?;
        ensure!(
            made.len() > 100,
            "only {} transfers: too few to prove anything",
            made.len()
        );
        Ok(())
    }

    /// Checks that nothing happened that must not.
    fn check_counters(&self) -> anyhow::Result<()> {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        ensure!(
            count(&self.dirty) == 0,
            "{} dirty sessions handed out",
            count(&self.dirty)
        );
        ensure!(
            count(&self.misled) == 0,
            "{} responses to other statements",
            count(&self.misled)
        );
        ensure!(
            count(&self.unserved) == 0,
            "{} acquires failed",
            count(&self.unserved)
        );
        ensure!(
            count(&self.unconfirmed) == 0,
            "{} outcomes unknown that could have been known",
            count(&self.unconfirmed)
        );
        Ok(())
    }
}

impl fmt::Display for Bank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.told.lock().expect("not poisoned");
        let of = |wanted: Told| told.values().filter(|told| **told == wanted).count();
        write!(
            f,
            "{} turns; transfers: {} committed, {} rolled back, {} unknown; {} serializable, with \
             retries and confirmed; dirty sessions 0; sessions \
             killed between acquire and the first statement: {}",
            self.turns.load(Ordering::SeqCst),
            of(Told::Committed),
            of(Told::Undone),
            of(Told::Unknown),
            self.confirmed.load(Ordering::SeqCst),
            self.unlucky.load(Ordering::SeqCst),
        )
    }
}

/// Reproducible random numbers: SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 0 to `limit` - 1.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)) % limit
    }
}
