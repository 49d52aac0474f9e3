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
    /// # struct Orders(pgmonkey_sync::Pool);
    /// # impl Orders {
    /// #     fn new(pool: &pgmonkey_sync::Pool) -> Self { Self(pool.clone()) }
    /// #     fn place(&self) -> Result<(), pgmonkey_sync::Error> { Ok(()) }
    /// # }
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let pool = pgmonkey_sync::Pool::test_transaction(&config)?;
    /// pool.execute("INSERT INTO users VALUES (1, 'ann')", &[])?;
    /// Orders::new(&pool).place()?; // code that takes a pool
    /// let row = pool.query_one("SELECT count(*) FROM orders", &[])?;
    /// assert_eq!(row.get::<_, i64>(0), 1);
    /// # Ok(()) } // the server rolls back
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn test_transaction(config: &Config) -> Result<Self, Error> {
        let mut settings = config.pool_settings_for(ConnectionType::Pool).clone();
        test_transaction::only_session(&mut settings);
        let extras = Extras {
            for_tests: true,
            ..Extras::default()
        };
        Self::open("pool", config, ConnectionType::Pool, settings, extras)
    }
}
