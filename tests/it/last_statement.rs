//! The last statement of a transaction and its `COMMIT`, sent together, whose answers are lost.

use pgmonkey::{Error, aio, sync};
use pgmonkey_tests::{Fixture, Outcome};
use pgmonkey_testserver::{At, Cut, Proxy};

use crate::outcome::{COMMIT, decided, is_commit_unknown, is_undone, proxy, through};

/// Checks the error of each attempt, and what the table has after those whose answer was lost.
struct Attempts {
    on: Fixture,
    proxy: Proxy,
    insert: String,
}

impl Attempts {
    fn new() -> Self {
        let on = Fixture::new();
        let proxy = proxy(&on);
        let insert = format!("INSERT INTO {} VALUES (1) RETURNING n", on.name);
        Self { on, proxy, insert }
    }

    fn config(&self) -> pgmonkey::Config {
        through(&self.proxy, &self.on, "{ min_size: 0, max_size: 2 }")
    }

    /// The session is cut off from now on when it commits.
    fn cut(&self, at: At) {
        self.proxy.on_text(COMMIT, at, || Some(Cut::Fin));
    }

    /// The session is gone before the call.
    fn cut_now(&self) {
        self.proxy.forget_text();
        self.proxy.cut(Cut::Fin);
        self.on
            .until("the server has noticed", || self.on.sessions() == 0);
    }

    /// Returns how many were committed.
    fn check(&self, attempts: [Result<(), Error>; 3]) -> i64 {
        for attempt in attempts {
            is_commit_unknown(&attempt.expect_err("cut"));
        }
        decided(&self.on, &self.proxy);
        let kept = self.on.rows();
        self.on.run(&format!("TRUNCATE {}", self.on.name));
        kept
    }
}

#[test]
fn the_outcome_is_unknown_once_they_were_sent_on_threads() -> Outcome {
    let attempts = Attempts::new();
    let pool = sync::Pool::new(&attempts.config())?;
    let insert = &*attempts.insert;
    for at in [At::Before, At::After] {
        attempts.cut(at);
        let mut guard = pool.acquire()?;
        let counts = [
            pool.begin()?.execute_and_commit(insert, &[]),
            guard.transaction()?.execute_and_commit(insert, &[]),
        ];
        drop(guard);
        let rows = pool.begin()?.query_and_commit(insert, &[]).map(drop);
        let [count, inner] = counts.map(|count| count.map(drop));
        let kept = attempts.check([count, inner, rows]);
        assert_eq!(kept, if at == At::After { 3 } else { 0 }, "{at:?}");
    }
    let lost = pool.begin()?;
    attempts.cut_now();
    is_undone(&lost.execute_and_commit(insert, &[]).expect_err("lost"));
    assert_eq!(attempts.on.rows(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outcome_is_unknown_once_they_were_sent_in_tasks() -> Outcome {
    let attempts = Attempts::new();
    let pool = aio::Pool::new(&attempts.config()).await?;
    let insert = &*attempts.insert;
    for at in [At::Before, At::After] {
        attempts.cut(at);
        let mut guard = pool.acquire().await?;
        let inner = guard.transaction().await?;
        let inner = inner.execute_and_commit(insert, &[]).await.map(drop);
        drop(guard);
        let count = pool.begin().await?.execute_and_commit(insert, &[]).await;
        let rows = pool.begin().await?.query_and_commit(insert, &[]).await;
        let kept = attempts.check([inner, count.map(drop), rows.map(drop)]);
        // The server may have found the session gone when it answered the statement, and then has
        // not come to the COMMIT.
        assert!(at == At::After || kept == 0, "{at:?} {kept}");
    }
    let lost = pool.begin().await?;
    lost.query("SELECT 1", &[]).await?;
    attempts.cut_now();
    let lost = lost.execute_and_commit(insert, &[]).await;
    is_undone(&lost.expect_err("lost"));
    assert_eq!(attempts.on.rows(), 0);
    Ok(())
}
