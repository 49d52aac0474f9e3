//! `Execute`, one trait for everything that runs statements: a repository is written once. Over
//! TCP.

use pgmonkey::Error;
use pgmonkey_tests::{Fixture, Outcome};

/// A repository of numbers for threads.
mod threads {
    use pgmonkey::{Error, Execute, OpenTransaction};

    pub(super) fn count(db: &mut impl Execute, table: &str) -> Result<i64, Error> {
        let row = db.query_one(&format!("SELECT count(*) FROM {table}"), &[])?;
        Ok(row.get(0))
    }

    /// Adds a number twice, or not at all if it is negative.
    pub(super) fn add(db: &mut impl Execute, table: &str, number: i32) -> Result<(), Error> {
        let insert = format!("INSERT INTO {table} VALUES ($1)");
        let mut both = db.begin()?;
        both.execute(&insert, &[&number])?;
        both.batch_execute(&format!("INSERT INTO {table} VALUES ({number})"))?;
        if number < 0 {
            both.rollback()?;
            return Err(Error::other("negative"));
        }
        both.commit()
    }

    /// Uses all remaining calls. An abandoned copy would end a transaction.
    pub(super) fn sum(db: &mut impl Execute, table: &str) -> Result<i64, Error> {
        let mut sum = 0;
        for row in db.query_raw(&format!("SELECT n FROM {table}"), &[])? {
            sum += i64::from(row?.get::<_, i32>(0));
        }
        let all = db.query(&format!("SELECT n FROM {table}"), &[])?;
        assert_eq!(all.len() as i64, count(db, table)?);
        let none = db.query_opt(&format!("SELECT n FROM {table} WHERE n = 77"), &[])?;
        assert!(none.is_none());
        drop(db.copy_in(&format!("COPY {table} FROM STDIN"))?);
        drop(db.copy_out("COPY (SELECT 1) TO STDOUT")?);
        Ok(sum)
    }
}

/// The same repository for tasks.
mod tasks {
    use bytes::Bytes;
    use pgmonkey::aio::{Error, Execute, OpenTransaction};

    pub(super) async fn count(db: &impl Execute, table: &str) -> Result<i64, Error> {
        let row = db
            .query_one(&format!("SELECT count(*) FROM {table}"), &[])
            .await?;
        Ok(row.get(0))
    }

    pub(super) async fn add(db: &mut impl Execute, table: &str, number: i32) -> Result<(), Error> {
        let insert = format!("INSERT INTO {table} VALUES ($1)");
        let both = db.begin().await?;
        both.execute(&insert, &[&number]).await?;
        both.batch_execute(&format!("INSERT INTO {table} VALUES ({number})"))
            .await?;
        if number < 0 {
            both.rollback().await?;
            return Err(Error::other("negative"));
        }
        both.commit().await
    }

    pub(super) async fn sum(db: &impl Execute, table: &str) -> Result<i64, Error> {
        let mut sum = 0;
        let text = format!("SELECT n FROM {table}");
        let mut rows = db.query_raw(&text, &[]).await?;
        while let Some(row) = rows.next().await {
            sum += i64::from(row?.get::<_, i32>(0));
        }
        // Concurrently, which a transaction does by pipelining.
        let (all, count) = tokio::try_join!(db.query(&text, &[]), count(db, table))?;
        assert_eq!(all.len() as i64, count);
        let none = db
            .query_opt(&format!("SELECT n FROM {table} WHERE n = 77"), &[])
            .await?;
        assert!(none.is_none());
        drop(
            db.copy_in::<_, Bytes>(&format!("COPY {table} FROM STDIN"))
                .await?,
        );
        drop(db.copy_out("COPY (SELECT 1) TO STDOUT").await?);
        Ok(sum)
    }
}

/// Runs the repository on every type that can run statements.
macro_rules! everywhere {
    ($on:ident, $driver:ident, $repository:ident, $go:ident, $shared:ident, $work:ident) => {{
        let table = $on.name.as_str();
        let mut expected = 0;
        macro_rules! on {
            ($db:expr) => {{
                $go!($repository::add($db, table, 1))?;
                expected += 2;
                let refused = $go!($repository::add($db, table, -1));
                assert!(refused.is_err());
                assert_eq!($go!($repository::count($shared!($db), table))?, expected);
            }};
        }
        let mut pool = $go!($driver::Pool::new(&$on.pools("{ max_size: 3 }")))?;
        let mut connection = $go!($driver::Connection::new(&$on.config("")))?;
        on!(&mut pool);
        assert_eq!(
            $go!($repository::sum($shared!(&mut pool), table))?,
            expected
        );
        on!(&mut connection);
        assert_eq!(
            $go!($repository::sum($shared!(&mut connection), table))?,
            expected
        );
        let mut guard = $go!(pool.acquire())?;
        on!(&mut guard);
        assert_eq!(
            $go!($repository::sum($shared!(&mut guard), table))?,
            expected
        );
        let mut nested = $go!(guard.transaction())?;
        on!(&mut nested);
        let mut savepoint = $go!(nested.transaction())?;
        on!(&mut savepoint);
        $go!(savepoint.commit())?;
        $go!(nested.commit())?;
        drop(guard);
        let mut owned = $go!(pool.begin())?;
        on!(&mut owned);
        $go!(owned.commit())?;
        assert_eq!($on.rows(), expected);
        $go!(pool.transaction($work!(|tx| {
            $go!($repository::add($work!(&mut tx), table, 1))?;
            assert!($go!($repository::add($work!(&mut tx), table, -1)).is_err());
            assert_eq!($go!($repository::count($work!(&tx), table))?, expected + 2);
            Err::<(), _>(Error::other("undone"))
        })))
        .expect_err("it said so");
        assert_eq!($on.rows(), expected);
    }};
}

#[test]
fn a_repository_for_threads_works_on_everything() -> Outcome {
    macro_rules! go {
        ($e:expr) => {
            $e
        };
    }
    macro_rules! shared {
        ($e:expr) => {
            $e
        };
    }
    macro_rules! work {
        (|$x:ident| $b:block) => {
            |$x| $b
        };
        (&mut $x:ident) => {
            $x
        };
        (& $x:ident) => {
            $x
        };
    }
    use pgmonkey::sync;
    let on = Fixture::new();
    everywhere!(on, sync, threads, go, shared, work);
    let yaml = format!("connection_type: pool\n{}", on.yaml(""));
    let mut database = sync::Database::new(&pgmonkey_tests::load(&yaml))?;
    assert!(threads::add(&mut database, &on.name, -1).is_err());
    assert_eq!(threads::count(&mut database, &on.name)?, on.rows());
    database.scope(|client| {
        // Called explicitly, whatever traits are in scope.
        use pgmonkey::Execute;
        Execute::batch_execute(client, "SELECT 1")?;
        client.rollback()?;
        client.begin()?;
        threads::add(client, &on.name, 1)
    })?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_for_tasks_works_on_everything() -> Outcome {
    macro_rules! go {
        ($e:expr) => {
            $e.await
        };
    }
    macro_rules! shared {
        (&mut $e:expr) => {
            &$e
        };
        ($e:expr) => {
            &*$e
        };
    }
    macro_rules! work {
        (|$x:ident| $b:block) => {
            async |mut $x| $b
        };
        (&mut $x:ident) => {
            &mut $x
        };
        (& $x:ident) => {
            &$x
        };
    }
    use pgmonkey::aio;
    let on = Fixture::new();
    everywhere!(on, aio, tasks, go, shared, work);
    let yaml = format!("connection_type: async_pool\n{}", on.yaml(""));
    let mut database = aio::Database::new(&pgmonkey_tests::load(&yaml)).await?;
    assert!(tasks::add(&mut database, &on.name, -1).await.is_err());
    assert_eq!(tasks::count(&database, &on.name).await?, on.rows());
    let table = on.name.clone();
    database
        .scope(async |mut client| {
            use pgmonkey::aio::Execute;
            Execute::batch_execute(&client, "SELECT 1").await?;
            client.rollback().await?;
            client.begin().await?;
            tasks::add(&mut client, &table, 1).await
        })
        .await?;
    // The futures of the trait, and of code written over it, are `Send`.
    let table = on.name.clone();
    let task = tokio::spawn(async move {
        database
            .transaction(async |mut tx| {
                tasks::add(&mut tx, &table, 1).await?;
                tasks::count(&tx, &table).await
            })
            .await
    });
    task.await??;
    Ok(())
}
