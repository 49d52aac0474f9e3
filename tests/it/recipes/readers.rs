//! The web application that reads at standbys: a client sees what it has just written.

use std::process::Command;
use std::time::Instant;

use pgmonkey_tests::kitchen::{Running, ask, ask_with};
use pgmonkey_tests::{LONG, Outcome};
use pgmonkey_testserver::Cluster;

const PATH: &str = "/visits/home";

/// The file of a primary and its standby.
fn file(primary: &Cluster, standby: &Cluster) -> String {
    format!(
        "connection_type: async_pool\n\
         connection_settings: {{ host: '{}', port: {}, user: {}, password: '{}', dbname: {}, \
         sslmode: disable }}\n\
         async_pool_settings: {{ max_size: 4 }}\n\
         readers: {{ connection_settings: {{ host: '{}', port: {} }} }}\n",
        primary.host(),
        primary.port(),
        primary.user(),
        primary.password(),
        primary.dbname(),
        standby.host(),
        standby.port(),
    )
}

/// Waits until the standby has the table.
fn wait_for_table(standby: &Cluster) {
    let began = Instant::now();
    while standby.psql("SELECT FROM visits").is_err() {
        assert!(began.elapsed() < LONG, "the standby has no table");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_client_reads_its_own_writes_from_a_standby() -> Outcome {
    let primary = Cluster::builder().start()?;
    let standby = primary.standby()?;
    primary.psql("CREATE TABLE visits (page text PRIMARY KEY, count bigint)")?;
    wait_for_table(&standby);
    // Late enough for a read without the token to miss the write.
    standby.psql("ALTER SYSTEM SET recovery_min_apply_delay = '300ms'")?;
    standby.psql("SELECT pg_reload_conf()")?;

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pgmonkey.yaml");
    let text = file(&primary, &standby);
    std::fs::write(&path, &text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_recipe_web_readers"));
    let running = Running::start(command.current_dir(folder.path()).arg("127.0.0.1:0"));
    let address = running.line.trim().strip_prefix("listening on ");
    let address = address.expect("it says where it listens").to_owned();
    let post = || -> Result<String, std::io::Error> {
        let (head, _) = ask_with(&address, "POST", PATH, "")?;
        let cookie = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("set-cookie").then_some(value)
        });
        let cookie = cookie.expect("the response sets a cookie");
        Ok(cookie.split(';').next().unwrap_or_default().to_owned())
    };
    let get = |cookie: &str| -> Result<String, std::io::Error> {
        let line = format!("Cookie: theme=dark; {cookie}\r\n");
        Ok(ask_with(&address, "GET", PATH, &line)?.1)
    };

    let first = ask(&address, "GET", PATH)?;
    assert_eq!(first, (200, "0 at a standby\n".to_owned()));
    for count in 1..=3 {
        assert_eq!(get(&post()?)?, format!("{count} at a standby\n"));
    }
    for invalid in ["read_after=", "read_after=nonsense", "read_after"] {
        assert_eq!(get(invalid)?, "3 at a standby\n", "{invalid}");
    }

    // If the standby does not get there, the primary serves the read.
    standby.psql("SELECT pg_wal_replay_pause()")?;
    assert_eq!(get(&post()?)?, "4 at a primary\n");
    assert!(ask(&address, "GET", "/health")?.1.contains("reader:"));

    // The file loses its readers: the one that stands still is not read from any more.
    assert_eq!(get("")?, "3 at a standby\n");
    let (writer, _) = text.split_once("readers:").expect("the section");
    let new = path.with_extension("new");
    std::fs::write(&new, writer)?;
    std::fs::rename(&new, &path)?;
    let began = Instant::now();
    while get("")? != "4 at a primary\n" {
        assert!(began.elapsed() < LONG, "the file is not followed");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    running.terminate();
    assert_eq!(running.ended_well(), "");
    Ok(())
}
