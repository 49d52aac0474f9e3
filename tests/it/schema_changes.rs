//! Statements and types outlive the schema they were prepared for: the next run recovers, over TCP,
//! for both families.

use bytes::{BufMut, BytesMut};
use pgmonkey::Error;
use pgmonkey_tests::{Fixture, Outcome, twin};
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

type Fault = Box<dyn std::error::Error + Sync + Send>;

/// An enum's label, sent as whatever type the driver knows.
#[derive(Debug)]
pub(crate) struct Label(pub(crate) &'static str);

impl ToSql for Label {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// An enum as a derived type implements it: rejected unless the type has the new label.
#[derive(Debug, PartialEq)]
pub(crate) struct Mood(pub(crate) String);

fn knows_great(of: &Type) -> bool {
    matches!(of.kind(), Kind::Enum(labels) if labels.contains(&"great".to_owned()))
}

impl ToSql for Mood {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        knows_great(of)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Mood {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        Ok(Self(std::str::from_utf8(raw)?.to_owned()))
    }

    fn accepts(of: &Type) -> bool {
        knows_great(of)
    }
}

/// Recreates a schema of the test's own.
fn recreate(on: &Fixture) {
    let name = &on.name;
    on.run(&format!(
        "DROP TYPE IF EXISTS {name}_mood CASCADE; DROP DOMAIN IF EXISTS {name}_word CASCADE; \
         DROP TYPE IF EXISTS {name}_pair CASCADE; DROP TABLE IF EXISTS {name}_typed; \
         CREATE TYPE {name}_mood AS ENUM ('sad', 'ok'); CREATE DOMAIN {name}_word AS text; \
         CREATE TYPE {name}_pair AS (a int, b int); \
         CREATE TABLE {name}_typed (m {name}_mood, w {name}_word, p {name}_pair)"
    ));
}

fn drop_types(on: &Fixture) {
    let name = &on.name;
    on.run(&format!(
        "DROP TABLE {name}_typed; DROP TYPE {name}_mood CASCADE; DROP TYPE {name}_pair; DROP DOMAIN {name}_word"
    ));
}

twin! {
    fn types_made_anew_are_learnt_anew(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        recreate(&on);
        let texts = [
            format!("INSERT INTO {}_typed (m) VALUES ($1)", on.name),
            format!("INSERT INTO {0}_typed (m) SELECT $1::{0}_mood", on.name),
            format!("SELECT count(*) FROM {}_typed WHERE m = $1", on.name),
        ];
        let word = format!("INSERT INTO {}_typed (w) VALUES ($1)", on.name);
        let all = format!("SELECT * FROM {}_typed", on.name);
        for round in 0..3 {
            for turn in 0..2 {
                for text in &texts {
                    let ran = go!(pool.execute(text, &[&Label("ok")]));
                    assert!(ran.is_ok(), "{round}.{turn} {text}: {ran:?}");
                }
                go!(pool.execute(&word, &[&Label("word")]))?;
                go!(pool.query(&all, &[]))?;
                let mut guard = go!(pool.acquire())?;
                go!(guard.execute(&texts[0], &[&Label("sad")]))?;
            }
            recreate(&on);
        }
        let status = pool.status();
        assert!(status.statement_cache.healed > 0, "{status:?}");
        assert_eq!(status.opened, 1);
        drop_types(&on);
        Ok(())
    }
}

twin! {
    fn types_made_anew_are_learnt_anew_without_a_cache(on, driver, go, work) {
        let settings = "{ min_size: 1, max_size: 1, statement_cache: 0 }";
        let pool = go!(driver::Pool::new(&on.pools(settings)))?;
        let insert = format!("INSERT INTO {}_typed (m) VALUES ($1)", on.name);
        for round in 0..3 {
            recreate(&on);
            for turn in 0..2 {
                let ran = go!(pool.execute(&insert, &[&Label("ok")]));
                assert!(ran.is_ok(), "{round}.{turn}: {ran:?}");
            }
        }
        drop_types(&on);
        Ok(())
    }
}

twin! {
    fn a_value_added_to_an_enum_is_known_to_the_next_parameter(on, driver, go, work) {
        recreate(&on);
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let insert = format!("INSERT INTO {}_typed (m) VALUES ($1)", on.name);
        go!(pool.execute(&insert, &[&Label("ok")]))?;
        on.run(&format!("ALTER TYPE {}_mood ADD VALUE 'great'", on.name));
        go!(pool.execute(&insert, &[&Mood("great".into())]))?;
        // Also for a new text whose type the driver has cached.
        on.run(&format!("ALTER TYPE {}_mood RENAME VALUE 'great' TO 'fine'", on.name));
        go!(pool.execute(&format!("{insert} /* kept */"), &[&Label("fine")]))?;
        on.run(&format!("ALTER TYPE {}_mood RENAME VALUE 'fine' TO 'great'", on.name));
        let new = format!("INSERT INTO {}_typed (m) VALUES ($1) RETURNING 1", on.name);
        go!(pool.execute(&new, &[&Mood("great".into())]))?;
        drop_types(&on);
        Ok(())
    }
}

twin! {
    fn what_no_error_tells_of_is_learnt_again_when_asked(on, driver, go, work) {
        recreate(&on);
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let read = format!("SELECT m FROM {}_typed LIMIT 1", on.name);
        go!(pool.query(&read, &[]))?;
        on.run(&format!("ALTER TYPE {}_mood ADD VALUE 'great'", on.name));
        on.run(&format!("INSERT INTO {}_typed (m) VALUES ('great')", on.name));
        let row = go!(pool.query_one(&read, &[]))?;
        assert!(row.try_get::<_, Mood>(0).is_err(), "the driver knows the type as it was");
        pool.forget_types();
        let row = go!(pool.query_one(&read, &[]))?;
        assert_eq!(row.get::<_, Mood>(0), Mood("great".into()));
        on.run(&format!("ALTER TYPE {}_mood RENAME VALUE 'great' TO 'fine'", on.name));
        let mut guard = go!(pool.acquire())?;
        guard.clear_statements();
        let row = go!(guard.query_one(&read, &[]))?;
        assert!(row.try_get::<_, Mood>(0).is_err(), "the type as it is now");
        drop(guard);
        drop_types(&on);
        Ok(())
    }
}

twin! {
    fn a_parameter_that_changed_under_a_prepared_statement_is_forgotten(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
        let mut guard = go!(pool.acquire())?;
        let first = go!(guard.prepare_cached(&insert))?;
        go!(guard.execute(&first, &[&1_i32]))?;
        on.run(&format!("ALTER TABLE {} ALTER n TYPE text", on.name));
        let stale = go!(guard.prepare_cached(&insert))?;
        assert!(go!(guard.execute(&stale, &[&"two"])).is_err(), "the driver refuses it");
        let anew = go!(guard.prepare_cached(&insert))?;
        go!(guard.execute(&anew, &[&"two"]))?;
        Ok(())
    }
}

twin! {
    fn another_search_path_and_another_table_are_followed(on, driver, go, work) {
        let name = on.name.clone();
        on.run(&format!(
            "CREATE SCHEMA {name}_a; CREATE SCHEMA {name}_b; \
             CREATE TABLE {name}_a.t (n int); CREATE TABLE {name}_b.t (n text, more int)"
        ));
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        for round in 0..2 {
            for (schema, columns) in [("a", 1), ("b", 2)] {
                go!(guard.batch_execute(&format!("SET search_path = {name}_{schema}")))?;
                go!(guard.query("SELECT * FROM t", &[]))?;
                let statement = go!(guard.prepare_cached("SELECT * FROM t"))?;
                assert_eq!(statement.columns().len(), columns, "{round} {schema}");
                go!(guard.batch_execute("DROP TABLE IF EXISTS pg_temp.mine; CREATE TEMP TABLE mine (n int)"))?;
                go!(guard.execute("INSERT INTO mine VALUES ($1)", &[&1_i32]))?;
            }
        }
        drop(guard);
        on.run(&format!("DROP SCHEMA {name}_a CASCADE; DROP SCHEMA {name}_b CASCADE"));
        Ok(())
    }
}

twin! {
    fn a_session_that_lost_its_type_lookups_says_so_and_is_replaced(on, driver, go, work) {
        recreate(&on);
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let read = format!("SELECT m FROM {}_typed", on.name);
        // The driver has prepared its own look-ups by then.
        go!(pool.query(&read, &[]))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute("DISCARD ALL"))?;
        guard.clear_statements();
        let error = go!(guard.query(&read, &[])).expect_err("it cannot look the type up");
        assert!(matches!(error, Error::TypeLookupsLost(_)), "{error}");
        assert!(error.to_string().contains("acquire another session"), "{error}");
        drop(guard);
        go!(pool.query(&read, &[]))?;
        assert_eq!(pool.status().opened, 2);
        drop_types(&on);
        Ok(())
    }
}

twin! {
    fn what_may_have_run_is_not_run_again(on, driver, go, work) {
        let name = on.name.clone();
        on.run(&format!(
            "CREATE SEQUENCE {name}_s; CREATE FUNCTION {name}_f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM nextval('{name}_s'); IF EXISTS (SELECT FROM {name}) THEN \
             RAISE 'cache lookup failed for type 1' USING ERRCODE = 'XX000'; END IF; RETURN 1; END $$"
        ));
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let call = format!("SELECT {name}_f()");
        let calls = format!("SELECT last_value FROM {name}_s");
        for round in 0..2 {
            // Cached by then, so that it could have outlived the schema.
            go!(pool.query(&call, &[]))?;
            on.run(&format!("INSERT INTO {name} VALUES (1)"));
            let error = go!(pool.query(&call, &[])).expect_err("it raises");
            assert_eq!(error.code().map(|code| code.code()), Some("XX000"), "{error}");
            assert_eq!(on.number(&calls, &[]), 2 * (round + 1), "each call ran once");
            on.run(&format!("TRUNCATE {name}"));
        }
        assert_eq!(pool.status().statement_cache.healed, 0);
        on.run(&format!("DROP FUNCTION {name}_f(); DROP SEQUENCE {name}_s"));
        Ok(())
    }
}

/// A future that is dropped while it prepares leaves a statement that cannot be closed by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_prepares_leave_a_bounded_number_of_statements() -> Outcome {
    let on = Fixture::new();
    let settings = "{ min_size: 1, max_size: 1, statement_cache: 16 }";
    let pool = pgmonkey::AsyncPool::new(&on.pools(settings)).await?;
    let left = "SELECT count(*) FROM pg_prepared_statements";
    let mut most = 0;
    for number in 0..600_u64 {
        let text = format!("SELECT {number} + $1::int");
        let query = pool.query(&text, &[&1_i32]);
        let cut = std::time::Duration::from_micros(20 + number * 37 % 390);
        let _ = tokio::time::timeout(cut, query).await;
        if number % 20 == 0 {
            let row = pool.query_one(left, &[]).await?;
            most = most.max(row.get::<_, i64>(0));
        }
    }
    // What the cache keeps, the tolerated excess, and one in progress.
    assert!(most <= 16 + 32 + 1, "{most} statements in one session");
    Ok(())
}
