//! A blocking web application: a thread for each request, one pool for all, and a graceful
//! shutdown.
//!
//! `cargo run --example web_sync -- 127.0.0.1:3000`, with a `pgmonkey.yaml` beside it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pgmonkey::{ConnectionManager, Error, Pool};
use tiny_http::{Method, Request, Response, Server};

// ANCHOR: main
fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:3000");

    let manager = ConnectionManager::global();
    let pool = manager.pool_from_file("pgmonkey.yaml")?;
    let _watch = manager.watch("pgmonkey.yaml"); // a changed file replaces the pool
    let server = Arc::new(Server::http(address)?);
    println!("listening on {}", server.server_addr());

    // Ctrl-C, or the SIGTERM of Docker, Kubernetes and systemd, ends the loop below.
    let stopped = Arc::clone(&server);
    ctrlc::set_handler(move || stopped.unblock())?;
    thread::scope(|scope| {
        while let Ok(request) = server.recv() {
            scope.spawn(|| serve(&pool, request));
        }
    });

    // The scope has waited for every request; close the sessions.
    if !pool.close_timeout(Duration::from_secs(10)) {
        eprintln!("still in use: {}", pool.status());
    }
    Ok(())
}
// ANCHOR_END: main

// ANCHOR: handlers
fn serve(pool: &Pool, request: Request) {
    let page = request.url().strip_prefix("/visits/").map(str::to_owned);
    let answer = match (request.method(), page) {
        (Method::Get, Some(page)) => visits(pool, &page),
        (Method::Post, Some(page)) => visit(pool, &page),
        (Method::Get, None) if request.url() == "/health" => health(pool),
        _ => {
            let _ = request.respond(Response::from_string("no such page\n").with_status_code(404));
            return;
        }
    };
    let (status, text) = match answer {
        Ok(text) => (200, text),
        Err(error) => failure(&error),
    };
    // A client that has disconnected is not an error.
    let _ = request.respond(Response::from_string(text).with_status_code(status));
}

fn visits(pool: &Pool, page: &str) -> Result<String, Error> {
    let row = pool.query_opt("SELECT count FROM visits WHERE page = $1", &[&page])?;
    let count = row.map_or(0, |row| row.get::<_, i64>(0));
    Ok(format!("{count}\n"))
}

fn visit(pool: &Pool, page: &str) -> Result<String, Error> {
    let count: i64 = pool.transaction(|tx| {
        let statement = "INSERT INTO visits VALUES ($1, 1) \
                         ON CONFLICT (page) DO UPDATE SET count = visits.count + 1 \
                         RETURNING count";
        Ok(tx.query_one(statement, &[&page])?.get(0))
    })?;
    Ok(format!("{count}\n"))
}

fn health(pool: &Pool) -> Result<String, Error> {
    Ok(format!("{}\n", pool.ping()?))
}

/// The response to the client: no details of the database, only whether to try again.
fn failure(error: &Error) -> (u16, String) {
    eprintln!("{error}");
    match error.is_transient() || error.is_closed() {
        true => (503, "try again\n".to_owned()),
        false => (500, "failed\n".to_owned()),
    }
}
// ANCHOR_END: handlers
