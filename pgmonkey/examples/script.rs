//! A script: one session, one transaction, a nonzero exit code on failure.
//!
//! `cargo run --example script -- 30` moves orders older than 30 days to the archive.

use pgmonkey::{ConnectionManager, Error};

// ANCHOR: main
fn main() -> Result<(), Error> {
    let days = std::env::args().nth(1).unwrap_or_else(|| "30".to_owned());
    let days: i32 = days.parse().map_err(Error::other)?;

    let manager = ConnectionManager::global();
    let connection = manager.connection_from_file("pgmonkey.yaml")?;
    let moved = connection.transaction(|tx| {
        tx.execute(
            "WITH old AS (DELETE FROM orders WHERE placed < current_date - $1::int RETURNING *) \
             INSERT INTO orders_archive SELECT * FROM old",
            &[&days],
        )
    })?;
    println!("{moved} orders moved");
    Ok(())
}
// ANCHOR_END: main
