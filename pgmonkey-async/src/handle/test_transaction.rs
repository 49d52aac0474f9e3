//! A pool for tests. The differences of its session are in `session/outer.rs`.

use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::{Error, test_transaction};

use crate::handle::pool::Pool;
use crate::options::HandleOptions;

impl Pool {
    /// Opens a pool for a test: a single session in a transaction that is never committed, so that
    /// the test leaves nothing in the database and tests can run in parallel.
    ///
    /// To the code under test it looks like any other pool. Each statement outside a transaction
    /// has a savepoint of its own, so that a failed statement undoes only itself; `begin` and
    /// `transaction` create savepoints. A task or thread that holds the session and asks for
    /// another one gets [`Error::TestSessionHeld`] immediately; others wait. A `COMMIT` in an SQL
    /// text fails with [`Error::TransactionEnded`], and everything after it with
    /// [`Error::TestTransactionOver`]. Commands that cannot run in a transaction, such as `VACUUM`,
    /// fail; `now()` does not advance. The driver's own methods have no savepoints.
    ///
    /// ```no_run
    /// # struct Orders(pgmonkey_async::Pool);
    /// # impl Orders {
    /// #     fn new(pool: &pgmonkey_async::Pool) -> Self { Self(pool.clone()) }
    /// #     async fn location(&self) -> Result<(), pgmonkey_async::Error> { Ok(()) }
    /// # }
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let pool = pgmonkey_async::Pool::test_transaction(&config).await?;
    /// pool.execute("INSERT INTO users VALUES (1, 'ann')", &[]).await?;
    /// Orders::new(&pool).location().await?; // code that takes a pool
    /// let row = pool.query_one("SELECT count(*) FROM orders", &[]).await?;
    /// assert_eq!(row.get::<_, i64>(0), 1);
    /// # Ok(()) } // the server rolls back
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub async fn test_transaction(config: &Config) -> Result<Self, Error> {
        let mut settings = config.pool_settings_for(ConnectionType::AsyncPool).clone();
        test_transaction::only_session(&mut settings);
        let options = HandleOptions {
            for_tests: true,
            ..HandleOptions::default()
        };
        Self::open("pool", config, ConnectionType::AsyncPool, settings, options).await
    }
}
