//! A web application with axum, whose handlers get a session from an extractor, and the two
//! endpoints that an orchestrator asks.

#![forbid(unsafe_code)]

use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::get;
use pgmonkey::{AsyncClientGuard, AsyncPool, ConnectionManager, Error};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:3000");
    let manager = ConnectionManager::global();
    let pool = manager.async_pool_from_file("pgmonkey.yaml").await?;
    let application = Router::new()
        .route("/backend", get(backend))
        .route("/live", get(live))
        .route("/ready", get(ready))
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

// ANCHOR: extractor
/// A session for the time of one request.
struct Session(AsyncClientGuard);

impl FromRequestParts<AsyncPool> for Session {
    type Rejection = StatusCode;

    async fn from_request_parts(_: &mut Parts, pool: &AsyncPool) -> Result<Self, StatusCode> {
        pool.acquire().await.map(Self).map_err(status)
    }
}

async fn backend(Session(session): Session) -> Result<String, StatusCode> {
    let row = session.query_one("SELECT pg_backend_pid()", &[]).await;
    Ok(format!("{}\n", row.map_err(status)?.get::<_, i32>(0)))
}

fn status(error: Error) -> StatusCode {
    eprintln!("{error}");
    match error.is_transient() || error.is_closed() {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
// ANCHOR_END: extractor

// ANCHOR: health
/// Whether the process runs: says nothing of the database, so that an outage of it restarts nothing.
async fn live() -> &'static str {
    "alive\n"
}

/// Whether requests can be served: the load balancer sends none while it fails.
async fn ready(State(pool): State<AsyncPool>) -> Result<String, StatusCode> {
    let pool_in_time = pool.timeout(Duration::from_secs(2));
    match pool_in_time.query_one("SELECT 1", &[]).await {
        Ok(_) => Ok(format!("{}\n", pool.status())),
        Err(error) => {
            eprintln!("not ready: {error}");
            Err(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}
// ANCHOR_END: health
