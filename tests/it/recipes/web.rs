//! The web applications: requests answered, failures reported, and a shutdown without a lost
//! response.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pgmonkey_tests::Outcome;
use pgmonkey_tests::kitchen::{Kitchen, Running, ask};
use postgres::NoTls;

fn serves_and_ends_in_order(program: &str) -> Outcome {
    let kitchen = Kitchen::new("CREATE TABLE visits (page text PRIMARY KEY, count bigint)");
    let on = &kitchen.on;
    let running = Running::start(kitchen.command(program).arg("127.0.0.1:0"));
    let address = running.line.trim().strip_prefix("listening on ");
    let address = address.expect("it says where it listens").to_owned();
    let ask = |method: &str, path: &str| ask(&address, method, path);

    assert_eq!(ask("GET", "/visits/home")?, (200, "0\n".to_owned()));
    assert_eq!(ask("POST", "/visits/home")?, (200, "1\n".to_owned()));
    thread::scope(|scope| {
        for _ in 0..9 {
            scope.spawn(|| assert_eq!(ask("POST", "/visits/home").expect("an answer").0, 200));
        }
    });
    assert_eq!(ask("GET", "/visits/home")?, (200, "10\n".to_owned()));
    let (status, health) = ask("GET", "/health")?;
    assert!(
        status == 200 && health.contains("PostgreSQL"),
        "{status} {health}"
    );
    assert_eq!(ask("GET", "/elsewhere")?.0, 404);
    assert!((2..=4).contains(&on.sessions()), "{}", on.sessions());

    // Sessions ended by the server fail no request.
    assert!(kitchen.end_sessions() >= 2);
    assert_eq!(ask("GET", "/visits/home")?, (200, "10\n".to_owned()));

    // A failure reveals nothing about the database to the client.
    let table = format!("{}.visits", kitchen.schema);
    on.run(&format!("ALTER TABLE {table} RENAME TO moved"));
    assert_eq!(ask("GET", "/visits/home")?, (500, "failed\n".to_owned()));
    on.run(&format!(
        "ALTER TABLE {}.moved RENAME TO visits",
        kitchen.schema
    ));

    // A request that is in progress when the process is told to stop gets its response.
    let mut other = postgres::Client::connect(&on.server().url(), NoTls)?;
    let mut lock = other.transaction()?;
    lock.batch_execute(&format!("LOCK TABLE {table}"))?;
    let last = thread::scope(|scope| {
        let request = scope.spawn(|| ask("POST", "/visits/home"));
        on.until("the request waits for the lock", || {
            let waits = "SELECT count(*) FROM pg_stat_activity \
                         WHERE application_name = $1 AND wait_event_type = 'Lock'";
            on.number(waits, &[&on.name]) == 1
        });
        running.terminate();
        lock.commit().expect("it is open");
        request.join().expect("no panic")
    })?;
    assert_eq!(last, (200, "11\n".to_owned()));
    let complaints = running.ended_well();
    assert!(
        complaints.contains("42P01"),
        "the cause is logged: {complaints}"
    );
    assert!(!complaints.contains("still in use"), "{complaints}");
    on.until("no session is left", || on.sessions() == 0);
    Ok(())
}

#[test]
fn an_async_web_application_serves_and_ends_in_order() -> Outcome {
    serves_and_ends_in_order(env!("CARGO_BIN_EXE_recipe_web_async"))
}

#[test]
fn a_blocking_web_application_serves_and_ends_in_order() -> Outcome {
    serves_and_ends_in_order(env!("CARGO_BIN_EXE_recipe_web_sync"))
}

/// Stops the clients when it is dropped, also if the test fails: the scope waits for them.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Requests are answered while the file changes: the handlers' pool goes on as its successor.
fn lives_through_reloads(program: &str) -> Outcome {
    let kitchen = Kitchen::new("CREATE TABLE visits (page text PRIMARY KEY, count bigint)");
    let on = &kitchen.on;
    let path = kitchen.folder.path().join("pgmonkey.yaml");
    let yaml = std::fs::read_to_string(&path)?;
    let running = Running::start(kitchen.command(program).arg("127.0.0.1:0"));
    let address = running.line.trim().strip_prefix("listening on ");
    let address = address.expect("it says where it listens").to_owned();

    let stop = AtomicBool::new(false);
    let posted = thread::scope(|scope| {
        let stopping = Stopping(&stop);
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut posted = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let answer = ask(&address, "POST", "/visits/home").expect("an answer");
                        assert_eq!(answer.0, 200, "{}", answer.1);
                        posted += 1;
                    }
                    posted
                })
            })
            .collect();
        let mut before = on.name.clone();
        for version in 1..=2 {
            let name = format!("{}_{version}", on.name);
            let changed = yaml.replace(
                &format!("application_name: {}", on.name),
                &format!("application_name: {name}"),
            );
            let new = path.with_extension("new");
            std::fs::write(&new, changed).expect("it can be written");
            std::fs::rename(&new, &path).expect("it can be renamed");
            let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
            let sessions = |name: &String| on.number(count, &[name]);
            on.until("the new pool is used and the old one has ended", || {
                sessions(&name) >= 2 && sessions(&before) == 0
            });
            before = name;
        }
        drop(stopping);
        let clients = clients.into_iter();
        let posted = clients.map(|client| client.join().expect("no failed request"));
        posted.sum::<u32>()
    });
    let last = ask(&address, "GET", "/visits/home")?;
    assert_eq!(last, (200, format!("{posted}\n")));
    running.terminate();
    assert_eq!(running.ended_well(), "");
    Ok(())
}

#[test]
fn an_async_web_application_lives_through_reloads() -> Outcome {
    lives_through_reloads(env!("CARGO_BIN_EXE_recipe_web_async"))
}

#[test]
fn a_blocking_web_application_lives_through_reloads() -> Outcome {
    lives_through_reloads(env!("CARGO_BIN_EXE_recipe_web_sync"))
}
