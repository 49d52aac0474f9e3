//! The observed web application: what reaches a collector and Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use pgmonkey_tests::Outcome;
use pgmonkey_tests::kitchen::{Kitchen, Running, ask};
use serde_json::Value;

/// An OpenTelemetry collector that keeps what it receives, as JSON by path.
struct Collector {
    endpoint: String,
    received: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Collector {
    fn start() -> Self {
        let server = tiny_http::Server::http("127.0.0.1:0").expect("a free port");
        let address = server.server_addr().to_ip().expect("an address");
        let received: Arc<Mutex<Vec<_>>> = Arc::default();
        let keep = Arc::clone(&received);
        std::thread::spawn(move || {
            for mut request in server.incoming_requests() {
                let body = serde_json::from_reader(request.as_reader()).expect("JSON");
                let path = request.url().to_owned();
                keep.lock().expect("no panic").push((path, body));
                let answer = tiny_http::Response::from_string("{}");
                let _ = request.respond(answer);
            }
        });
        Self {
            endpoint: format!("http://{address}"),
            received,
        }
    }

    /// Everything under these keys, of all that came to a path.
    fn all(&self, path: &str, keys: [&str; 3]) -> Vec<Value> {
        let received = self.received.lock().expect("no panic");
        let bodies = received.iter().filter(|(to, _)| to == path);
        let mut values: Vec<Value> = bodies.map(|(_, body)| body.clone()).collect();
        for key in keys {
            let lists = values.iter().filter_map(|value| value[key].as_array());
            values = lists.flatten().cloned().collect();
        }
        values
    }

    fn metrics(&self) -> Vec<Value> {
        self.all(
            "/v1/metrics",
            ["resourceMetrics", "scopeMetrics", "metrics"],
        )
    }

    fn spans(&self) -> Vec<Value> {
        self.all("/v1/traces", ["resourceSpans", "scopeSpans", "spans"])
    }
}

/// The attributes of a data point, as text.
fn attributes(point: &Value) -> BTreeMap<String, String> {
    let all = point["attributes"].as_array().into_iter().flatten();
    all.map(|one| {
        let key = one["key"].as_str().unwrap_or_default();
        let text = one["value"]["stringValue"].as_str().unwrap_or_default();
        (key.to_owned(), text.to_owned())
    })
    .collect()
}

#[test]
fn an_observed_web_application_reaches_its_collector_and_prometheus() -> Outcome {
    let kitchen = Kitchen::new("CREATE TABLE visits (page text PRIMARY KEY, count bigint)");
    let on = &kitchen.on;
    let collector = Collector::start();
    let mut command = kitchen.command(env!("CARGO_BIN_EXE_recipe_web_observed"));
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint);
    command.env("NO_COLOR", "1");
    let running = Running::start(command.arg("127.0.0.1:0"));
    let address = running.line.trim().strip_prefix("listening on ");
    let address = address.expect("it says where it listens").to_owned();
    assert_eq!(
        ask(&address, "GET", "/visits/home")?,
        (200, "0\n".to_owned())
    );

    let (_, page) = ask(&address, "GET", "/metrics")?;
    let pool = format!(
        "{}:{}/{}",
        on.server().host(),
        on.server().port(),
        on.server().dbname()
    );
    let pool = format!(
        "db_client_connection_pool_name=\"{}@{pool}\"",
        on.server().user()
    );
    let max = format!("db_client_connection_max{{{pool}}} 4");
    assert!(page.contains(&max), "no {max}: {page}");
    let bucket = format!("db_client_connection_wait_time_seconds_bucket{{{pool},le=\"0.001\"}}");
    assert!(page.contains(&bucket), "no {bucket}: {page}");

    running.terminate();
    let complaints = running.ended_well();
    assert!(
        complaints.contains("session opened on ")
            && complaints.contains("event=\"pgmonkey.connect\""),
        "{complaints}"
    );

    let metrics = collector.metrics();
    let names: BTreeSet<_> = metrics
        .iter()
        .filter_map(|metric| metric["name"].as_str())
        .collect();
    for name in [
        "count",
        "max",
        "wait_time",
        "create_time",
        "use_time",
        "idle.min",
    ] {
        let name = format!("db.client.connection.{name}");
        assert!(names.contains(&*name), "no {name} in {names:?}");
    }
    let waits = metrics
        .iter()
        .find(|metric| metric["name"] == "db.client.connection.wait_time");
    let waits = waits.expect("it is in names");
    assert_eq!(waits["unit"], "s");
    let point = &waits["histogram"]["dataPoints"][0];
    assert_eq!(
        attributes(point).keys().collect::<Vec<_>>(),
        ["db.client.connection.pool.name"]
    );
    let bounds = serde_json::json!([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]);
    assert_eq!(point["explicitBounds"], bounds, "{point}");

    let spans = collector.spans();
    let called = |name: &str| spans.iter().find(|span| span["name"] == name);
    let request = called("GET /visits").expect("the application's own span");
    let acquire = called("pgmonkey.acquire").expect("the library's span");
    assert_eq!(acquire["traceId"], request["traceId"]);
    assert_eq!(acquire["parentSpanId"], request["spanId"]);
    Ok(())
}
