//! Random workloads: whatever a program does with its session, the observer agrees with
//! `pg_stat_activity`.

use pgmonkey_connect::Connector;
use pgmonkey_connect::wire::{Observer, WireState};
use pgmonkey_tests::{Fixture, Outcome};
use proptest::prelude::*;

use crate::wire::{driver_config, sent};

mod tasks;
mod threads;

/// One action of a program.
#[derive(Clone, Debug)]
enum Act {
    Begin,
    Commit,
    Rollback,
    Savepoint,
    BackToSavepoint,
    Simple(u16),
    Extended(u16),
    Many,
    Mistake,
    Division,
    Notice,
    CopyIn(End),
    CopyOut,
    CopyOutFails,
    /// This many concurrent statements.
    Pipeline(u8),
    /// These of [`MIXTURE`] concurrently, whatever their outcomes.
    Mixed(Vec<prop::sample::Index>),
    /// These of [`MIXTURE`], each sent and then dropped.
    Forgotten(Vec<prop::sample::Index>),
    /// A transaction that is neither committed nor rolled back.
    DroppedTransaction,
    /// A statement during which both sides are checked.
    Watched,
    /// A statement that is sent and then dropped.
    Abandoned,
    /// A statement that is cancelled while it runs.
    Cancelled,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Finished,
    GivenUp,
    Refused,
}

fn act() -> impl Strategy<Value = Act> {
    let end = prop_oneof![Just(End::Finished), Just(End::GivenUp), Just(End::Refused)];
    prop_oneof![
        3 => Just(Act::Begin),
        2 => Just(Act::Commit),
        2 => Just(Act::Rollback),
        1 => Just(Act::Savepoint),
        1 => Just(Act::BackToSavepoint),
        2 => (0u16..20_000).prop_map(Act::Simple),
        2 => (0u16..20_000).prop_map(Act::Extended),
        1 => Just(Act::Many),
        1 => Just(Act::Mistake),
        1 => Just(Act::Division),
        1 => Just(Act::Notice),
        2 => end.prop_map(Act::CopyIn),
        1 => Just(Act::CopyOut),
        1 => Just(Act::CopyOutFails),
        2 => (1u8..9).prop_map(Act::Pipeline),
        2 => some().prop_map(Act::Mixed),
        2 => some().prop_map(Act::Forgotten),
        1 => Just(Act::DroppedTransaction),
        1 => Just(Act::Watched),
        1 => Just(Act::Abandoned),
        1 => Just(Act::Cancelled),
    ]
}

fn some() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 1..9)
}

/// Statements that are run while others are in progress.
const MIXTURE: [&str; 7] = [
    "SELECT 1",
    "SELECT 1/0",
    "nonsense",
    "SELECT n, repeat('m', 30) FROM generate_series(1, 400) n",
    "BEGIN",
    "ROLLBACK",
    "SELECT pg_sleep(0.002)",
];

/// Makes a statement wait for a lock, checks both sides, and then releases the lock.
struct Watch<'a> {
    on: &'a Fixture,
    lock: String,
}

impl<'a> Watch<'a> {
    fn new(on: &'a Fixture) -> Self {
        let lock = format!("hashtext('{}')", on.name);
        on.run(&format!("SELECT pg_advisory_lock({lock})"));
        Self { on, lock }
    }

    fn statement(&self) -> String {
        let Self { lock, .. } = self;
        format!("SELECT pg_advisory_lock({lock}), pg_advisory_unlock({lock})")
    }

    fn look(&self, observer: &Observer) {
        let on = self.on;
        // Not only active: preparing the statement is a request of its own, which may just have ended.
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE application_name = $1 AND wait_event_type = 'Lock'";
        on.until("it waits for the lock", || {
            on.number(waiting, &[&on.name]) == 1
        });
        let state = observer.state();
        on.run(&format!("SELECT pg_advisory_unlock({})", self.lock));
        assert!(matches!(state, WireState::Busy(_)), "{state:?}");
    }
}

/// The statement of an action that consists of only one.
fn statement(act: &Act) -> Option<String> {
    Some(match act {
        Act::Begin => "BEGIN".to_owned(),
        Act::Commit => "COMMIT".to_owned(),
        Act::Rollback => "ROLLBACK".to_owned(),
        Act::Savepoint => "SAVEPOINT a".to_owned(),
        Act::BackToSavepoint => "ROLLBACK TO a".to_owned(),
        Act::Simple(size) => format!("SELECT repeat('x', {size})"),
        Act::Many => "SELECT 1; SELECT n FROM generate_series(1, 500) n; SELECT 3".to_owned(),
        Act::Mistake => "nonsense".to_owned(),
        Act::Division => "SELECT 1; SELECT 1/0; SELECT 2".to_owned(),
        Act::Notice => "DO $$ BEGIN RAISE NOTICE 'noted'; END $$".to_owned(),
        _ => return None,
    })
}

const COPY_OUT: &str = "COPY (SELECT generate_series(1, 3000)) TO STDOUT";
const COPY_OUT_FAILS: &str = "COPY (SELECT 1 / (50 - n) FROM generate_series(1, 90) n) TO STDOUT";

fn named(state: WireState) -> &'static str {
    match state {
        WireState::Idle => "idle",
        WireState::InTransaction => "idle in transaction",
        WireState::Failed => "idle in transaction (aborted)",
        _ => "not at rest",
    }
}

/// When the session is quiet, both sides must agree. No action may cost the session.
fn agrees(on: &Fixture, observer: &Observer, act: &Act) -> Result<(), TestCaseError> {
    let state = observer.state();
    prop_assert_eq!(
        on.sessions_in(named(state)),
        1,
        "after {:?}: {:?}",
        act,
        state
    );
    Ok(())
}

/// The number of cases: `PROPTEST_CASES`, otherwise enough for daily use.
fn cases() -> ProptestConfig {
    let said = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: said.and_then(|said| said.parse().ok()).unwrap_or(24),
        // Each attempt to shrink needs a session with a server.
        max_shrink_time: 30_000,
        ..ProptestConfig::default()
    }
}

#[test]
fn the_async_driver_under_any_workload() -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    proptest!(cases(), |(acts in proptest::collection::vec(act(), 1..16))| {
        let on = Fixture::new();
        runtime.block_on(async {
            let connector = Connector::new(None);
            let observer = connector.observer().clone();
            let (mut client, connection) = driver_config(&on).connect(connector).await.expect("a session");
            tokio::spawn(connection);
            for act in &acts {
                tasks::act(&mut client, &on, &observer, act).await;
                // The response to this follows all others.
                client.batch_execute("").await.expect("it goes on");
                agrees(&on, &observer, act)?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    });
    Ok(())
}

#[test]
fn the_blocking_driver_under_any_workload() -> Outcome {
    proptest!(cases(), |(acts in proptest::collection::vec(act(), 1..16))| {
        let on = Fixture::new();
        let connector = Connector::new(None);
        let observer = connector.observer().clone();
        let mut client = postgres::Config::from(driver_config(&on)).connect(connector).expect("a session");
        for act in &acts {
            threads::act(&mut client, &on, &observer, act);
            client.batch_execute("").expect("it goes on");
            agrees(&on, &observer, act)?;
        }
    });
    Ok(())
}

/// While a statement runs, both sides say so.
#[test]
fn a_running_statement_is_busy_here_and_active_there() -> Outcome {
    let on = Fixture::new();
    tokio::runtime::Runtime::new()?.block_on(async {
        let connector = Connector::new(None);
        let observer = connector.observer().clone();
        let (client, connection) = driver_config(&on).connect(connector).await?;
        tokio::spawn(connection);
        let (slept, seen) = tokio::join!(client.batch_execute("SELECT pg_sleep(1)"), async {
            sent(|| on.sessions_in("active") == 1).await;
            (observer.state(), on.sessions_in("active"))
        });
        slept?;
        assert_eq!(seen, (WireState::Busy(1), 1));
        assert_eq!(observer.state(), WireState::Idle);
        Ok(())
    })
}
