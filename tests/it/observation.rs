//! What is reported about a handle: spans and events, metrics, and exact numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::limits::waits_on_a_thread;
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pgmonkey::{Error, HookVerdict, Status};
use pgmonkey_connect::events;
use pgmonkey_connect::operations::{Operation, Operations};
use pgmonkey_tests::{Fixture, LONG, Outcome, broken_tls, load, twin};
use tracing::field::{self, Field, Visit};
use tracing::{Event, Id, Metadata, Subscriber, span};

const BOOK: &str = include_str!("../../docs/observability.md");

/// The rows of the table whose first column is called `first`.
pub(crate) fn table(first: &str) -> Vec<Vec<String>> {
    let head = format!("| {first} |");
    let rows = BOOK
        .lines()
        .skip_while(|line| !line.starts_with(&head))
        .skip(2);
    let rows: Vec<Vec<String>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect();
    assert!(!rows.is_empty(), "no table of {first}");
    rows
}

/// The words in a cell.
pub(crate) fn words(cell: &str) -> BTreeSet<String> {
    let words = cell.split(',').map(|word| word.trim().trim_matches('`'));
    let words = words.filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// One span or event as it was reported.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    is_span: bool,
    name: &'static str,
    level: tracing::Level,
    fields: BTreeMap<String, String>,
    /// All that it can have.
    declared: &'static field::FieldSet,
}

impl Told {
    fn of(metadata: &'static Metadata<'static>, is_span: bool) -> Self {
        Self {
            is_span,
            name: metadata.name(),
            level: *metadata.level(),
            fields: BTreeMap::new(),
            declared: metadata.fields(),
        }
    }

    pub(crate) fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn level(&self) -> &str {
        self.level.as_str()
    }

    /// The names of all fields that it has or can have.
    pub(crate) fn declared(&self) -> BTreeSet<String> {
        let names = self.declared.iter().map(|field| field.name().to_owned());
        names
            .filter(|name| !["message", "event"].contains(&&**name))
            .collect()
    }

    fn names(&self) -> BTreeSet<String> {
        let names = self
            .fields
            .keys()
            .filter(|name| !["message", "event"].contains(&name.as_str()));
        names.cloned().collect()
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields
            .insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields
            .insert(field.name().to_owned(), value.to_owned());
    }
}

/// Records everything that is reported to the library's targets.
struct Recorder(&'static Mutex<Vec<Told>>);

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(events::TARGET)
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> Id {
        let mut told = Told::of(span.metadata(), true);
        span.record(&mut told);
        let mut all = self.0.lock().expect("no panic");
        all.push(told);
        Id::from_u64(all.len() as u64)
    }

    fn event(&self, event: &Event<'_>) {
        let mut told = Told::of(event.metadata(), false);
        event.record(&mut told);
        self.0.lock().expect("no panic").push(told);
    }

    fn record(&self, span: &Id, values: &span::Record<'_>) {
        let mut all = self.0.lock().expect("no panic");
        values.record(&mut all[span.into_u64() as usize - 1]);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Everything reported so far about the handle or the file called `name`.
pub(crate) fn told_of(name: &str) -> Vec<Told> {
    let all = recording().lock().expect("no panic");
    let names = |told: &&Told| match (told.fields.get("pool"), told.fields.get("file")) {
        (Some(pool), _) => pool == name,
        (None, Some(file)) => file == name || file.ends_with(&format!("/{name}")),
        (None, None) => told.get("message").contains(&format!("x{name}x")),
    };
    all.iter().filter(names).cloned().collect()
}

/// The spans of statements of the handle called `name`.
pub(crate) fn statements_of(name: &str) -> Vec<Told> {
    let all = recording().lock().expect("no panic");
    let is = |told: &&Told| told.is_span && told.get("db.client.connection.pool.name") == name;
    all.iter().filter(is).cloned().collect()
}

/// Everything reported so far in this process, as text.
pub(crate) fn all_told() -> String {
    let all = recording().lock().expect("no panic");
    let fields = all.iter().flat_map(|told| told.fields.values());
    fields.map(|field| format!("{field}\n")).collect()
}

/// Starts recording, and returns how many warnings there were about the file called `name`.
pub(crate) fn warnings_about(name: &str) -> usize {
    recording();
    let told = told_of(name).into_iter();
    told.filter(|told| told.level == tracing::Level::WARN)
        .count()
}

/// Starts recording.
pub(crate) fn record() {
    recording();
}

/// Starts recording events in this process; tests distinguish theirs by name.
fn recording() -> &'static Mutex<Vec<Told>> {
    static ALL: OnceLock<&'static Mutex<Vec<Told>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let all: &'static Mutex<Vec<Told>> = Box::leak(Box::default());
        tracing::subscriber::set_global_default(Recorder(all)).expect("the first");
        all
    })
}

/// Starts recording metrics in this process.
pub(crate) fn metrics() -> &'static Snapshotter {
    static SNAPSHOTTER: OnceLock<Snapshotter> = OnceLock::new();
    SNAPSHOTTER.get_or_init(|| {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        recorder.install().expect("the first");
        snapshotter
    })
}

/// What the program itself counts while a session is opened.
const PREPARED: &str = "program_sessions_prepared";

struct Counting;

#[async_trait::async_trait]
impl pgmonkey::aio::AfterConnect for Counting {
    async fn after_connect(&self, _: &mut tokio_postgres::Client) -> Result<(), Error> {
        metrics::counter!(PREPARED, "hook" => "counting").increment(1);
        Ok(())
    }
}

#[tokio::test]
async fn the_engine_records_nothing_and_the_programs_own_code_does() -> Outcome {
    metrics();
    let on = Fixture::new();
    let hooks = pgmonkey::AsyncHooks::new("counting").after_connect(Counting);
    let config = on.pools_async("{ min_size: 2, max_size: 2 }");
    let pool = pgmonkey::aio::Builder::new(&config).hooks(hooks);
    let pool = pool.name(on.name.as_str()).pool().await?;
    drop(pool.acquire().await?);
    let all = metrics().snapshot().into_vec();
    let counted = |name: &str| {
        let mut found = all.iter().filter(|(key, ..)| key.key().name() == name);
        found.any(|(.., value)| !matches!(value, DebugValue::Counter(0)))
    };
    assert!(counted(PREPARED) && counted("pgmonkey.connection.opened"));
    let mobc = |key: &metrics_util::CompositeKey| key.key().name().starts_with("mobc_");
    let foreign: Vec<_> = all.iter().filter(|(key, ..)| mobc(key)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    Ok(())
}

/// A hook that fails when it is called.
pub(crate) struct Broken;

impl pgmonkey::sync::AfterRelease for Broken {
    fn after_release(&self, _: &mut postgres::Client) -> Result<HookVerdict, Error> {
        Err(Error::other("a hook's reason"))
    }
}

#[async_trait::async_trait]
impl pgmonkey::aio::AfterRelease for Broken {
    async fn after_release(&self, _: &mut tokio_postgres::Client) -> Result<HookVerdict, Error> {
        Err(Error::other("a hook's reason"))
    }
}

/// Causes one of everything that can be reported, on handles called `name`.
macro_rules! everything {
    ($on:ident, $driver:ident, $go:ident, $work:ident, $name:expr) => {{
        let name: &str = $name;
        let config = $on.pools("{ min_size: 1, max_size: 1, timeout: 500ms, max_waiting: 1 }");
        let pool = $go!($driver::Builder::new(&config).name(name).pool())?;
        let mut guard = $go!(pool.acquire())?;
        assert!($go!(pool.acquire()).is_err_and(|error| error.is_timeout()));
        let raise = "DO $$ BEGIN RAISE NOTICE 'a notice'; RAISE WARNING 'a warning'; END $$";
        $go!(guard.batch_execute(raise))?;
        let debug =
            "SET LOCAL client_min_messages = debug1; DO $$ BEGIN RAISE DEBUG 'a detail'; END $$";
        $go!(guard.batch_execute(debug))?;
        $go!(guard.batch_execute("BEGIN"))?;
        drop(guard);
        let raise = "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$";
        let retry = pgmonkey::Retry::attempts(2).backoff(Duration::ZERO, Duration::ZERO);
        let run = pool.build_transaction().label("told").retry(retry);
        assert!($go!(run.run($work!(|tx| { $go!(tx.batch_execute(raise)) }))).is_err());
        drop($go!(pool.acquire())?);
        $on.kill();
        drop($go!(pool.acquire())?);
        pool.close();
        drop(pool);

        let patient = $on.pools("{ min_size: 0, max_size: 1, timeout: 20, max_waiting: 1 }");
        let pool = $go!($driver::Builder::new(&patient).name(name).pool())?;
        let guard = $go!(pool.acquire())?;
        let waiter = waits_on_a_thread(&pool);
        $on.until("one waits", || pool.status().waiting == 1);
        assert!($go!(pool.acquire()).is_err_and(|error| matches!(error, Error::QueueFull { .. })));
        drop(guard);
        assert!(waiter.join().expect("no panic"));
        drop(pool);

        let hooks = $driver::Hooks::new("broken").after_release(Broken);
        let pool = $go!(
            $driver::Builder::new(&patient)
                .name(name)
                .hooks(hooks)
                .pool()
        )?;
        drop($go!(pool.acquire())?);
        $on.until("the hook has failed", || pool.status().closed.hook == 1);
        drop(pool);

        let port = broken_tls($on.server())?;
        let yaml = $on.yaml_at("127.0.0.1", port, "");
        let yaml = yaml.replacen("sslmode: disable", "sslmode: prefer", 1);
        let connection = $driver::Builder::new(&load(&yaml)).name(name);
        drop($go!(connection.connection())?);

        let yaml = $on.yaml("").replacen("password: '", "password: 'wr0ng-", 1);
        assert!($go!($driver::Builder::new(&load(&yaml)).name(name).connection()).is_err());

        let mut listener = $go!($driver::Builder::new(&config).name(name).listener())?;
        $go!(listener.listen("anything"))?;
        $on.kill();
        $go!(listener.recv())?;
        $go!(listener.close());
    }};
}
pub(crate) use everything;

/// Causes the events about files.
fn files_that_are_reported(name: &str) {
    use pgmonkey::config::{Loader, UnknownKeys, passfile::PassFile};
    let folder = tempfile::tempdir().expect("a folder");
    let passfile = folder.path().join(name);
    std::fs::create_dir(&passfile).expect("a folder");
    assert!(PassFile::load(&passfile).is_ok_and(|file| file.is_none()));
    let yaml = format!("connection_settings: {{ host: h, x{name}x: 1 }}\n");
    let loader = Loader::new().yaml(yaml).libpq_sources(false);
    assert!(loader.unknown_keys(UnknownKeys::Warn).load().is_ok());
    let certificate = std::path::Path::new(name);
    events::certificate_kept(certificate, &"a reason");
}

twin! {
    fn what_is_told_is_what_the_book_says(on, driver, go, work) {
        recording();
        everything!(on, driver, go, work, &on.name);
        // These take time or another party, so they are reported here directly.
        events::leaked(&on.name, std::panic::Location::caller(), None, Duration::from_secs(9));
        events::resized(&on.name, 1, 2);
        events::replaced(&on.name, "pool");
        events::not_reloaded(std::path::Path::new(&on.name), &Error::other("a reason"));
        files_that_are_reported(&on.name);

        let told = told_of(&on.name);
        let (spans, events) = (table("span"), table("event"));
        let fits = |told: &Told, row: &[String]| {
            row[0] == format!("`{}`", told.name)
                && words(&row[1]).contains(told.level.as_str())
                && words(&row[2]) == told.names()
        };
        for told in &told {
            if !told.is_span {
                assert_eq!(told.get("event"), told.name, "{told:?}");
                let message = told.get("message");
                assert!(message.contains(' ') && !message.contains('\n'), "no message: {told:?}");
            }
            let rows = if told.is_span { &spans } else { &events };
            assert!(rows.iter().any(|row| fits(told, row)), "not in the book: {told:?}");
        }
        for (rows, is_span) in [(&spans, true), (&events, false)] {
            for row in rows {
                let of_kind = || told.iter().filter(|told| told.is_span == is_span);
                assert!(of_kind().any(|told| fits(told, row)), "never told: {row:?}");
            }
        }
        let told_once = |name: &str, field: &str, value: &str| {
            let found = told.iter().any(|told| told.name == name && told.get(field) == value);
            assert!(found, "{name} with {field} = {value}");
        };
        for (name, field, value) in [
            (events::ACQUIRE, "outcome", "acquired"),
            (events::ACQUIRE, "outcome", "timeout"),
            (events::ACQUIRE, "outcome", "queue_full"),
            (events::CONNECT, "outcome", "opened"),
            (events::CONNECT, "outcome", "failed"),
            (events::RETRY, "label", "told"),
            (events::RETRY, "code", "40001"),
            (events::RECYCLE, "verdict", "keep"),
            (events::RECYCLE, "verdict", "roll_back"),
            (events::DISCARD, "reason", "dead"),
            (events::DISCARD, "reason", "hook"),
            (events::DISCARD, "reason", "shutdown"),
        ] {
            told_once(name, field, value);
        }
        use tracing::Level;
        for (severity, level) in [("WARNING", Level::WARN), ("NOTICE", Level::INFO), ("DEBUG", Level::DEBUG)] {
            let is = |told: &&Told| told.name == events::NOTICE && told.get("severity") == severity;
            let levels: BTreeSet<_> = told.iter().filter(is).map(|told| told.level).collect();
            assert_eq!(levels, BTreeSet::from([level]), "{severity}");
        }
        let all = format!("{told:?}");
        assert!(all.contains("a hook's reason") && all.contains("28P01"), "{all}");
        assert!(!all.contains("wr0ng-") && !all.contains(on.server().password()), "a secret");
        Ok(())
    }
}

twin! {
    fn a_session_held_for_too_long_is_told_once_with_its_place(on, driver, go, work) {
        recording();
        let config = on.pools("{ min_size: 0, max_size: 3, leak_warning: 300ms }");
        let pool = go!(driver::Builder::new(&config).name(&*on.name).pool())?;
        let leaks = || {
            let told = told_of(&on.name).into_iter().filter(|told| told.name == events::LEAK);
            told.map(|told| told.get("place").to_owned()).collect::<Vec<_>>()
        };
        drop(go!(pool.acquire())?);
        let first = go!(pool.build_transaction().label("slow").begin())?;
        let places = [format!("{}:{}", file!(), line!() - 1), format!("{}:{}", file!(), line!() + 2)];
        on.until("the first is told", || leaks() == places[..1]);
        let second = go!(pool.acquire())?;
        on.until("the second is told", || leaks() == places);
        // The maintenance runs several times in this period.
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(leaks(), places, "each once");
        assert!(told_of(&on.name).iter().any(|told| told.name == events::LEAK && told.level == tracing::Level::WARN));
        let told = told_of(&on.name).into_iter().filter(|told| told.name == events::LEAK);
        let labels: Vec<_> = told.map(|told| told.get("label").to_owned()).collect();
        assert_eq!(labels, ["slow", ""]);
        drop((first, second));
        Ok(())
    }
}

twin! {
    fn an_idle_session_is_taken_without_a_span_below_trace(on, driver, go, work) {
        recording();
        let builder = driver::Builder::new(&on.pools("{ min_size: 1, max_size: 1 }")).name(&*on.name);
        let pool = go!(builder.pool())?;
        // The session may still be on its way to the idle list.
        let mut seen = false;
        for _ in 0..50 {
            let before = told_of(&on.name).len();
            drop(go!(pool.acquire())?);
            let told = told_of(&on.name).split_off(before);
            let spans: Vec<_> = told.iter().filter(|told| told.is_span).collect();
            assert_eq!(spans[0].level, tracing::Level::TRACE, "{spans:?}");
            seen |= spans.len() == 1;
        }
        assert!(seen, "each acquire makes more spans than one");
        Ok(())
    }
}

twin! {
    fn a_handle_goes_by_its_target_if_it_has_no_name(on, driver, go, work) {
        recording();
        let pool = go!(driver::Pool::new(&on.config("")))?;
        let target = pool.target().to_owned();
        assert!(target.ends_with(&format!("@{}:{}/{}", on.server().host(), on.server().port(), on.server().dbname())));
        assert!(!told_of(&target).is_empty());
        Ok(())
    }
}

/// The label that names the handle.
pub(crate) const POOL: &str = "db.client.connection.pool.name";
/// The label that names the database, of statements.
pub(crate) const DATABASE: &str = "db.namespace";

/// What is recorded under a name and labels: its kind, unit and value.
pub(crate) type Recorded =
    BTreeMap<(String, BTreeMap<String, String>), (MetricKind, Option<String>, DebugValue)>;

/// What was recorded about the handle called `name` since the last call.
///
/// A snapshot takes the values of all tests, so those of other handles are kept for them.
pub(crate) fn recorded_of(name: &str) -> Recorded {
    static LEFT: Mutex<Recorded> = Mutex::new(BTreeMap::new());
    let mut left = LEFT.lock().expect("no panic");
    for (key, unit, _, value) in metrics().snapshot().into_vec() {
        let labels: BTreeMap<_, _> = key
            .key()
            .labels()
            .map(|label| (label.key().to_owned(), label.value().to_owned()))
            .collect();
        let unit = unit.map(|unit| unit.as_str().to_owned());
        // mobc records metrics without a label, which must not reach the program's recorder.
        let name = key.key().name();
        let ours = ["db.client.", "pgmonkey."]
            .iter()
            .any(|begin| name.starts_with(begin));
        let ours = ours || name == PREPARED;
        assert!(ours, "{key:?}");
        let (kind, key) = (key.kind(), (key.key().name().to_owned(), labels));
        let value = match left.remove(&key) {
            Some((_, _, before)) => sum(before, value),
            None => value,
        };
        left.insert(key, (kind, unit, value));
    }
    let is_of = |labels: &BTreeMap<String, String>| {
        let names = [POOL, DATABASE].map(|label| labels.get(label));
        names.into_iter().flatten().any(|label| label == name)
    };
    let (own, others) = std::mem::take(&mut *left)
        .into_iter()
        .partition(|((_, labels), _)| is_of(labels));
    *left = others;
    own
}

/// Two values of one metric, one after the other.
fn sum(before: DebugValue, after: DebugValue) -> DebugValue {
    match (before, after) {
        (DebugValue::Counter(a), DebugValue::Counter(b)) => DebugValue::Counter(a + b),
        (DebugValue::Gauge(a), DebugValue::Gauge(b)) => DebugValue::Gauge(a + b),
        (DebugValue::Histogram(a), DebugValue::Histogram(b)) => {
            DebugValue::Histogram([a, b].concat())
        }
        (_, after) => after,
    }
}

/// Records a statement that succeeds and one that fails, on a database called as the fixture.
pub(crate) fn statements_that_succeed_and_fail(on: &Fixture) {
    let mut settings = on.config("").connection_settings.clone();
    settings.dbname = Some(on.name.clone());
    settings.port = vec![15432];
    let operations = Operations::new(&settings);
    let mut operation = Operation::new("SELECT", Duration::from_millis(3));
    operation.rows = 2;
    operation.first_byte = Some(Duration::from_millis(1));
    operations.record(&operation);
    (operation.status_code, operation.error_type) = (Some("22012"), Some("22012"));
    operations.record(&operation);
}

/// Compares what was recorded with the rows of a table.
pub(crate) fn compare_recorded(recorded: &Recorded, rows: &[Vec<String>]) {
    for ((name, labels), (kind, unit, _)) in recorded {
        let row = rows.iter().find(|row| row[0] == format!("`{name}`"));
        let row = row.unwrap_or_else(|| panic!("not in the book: {name}"));
        assert_eq!(row[1], format!("{kind:?}").to_lowercase(), "{name}");
        assert_eq!(Some(&row[2]), unit.as_ref(), "{name}");
        let missing: Vec<_> = labels
            .keys()
            .filter(|label| !words(&row[3]).contains(*label))
            .collect();
        assert!(missing.is_empty(), "not in the book: {missing:?} of {name}");
    }
    for row in rows {
        let of_row = recorded
            .keys()
            .filter(|(name, _)| row[0] == format!("`{name}`"));
        let labels: BTreeSet<_> = of_row
            .flat_map(|(_, labels)| labels.keys().cloned())
            .collect();
        assert_eq!(labels, words(&row[3]), "never recorded: {row:?}");
    }
}

twin! {
    fn what_is_measured_is_what_the_book_says(on, driver, go, work) {
        metrics();
        everything!(on, driver, go, work, &on.name);
        statements_that_succeed_and_fail(&on);
        let recorded = recorded_of(&on.name);
        let rows = table("metric");
        compare_recorded(&recorded, &rows);
        let labels = |more: &[(&str, &str)]| {
            let all = more.iter().copied().chain([(POOL, &*on.name)]);
            all.map(|(key, value)| (key.to_string(), value.to_string())).collect::<BTreeMap<_, _>>()
        };
        let value = |metric: &str, more: &[(&str, &str)]| {
            &recorded[&(format!("db.client.connection.{metric}"), labels(more))].2
        };
        for gauge in ["max", "idle.max", "idle.min", "pending_requests"] {
            assert_eq!(value(gauge, &[]), &DebugValue::Gauge(0.0.into()), "{gauge} when all is over");
        }
        for state in ["idle", "used"] {
            let count = value("count", &[("db.client.connection.state", state)]);
            assert_eq!(count, &DebugValue::Gauge(0.0.into()), "{state} when all is over");
        }
        assert_eq!(value("timeouts", &[]), &DebugValue::Counter(1));
        let failures = &recorded[&("pgmonkey.connection.open_failures".to_owned(), labels(&[]))].2;
        assert_eq!(failures, &DebugValue::Counter(1));
        let DebugValue::Histogram(waits) = value("wait_time", &[]) else {
            panic!("a histogram");
        };
        let DebugValue::Histogram(uses) = value("use_time", &[]) else {
            panic!("a histogram");
        };
        assert_eq!(waits.len(), uses.len());
        assert!(waits.iter().all(|wait| (0.0..20.0).contains(&wait.into_inner())), "{waits:?}");
        Ok(())
    }
}

twin! {
    fn metrics_say_what_the_status_says(on, driver, go, work) {
        metrics();
        let builder = driver::Builder::new(&on.pools("{ min_size: 3, max_size: 5 }")).name(&*on.name);
        let pool = go!(builder.pool())?;
        let held = (go!(pool.acquire())?, go!(pool.acquire())?);
        // Each call takes what was recorded since the last one.
        let measured = std::cell::RefCell::new(BTreeMap::new());
        let look = || {
            for ((name, labels), (.., value)) in recorded_of(&on.name) {
                let DebugValue::Gauge(value) = value else {
                    continue;
                };
                let state = labels.get("db.client.connection.state").map_or("", String::as_str);
                let name = format!("{}{state}", name.trim_start_matches("db.client.connection."));
                *measured.borrow_mut().entry(name).or_insert(0) += value.into_inner() as i64;
            }
            let metrics = ["countidle", "countused", "pending_requests", "max", "idle.max", "idle.min"];
            metrics.map(|metric| measured.borrow()[metric])
        };
        // The sessions that filled the pool may still be on their way to the idle list.
        on.until("the numbers are right", || look() == [1, 2, 0, 5, 5, 3]);
        let status = pool.status();
        assert_eq!(
            [status.size, status.idle, status.in_use, status.waiting, status.max_size],
            [3, 1, 2, 0, 5],
        );
        drop(held);
        Ok(())
    }
}

/// Checks until stopped that the numbers add up at each moment.
fn watch(
    status: impl Fn() -> Status + Send + 'static,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut looks = 0;
        while !stop.load(Ordering::Relaxed) {
            let now = status();
            assert_eq!(now.size, now.idle + now.in_use, "{now:?}");
            assert!(
                now.in_use <= now.max_size && now.size <= now.max_size,
                "{now:?}"
            );
            assert!(now.waiting <= CALLERS, "{now:?}");
            assert_eq!(
                now.opened - now.closed.total(),
                u64::from(now.size),
                "{now:?}"
            );
            looks += 1;
            if looks % 64 == 0 {
                std::thread::yield_now();
            }
        }
        looks
    })
}

const CALLERS: u32 = 32;
const TURNS: u64 = 40;

/// A small generator, seeded per caller: runs differ and can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What one caller does with a session, in both families.
const DEEDS: [&str; 5] = [
    "",
    "SELECT 1",
    "BEGIN",
    "nonsense",
    "SELECT pg_terminate_backend(pg_backend_pid())",
];

fn check_end(on: &Fixture, status: impl Fn() -> Status, acquired: u64, timeouts: u64) {
    on.until("all are back", || status().in_use == 0);
    let end = status();
    assert_eq!((end.waiting, end.timeouts), (0, timeouts), "{end:?}");
    assert_eq!(end.acquires, acquired, "{end:?}");
    assert!(end.closed.dead > 0, "{end:?}");
    on.until("the server has as many", || {
        let now = status();
        on.sessions() == i64::from(now.size) && now.size == now.idle
    });
}

#[test]
fn the_numbers_are_exact_under_load_from_threads() -> Outcome {
    let on = Fixture::new();
    let pool = pgmonkey::Pool::new(&on.pools("{ min_size: 0, max_size: 6, timeout: 50ms }"))?;
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = watch(
        {
            let pool = pool.clone();
            move || pool.status()
        },
        Arc::clone(&stop),
    );
    let (acquired, timeouts) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for seed in 0..u64::from(CALLERS) {
            let (pool, acquired, timeouts) = (&pool, &acquired, &timeouts);
            scope.spawn(move || {
                let mut dice = Dice(seed);
                for _ in 0..TURNS {
                    match pool.acquire() {
                        Ok(mut guard) => {
                            acquired.fetch_add(1, Ordering::Relaxed);
                            let deed = DEEDS[dice.roll(5) as usize];
                            let _ = guard.batch_execute(deed);
                            std::thread::sleep(Duration::from_micros(dice.roll(4000)));
                        }
                        Err(error) => {
                            assert!(error.is_timeout(), "{error}");
                            timeouts.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    stop.store(true, Ordering::Relaxed);
    assert!(watcher.join().expect("the numbers add up") > 100);
    check_end(
        &on,
        || pool.status(),
        acquired.into_inner(),
        timeouts.into_inner(),
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn the_numbers_are_exact_under_load_from_tasks() -> Outcome {
    let on = Fixture::new();
    let pool =
        pgmonkey::AsyncPool::new(&on.pools("{ min_size: 0, max_size: 6, timeout: 50ms }")).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = watch(
        {
            let pool = pool.clone();
            move || pool.status()
        },
        Arc::clone(&stop),
    );
    let (acquired, timeouts) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..u64::from(CALLERS) {
        let (pool, acquired, timeouts) =
            (pool.clone(), Arc::clone(&acquired), Arc::clone(&timeouts));
        tasks.spawn(async move {
            let mut dice = Dice(seed);
            for _ in 0..TURNS {
                match pool.acquire().await {
                    Ok(guard) => {
                        acquired.fetch_add(1, Ordering::Relaxed);
                        let deed = guard.batch_execute(DEEDS[dice.roll(5) as usize]);
                        // Some are abandoned halfway.
                        let limit = Duration::from_micros(dice.roll(2000));
                        let _ = tokio::time::timeout(limit, deed).await;
                        tokio::time::sleep(Duration::from_micros(dice.roll(2000))).await;
                    }
                    Err(error) => {
                        assert!(error.is_timeout(), "{error}");
                        timeouts.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done?;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(watcher.join().expect("the numbers add up") > 100);
    let (acquired, timeouts) = (
        acquired.load(Ordering::Relaxed),
        timeouts.load(Ordering::Relaxed),
    );
    let began = Instant::now();
    check_end(&on, || pool.status(), acquired, timeouts);
    assert!(began.elapsed() < LONG);
    Ok(())
}
