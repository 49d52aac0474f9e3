//! Every statement is told once, with its time, rows, code and place, whatever sent it.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt};
use pgmonkey::{Config, TopStatement, aio, sync};
use pgmonkey_tests::{Fixture, Outcome, load, twin};
use pgmonkey_testserver::{Certificates, Cluster, Endpoint, Kind, Pgbouncer, ScratchDir};

use crate::observation::{Told, record, statements_of, table, told_of, words};

/// How long each of the statements sleeps, in seconds.
const SLEEP: f64 = 0.03;

/// A statement that was sent: the name in its text, its rows, its SQLSTATE.
struct Sent {
    way: &'static str,
    rows: u64,
    code: &'static str,
}

const fn sent(way: &'static str, rows: u64) -> Sent {
    let code = "";
    Sent { way, rows, code }
}

const SENT: [Sent; 8] = [
    sent("way_query", 1),
    sent("way_deref", 1),
    sent("way_guard", 1),
    sent("way_transaction", 3),
    sent("way_half", 3),
    sent("way_third", 3),
    sent("way_migration", 1),
    Sent {
        way: "way_fails",
        rows: 0,
        code: "22012",
    },
];

/// A driver's client, as a migration crate takes it.
trait Migrate {
    fn migrate(&mut self, migrations: &refinery::Runner) -> Result<(), refinery::Error>;
}

impl Migrate for postgres::Client {
    fn migrate(&mut self, migrations: &refinery::Runner) -> Result<(), refinery::Error> {
        migrations.run(self).map(drop)
    }
}

/// As [`Migrate`], in a task.
trait MigrateAsync {
    async fn migrate(&mut self, migrations: &refinery::Runner) -> Result<(), refinery::Error>;
}

impl MigrateAsync for tokio_postgres::Client {
    async fn migrate(&mut self, migrations: &refinery::Runner) -> Result<(), refinery::Error> {
        migrations.run_async(self).await.map(drop)
    }
}

/// Sends [`SENT`] through the handle `pool` with the table `table`. Returns the line that sent them,
/// which is that of the macro.
macro_rules! send {
    ($driver:ident, $go:ident, $work:ident, $pool:expr, $table:expr) => {{
        let (pool, table): (&$driver::Pool, &str) = (&$pool, $table);
        let nap = |way: &str| format!("SELECT pg_sleep({SLEEP}) AS {way}");
        $go!(pool.query(&*nap("way_query"), &[]))?;
        let mut guard = $go!(pool.acquire())?;
        $go!((*guard).simple_query(&nap("way_deref")))?;
        $go!(guard.query(&*nap("way_guard"), &[]))?;
        drop(guard);
        let insert = format!(
            "WITH way_transaction AS (SELECT pg_sleep({SLEEP})) \
             INSERT INTO {table} SELECT n FROM way_transaction, generate_series(1, 3) n"
        );
        $go!(pool.transaction($work!(|tx| { $go!(tx.execute(&*insert, &[])).map(drop) })))?;
        let rows = format!("SELECT n, pg_sleep({SLEEP}) AS way_half FROM generate_series(1, 3) n");
        let mut half = $go!(pool.query_raw(&*rows, &[]))?;
        assert!($go!(half.next()).is_some());
        drop(half);
        let three = ["way_first", "way_second", "way_third"].map(nap).join("; ");
        $go!(pool.batch_execute(&three))?;
        let migration = refinery::Migration::unapplied("V1__nap", &nap("way_migration"))?;
        let mut migrations = refinery::Runner::new(&[migration]);
        migrations.set_migration_table_name(format!("{table}_history"));
        let mut guard = $go!(pool.acquire())?;
        $go!((*guard).migrate(&migrations))?;
        drop(guard);
        let fails = format!("SELECT 1 / length(pg_sleep({SLEEP})::text) AS way_fails");
        $go!(pool.query(&*fails, &[])).expect_err("a division by zero");
        // The only session is free once everything is answered.
        drop($go!(pool.acquire())?);
        line!()
    }};
}

/// The statements about which the log of the handle called `name` tells, by the name in their text.
fn told_in(name: &str, way: &str) -> Vec<Told> {
    let all = told_of(name).into_iter();
    let is =
        |told: &Told| told.name() == "pgmonkey.slow_statement" && told.get("text").contains(way);
    all.filter(is).collect()
}

/// Checks that each statement was told once, and is counted once.
fn check(name: &str, sent: &[Sent], line: u32, top: &[TopStatement]) {
    for Sent { way, rows, code } in sent {
        let told = told_in(name, way);
        assert_eq!(told.len(), 1, "{way}: {told:?}");
        let told = &told[0];
        let seconds: f64 = told.get("duration_seconds").parse().expect("a number");
        assert!(seconds >= SLEEP, "{way}: {told:?}");
        let first: f64 = told.get("first_byte_seconds").parse().expect("a number");
        assert!(first <= seconds, "{way}: {told:?}");
        // Where a stream is given up, the server may be told to stop.
        let is_cancelled = *way == "way_half" && told.get("code") == "57014";
        if !is_cancelled {
            assert_eq!(told.get("rows"), rows.to_string(), "{way}: {told:?}");
            assert_eq!(told.get("code"), *code, "{way}: {told:?}");
        }
        let place = format!("{}:{line}", file!());
        assert!(
            told.get("place").ends_with(&place),
            "{way} from {place}: {told:?}"
        );
        assert_eq!(told.get("pool"), name);
        let is = |top: &&TopStatement| top.text.as_deref().is_some_and(|text| text.contains(*way));
        let found: Vec<_> = top.iter().filter(is).collect();
        assert_eq!(found.len(), 1, "{way}: {found:?}");
        let found = found[0];
        assert_eq!(found.count, 1, "{way}: {found:?}");
        assert!(
            found.total.as_secs_f64() >= SLEEP && found.max == found.total,
            "{found:?}"
        );
        assert_eq!(
            found.errors,
            u64::from(!code.is_empty() || is_cancelled),
            "{found:?}"
        );
        assert_eq!(found.place.map(|place| place.line()), Some(line), "{way}");
    }
}

/// A way to a server, with a table of its own.
struct Route {
    on: Fixture,
    config: Config,
    _held: Held,
}

/// What runs as long as a route is used.
type Held = (Option<ScratchDir>, Option<Cluster>, Option<Pgbouncer>);

impl Route {
    /// One handle logs ten slow statements a second. Where they share a session, one begins for the
    /// client when it sees the end of the one before, which may be late.
    fn new(on: Fixture, to: &Endpoint, settings: &str, shared: bool, held: Held) -> Self {
        let slow = if shared { "1ms" } else { "25ms" };
        let config = load(&format!(
            "connection_settings: {{ host: {}, port: {}, user: {}, password: '{}', dbname: {}, {settings} }}\n\
             slow_statement: {slow}\npool_settings: {{ max_size: 1 }}\n\
             async_pool_settings: {{ max_size: 1, multiplex: {shared} }}\n",
            to.host(),
            to.port(),
            to.user(),
            to.password(),
            to.dbname(),
        ));
        let _held = held;
        Self { on, config, _held }
    }

    fn plain(shared: bool) -> Self {
        let on = Fixture::new();
        let to = on.server().clone();
        Self::new(on, &to, "sslmode: disable", shared, (None, None, None))
    }

    fn encrypted(shared: bool) -> anyhow::Result<Self> {
        let scratch = ScratchDir::new()?;
        let certificates = Certificates::generate(scratch.path(), "postgres")?;
        let cluster = Cluster::builder().kind(Kind::Tls);
        let cluster = cluster.certificates(certificates).start()?;
        let (on, to) = (Fixture::on((*cluster).clone()), (*cluster).clone());
        let held = (Some(scratch), Some(cluster), None);
        Ok(Self::new(on, &to, "sslmode: require", shared, held))
    }

    /// Through PgBouncer; `None`, with a message, where it is not installed.
    fn pooled(shared: bool) -> anyhow::Result<Option<Self>> {
        let Some(program) = Pgbouncer::find() else {
            println!("skipped: no pgbouncer on this machine (`apt-get install pgbouncer`)");
            return Ok(None);
        };
        let on = Fixture::new();
        let pooler = Pgbouncer::start(&program, on.server(), &[])?;
        let to = pooler.endpoint().clone();
        let settings = "sslmode: disable, pooler: transaction";
        let held = (None, None, Some(pooler));
        Ok(Some(Self::new(on, &to, settings, shared, held)))
    }
}

/// Sends and checks [`SENT`] on a route.
macro_rules! told_once {
    ($route:expr, $driver:ident, $go:ident, $work:ident) => {{
        record();
        let route: Route = $route;
        let name = &*route.on.name;
        let pool = $go!($driver::Builder::new(&route.config).name(name).pool())?;
        let line = send!($driver, $go, $work, pool, name);
        check(name, &SENT, line, &pool.top_statements(100));
        let status = pool.status().statements;
        assert!(
            status.count >= SENT.len() as u64 && status.errors >= 1,
            "{status:?}"
        );
        Ok(())
    }};
}

twin! {
    fn each_statement_is_told_once(_on, driver, go, work) {
        told_once!(Route::plain(false), driver, go, work)
    }
}

twin! {
    fn each_statement_is_told_once_under_tls(_on, driver, go, work) {
        told_once!(Route::encrypted(false)?, driver, go, work)
    }
}

twin! {
    fn each_statement_is_told_once_through_a_pooler(_on, driver, go, work) {
        match Route::pooled(false)? {
            Some(route) => told_once!(route, driver, go, work),
            None => Ok(()),
        }
    }
}

twin! {
    fn a_statement_is_told_with_the_call_or_the_acquire_that_sent_it(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.config("")))?;
        let acquire = line!() + 1;
        let mut guard = go!(pool.acquire())?;
        let call = line!() + 1;
        go!(guard.query("SELECT 1 AS by_call", &[]))?;
        go!((*guard).simple_query("SELECT 1 AS by_deref"))?;
        let timed = line!() + 1;
        go!(guard.timeout(Duration::from_secs(20)).query("SELECT 1 AS by_timed", &[]))?;
        drop(guard);
        let transaction = go!(pool.begin())?;
        let last = line!() + 1;
        go!(transaction.execute_and_commit("SELECT 1 AS by_last", &[]))?;
        let mut transaction = go!(pool.begin())?;
        let savepoint = go!(transaction.transaction())?;
        let inner = line!() + 1;
        go!(savepoint.execute_and_commit("SELECT 1 AS by_inner", &[]))?;
        go!(transaction.rollback())?;
        let top = pool.top_statements(100);
        for (name, line) in [
            ("by_call", call),
            ("by_deref", acquire),
            ("by_timed", timed),
            ("by_last", last),
            ("by_inner", inner),
        ] {
            let is = |top: &&TopStatement| top.text.as_deref().is_some_and(|text| text.contains(name));
            let found = top.iter().find(is).expect("it ran");
            let place = found.place.expect("a caller sent it");
            assert_eq!((place.file(), place.line()), (file!(), line), "{name}");
        }
        Ok(())
    }
}

twin! {
    fn nothing_is_counted_if_the_file_says_so(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.config("statement_stats: false")))?;
        go!(pool.query("SELECT 1", &[]))?;
        assert!(pool.top_statements(10).is_empty());
        assert_eq!(pool.status().statements.count, 0);
        Ok(())
    }
}

/// The events of a kind about the handle called `name`.
fn told_as(kind: &str, name: &str) -> Vec<Told> {
    let all = told_of(name).into_iter();
    all.filter(|told| told.name() == kind).collect()
}

twin! {
    fn a_text_that_is_repeated_in_a_checkout_is_told_once(on, driver, go, work) {
        record();
        let config = on.config("statements_per_checkout: 5\nstatement_text: none\n");
        let pool = go!(driver::Builder::new(&config).name(&*on.name).pool())?;
        for _ in 0..20 {
            go!(pool.query("SELECT 1", &[]))?;
        }
        let told = || told_as("pgmonkey.repeated_statement", &on.name);
        assert!(told().is_empty(), "each has a checkout of its own");
        let mut guard = go!(pool.acquire())?;
        for n in 0..20 {
            go!(guard.query("SELECT $1::int4 + 1", &[&n]))?;
            go!(guard.batch_execute(&format!("SELECT 'secret{n}'")))?;
        }
        drop(guard);
        let told = told();
        assert_eq!(told.len(), 2, "{told:?}");
        for told in told {
            assert_eq!((told.get("count"), told.get("operation")), ("5", "SELECT"));
            assert!(told.get("place").contains(file!()), "{told:?}");
            assert!(told.get("message").contains("ran 5 times"), "{told:?}");
            assert_eq!(told.get("event"), told.name());
            assert!(!format!("{told:?}").contains("secret"), "{told:?}");
        }
        Ok(())
    }
}

twin! {
    fn an_acquire_that_waits_for_long_is_told_with_its_place(on, driver, go, work) {
        record();
        let settings = "{ min_size: 1, max_size: 1 }";
        let config = on.config(&format!(
            "slow_acquire: 20ms\npool_settings: {settings}\nasync_pool_settings: {settings}\n"
        ));
        let pool = go!(driver::Builder::new(&config).name(&*on.name).pool())?;
        drop(go!(pool.acquire())?);
        let told = || told_as("pgmonkey.slow_acquire", &on.name);
        assert!(told().is_empty(), "{:?}", told());
        let guard = go!(pool.acquire())?;
        let waiter = crate::limits::waits_on_a_thread(&pool);
        on.until("one waits", || pool.status().waiting == 1);
        // Longer than the limit, by the clock that the pool reads.
        on.run("SELECT pg_sleep(0.03)");
        drop(guard);
        assert!(waiter.join().expect("no panic"));
        let told = told();
        assert_eq!(told.len(), 1, "{told:?}");
        let seconds: f64 = told[0].get("wait_seconds").parse()?;
        assert!(seconds >= 0.02 && told[0].get("place").contains("limits.rs"), "{told:?}");
        Ok(())
    }
}

/// Checks that what was reported of a kind is what a table of the book says.
fn is_in_the_book(told: &[Told]) {
    for told in told {
        let name = format!("`{}`", told.name());
        let row = table("statement event")
            .into_iter()
            .find(|row| row[0] == name);
        let row = row.expect("it is in the book");
        assert_eq!(row[1], told.level(), "{name}");
        assert_eq!(words(&row[2]), told.declared(), "{name}");
    }
}

twin! {
    fn what_is_told_of_statements_is_what_the_book_says(on, driver, go, work) {
        record();
        let config = on.config("slow_statement: 0.000001\nslow_acquire: 0.000001\nstatements_per_checkout: 2\n");
        let pool = go!(driver::Builder::new(&config).name(&*on.name).pool())?;
        let mut guard = go!(pool.acquire())?;
        let line = line!() + 1;
        go!(guard.query("SELECT n FROM generate_series(1, 3) n", &[]))?;
        for _ in 0..3 {
            go!(guard.batch_execute("SELECT 1 / 0")).expect_err("a division by zero");
        }
        drop(guard);
        for kind in ["slow_statement", "repeated_statement", "slow_acquire"] {
            let told = told_as(&format!("pgmonkey.{kind}"), &on.name);
            assert!(!told.is_empty(), "{kind}");
            is_in_the_book(&told);
        }
        assert_eq!(table("statement event").len(), 3);

        let spans = statements_of(&on.name);
        let of = |summary: &str| {
            let is = |told: &&Told| told.get("db.query.summary") == summary;
            spans.iter().find(is).unwrap_or_else(|| panic!("{summary}: {spans:?}"))
        };
        let known: Vec<_> = table("field of the span").iter().flat_map(|row| words(&row[0])).collect();
        let mut known: Vec<&str> = known.iter().map(String::as_str).collect();
        known.sort_unstable();
        assert_eq!(known, of("SELECT").declared().iter().collect::<Vec<_>>());

        let (port, place) = (on.server().port().to_string(), line.to_string());
        for (field, value) in [
            ("otel.kind", "client"),
            ("otel.status_code", ""),
            ("db.system.name", "postgresql"),
            ("db.namespace", on.server().dbname()),
            ("db.operation.name", "SELECT"),
            ("db.response.returned_rows", "3"),
            ("db.response.status_code", ""),
            ("server.address", on.server().host()),
            ("server.port", &port),
            ("code.file.path", file!()),
            ("code.line.number", &place),
        ] {
            assert_eq!(of("SELECT generate_series").get(field), value, "{field}");
        }
        assert_eq!(of("SELECT generate_series").get("otel.name"), "SELECT generate_series");
        for (field, value) in [
            ("otel.status_code", "ERROR"),
            ("db.response.status_code", "22012"),
            ("error.type", "22012"),
            ("db.query.text", "SELECT ? / ?"),
        ] {
            assert_eq!(of("SELECT").get(field), value, "{field}");
        }
        Ok(())
    }
}

/// The lines of a copy.
const DATA: &[u8] = b"1\n2\n3\n4\n";

/// A copy into a table whose rows take time, and one out of it.
fn copies(on: &Fixture) -> [String; 2] {
    on.run(&format!(
        "ALTER TABLE {} ADD way_in text DEFAULT pg_sleep({SLEEP})::text",
        on.name
    ));
    [
        format!("COPY {} (n) FROM STDIN", on.name),
        format!(
            "COPY (SELECT n, pg_sleep({SLEEP}) AS way_out FROM {}) TO STDOUT",
            on.name
        ),
    ]
}

fn check_copies(on: &Fixture, [into, out]: &[String; 2], lines: [u32; 2], top: &[TopStatement]) {
    let name = format!("COPY {} (n)", on.name);
    check(&on.name, &[sent(name.clone().leak(), 4)], lines[0], top);
    check(&on.name, &[sent("way_out", 4)], lines[1], top);
    let bytes = |way: &str, field: &str| {
        let bytes: usize = told_in(&on.name, way)[0]
            .get(field)
            .parse()
            .expect("a number");
        bytes
    };
    assert!(bytes(&name, "sent_bytes") >= DATA.len() + into.len());
    assert!(bytes("way_out", "received_bytes") >= DATA.len());
    assert!(bytes("way_out", "sent_bytes") >= 10 && out.len() > 10);
}

fn copy_on_threads(Route { on, config, .. }: &Route) -> Outcome {
    record();
    let copies = copies(on);
    let pool = sync::Builder::new(config).name(&*on.name).pool()?;
    let line = line!() + 1;
    let (mut sink, mut text) = (pool.copy_in(&copies[0])?, String::new());
    sink.write_all(DATA)?;
    sink.finish()?;
    let out = line!() + 1;
    pool.copy_out(&copies[1])?.read_to_string(&mut text)?;
    drop(pool.acquire()?);
    check_copies(on, &copies, [line, out], &pool.top_statements(100));
    Ok(())
}

async fn copy_in_tasks(Route { on, config, .. }: &Route) -> Outcome {
    record();
    let copies = copies(on);
    let pool = aio::Builder::new(config).name(&*on.name).pool().await?;
    let line = line!() + 1;
    let mut sink = pool.copy_in::<_, Bytes>(&copies[0]).await?;
    SinkExt::feed(&mut sink, Bytes::from_static(DATA)).await?;
    sink.finish().await?;
    let out = line!() + 1;
    let data = pool.copy_out(&copies[1]).await?;
    let _: Vec<Bytes> = data.try_collect().await?;
    drop(pool.acquire().await?);
    check_copies(on, &copies, [line, out], &pool.top_statements(100));
    Ok(())
}

async fn share_a_session(Route { on, config, .. }: &Route) -> Outcome {
    record();
    let pool = aio::Builder::new(config).name(&*on.name).pool().await?;
    let ways = ["way_one", "way_two", "way_three"];
    let texts = ways.map(|way| format!("SELECT pg_sleep({SLEEP}) AS {way}"));
    // Prepared first, so that all three are sent one behind the other.
    for text in &texts {
        pool.query(&**text, &[]).await?;
    }
    let [one, two, three] = texts.each_ref().map(|text| pool.query(&**text, &[]));
    let (one, two, three) = tokio::join!(one, two, three);
    assert_eq!([one?, two?, three?].map(|rows| rows.len()), [1; 3]);
    drop(pool.acquire().await?);
    let mut waits = 0.0;
    for way in ways {
        let told = told_in(&on.name, way);
        assert_eq!(told.len(), 2, "{way}: {told:?}");
        for told in told {
            let seconds = |field: &str| told.get(field).parse::<f64>().expect("a number");
            assert!(
                seconds("wait_seconds") + seconds("duration_seconds") >= SLEEP,
                "{told:?}"
            );
            assert_eq!((told.get("rows"), told.get("code")), ("1", ""), "{told:?}");
            assert!(told.get("place").contains(file!()), "{told:?}");
            waits += seconds("wait_seconds");
        }
        let top = pool.top_statements(100);
        let is = |top: &&TopStatement| top.summary == "SELECT" && top.count == 2;
        assert_eq!(top.iter().filter(is).count(), 3, "{top:?}");
    }
    assert!(waits >= SLEEP, "none waited for another: {waits}");
    Ok(())
}

#[test]
fn copies_are_told_on_threads() -> Outcome {
    copy_on_threads(&Route::plain(false))
}

#[test]
fn copies_are_told_on_threads_under_tls() -> Outcome {
    copy_on_threads(&Route::encrypted(false)?)
}

#[test]
fn copies_are_told_on_threads_through_a_pooler() -> Outcome {
    Route::pooled(false)?.map_or(Ok(()), |route| copy_on_threads(&route))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_told_in_tasks() -> Outcome {
    copy_in_tasks(&Route::plain(false)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_told_in_tasks_under_tls() -> Outcome {
    copy_in_tasks(&Route::encrypted(false)?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_told_in_tasks_through_a_pooler() -> Outcome {
    match Route::pooled(false)? {
        Some(route) => copy_in_tasks(&route).await,
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_share_a_session_are_told_apart() -> Outcome {
    share_a_session(&Route::plain(true)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_share_a_session_are_told_apart_under_tls() -> Outcome {
    share_a_session(&Route::encrypted(true)?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_share_a_session_are_told_apart_through_a_pooler() -> Outcome {
    match Route::pooled(true)? {
        Some(route) => share_a_session(&route).await,
        None => Ok(()),
    }
}
