//! A writer and its readers: reading what was written, and a standby that is late for a while.

use std::thread::sleep;
use std::time::{Duration, Instant};

use pgmonkey::config::Host;
use pgmonkey::{Cluster, Config, ConnectionManager, Error, Pool, Transaction};

const WHO: &str = "SELECT inet_server_port()::int4, pg_is_in_recovery()";
const COUNT: &str = "SELECT count(*) FROM orders";
/// How long to wait for a standby to be late, or to be back.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn show(config: &Config) -> Result<(), Box<dyn std::error::Error>> {
    let cluster = ConnectionManager::global().cluster(config)?;
    println!("{}\n", cluster.status());
    cluster.batch_execute("CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY)")?;

    println!("written on      token       read from   orders");
    for _ in 0..3 {
        let (writer, token) = cluster.write_with_token(|tx| {
            tx.execute("INSERT INTO orders DEFAULT VALUES", &[])?;
            Ok(tx.query_one(WHO, &[])?.get::<_, i32>(0))
        })?;
        let (reader, orders) = cluster.read_after(token, count)?;
        println!(
            "{writer:<15} {:<11} {reader:<11} {orders}",
            token.to_string()
        );
    }

    let late = first_standby(config)?;
    println!("\nthe first standby stops replaying");
    late.query("SELECT pg_wal_replay_pause()", &[])?;
    wait(&cluster, |unused| unused)?;
    println!("{}", cluster.status());
    late.query("SELECT pg_wal_replay_resume()", &[])?;
    wait(&cluster, |unused| !unused)?;
    println!("\nit replays again\n{}", cluster.status());
    let closed = ConnectionManager::global().clear_cache();
    println!("\nclosed {closed} handles");
    Ok(())
}

fn count(tx: &mut Transaction) -> Result<(i32, i64), Error> {
    let orders = tx.query_one(COUNT, &[])?.get(0);
    Ok((tx.query_one(WHO, &[])?.get(0), orders))
}

/// A pool at the first standby alone.
fn first_standby(config: &Config) -> Result<Pool, Box<dyn std::error::Error>> {
    let readers = config.readers.as_ref().ok_or("the file has no readers")?;
    let mut settings = readers.config.to_settings();
    let connection = &mut settings.connection_settings;
    let target = connection.targets().remove(0);
    connection.host = vec![Host::new(&target.host.to_string())];
    connection.port = vec![target.port];
    Ok(Pool::new(&Config::new(settings)?)?)
}

/// Writes until the first standby is not used, or is.
fn wait(cluster: &Cluster, until: impl Fn(bool) -> bool) -> Result<(), Error> {
    let began = Instant::now();
    while !until(cluster.status().standbys[0].unused.is_some()) && began.elapsed() < PATIENCE {
        cluster.execute("INSERT INTO orders DEFAULT VALUES", &[])?;
        sleep(Duration::from_millis(100));
    }
    Ok(())
}
