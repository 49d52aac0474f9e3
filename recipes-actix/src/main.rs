//! A web application with actix-web: four workers, each with a runtime of its own, and one pool.

#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path};
use actix_web::{App, HttpServer, ResponseError};
use pgmonkey::{AsyncPool, ConnectionManager, Error};

// ANCHOR: main
fn main() -> Result<(), Box<dyn std::error::Error>> {
    actix_web::rt::System::new().block_on(serve())
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:3000");
    let manager = ConnectionManager::global();
    let pool = manager.async_pool_from_file("pgmonkey.yaml").await?;
    let shared = Data::new(pool.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .route("/visits/{page}", web::get().to(visits))
            .route("/visits/{page}", web::post().to(visit))
    });
    let server = server.workers(4).bind(address)?;
    println!("listening on {}", server.addrs()[0]);
    server.run().await?; // until SIGTERM or Ctrl-C, and the last response
    pool.close_timeout(Duration::from_secs(10)).await;
    Ok(())
}
// ANCHOR_END: main

// ANCHOR: handlers
async fn visits(pool: Data<AsyncPool>, page: Path<String>) -> Result<String, Failure> {
    let statement = "SELECT count FROM visits WHERE page = $1";
    let row = pool.query_opt(statement, &[&*page]).await?;
    Ok(format!("{}\n", row.map_or(0, |row| row.get::<_, i64>(0))))
}

async fn visit(pool: Data<AsyncPool>, page: Path<String>) -> Result<String, Failure> {
    let statement = "INSERT INTO visits VALUES ($1, 1) \
                     ON CONFLICT (page) DO UPDATE SET count = visits.count + 1 RETURNING count";
    let row = pool.query_one(statement, &[&*page]).await?;
    Ok(format!("{}\n", row.get::<_, i64>(0)))
}

/// The response to the client has no details of the database.
#[derive(Debug)]
struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        eprintln!("{error}");
        Self(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed\n")
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        match self.0.is_transient() {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
// ANCHOR_END: handlers
