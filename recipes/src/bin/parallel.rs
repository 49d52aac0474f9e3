//! Work in parallel with rayon, on the sessions of one blocking pool.

#![forbid(unsafe_code)]

use pgmonkey::{Config, ConnectionManager, Error};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().pool(&config)?;
    // ANCHOR: parallel
    let squares = (1..=100_i64)
        .into_par_iter()
        .map(|n| {
            let row = pool.query_one("SELECT $1::bigint * $1", &[&n])?;
            Ok(row.get::<_, i64>(0))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    // ANCHOR_END: parallel
    let status = pool.status();
    let within = status.opened <= u64::from(status.max_size);
    println!("{} {within}", squares.iter().sum::<i64>());
    Ok(())
}
