//! An async web application that writes at the primary and reads at the standbys: each client reads
//! its own writes, by a token in a cookie.
//!
//! `cargo run --example web_readers -- 127.0.0.1:3000`, with a `pgmonkey.yaml` beside it that has the
//! section `readers`.

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use pgmonkey::{AsyncCluster, AsyncTransaction, ConnectionManager, Error, Token};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

// ANCHOR: main
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:3000");

    let manager = ConnectionManager::global();
    let cluster = manager.async_cluster_from_file("pgmonkey.yaml").await?;
    let _watch = manager.async_watch("pgmonkey.yaml"); // a changed file replaces the pools
    let application = Router::new()
        .route("/visits/{page}", get(visits).post(visit))
        .route("/health", get(health))
        .with_state(cluster.clone());

    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, application)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await?;

    // Every request has been answered; close the sessions of both sides.
    if !cluster.close_timeout(Duration::from_secs(10)).await {
        eprintln!("still in use: {}", cluster.status());
    }
    Ok(())
}
// ANCHOR_END: main

// ANCHOR: handlers
/// Writes at the primary. The response sets a cookie with the token of what was written, for longer
/// than any reader is late: an old token costs nothing on a session known to have what it stands for.
async fn visit(State(cluster): State<AsyncCluster>, Path(page): Path<String>) -> Answer {
    let (count, token) = cluster
        .write_with_token(async move |tx| {
            let statement = "INSERT INTO visits VALUES ($1, 1) \
                             ON CONFLICT (page) DO UPDATE SET count = visits.count + 1 \
                             RETURNING count";
            Ok(tx.query_one(statement, &[&page]).await?.get::<_, i64>(0))
        })
        .await?;
    let cookie = format!("{COOKIE}={token}; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
    Ok(([(header::SET_COOKIE, cookie)], format!("{count}\n")).into_response())
}

/// Reads at a standby, and if the request has a token, at one that has what it stands for.
async fn visits(
    State(cluster): State<AsyncCluster>,
    Path(page): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let count = match token_of(&headers) {
        Some(token) => {
            let read = cluster.read_after(token, async |tx| count(&tx, &page).await);
            read.await?
        }
        None => cluster.read(async |tx| count(&tx, &page).await).await?,
    };
    Ok(format!("{count}\n").into_response())
}

async fn count(tx: &AsyncTransaction, page: &str) -> Result<String, Error> {
    let statement = "SELECT coalesce((SELECT count FROM visits WHERE page = $1), 0), \
                     pg_is_in_recovery()";
    let row = tx.query_one(statement, &[&page]).await?;
    let server = if row.get(1) { "standby" } else { "primary" };
    Ok(format!("{} at a {server}", row.get::<_, i64>(0)))
}
// ANCHOR_END: handlers

// ANCHOR: cookie
const COOKIE: &str = "read_after";

/// The token in the request's cookies. An invalid one is ignored: the client can write there what it
/// likes, and a made-up token only makes its own read slower.
fn token_of(headers: &HeaderMap) -> Option<Token> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let cookies = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let mut values = cookies.filter_map(|cookie| cookie.trim().split_once('='));
    let (_, token) = values.find(|(name, _)| *name == COOKIE)?;
    token.parse().ok()
}
// ANCHOR_END: cookie

async fn health(State(cluster): State<AsyncCluster>) -> Answer {
    Ok(format!("{}\n", cluster.status()).into_response())
}

type Answer = Result<Response, Failure>;

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
