//! Readers behind PgBouncer.

use pgmonkey_testserver::Pgbouncer;

use super::*;

/// A PgBouncer in this mode in front of each standby; `None`, with the reason printed, if it is not
/// installed.
fn in_front(servers: &Servers, mode: &str) -> Option<[Pgbouncer; 2]> {
    let Some(program) = Pgbouncer::find() else {
        println!("skipped: no pgbouncer on this machine (`apt-get install pgbouncer`)");
        return None;
    };
    let start = |standby: &Cluster| Pgbouncer::start(&program, standby, &[("pool_mode", mode)]);
    Some(
        servers
            .standbys
            .each_ref()
            .map(|standby| start(standby).expect("it starts")),
    )
}

/// A cluster whose readers are these.
fn config(servers: &Servers, poolers: &[Pgbouncer; 2], mode: &str) -> Config {
    let [one, other] = poolers.each_ref().map(Pgbouncer::endpoint);
    let pools = "pool_settings: { max_size: 8 }\n  async_pool_settings: { max_size: 8 }\n";
    let sections = format!(
        "readers:\n  connection_settings: {{ host: '{},{}', port: '{},{}', pooler: {mode} }}\n  \
         fallback: false\n  {pools}",
        one.host(),
        other.host(),
        one.port(),
        other.port(),
    );
    load(&at(&[servers.primary.endpoint()], &sections))
}

/// Writes a row, then reads it; returns whether a standby served that.
macro_rules! write_and_read {
    ($cluster:ident, $go:ident, $work:ident) => {{
        let ((), token) = $go!($cluster.write_with_token($work!(|tx| {
            $go!(tx.execute("INSERT INTO t VALUES (1)", &[])).map(drop)
        })))?;
        $go!($cluster.read_after(
            token,
            $work!(|tx| {
                let count = "SELECT count(*), pg_is_in_recovery() FROM t";
                let row = $go!(tx.query_one(count, &[]))?;
                Ok((row.get::<_, i64>(0), row.get::<_, bool>(1)))
            })
        ))?
    }};
}

// A session there does not stay at one server, so a read with a token goes to the writer.
twin! {
    fn reads_go_through_a_pooler_in_transaction_mode(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let Some(poolers) = in_front(&servers, "transaction") else { return Ok(()) };
        let cluster = go!(driver::Cluster::new(&config(&servers, &poolers, "transaction")))?;
        for written in 1..=10 {
            assert_eq!(write_and_read!(cluster, go, work), (written, false));
            let parameter: (i32, bool) = go!(cluster.read(work!(|tx| {
                let row = go!(tx.query_one("SELECT $1::int4, pg_is_in_recovery()", &[&7_i32]))?;
                Ok((row.get(0), row.get(1)))
            })))?;
            assert_eq!(parameter, (7, true));
            let alone = go!(cluster.reader().query_one("SELECT $1::int4", &[&8_i32]))?;
            assert_eq!(alone.get::<_, i32>(0), 8);
        }
        let began = Instant::now();
        while !cluster.status().standbys.iter().all(|one| one.lag.is_some() && one.unused.is_none()) {
            assert!(began.elapsed() < LONG, "{:?}", cluster.status());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

// The pooler of a standby that is away still accepts sessions, and a statement that is sent to it then
// waits for the standby: it is given up, and runs elsewhere.
twin! {
    fn a_standby_that_goes_away_behind_its_pooler_is_not_used(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let Some(poolers) = in_front(&servers, "transaction") else { return Ok(()) };
        let cluster = go!(driver::Cluster::new(&config(&servers, &poolers, "transaction")))?;
        let guards = [go!(cluster.reader().acquire())?, go!(cluster.reader().acquire())?];
        drop(guards);
        servers.standbys[0].stop(StopMode::Immediate)?;
        let began = Instant::now();
        while cluster.status().standbys[0].unused.is_none() {
            go!(cluster.read(work!(|tx| { go!(tx.query_one("SELECT 1", &[])) })))?;
            assert!(began.elapsed() < LONG, "{}", cluster.status());
        }
        let gone = i32::from(servers.standbys[0].port());
        for _ in 0..20 {
            let port: i32 = go!(cluster.read(work!(|tx| {
                Ok(go!(tx.query_one(WHO, &[]))?.get(0))
            })))?;
            assert_ne!(port, gone);
        }
        servers.standbys[0].start_again()?;
        until("it is used again", || cluster.status().standbys[0].unused.is_none());
        Ok(())
    }
}

// A session of a pooler in session mode has a session of the server for itself.
twin! {
    fn a_pooler_in_session_mode_serves_reads_with_a_token(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let Some(poolers) = in_front(&servers, "session") else { return Ok(()) };
        let cluster = go!(driver::Cluster::new(&config(&servers, &poolers, "session")))?;
        let mut from_readers = 0;
        for written in 1..=20 {
            let (count, standby) = write_and_read!(cluster, go, work);
            assert_eq!(count, written, "{}", cluster.status());
            from_readers += u32::from(standby);
        }
        assert!(from_readers > 10, "{from_readers} of 20 were read from readers");
        Ok(())
    }
}
