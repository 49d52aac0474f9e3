//! An async web application that is observed: events on stderr, traces and metrics to an
//! OpenTelemetry collector, and a page for Prometheus.
//!
//! `cargo run --example web_observed --features metrics,otel -- 127.0.0.1:3000`, with a
//! `pgmonkey.yaml` beside it and `OTEL_EXPORTER_OTLP_ENDPOINT` if the collector is elsewhere than at
//! `http://localhost:4318`.

use std::error::Error;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::global;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use pgmonkey::{AsyncPool, ConnectionManager};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{Instrument, info_span};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

// ANCHOR: main
fn main() -> Result<(), Box<dyn Error>> {
    // Before the first handle: it looks its metrics up when it is opened.
    let page = prometheus()?;
    let (traces, metrics) = opentelemetry()?;

    let served = tokio::runtime::Runtime::new()?.block_on(serve(page));
    // What has not been exported yet; outside the runtime, because it blocks.
    traces.shutdown()?;
    metrics.shutdown()?;
    served
}
// ANCHOR_END: main

// ANCHOR: prometheus
/// Metrics as a page: the feature `metrics`.
fn prometheus() -> Result<PrometheusHandle, Box<dyn Error>> {
    let seconds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
    let rows = [
        1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0,
    ];
    let builder = PrometheusBuilder::new()
        .with_recommended_naming(true) // _seconds and _total, as in the dashboard
        .set_buckets_for_metric(Matcher::Suffix("_time".to_owned()), &seconds)?
        .set_buckets_for_metric(Matcher::Suffix("duration".to_owned()), &seconds)?
        .set_buckets_for_metric(Matcher::Suffix("lag".to_owned()), &seconds)?
        .set_buckets_for_metric(Matcher::Suffix("rows".to_owned()), &rows)?;
    Ok(builder.install_recorder()?)
}
// ANCHOR_END: prometheus

// ANCHOR: opentelemetry
/// Spans, and metrics with the feature `otel`, to a collector; events to stderr.
fn opentelemetry() -> Result<(SdkTracerProvider, SdkMeterProvider), Box<dyn Error>> {
    let service = Resource::builder().with_service_name("visits").build();
    let exporter = MetricExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpJson)
        .build()?;
    let metrics = SdkMeterProvider::builder()
        .with_resource(service.clone())
        .with_periodic_exporter(exporter)
        .build();
    global::set_meter_provider(metrics.clone());

    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpJson)
        .build()?;
    let traces = SdkTracerProvider::builder()
        .with_resource(service)
        .with_batch_exporter(exporter)
        .build();
    // Every acquire; `DEBUG` shows only those that wait or open a session.
    let spans = Targets::new()
        .with_target("web_observed", LevelFilter::INFO)
        .with_target("pgmonkey", LevelFilter::TRACE);
    let exported = tracing_opentelemetry::layer().with_tracer(traces.tracer("visits"));
    let events = Targets::new().with_target("pgmonkey", LevelFilter::DEBUG);
    tracing_subscriber::registry()
        .with(exported.with_filter(spans))
        .with(
            fmt::layer()
                .with_writer(std::io::stderr)
                .with_filter(events),
        )
        .init();
    Ok((traces, metrics))
}
// ANCHOR_END: opentelemetry

async fn serve(page: PrometheusHandle) -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:3000");
    let manager = ConnectionManager::global();
    let pool = manager.async_pool_from_file("pgmonkey.yaml").await?;
    let metrics = async move || {
        page.run_upkeep(); // the exporter has no thread of its own here
        page.render()
    };
    let application = Router::new()
        .route("/visits/{page}", get(visits))
        .route("/metrics", get(metrics))
        .with_state(pool.clone());

    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, application)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await?;
    pool.close();
    Ok(())
}

// ANCHOR: handler
async fn visits(
    State(pool): State<AsyncPool>,
    Path(page): Path<String>,
) -> Result<String, StatusCode> {
    let span = info_span!(target: "web_observed", "GET /visits", page);
    let statement = "SELECT count FROM visits WHERE page = $1";
    let row = pool.query_opt(statement, &[&page]).instrument(span).await;
    match row {
        Ok(row) => Ok(format!("{}\n", row.map_or(0, |row| row.get::<_, i64>(0)))),
        Err(error) => {
            eprintln!("{error}");
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}
// ANCHOR_END: handler
