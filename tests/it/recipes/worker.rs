//! The job queue: every job runs once, whichever worker is notified.

use pgmonkey_tests::Outcome;
use pgmonkey_tests::kitchen::{Kitchen, Running};

const TABLES: &str = "CREATE TABLE jobs (id bigint GENERATED ALWAYS AS IDENTITY, task text NOT NULL, result text);
CREATE TABLE done (id bigint);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE format('INSERT INTO %I.done VALUES ($1)', TG_TABLE_SCHEMA) USING NEW.id; RETURN NEW; END $$;
CREATE TRIGGER note AFTER UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION note()";

#[test]
fn workers_do_every_job_once() -> Outcome {
    let kitchen = Kitchen::new(TABLES);
    let on = &kitchen.on;
    let insert = |count: u32, notify: &str| {
        let schema = &kitchen.schema;
        on.run(&format!(
            "INSERT INTO {schema}.jobs (task) SELECT 'job ' || n FROM generate_series(1, {count}) n; {notify}"
        ));
    };
    let finished = |count: i64| {
        on.until("the jobs are done", || {
            kitchen.number("SELECT count(*) FROM $schema.jobs WHERE result = upper(task)") == count
        });
    };
    insert(3, "");
    let workers: Vec<_> = (0..2)
        .map(|_| Running::start(&mut kitchen.command(env!("CARGO_BIN_EXE_recipe_worker"))))
        .collect();
    assert!(
        workers
            .iter()
            .all(|worker| worker.line == "waiting for jobs\n")
    );
    finished(3);
    insert(50, "NOTIFY jobs");
    finished(53);

    // No worker is notified of these; a new session is reason enough to look for jobs.
    insert(5, "");
    assert!(kitchen.end_sessions() >= 4);
    finished(58);
    assert_eq!(
        kitchen.number("SELECT count(*) FROM $schema.done"),
        58,
        "none was done twice"
    );

    for worker in workers {
        worker.terminate();
        worker.ended_well();
    }
    on.until("no session is left", || on.sessions() == 0);
    Ok(())
}
