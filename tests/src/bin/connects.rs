//! Opens a database of each of the four types and prints one line per type: `ok` and the result of
//! a query, or `no` and the error.
//!
//! `connects SQL`, with the file on standard input

#![forbid(unsafe_code)]

use std::io::Read;

use pgmonkey::{Config, ConnectionType, Error, aio, sync};

fn main() {
    let sql = std::env::args().nth(1).expect("a query");
    let mut yaml = String::new();
    std::io::stdin()
        .read_to_string(&mut yaml)
        .expect("the file");
    for connection_type in [
        ConnectionType::Normal,
        ConnectionType::Pool,
        ConnectionType::Async,
        ConnectionType::AsyncPool,
    ] {
        let (word, text) = match answer(&yaml, connection_type, &sql) {
            Ok(facts) => ("ok", facts),
            Err(error) => ("no", error.to_string()),
        };
        println!("{word} {}", text.replace('\n', "; "));
    }
}

fn answer(yaml: &str, connection_type: ConnectionType, sql: &str) -> Result<String, Error> {
    let config = Config::loader()
        .yaml(yaml)
        .set("connection_type", connection_type.to_string())
        .load()?;
    if connection_type.is_async() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let database = aio::Database::new(&config).await?;
            Ok(database.query_one(sql, &[]).await?.get(0))
        })
    } else {
        let database = sync::Database::new(&config)?;
        Ok(database.query_one(sql, &[])?.get(0))
    }
}
