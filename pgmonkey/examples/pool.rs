//! A pool of sessions for threads.
use pgmonkey::{Config, ConnectionManager, Error};

fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().pool(&config)?;
    let sum: i64 = pool.transaction(|tx| {
        tx.batch_execute("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS n")?;
        Ok(tx.query_one("SELECT sum(n) FROM t", &[])?.get(0))
    })?;
    println!("the sum is {sum}");
    Ok(())
}
