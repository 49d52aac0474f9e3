//! A pool for tests. What is different about its session is in `session/outer.rs`.

use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::{Error, test_transaction};

use crate::builder::Extras;
use crate::pool::Pool;

impl Pool {
    /// Opens a pool for a test: one session in a transaction that is never committed, so that
    /// nothing of the test stays in the database, and tests can run side by side.
    ///
    /// For the code under test it is a pool as any other. Each statement outside of a transaction
    /// has a savepoint of its own, so that one that fails undoes no more than itself; `begin`
    /// and `transaction` are savepoints. A task or thread that has the session and asks for
    /// another gets [`Error::TestSessionHeld`] at once; others wait. A `COMMIT` in an SQL text
    /// is [`Error::TransactionEnded`], and whatever comes after it
    /// [`Error::TestTransactionOver`]. What cannot run in a transaction, such as `VACUUM`,
    /// fails; `now()` stands still. The driver's own methods have no savepoints.
    ///
    /// ```no_run
    /// # struct Orders(pgmonkey_async::Pool);
    /// # impl Orders {
    /// #     fn new(pool: &pgmonkey_async::Pool) -> Self { Self(pool.clone()) }
    /// #     async fn place(&self) -> Result<(), pgmonkey_async::Error> { Ok(()) }
    /// # }
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let pool = pgmonkey_async::Pool::test_transaction(&config).await?;
    /// pool.execute("INSERT INTO users VALUES (1, 'ann')", &[]).await?;
    /// Orders::new(&pool).place().await?; // code that takes a pool
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
        let extras = Extras {
            for_tests: true,
            ..Extras::default()
        };
        Self::open("pool", config, ConnectionType::AsyncPool, settings, extras).await
    }
}
