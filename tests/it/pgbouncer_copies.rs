//! Copies through PgBouncer in transaction mode. Before 1.22 it forgets, at the end of a copy, the
//! answers to what was sent behind it, and gives the server's session to another client too early.

use std::io::{Read, Write};

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt};
use pgmonkey::{Config, aio, sync};
use pgmonkey_tests::{Fixture, Outcome, load};
use pgmonkey_testserver::Pgbouncer;

/// How many copies in each direction: one in three had gone wrong.
const TURNS: i64 = 15;

/// Gives the table a column whose default takes time, so that what is sent behind a copy arrives
/// before its end.
fn slow_down(on: &Fixture) {
    let name = &on.name;
    on.run(&format!(
        "ALTER TABLE {name} ADD slow text DEFAULT pg_sleep(0.01)::text"
    ));
}

/// `None`, with a message, where PgBouncer is not installed.
fn in_front_of(on: &Fixture) -> anyhow::Result<Option<(Pgbouncer, Config)>> {
    let Some(program) = Pgbouncer::find() else {
        println!("skipped: no pgbouncer on this machine (`apt-get install pgbouncer`)");
        return Ok(None);
    };
    let pooler = Pgbouncer::start(&program, on.server(), &[])?;
    let to = pooler.endpoint();
    let config = load(&format!(
        "connection_settings: {{ host: {}, port: {}, user: {}, password: '{}', dbname: {}, \
         sslmode: disable, pooler: transaction }}\n\
         pool_settings: {{ max_size: 1 }}\nasync_pool_settings: {{ max_size: 1 }}\n",
        to.host(),
        to.port(),
        to.user(),
        to.password(),
        to.dbname(),
    ));
    Ok(Some((pooler, config)))
}

/// Statements as a client that has gone leaves them in a session of the server.
fn left_behind() -> String {
    let statements = (0..30).map(|n| format!("PREPARE s{n} AS SELECT 1;"));
    statements.collect()
}

#[test]
fn a_session_can_be_used_after_copies_on_threads() -> Outcome {
    let on = Fixture::new();
    let Some((_pooler, config)) = in_front_of(&on)? else {
        return Ok(());
    };
    let pool = sync::Pool::new(&config)?;
    pool.batch_execute(&left_behind())?;
    slow_down(&on);
    let [into, out] = [
        format!("COPY {} (n) FROM STDIN", on.name),
        format!("COPY (SELECT n FROM {}, pg_sleep(0.01)) TO STDOUT", on.name),
    ];
    let count = format!("SELECT count(*) FROM {}", on.name);
    for turn in 1..=TURNS {
        let mut copy = pool.copy_in(&into)?;
        copy.write_all(b"1\n")?;
        assert_eq!(copy.finish()?, 1);
        let mut text = String::new();
        pool.copy_out(&out)?.read_to_string(&mut text)?;
        assert_eq!(text.len() as i64, 2 * turn);
        assert_eq!(pool.query_one(&count, &[])?.get::<_, i64>(0), turn);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_can_be_used_after_copies_in_tasks() -> Outcome {
    let on = Fixture::new();
    let Some((_pooler, config)) = in_front_of(&on)? else {
        return Ok(());
    };
    let pool = aio::Pool::new(&config).await?;
    pool.batch_execute(&left_behind()).await?;
    slow_down(&on);
    let [into, out] = [
        format!("COPY {} (n) FROM STDIN", on.name),
        format!("COPY (SELECT n FROM {}, pg_sleep(0.01)) TO STDOUT", on.name),
    ];
    let count = format!("SELECT count(*) FROM {}", on.name);
    for turn in 1..=TURNS {
        let mut copy = pool.copy_in::<_, Bytes>(&into).await?;
        SinkExt::feed(&mut copy, Bytes::from_static(b"1\n")).await?;
        assert_eq!(copy.finish().await?, 1);
        let pieces: Vec<Bytes> = pool.copy_out(&out).await?.try_collect().await?;
        assert_eq!(pieces.concat().len() as i64, 2 * turn);
        let row = pool.query_one(&count, &[]).await?;
        assert_eq!(row.get::<_, i64>(0), turn);
    }
    Ok(())
}
