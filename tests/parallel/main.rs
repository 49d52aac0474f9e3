//! Tests that share a pool, each with its own runtime that ends with it: under plain `cargo test`
//! they run concurrently in one process.

use std::sync::LazyLock;
use std::time::Duration;

use pgmonkey::{AsyncPool, Config, ConnectionManager, Error};
use pgmonkey_tests::Fixture;

static CONFIG: LazyLock<(Fixture, Config)> = LazyLock::new(|| {
    let on = Fixture::new();
    let config = on.pools_async("{ max_size: 6 }");
    (on, config)
});

async fn pool() -> Result<AsyncPool, Error> {
    ConnectionManager::global().async_pool(&CONFIG.1).await
}

const FILL: &str = "CREATE TEMP TABLE a (n int) ON COMMIT DROP; \
                    INSERT INTO a SELECT generate_series(1, 10)";

macro_rules! tests {
    ($($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() -> Result<(), Error> {
            for _ in 0..20 {
                let transaction = pool().await?.begin().await?;
                transaction.batch_execute(FILL).await?;
                let count: i64 = transaction.query_one("SELECT count(*) FROM a", &[]).await?.get(0);
                assert_eq!(count, 10);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            Ok(())
        }
    )*};
}

tests!(a b c d e f g h i j k l m n o p);
