//! Transactions with options: what the server applies, what it costs, and what is refused.

use std::time::Duration;

use pgmonkey::{Error, IsolationLevel};
use pgmonkey_tests::{Fixture, twin};

/// The modes and settings of the current transaction, in one row.
const MODES: &str = "SELECT current_setting('transaction_isolation'), \
     current_setting('transaction_read_only'), current_setting('transaction_deferrable'), \
     current_setting('statement_timeout'), current_setting('lock_timeout'), \
     coalesce(current_setting('app.tenant', true), ''), current_user::text, \
     array_to_string(current_schemas(false), '|')";

fn insert(on: &Fixture) -> String {
    format!("INSERT INTO {} VALUES (1)", on.name)
}

/// The columns of the row that [`MODES`] gives.
macro_rules! modes {
    ($row:expr) => {{
        let row = $row;
        (0..8)
            .map(|at| row.get::<_, String>(at))
            .collect::<Vec<_>>()
    }};
}

/// A role of the fixture's own that may see its table, until it is dropped.
struct Clerk<'a> {
    on: &'a Fixture,
    name: String,
}

impl<'a> Clerk<'a> {
    fn new(on: &'a Fixture) -> Self {
        let name = format!("clerk '\" \\ {}", on.name);
        let quoted = pgmonkey::sql::identifier(&name);
        on.run(&format!(
            "CREATE ROLE {quoted}; GRANT SELECT ON {} TO {quoted}",
            on.name
        ));
        Self { on, name }
    }
}

impl Drop for Clerk<'_> {
    fn drop(&mut self) {
        let quoted = pgmonkey::sql::identifier(&self.name);
        self.on
            .run(&format!("DROP OWNED BY {quoted}; DROP ROLE {quoted}"));
    }
}

twin! {
    everywhere fn a_transaction_has_its_options_and_leaves_none_behind(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let clerk = Clerk::new(&on);
        let before = modes!(go!(pool.query_one(MODES, &[]))?);
        let tenant = r#"it's \ "42"; RESET ALL; --"#;
        let within = go!(pool
            .build_transaction()
            .isolation_level(IsolationLevel::Serializable)
            .read_only(true)
            .deferrable(true)
            .statement_timeout(Duration::from_secs(61))
            .lock_timeout(Duration::from_micros(1_500))
            .set_local("app.tenant", tenant)
            .set_local("search_path", "public, \"pg_catalog\"")
            .role(&clerk.name)
            .label("report")
            .run(work!(|tx| { Ok(modes!(go!(tx.query_one(MODES, &[]))?)) })))?;
        let wanted = [
            "serializable", "on", "on", "61s", "2ms", tenant, &clerk.name, "public|pg_catalog",
        ];
        assert_eq!(within, wanted);
        assert_eq!(modes!(go!(pool.query_one(MODES, &[]))?), before);
        assert_eq!(pool.status().opened, 1, "the session is not replaced for them");
        Ok(())
    }
}

twin! {
    fn a_transaction_that_is_kept_has_its_options(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let mut transaction = go!(pool
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .begin())?;
        let modes = modes!(go!(transaction.query_one(MODES, &[]))?);
        assert_eq!((&*modes[0], &*modes[1]), ("repeatable read", "off"));
        go!(transaction.execute(&insert(&on), &[]))?;
        go!(transaction.commit())?;
        assert_eq!(on.rows(), 1);
        Ok(())
    }
}

twin! {
    fn every_handle_and_guard_builds_transactions(on, driver, go, work) {
        let insert = insert(&on);
        let connection = go!(driver::Connection::new(&on.config("")))?;
        go!(connection
            .build_transaction()
            .isolation_level(IsolationLevel::Serializable)
            .run(work!(|tx| { go!(tx.execute(&insert, &[])) })))?;
        assert_eq!(on.rows(), 1);
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        let mut built = go!(guard
            .build_transaction()
            .isolation_level(IsolationLevel::Serializable)
            .begin())?;
        go!(built.execute(&insert, &[]))?;
        let row = go!(built.query_one("SHOW transaction_isolation", &[]))?;
        go!(built.commit())?;
        assert_eq!((row.get::<_, &str>(0), on.rows()), ("serializable", 2));
        let mut built = go!(guard.build_transaction().read_only(true).begin())?;
        assert!(go!(built.execute(&insert, &[])).is_err());
        drop(built);
        drop(go!(guard.build_transaction().begin())?);
        let mut outer = go!(guard.build_transaction().begin())?;
        let mut inner = go!(outer.build_transaction().label("inner").begin())?;
        go!(inner.execute(&insert, &[]))?;
        let mut innermost = go!(inner.build_transaction().begin())?;
        go!(innermost.execute(&insert, &[]))?;
        drop(innermost);
        go!(inner.commit())?;
        go!(outer.commit())?;
        assert_eq!(on.rows(), 3);
        Ok(())
    }
}

twin! {
    fn a_savepoint_cannot_have_the_options_of_a_transaction(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.begin())?;
        let refused = go!(guard.build_transaction().set_local("app.tenant", "1").begin())
            .expect_err("a transaction is open");
        assert!(
            matches!(&refused, Error::TransactionOption { option, .. } if option == "set_local"),
            "{refused}"
        );
        go!(guard.execute(&insert(&on), &[]))?;
        go!(guard.commit())?;
        assert_eq!(on.rows(), 1, "nothing was sent that fails");
        drop(guard);
        let mut outer = go!(pool.begin())?;
        let refused = go!(outer.build_transaction().read_only(true).begin());
        let refused = refused.expect_err("a savepoint");
        assert!(refused.to_string().contains("read_only: a savepoint cannot have it"), "{refused}");
        Ok(())
    }
}

twin! {
    everywhere fn an_option_that_the_server_refuses_leaves_no_transaction(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let refused = go!(pool.build_transaction().role("no role of that name").run(work!(|tx| {
            go!(tx.execute("SELECT 1", &[]))
        })));
        let refused = refused.expect_err("there is no such role");
        assert_eq!(refused.code().map(|code| code.code()), Some("22023"), "{refused}");
        let mut guard = go!(pool.acquire())?;
        let refused = match go!(guard.build_transaction().set_local("work_mem", "much").begin()) {
            // A task sends it with the first statement.
            Ok(mut begun) => go!(begun.execute("SELECT 1", &[])).map(drop),
            Err(error) => Err(error),
        };
        drop(refused.expect_err("not a number"));
        go!(guard.execute(&insert(&on), &[]))?;
        assert_eq!(on.rows(), 1, "outside a transaction");
        drop(guard);
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

twin! {
    fn an_option_that_is_no_text_takes_no_session(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1, timeout: 1 }")))?;
        let held = go!(pool.acquire())?;
        let refused = go!(pool.build_transaction().set_local("app..tenant", "1").begin());
        let refused = refused.expect_err("not a name");
        assert!(matches!(refused, Error::TransactionOption { .. }), "{refused}");
        drop(held);
        Ok(())
    }
}

twin! {
    fn a_limit_of_the_server_ends_a_statement(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let ended = go!(pool
            .build_transaction()
            .statement_timeout(Duration::from_millis(10))
            .run(work!(|tx| { go!(tx.execute("SELECT pg_sleep(60)", &[])) })));
        let ended = ended.expect_err("too slow");
        assert_eq!(ended.code().map(|code| code.code()), Some("57014"), "{ended}");
        Ok(())
    }
}

twin! {
    fn in_a_pool_for_tests_a_transaction_has_its_settings(on, driver, go, work) {
        let pool = go!(driver::Pool::test_transaction(&on.config("")))?;
        let before = modes!(go!(pool.query_one(MODES, &[]))?);
        let within = go!(pool
            .build_transaction()
            .isolation_level(IsolationLevel::Serializable)
            .lock_timeout(Duration::from_secs(61))
            .set_local("app.tenant", "42")
            .run(work!(|tx| {
                go!(tx.execute(&insert(&on), &[]))?;
                Ok(modes!(go!(tx.query_one(MODES, &[]))?))
            })))?;
        assert_eq!((&*within[4], &*within[5]), ("61s", "42"));
        assert_eq!(modes!(go!(pool.query_one(MODES, &[]))?), before, "kept, and undone");
        let count = format!("SELECT count(*) FROM {}", on.name);
        assert_eq!(go!(pool.query_one(&count, &[]))?.get::<_, i64>(0), 1);
        let refused = go!(pool.build_transaction().set_local("work_mem", "much").begin());
        drop(refused.expect_err("not a number"));
        assert_eq!(go!(pool.query_one(&count, &[]))?.get::<_, i64>(0), 1, "still open");
        Ok(())
    }
}

/// A task must be `Send`: this proves that the futures are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_with_options_can_be_spawned() -> pgmonkey_tests::Outcome {
    let on = Fixture::new();
    let pool = pgmonkey::AsyncPool::new(&on.pools("{ max_size: 1 }")).await?;
    let text = insert(&on);
    let task = tokio::spawn(async move {
        let built = pool.build_transaction();
        built.run(async |tx| tx.execute(&text, &[]).await).await?;
        let mut guard = pool.acquire().await?;
        let built = guard.build_transaction().begin().await?;
        built.execute(&text, &[]).await?;
        built.commit().await
    });
    task.await??;
    assert_eq!(on.rows(), 2);
    Ok(())
}
