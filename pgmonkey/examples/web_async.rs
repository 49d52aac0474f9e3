//! An async web application: one pool for all requests, and a graceful shutdown.
//!
//! `cargo run --example web_async -- 127.0.0.1:3000`, with a `pgmonkey.yaml` beside it.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use pgmonkey::{AsyncPool, ConnectionManager, Error};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

// ANCHOR: main
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:3000");

    let manager = ConnectionManager::global();
    let pool = manager.async_pool_from_file("pgmonkey.yaml").await?;
    let _watch = manager.async_watch("pgmonkey.yaml"); // a changed file replaces the pool
    let application = Router::new()
        .route("/visits/{page}", get(visits).post(visit))
        .route("/health", get(health))
        .with_state(pool.clone());

    let stop = told_to_stop()?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, application)
        .with_graceful_shutdown(stop)
        .await?;

    // Every request has been answered; close the sessions.
    if !pool.close_timeout(Duration::from_secs(10)).await {
        eprintln!("still in use: {}", pool.status());
    }
    Ok(())
}
// ANCHOR_END: main

// ANCHOR: handlers
async fn visits(State(pool): State<AsyncPool>, Path(page): Path<String>) -> Answer {
    let statement = "SELECT count FROM visits WHERE page = $1";
    match pool.query_opt(statement, &[&page]).await? {
        Some(row) => Ok(format!("{}\n", row.get::<_, i64>(0))),
        None => Ok("0\n".to_owned()),
    }
}

async fn visit(State(pool): State<AsyncPool>, Path(page): Path<String>) -> Answer {
    let count: i64 = pool
        .transaction(async move |tx| {
            let statement = "INSERT INTO visits VALUES ($1, 1) \
                             ON CONFLICT (page) DO UPDATE SET count = visits.count + 1 \
                             RETURNING count";
            Ok(tx.query_one(statement, &[&page]).await?.get(0))
        })
        .await?;
    Ok(format!("{count}\n"))
}

async fn health(State(pool): State<AsyncPool>) -> Answer {
    Ok(format!("{}\n", pool.ping().await?))
}
// ANCHOR_END: handlers

// ANCHOR: failure
type Answer = Result<String, Failure>;

/// The response to the client: no details of the database, only whether to try again.
struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        eprintln!("{}", self.0);
        if self.0.is_transient() || self.0.is_closed() {
            let headers = [(header::RETRY_AFTER, "1")];
            return (StatusCode::SERVICE_UNAVAILABLE, headers, "try again\n").into_response();
        }
        (StatusCode::INTERNAL_SERVER_ERROR, "failed\n").into_response()
    }
}
// ANCHOR_END: failure

// ANCHOR: signals
/// Installs the signal handlers now; the future completes when the process is asked to stop: by
/// Ctrl-C, or by the SIGTERM of Docker, Kubernetes and systemd.
fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
// ANCHOR_END: signals
