//! Runs a throw-away PostgreSQL until its standard input ends or it is interrupted.
//!
//! Prints the server's process id, its data directory and its URL, a line each. With the
//! argument `panic` it panics once its input ends, to show that the server goes all the same.

#![forbid(unsafe_code)]

use std::io::Read;

use pgmonkey_testserver::Cluster;

fn main() -> anyhow::Result<()> {
    let cluster = Cluster::builder().start()?;
    println!("{}", cluster.pid().unwrap_or_default());
    println!("{}", cluster.data_dir().display());
    println!("{}", cluster.url());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    assert!(
        std::env::args().nth(1).as_deref() != Some("panic"),
        "told to panic"
    );
    Ok(())
}
