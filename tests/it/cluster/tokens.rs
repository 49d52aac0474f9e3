//! Reading what was written.

use super::*;

const COUNT: &str = "SELECT count(*) FROM t";

// One standby applies everything late: a read with a token sees the row every time, and most of them
// see it on the other standby.
twin! {
    fn a_read_after_a_token_sees_what_was_written(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let slow = &servers.standbys[0];
        slow.psql("ALTER SYSTEM SET recovery_min_apply_delay = '700ms'")?;
        slow.psql("SELECT pg_reload_conf()")?;
        let sizes = "{ min_size: 4, max_size: 8, timeout: 20 }";
        let cluster = go!(driver::Cluster::new(&servers.config(sizes)))?;
        let mut from_readers = 0;
        for written in 1..=100_i64 {
            let ((), token) = go!(cluster.write_with_token(work!(|tx| {
                go!(tx.execute("INSERT INTO t VALUES (1)", &[])).map(drop)
            })))?;
            let token: Token = token.to_string().parse()?;
            let (count, standby) = go!(cluster.read_after(token, work!(|tx| {
                let count: i64 = go!(tx.query_one(COUNT, &[]))?.get(0);
                Ok((count, go!(tx.query_one(WHO, &[]))?.get::<_, bool>(1)))
            })))?;
            assert_eq!(count, written, "{}", cluster.status());
            from_readers += u32::from(standby);
        }
        assert!(from_readers > 50, "{from_readers} of 100 were read from readers");
        Ok(())
    }
}

twin! {
    fn a_token_that_no_reader_reaches_leads_to_the_writer(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        for standby in &servers.standbys {
            standby.psql("SELECT pg_wal_replay_pause()")?;
        }
        let config = servers.with(SIZES, |readers| readers.fallback = false);
        let cluster = go!(driver::Cluster::new(&config))?;
        let cluster = cluster.wait_for_readers(SECOND / 5);
        let ((), token) = go!(cluster.write_with_token(work!(|tx| {
            go!(tx.execute("INSERT INTO t VALUES (1)", &[])).map(drop)
        })))?;
        let began = Instant::now();
        let count: i64 = go!(cluster.read_after(token, work!(|tx| {
            Ok(go!(tx.query_one(COUNT, &[]))?.get(0))
        })))?;
        assert_eq!(count, 1);
        assert!(began.elapsed() >= SECOND / 5, "it waited");
        for made_up in ["1-ffffffff-ffffffff", "0-0-0"] {
            let count: i64 = go!(cluster.read_after(made_up.parse()?, work!(|tx| {
                Ok(go!(tx.query_one(COUNT, &[]))?.get(0))
            })))?;
            assert_eq!(count, 1, "{made_up}");
        }
        Ok(())
    }
}

twin! {
    fn a_commit_that_fails_gives_no_token(on, driver, go, work) {
        let table = &on.name;
        on.run(&format!("ALTER TABLE {table} ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED"));
        let pool = go!(driver::Pool::new(&on.config("")))?;
        let mut transaction = go!(pool.begin())?;
        go!(transaction.execute(&format!("INSERT INTO {table} VALUES (1), (1)"), &[]))?;
        let error = go!(transaction.commit_with_token()).expect_err("it is not unique");
        assert!(error.is_unique_violation(), "{error}");
        let mut transaction = go!(pool.begin())?;
        go!(transaction.execute(&format!("INSERT INTO {table} VALUES (1)"), &[]))?;
        let failed = go!(transaction.query("SELECT 1 / 0", &[]));
        assert!(failed.is_err());
        let error = go!(transaction.commit_with_token()).expect_err("it failed");
        assert!(matches!(error, Error::RolledBack), "{error}");
        assert_eq!(on.rows(), 0);
        Ok(())
    }
}

// Where the role may not ask for the position, the work is committed all the same.
twin! {
    fn a_commit_whose_position_is_refused_is_a_commit(on, driver, go, work) {
        drop(on);
        let primary = Cluster::builder().start()?;
        primary.psql("CREATE TABLE t (n int)")?;
        primary.psql("CREATE ROLE lowly LOGIN PASSWORD 'pw'; GRANT ALL ON t TO lowly")?;
        primary.psql(
            "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_current_wal_insert_lsn() FROM PUBLIC"
        )?;
        let mut settings = load(&at(&[primary.endpoint()], "")).to_settings();
        settings.connection_settings.user = Some("lowly".to_owned());
        settings.connection_settings.password = Some(Secret::new("pw").into());
        let cluster = go!(driver::Cluster::new(&Config::new(settings)?))?;
        let ((), token) = go!(cluster.write_with_token(work!(|tx| {
            go!(tx.execute("INSERT INTO t VALUES (1)", &[])).map(drop)
        })))?;
        assert_eq!(token, Token::UNKNOWN);
        assert_eq!(primary.psql(COUNT)?, "1");
        Ok(())
    }
}

// After a failover the other standby follows the new primary, on another timeline.
twin! {
    fn tokens_of_another_timeline_lead_to_the_writer(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let old = go!(driver::Cluster::new(&servers.config(SIZES)))?;
        let ((), before) = go!(old.write_with_token(work!(|tx| {
            go!(tx.execute("INSERT INTO t VALUES (1)", &[])).map(drop)
        })))?;
        servers.wait_for_replay();
        let [new, follower] = &servers.standbys;
        servers.primary.stop(StopMode::Fast)?;
        new.promote()?;
        let from = format!(
            "host={} port={} user={} password={}", new.host(), new.port(), new.user(), new.password()
        );
        follower.psql(&format!("ALTER SYSTEM SET primary_conninfo = '{from}'"))?;
        follower.psql("SELECT pg_reload_conf()")?;
        let config = load(&at(&[new.endpoint()], ""));
        let mut settings = config.to_settings();
        let readers = load(&at(&[follower.endpoint()], "")).to_settings();
        settings.readers = Some(Readers::new(readers)?);
        let cluster = go!(driver::Cluster::new(&Config::new(settings)?))?;
        let ((), after) = go!(cluster.write_with_token(work!(|tx| {
            go!(tx.execute("INSERT INTO t VALUES (2)", &[])).map(drop)
        })))?;
        let timeline = |token: Token| token.to_string().split('-').next().map(str::to_owned);
        assert_ne!(timeline(before), timeline(after));
        for _ in 0..5 {
            let count: i64 = go!(cluster.read_after(after, work!(|tx| {
                Ok(go!(tx.query_one(COUNT, &[]))?.get(0))
            })))?;
            assert_eq!(count, 2, "{}", cluster.status());
        }
        // The server has the position, but it is not known to be of the same history.
        until("it follows", || {
            let timeline = "SELECT received_tli FROM pg_stat_wal_receiver";
            follower.psql(timeline).is_ok_and(|timeline| timeline == "2")
        });
        for (token, from_reader) in [(after, true), (before, false)] {
            let standby: bool = go!(cluster.read_after(token, work!(|tx| {
                Ok(go!(tx.query_one(WHO, &[]))?.get(1))
            })))?;
            assert_eq!(standby, from_reader, "{token}: {}", cluster.status());
        }
        Ok(())
    }
}
