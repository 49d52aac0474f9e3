//! Tests that share a pool, as in the book.

use std::sync::LazyLock;

use pgmonkey::{AsyncPool, Config, ConnectionManager, Error};
use pgmonkey_tests::Fixture;

static ON: LazyLock<Fixture> = LazyLock::new(Fixture::new);
static CONFIG: LazyLock<Config> = LazyLock::new(|| ON.config(""));

// ANCHOR: shared
/// The pool of all tests of this program. Each test has its own runtime, which ends with the test;
/// the pool continues in those of the others.
async fn pool() -> Result<AsyncPool, Error> {
    // CONFIG: a `static LazyLock<Config>`, from a file or from variables.
    ConnectionManager::global().async_pool(&CONFIG).await
}

#[tokio::test]
async fn an_order_has_lines() -> Result<(), Error> {
    // Dropped at the end, together with everything the test wrote.
    let tx = pool().await?.begin().await?;
    tx.batch_execute("CREATE TABLE lines (n int); INSERT INTO lines VALUES (1), (2)")
        .await?;
    let count: i64 = tx
        .query_one("SELECT count(*) FROM lines", &[])
        .await?
        .get(0);
    assert_eq!(count, 2);
    Ok(())
}

#[tokio::test]
async fn nothing_of_another_test_is_there() -> Result<(), Error> {
    let row = pool()
        .await?
        .query_one("SELECT to_regclass('lines') IS NULL", &[])
        .await?;
    assert!(row.get::<_, bool>(0));
    Ok(())
}
// ANCHOR_END: shared

/// What the two tests above rely on, in one process whatever test runner is used.
#[test]
fn the_pool_outlives_runtimes() -> Result<(), Error> {
    for _ in 0..3 {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let tx = pool().await?.begin().await?;
            tx.batch_execute("CREATE TABLE lines (n int)").await
        })?;
    }
    assert!(
        ConnectionManager::global()
            .cache_info()
            .iter()
            .any(|entry| entry.hits >= 2)
    );
    Ok(())
}
