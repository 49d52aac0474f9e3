//! Servers that run the binaries on this machine: their behaviour while they run.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pgmonkey_testserver::{Cluster, Endpoint, Kind, StopMode, TestServers};

mod needs;

fn cluster(kind: Kind) -> Option<Cluster> {
    let binaries = needs::binaries()?;
    let cluster = Cluster::builder().kind(kind).binaries(binaries);
    Some(cluster.start().unwrap())
}

fn listens(server: &Endpoint) -> bool {
    TcpStream::connect((server.host(), server.port())).is_ok()
}

#[test]
fn a_server_stops_and_comes_back_on_its_port_with_its_data() {
    let Some(cluster) = cluster(Kind::Plain) else {
        return;
    };
    assert!(listens(&cluster));
    cluster.psql("CREATE TABLE kept AS SELECT 42 AS n").unwrap();

    cluster.stop(StopMode::Fast).unwrap();
    assert!(!listens(&cluster));
    assert_eq!(cluster.pid(), None);
    cluster.stop(StopMode::Fast).unwrap();

    cluster.start_again().unwrap();
    assert!(listens(&cluster));
    assert_eq!(cluster.psql("SELECT n FROM kept").unwrap(), "42");
    assert!(cluster.start_again().is_err());
}

#[test]
fn an_immediate_stop_is_recovered_from() {
    let Some(cluster) = cluster(Kind::Plain) else {
        return;
    };
    cluster.stop(StopMode::Immediate).unwrap();
    cluster.start_again().unwrap();
    assert!(cluster.log_contains("was not properly shut down"));
}

#[test]
fn a_restart_gives_a_new_process() {
    let Some(cluster) = cluster(Kind::Plain) else {
        return;
    };
    let before = cluster.pid();
    cluster.restart().unwrap();
    assert!(cluster.pid().is_some() && cluster.pid() != before);
}

#[test]
fn the_log_tells_who_came_and_went() {
    let Some(cluster) = cluster(Kind::Plain) else {
        return;
    };
    let seen = cluster.log().len();
    cluster.psql("SELECT 1").unwrap();
    for text in ["connection authorized: user=postgres", "disconnection:"] {
        let found = cluster.wait_for_log_after(seen, text, Duration::from_secs(5));
        assert!(found, "{text}: {}", cluster.log());
    }
    assert!(!cluster.wait_for_log("no such line", Duration::ZERO));
}

#[test]
fn a_rejecting_hba_line_works_after_the_reload() {
    let Some(cluster) = cluster(Kind::Plain) else {
        return;
    };
    let before = cluster.hba().unwrap();
    cluster.set_hba("local all all reject\n").unwrap();
    let error = cluster.psql("SELECT 1").unwrap_err().to_string();
    assert!(error.contains("pg_hba.conf rejects"), "{error}");

    cluster.set_hba(&before).unwrap();
    assert_eq!(cluster.psql("SELECT 1").unwrap(), "1");
}

#[test]
fn a_setting_holds_after_a_reload() {
    let Some(cluster) = cluster(Kind::Plain) else {
        return;
    };
    cluster.set("work_mem", "7MB").unwrap();
    cluster.reload().unwrap();
    assert_eq!(cluster.psql("SHOW work_mem").unwrap(), "7MB");
}

#[test]
fn a_wrong_setting_shows_the_log() {
    let Some(binaries) = needs::binaries() else {
        return;
    };
    let builder = Cluster::builder().binaries(binaries);
    let error = builder.setting("no_such_setting", "1").start().unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("no_such_setting"), "{error}");
}

#[test]
fn a_server_with_tls_offers_it() {
    let Some(cluster) = cluster(Kind::Tls) else {
        return;
    };
    assert_eq!(cluster.psql("SHOW ssl").unwrap(), "on");
    assert!(cluster.hba().unwrap().contains("hostssl all all 127.0.0.1"));
    assert!(cluster.config_yaml("pool").contains("sslrootcert: "));
}

#[test]
fn a_client_certificate_server_refuses_plain_connections() {
    let Some(cluster) = cluster(Kind::ClientCert) else {
        return;
    };
    assert!(!cluster.hba().unwrap().contains("\nhost "));
    assert!(cluster.config_yaml("normal").contains("sslkey: "));
    let errors = cluster.psql("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL");
    assert_eq!(errors.unwrap(), "0");
}

#[test]
fn a_standby_follows_and_takes_over() {
    let Some(primary) = cluster(Kind::Plain) else {
        return;
    };
    let standby = primary.standby().unwrap();
    let streams = "started streaming WAL from primary";
    assert!(standby.wait_for_log(streams, Duration::from_secs(10)));
    primary.psql("CREATE TABLE t AS SELECT 1 AS n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while standby.psql("SELECT n FROM t").is_err() {
        assert!(Instant::now() < deadline, "the table was not replicated");
    }
    let error = standby.psql("INSERT INTO t VALUES (2)").unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");

    primary.stop(StopMode::Immediate).unwrap();
    standby.promote().unwrap();
    standby.psql("INSERT INTO t VALUES (2)").unwrap();
    assert!(standby.promote().is_err() && primary.promote().is_err());
}

#[test]
fn a_server_presents_another_certificate_after_a_reload() {
    let Some(cluster) = cluster(Kind::Tls) else {
        return;
    };
    let presented = || cluster.data_dir().join("server.pem");
    let expected = |name| cluster.certificates().unwrap().certificate(name);
    cluster.present("expired").unwrap();
    assert_eq!(
        fs::read(presented()).unwrap(),
        fs::read(expected("expired")).unwrap()
    );
    assert!(cluster.present("no-such-certificate").is_err());
    // A certificate and a key that do not match: the server keeps its old ones, and reports it.
    fs::copy(expected("server"), expected("torn")).unwrap();
    let key = |name| cluster.certificates().unwrap().key(name);
    fs::copy(key("client"), key("torn")).unwrap();
    let error = cluster.present("torn").unwrap_err().to_string();
    assert!(
        error.contains("does not accept the certificate torn"),
        "{error}"
    );
}

#[test]
fn servers_survive_the_way_through_the_environment() {
    let Some(cluster) = cluster(Kind::Plain) else {
        return;
    };
    let servers = TestServers {
        plain: cluster.endpoint().clone(),
        tls: None,
        client_cert: None,
        certificates: None,
        binaries: Some(cluster.binaries().clone()),
    };
    let variables = servers.to_env();
    let value = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.clone())
    };
    let url = value("PGMONKEY_TEST_PLAIN_URL").unwrap();
    assert_eq!(Endpoint::from_url(&url).unwrap().url(), cluster.url());
    assert!(value("PGMONKEY_TEST_PLAIN_LOG").is_some());
    assert_eq!(value("PGMONKEY_TEST_TLS_URL"), None);
}
