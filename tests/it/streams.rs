//! Rows and copies that are streamed, on handles, guards, transactions and savepoints. Over TCP.

use std::io::{Read, Write};

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt};
use pgmonkey::{Error, aio, sync};
use pgmonkey_tests::{Fixture, Outcome, twin};

const NUMBERS: &str = "SELECT n, repeat('x', 1000) FROM generate_series(1, $1) n";

/// Reads all rows and returns their count and the last number.
macro_rules! drain {
    ($rows:expr, $go:ident) => {{
        let mut rows = $rows;
        let mut found = (0, 0);
        while let Some(row) = $go!(rows.next()) {
            found = (found.0 + 1, row?.get::<_, i32>(0));
        }
        assert!($go!(rows.next()).is_none(), "the end stays the end");
        found
    }};
}

twin! {
    fn rows_come_one_by_one_everywhere(on, driver, go, work) {
        for cache in [256, 0] {
            let settings = format!("{{ min_size: 1, max_size: 1, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&on.pools(&settings)))?;
            for _ in 0..2 {
                assert_eq!(drain!(go!(pool.query_raw(NUMBERS, &[&5000_i32]))?, go), (5000, 5000));
                let mut guard = go!(pool.acquire())?;
                assert_eq!(drain!(go!(guard.query_raw(NUMBERS, &[&7_i32]))?, go), (7, 7));
                let mut outer = go!(guard.transaction())?;
                assert_eq!(drain!(go!(outer.query_raw(NUMBERS, &[&8_i32]))?, go), (8, 8));
                let mut inner = go!(outer.transaction())?;
                assert_eq!(drain!(go!(inner.query_raw(NUMBERS, &[&9_i32]))?, go), (9, 9));
                go!(inner.commit())?;
                go!(outer.commit())?;
                drop(guard);
                go!(pool.transaction(work!(|tx| {
                    assert_eq!(drain!(go!(tx.query_raw(NUMBERS, &[&0_i32]))?, go), (0, 0));
                    let statement = go!(tx.prepare("SELECT $1::int"))?;
                    assert_eq!(drain!(go!(tx.query_raw(&statement, &[&3_i32]))?, go), (1, 3));
                    let none: Option<i32> = None;
                    let mut rows = go!(tx.query_raw(&statement, &[&none]))?;
                    let row = go!(rows.next()).expect("one")?;
                    assert_eq!(row.get::<_, Option<i32>>(0), None);
                    Ok(())
                })))?;
            }
            let kept = pool.status().statement_cache;
            assert_eq!(kept.misses, if cache == 0 { 0 } else { 1 });
            assert_eq!(pool.status().opened, 1);
        }
        Ok(())
    }
}

twin! {
    fn a_handles_stream_keeps_its_session_until_the_end(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let mut rows = go!(pool.query_raw(NUMBERS, &[&3_i32]))?;
        for _ in 0..3 {
            assert!(go!(rows.next()).is_some());
            assert_eq!(pool.status().in_use, 1);
        }
        assert!(go!(rows.next()).is_none());
        assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1, "beside it");
        drop(rows);
        // A stream that is abandoned.
        let mut rows = go!(pool.query_raw("SELECT generate_series(1, 100000000)", &[]))?;
        assert!(go!(rows.next()).is_some());
        drop(rows);
        assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        assert_eq!(on.sessions_in("active"), 0);
        Ok(())
    }
}

twin! {
    fn a_stream_heals_and_fails_as_a_query_does(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let text = format!("SELECT n, * FROM {} WHERE n = $1", on.name);
        on.run(&format!("INSERT INTO {} VALUES (1)", on.name));
        for columns in 2..5 {
            let mut rows = go!(pool.query_raw(&text, &[&1_i32]))?;
            assert_eq!(go!(rows.next()).expect("one")?.len(), columns);
            drop(rows);
            on.run(&format!("ALTER TABLE {} ADD COLUMN c{columns} int", on.name));
        }
        // The type of a parameter.
        on.run(&format!("ALTER TABLE {} ALTER n TYPE text", on.name));
        let other = format!("SELECT 1 FROM {} WHERE n = $1", on.name);
        assert_eq!(drain!(go!(pool.query_raw(&other, &[&"1"]))?, go), (1, 1));
        on.run(&format!("ALTER TABLE {} ALTER n TYPE int USING n::int", on.name));
        assert_eq!(drain!(go!(pool.query_raw(&other, &[&1_i32]))?, go), (1, 1));
        // Values of the wrong type, missing values, and a failure halfway.
        assert!(go!(pool.query_raw(&other, &[&1.5_f64])).is_err());
        assert!(go!(pool.query_raw(&other, &[])).is_err());
        assert!(go!(pool.query_raw("nonsense", &[])).is_err());
        let late = "SELECT 1 / (3 - n) FROM generate_series(1, 5) n";
        let mut rows = go!(pool.query_raw(late, &[]))?;
        let failed = loop {
            match go!(rows.next()) {
                Some(Ok(_)) => {}
                other => break other.and_then(Result::err),
            }
        };
        drop(rows);
        let error: Error = failed.expect("a division by zero");
        assert_eq!(error.code().map(|code| code.code()), Some("22012"), "{error}");
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

fn copies(on: &Fixture) -> (String, String) {
    (
        format!("COPY {} FROM STDIN", on.name),
        format!("COPY (SELECT n FROM {} ORDER BY n) TO STDOUT", on.name),
    )
}

#[test]
fn copies_work_everywhere_on_threads() -> Outcome {
    fn both(
        mut sink: sync::CopyInWriter<'_>,
        data: &[u8],
    ) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        sink.write_all(data)?;
        Ok(sink.finish()?)
    }
    for cache in [256, 0] {
        let on = Fixture::new();
        let (copy_in, copy_out) = copies(&on);
        let settings = format!("{{ min_size: 1, max_size: 1, statement_cache: {cache} }}");
        let pool = sync::Pool::new(&on.pools(&settings))?;
        assert_eq!(both(pool.copy_in(&copy_in)?, b"1\n2\n")?, 2);
        let mut guard = pool.acquire()?;
        assert_eq!(both(guard.copy_in(&copy_in)?, b"3\n")?, 1);
        let mut outer = guard.transaction()?;
        assert_eq!(both(outer.copy_in(&copy_in)?, b"4\n")?, 1);
        let mut inner = outer.transaction()?;
        assert_eq!(both(inner.copy_in(&copy_in)?, b"5\n")?, 1);
        inner.commit()?;
        outer.commit()?;
        drop(guard);
        // Enough for many blocks, and a copy that is abandoned.
        pool.transaction(|tx| {
            let many: String = (6..=20_000).map(|n| format!("{n}\n")).collect();
            assert_eq!(
                both(tx.copy_in(&copy_in)?, many.as_bytes()).expect("it fits"),
                19_995
            );
            Ok(())
        })?;
        let mut given_up = pool.copy_in(&copy_in)?;
        given_up.write_all(b"1\n")?;
        drop(given_up);
        let wrong = both(pool.copy_in(&copy_in)?, b"x\n").expect_err("no number");
        assert!(wrong.to_string().contains("SQLSTATE 22P02"), "{wrong}");
        // The reason is reported if the server gives up before everything is written.
        let much = b"x\n".repeat(1_000_000);
        let wrong = both(pool.copy_in(&copy_in)?, &much).expect_err("no number");
        assert!(wrong.to_string().contains("SQLSTATE 22P02"), "{wrong}");
        assert!(pool.copy_in("COPY no_such_table FROM STDIN").is_err());

        let expected: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
        for _ in 0..2 {
            let mut text = String::new();
            pool.copy_out(&copy_out)?.read_to_string(&mut text)?;
            assert!(text == expected);
        }
        let mut late =
            pool.copy_out("COPY (SELECT 1 / (3 - n) FROM generate_series(1, 9) n) TO STDOUT")?;
        let failed = late
            .read_to_string(&mut String::new())
            .expect_err("a division by zero");
        assert!(failed.to_string().contains("SQLSTATE 22012"), "{failed}");
        drop(late);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_work_everywhere_in_tasks() -> Outcome {
    async fn both(mut sink: aio::CopyInSink<Bytes>, data: &'static [u8]) -> Result<u64, Error> {
        // As a sink, and by its own method.
        SinkExt::feed(&mut sink, Bytes::from_static(data)).await?;
        sink.send(Bytes::new()).await?;
        sink.finish().await
    }
    for cache in [256, 0] {
        let on = Fixture::new();
        let (copy_in, copy_out) = copies(&on);
        let settings = format!("{{ min_size: 1, max_size: 1, statement_cache: {cache} }}");
        let pool = aio::Pool::new(&on.pools(&settings)).await?;
        assert_eq!(both(pool.copy_in(&copy_in).await?, b"1\n2\n").await?, 2);
        let mut guard = pool.acquire().await?;
        assert_eq!(both(guard.copy_in(&copy_in).await?, b"3\n").await?, 1);
        let mut outer = guard.transaction().await?;
        assert_eq!(both(outer.copy_in(&copy_in).await?, b"4\n").await?, 1);
        let inner = outer.transaction().await?;
        assert_eq!(both(inner.copy_in(&copy_in).await?, b"5\n").await?, 1);
        inner.commit().await?;
        outer.commit().await?;
        drop(guard);
        pool.transaction(async |tx| both(tx.copy_in(&copy_in).await?, b"6\n").await.map(drop))
            .await?;
        let mut given_up = pool.copy_in::<_, Bytes>(&copy_in).await?;
        given_up.send(Bytes::from_static(b"1\n")).await?;
        drop(given_up);
        let wrong = both(pool.copy_in(&copy_in).await?, b"x\n")
            .await
            .expect_err("no number");
        assert!(wrong.to_string().contains("SQLSTATE 22P02"), "{wrong}");
        assert!(
            pool.copy_in::<_, Bytes>("COPY no_such_table FROM STDIN")
                .await
                .is_err()
        );

        for _ in 0..2 {
            let pieces: Vec<Bytes> = pool.copy_out(&copy_out).await?.try_collect().await?;
            assert_eq!(pieces.concat(), b"1\n2\n3\n4\n5\n6\n");
        }
        let late = "COPY (SELECT 1 / (3 - n) FROM generate_series(1, 9) n) TO STDOUT";
        let failed = pool.copy_out(late).await?.try_collect::<Vec<_>>().await;
        let failed = failed.expect_err("a division by zero");
        assert!(failed.to_string().contains("SQLSTATE 22012"), "{failed}");
    }
    Ok(())
}
