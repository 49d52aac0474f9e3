//! `reset: auto`: the next caller finds no state of the previous one, over TCP and, for the
//! blocking family, over a Unix socket.

use pgmonkey_tests::{Fixture, twin};

/// Everything that a session reveals about its state, one fact per line. Settings of extensions
/// appear with their defaults when the library is first loaded, and a custom setting stays known
/// with an empty value.
const SHOWN: &str = "\
    SELECT 'setting ' || name || ' = ' || setting FROM pg_settings \
      WHERE name NOT IN ('application_name', 'transaction_isolation', 'transaction_deferrable', 'transaction_read_only') \
      AND (name NOT LIKE '%.%' OR source <> 'default' AND setting <> '') \
    UNION ALL SELECT 'custom ' || coalesce(current_setting('field.custom', true), '') \
    UNION ALL SELECT 'channel ' || c FROM pg_listening_channels() c \
    UNION ALL SELECT 'lock ' || objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() \
    UNION ALL SELECT 'prepared ' || name FROM pg_prepared_statements WHERE from_sql \
    UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE name <> '' \
    UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() \
    UNION ALL SELECT 'user ' || current_user || ' ' || session_user ORDER BY 1";

/// Statements that a caller may send; many of them change the session.
const STATEMENTS: &[&str] = &[
    "SELECT 1",
    "SET work_mem = '7MB'",
    "set /* a comment */ search_path to field, public",
    "SET SESSION statement_timeout = '12s'",
    "SET LOCAL work_mem = '9MB'",
    "SET TIME ZONE 'Asia/Tokyo'",
    "SET DateStyle = 'German'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET ROLE pg_read_all_data",
    "SET SESSION AUTHORIZATION pg_monitor",
    "RESET work_mem",
    "SELECT set_config('work_mem', '5MB', false)",
    "SELECT set_config('work_mem', '6MB', true)",
    "SELECT pg_catalog.\"set_config\"('field.custom', 'x', false)",
    "WITH c AS (SELECT set_config('field.custom', 'y', false)) SELECT * FROM c",
    "SELECT U&\"\\0073et_config\"('field.custom', 'z', false)",
    "UPDATE pg_settings SET setting = '1234' WHERE name = 'work_mem'",
    "LISTEN field",
    "UNLISTEN *",
    "NOTIFY field",
    "SELECT pg_advisory_lock(42)",
    "SELECT pg_try_advisory_lock_shared(43)",
    "SELECT pg_advisory_xact_lock(44)",
    "SELECT pg_advisory_unlock_all()",
    "CREATE TEMP TABLE IF NOT EXISTS field_tmp (n int)",
    "CREATE TEMPORARY TABLE field_drop ON COMMIT DROP AS SELECT 1",
    "CREATE TABLE pg_temp.field_other (n int)",
    "SELECT 1 AS n INTO TEMP field_into",
    "CREATE OR REPLACE TEMP VIEW field_view AS SELECT 1",
    "BEGIN; DECLARE field_held CURSOR WITH HOLD FOR SELECT 1; COMMIT",
    "PREPARE field_prepared AS SELECT 1",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "DISCARD TEMP",
    "DO $$ BEGIN PERFORM set_config('field.custom', 'do', false); END $$",
    "SELECT query_to_xml('SELECT set_config(''work_mem'', ''3MB'', false)', true, true, '')",
    "SELECT * FROM ts_stat('SELECT to_tsvector(set_config(''work_mem'', ''2MB'', false))')",
    "SELECT setseed(0.5), 'SET work_mem = 1'",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "SELECT 1/0",
    "SELECT pg_sleep(0) -- SET work_mem = '8MB'",
    "BEGIN; SET LOCAL search_path = field; COMMIT",
    "SELECT 1; SET work_mem = '4MB'; SELECT 2",
];

/// Pseudo-random numbers, the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % most
    }
}

macro_rules! shown {
    ($pool:ident, $go:ident) => {{
        let mut guard = $go!($pool.acquire())?;
        let rows = $go!(guard.query_typed(SHOWN, &[]))?;
        drop(guard);
        rows.iter().map(|row| row.get(0)).collect::<Vec<String>>()
    }};
}

/// Lets callers send random statements, and checks what each leaves to the next.
macro_rules! borrow {
    ($config:expr, $driver:ident, $go:ident, $ignored:literal) => {{
        let pool = $go!($driver::Pool::new(&$config))?;
        let before = shown!(pool, $go);
        let mut draw = Draw(1);
        for round in 0..150 {
            let count = 1 + draw.below(5);
            let texts: Vec<&str> = (0..count)
                .map(|_| STATEMENTS[draw.below(STATEMENTS.len())])
                .collect();
            let mut guard = $go!(pool.acquire())?;
            for text in &texts {
                // Some fail, which is just as good for this test.
                match draw.below(3) {
                    0 => drop($go!(guard.batch_execute(text))),
                    1 => drop($go!(guard.execute(*text, &[]))),
                    _ => {
                        if let Ok(prepared) = $go!(guard.prepare_cached(text)) {
                            drop($go!(guard.execute(&prepared, &[])));
                        }
                    }
                }
            }
            drop(guard);
            let after = shown!(pool, $go);
            let is_new = |line: &&String| !before.contains(line) && !line.starts_with($ignored);
            let left: Vec<_> = after.iter().filter(is_new).collect();
            let gone: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
            assert!(
                left.is_empty() && gone.is_empty(),
                "round {round}: {texts:?} left {left:?}, took {gone:?}"
            );
        }
        pool
    }};
}

twin! {
    everywhere fn nothing_of_a_borrower_is_found_by_the_next(on, driver, go, work) {
        let pool = borrow!(on.pools("{ min_size: 1, max_size: 1 }"), driver, go, "-");
        let status = pool.status();
        assert!(status.opened < 110, "most sessions were put back, not replaced: {status}");
        Ok(())
    }
}

#[test]
fn nothing_of_a_borrower_is_found_by_the_next_on_a_unix_socket() -> pgmonkey_tests::Outcome {
    use pgmonkey::sync as driver;
    macro_rules! go {
        ($e:expr) => {
            $e
        };
    }
    let on = Fixture::new();
    let Some(socket) = on.server().socket_dir() else {
        println!("skipped: the server has no Unix socket");
        return Ok(());
    };
    let yaml = on.yaml_at(
        &socket.display().to_string(),
        on.server().port(),
        "pool_settings: { min_size: 1, max_size: 1 }\n",
    );
    // On a Unix socket `auto` acts as `session`, which keeps prepared statements.
    borrow!(pgmonkey_tests::load(&yaml), driver, go, "prepared ");
    Ok(())
}
