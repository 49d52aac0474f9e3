//! A test of code that takes a pool, as in the book.

use std::sync::LazyLock;

use pgmonkey::{Config, Error, Pool};
use pgmonkey_tests::Fixture;

static ON: LazyLock<Fixture> = LazyLock::new(|| {
    let on = Fixture::new();
    on.run(&format!("CREATE SCHEMA s_{}", on.name));
    on.run(&format!(
        "CREATE TABLE s_{0}.users (email text CONSTRAINT users_email_key UNIQUE)",
        on.name
    ));
    on
});
static CONFIG: LazyLock<Config> =
    LazyLock::new(|| ON.config(&format!("sync_settings: {{ search_path: s_{} }}", ON.name)));

// ANCHOR: rolled_back
/// The code under test. It takes a pool and runs its own transactions.
fn sign_up(pool: &Pool, email: &str) -> Result<bool, Error> {
    let added = pool.transaction(|tx| tx.execute("INSERT INTO users VALUES ($1)", &[&email]));
    match added {
        Ok(_) => Ok(true),
        Err(error) if error.constraint() == Some("users_email_key") => Ok(false),
        Err(error) => Err(error),
    }
}

#[test]
fn an_address_is_taken_once() -> Result<(), Error> {
    let pool = Pool::test_transaction(&CONFIG)?;
    assert!(sign_up(&pool, "ann@example.org")?);
    // The failed insert undoes only itself.
    assert!(!sign_up(&pool, "ann@example.org")?);
    let row = pool.query_one("SELECT count(*) FROM users", &[])?;
    assert_eq!(row.get::<_, i64>(0), 1);
    Ok(()) // rolled back: the other, concurrent test sees nothing of it
}

#[test]
fn nobody_is_there_at_first() -> Result<(), Error> {
    let pool = Pool::test_transaction(&CONFIG)?;
    assert!(pool.query_opt("SELECT FROM users", &[])?.is_none());
    assert!(sign_up(&pool, "ann@example.org")?);
    Ok(())
}
// ANCHOR_END: rolled_back
