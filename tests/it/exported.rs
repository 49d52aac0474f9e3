//! What leaves the process: through OpenTelemetry's API, and on a Prometheus exporter's page. The
//! dashboard and the alert rules use nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use pgmonkey::Error;
use pgmonkey_tests::{Fixture, Outcome, broken_tls, load, twin};

use crate::cluster::{SIZES, Servers};
use crate::limits::waits_on_a_thread;
use crate::observation::{
    Broken, DATABASE, POOL, everything, statements_that_succeed_and_fail, table, words,
};

const DASHBOARD: &str = include_str!("../../docs/dashboards/grafana.json");
const ALERTS: &str = include_str!("../../docs/dashboards/alerts.yml");

/// The boundaries that the conventions advise for times.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// The provider of this process, and what it has exported.
pub(crate) fn provider() -> &'static (SdkMeterProvider, InMemoryMetricExporter) {
    static PROVIDER: OnceLock<(SdkMeterProvider, InMemoryMetricExporter)> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        let exporter = InMemoryMetricExporter::default();
        // It exports when the test asks.
        let reader = PeriodicReader::builder(exporter.clone());
        let reader = reader.with_interval(Duration::from_secs(3600)).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        global::set_meter_provider(provider.clone());
        (provider, exporter)
    })
}

/// One data point: its metric's kind and unit, its attributes, its value (of a histogram, the
/// number of measurements), and its boundaries.
#[derive(Debug)]
pub(crate) struct Point {
    kind: &'static str,
    unit: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) value: f64,
    bounds: Vec<f64>,
}

fn attributes<'a>(all: impl Iterator<Item = &'a KeyValue>) -> BTreeMap<String, String> {
    all.map(|one| (one.key.to_string(), one.value.to_string()))
        .collect()
}

fn points(metric: &Metric) -> Vec<Point> {
    let point = |kind, attributes, value, bounds| Point {
        kind,
        unit: metric.unit().to_owned(),
        attributes,
        value,
        bounds,
    };
    match metric.data() {
        AggregatedMetrics::I64(MetricData::Sum(sum)) if !sum.is_monotonic() => sum
            .data_points()
            .map(|data| {
                point(
                    "gauge",
                    attributes(data.attributes()),
                    data.value() as f64,
                    vec![],
                )
            })
            .collect(),
        AggregatedMetrics::U64(MetricData::Sum(sum)) if sum.is_monotonic() => sum
            .data_points()
            .map(|data| {
                point(
                    "counter",
                    attributes(data.attributes()),
                    data.value() as f64,
                    vec![],
                )
            })
            .collect(),
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => histogram
            .data_points()
            .map(|data| {
                let bounds = data.bounds().collect();
                point(
                    "histogram",
                    attributes(data.attributes()),
                    data.count() as f64,
                    bounds,
                )
            })
            .collect(),
        other => panic!("{}: {other:?}", metric.name()),
    }
}

/// The current data points about the handle or the database called `name`, by metric.
pub(crate) fn exported_of(name: &str) -> BTreeMap<String, Vec<Point>> {
    let (provider, exporter) = provider();
    provider.force_flush().expect("it is not shut down");
    let exported = exporter.get_finished_metrics().expect("no panic");
    let scopes = exported.last().expect("it was flushed").scope_metrics();
    let ours = scopes.filter(|scope| scope.scope().name() == "pgmonkey");
    let metrics = ours.flat_map(|scope| scope.metrics());
    let about = |point: &Point| {
        let names = [POOL, DATABASE].map(|key| point.attributes.get(key));
        names.into_iter().flatten().any(|value| value == name)
    };
    metrics
        .map(|metric| {
            let points = points(metric).into_iter().filter(about).collect();
            (metric.name().to_owned(), points)
        })
        .collect()
}

/// Compares what was exported with the rows of a table.
pub(crate) fn compare_exported(exported: &BTreeMap<String, Vec<Point>>, rows: &[Vec<String>]) {
    for (name, points) in exported.iter().filter(|(_, points)| !points.is_empty()) {
        let row = rows.iter().find(|row| row[0] == format!("`{name}`"));
        let row = row.unwrap_or_else(|| panic!("not in the book: {name}"));
        let labels: BTreeSet<_> = points
            .iter()
            .flat_map(|point| point.attributes.keys().cloned())
            .collect();
        assert_eq!(labels, words(&row[3]), "{name}");
        for point in points {
            assert_eq!(row[1], point.kind, "{name}");
            let unit = match &*point.unit {
                "s" => "seconds",
                "By" => "bytes",
                counted => {
                    assert!(
                        counted.starts_with('{') && counted.ends_with('}'),
                        "{counted}"
                    );
                    "count"
                }
            };
            assert_eq!(row[2], unit, "{name}");
            if row[1] == "histogram" && unit == "seconds" {
                assert_eq!(point.bounds, SECONDS, "{name}");
            }
        }
    }
    for row in rows {
        let name = row[0].trim_matches('`');
        let is_there = exported.get(name).is_some_and(|points| !points.is_empty());
        assert!(is_there, "never exported: {name}");
    }
}

twin! {
    fn otel_receives_what_the_book_says(on, driver, go, work) {
        provider();
        everything!(on, driver, go, work, &on.name);
        statements_that_succeed_and_fail(&on);
        let exported = exported_of(&on.name);
        let rows = table("metric");
        compare_exported(&exported, &rows);
        let sum = |name: &str| exported[name].iter().map(|point| point.value).sum::<f64>();
        for gauge in ["count", "max", "idle.max", "idle.min", "pending_requests"] {
            assert_eq!(sum(&format!("db.client.connection.{gauge}")), 0.0, "{gauge} when all is over");
        }
        assert_eq!(sum("db.client.connection.timeouts"), 1.0);
        assert_eq!(sum("pgmonkey.connection.open_failures"), 1.0);
        assert_eq!(sum("pgmonkey.connection.opened"), sum("pgmonkey.connection.closed"));
        assert_eq!(sum("db.client.connection.wait_time"), sum("db.client.connection.use_time"));
        let ports = exported["db.client.operation.duration"].iter();
        let ports: BTreeSet<_> = ports.map(|point| &*point.attributes["server.port"]).collect();
        assert_eq!(ports, BTreeSet::from(["15432"]));
        Ok(())
    }
}

/// A Prometheus exporter's page about handles that did everything that can be measured.
fn page(on: &Fixture) -> anyhow::Result<String> {
    let rows = [1.0, 10.0, 100.0];
    let recorder = PrometheusBuilder::new()
        .with_recommended_naming(true)
        .set_buckets_for_metric(Matcher::Suffix("_time".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("duration".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("lag".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("rows".to_owned()), &rows)?
        .build_recorder();
    let page = recorder.handle();
    // A handle has the metrics of the recorder of the thread that opened it.
    metrics::with_local_recorder(&recorder, || {
        let config = on.pools("{ min_size: 0, max_size: 2 }");
        let pool = pgmonkey::sync::Builder::new(&config)
            .name(&*on.name)
            .pool()?;
        pool.query_one("SELECT 1", &[])?;
        statements_that_succeed_and_fail(on);
        // Each login to a standby tells its lag.
        let servers = Servers::start();
        let cluster = pgmonkey::Cluster::new(&servers.config(SIZES))?;
        cluster.reader().query_one("SELECT 1", &[])?;
        page.run_upkeep();
        Ok(page.render())
    })
}

/// The names and labels that PromQL expressions contain: every word that is neither quoted, nor a
/// number, nor one of the language, nor a variable of Grafana.
fn words_of(expression: &str) -> BTreeSet<String> {
    const LANGUAGE: [&str; 11] = [
        "sum",
        "by",
        "rate",
        "increase",
        "histogram_quantile",
        "le",
        "and",
        "unless",
        "label_values",
        "m",
        "max",
    ];
    let unquoted: String = expression
        .split('"')
        .step_by(2)
        .collect::<Vec<_>>()
        .join(" ");
    let unquoted = unquoted.replace("$__rate_interval", "5m");
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    unquoted
        .split(|c| !is_word(c))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()))
        .filter(|word| !LANGUAGE.contains(word))
        .map(str::to_owned)
        .collect()
}

/// The expressions of the dashboard: its panels' and its variables'.
fn of_dashboard() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let panels = list(&dashboard["panels"]);
    assert!(panels.len() > 10, "{}", panels.len());
    let targets = panels.iter().flat_map(|panel| list(&panel["targets"]));
    let variables = list(&dashboard["templating"]["list"]);
    let queries = variables
        .iter()
        .map(|variable| variable["query"]["query"].clone());
    targets
        .map(|target| target["expr"].clone())
        .chain(queries)
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

/// The expressions of the alert rules, which are the lines between `expr:` and the next key.
fn of_alerts() -> Vec<String> {
    let mut expressions = Vec::new();
    let mut is_inside = false;
    for line in ALERTS.lines().map(str::trim) {
        if let Some(first) = line.strip_prefix("expr:") {
            is_inside = true;
            expressions.push(first.trim_start_matches([' ', '>', '-']).to_owned());
        } else if ["for:", "labels:"].iter().any(|key| line.starts_with(key)) {
            is_inside = false;
        } else if is_inside {
            let last = expressions.last_mut().expect("it has begun");
            *last = format!("{last} {line}");
        }
    }
    assert!(expressions.len() > 5, "{expressions:?}");
    expressions
}

#[test]
fn dashboard_and_alerts_use_what_the_page_has() -> Outcome {
    let on = Fixture::new();
    let page = page(&on).expect("a page");
    let metrics = page.lines().filter(|line| !line.starts_with('#'));
    let on_page: BTreeSet<&str> = metrics
        .flat_map(|line| line.split(['{', ',', ' ']))
        .map(|part| part.split('=').next().unwrap_or_default())
        .collect();
    for expression in of_dashboard().into_iter().chain(of_alerts()) {
        let missing: Vec<_> = words_of(&expression)
            .into_iter()
            .filter(|word| !on_page.contains(&**word))
            .collect();
        assert!(
            missing.is_empty(),
            "{missing:?} of {expression} is not on the page:\n{page}"
        );
    }
    Ok(())
}

/// Prometheus itself evaluates the rules, if it is installed.
#[test]
fn each_alert_fires_when_it_should() -> Outcome {
    let promtool = |args: &[&str]| Command::new("promtool").args(args).output();
    if promtool(&["--version"]).is_err() {
        eprintln!("skipped: no promtool on this machine");
        return Ok(());
    }
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/it/alerts.yml");
    let tested = promtool(&["test", "rules", cases])?;
    assert!(
        tested.status.success(),
        "{}",
        String::from_utf8_lossy(&tested.stderr)
    );
    let cases = std::fs::read_to_string(cases)?;
    for rule in ALERTS
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(
            cases.contains(&format!("alertname: {rule}\n")),
            "{rule} never fires in the cases"
        );
    }
    Ok(())
}
