//! Servers from Docker images: tested whenever an engine answers.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pgmonkey_testserver::{Binaries, Certificates, Container, Docker, Kind};

mod needs;

/// A machine without an engine is not unusual, even under `CI=true`; the skip is printed.
fn engine() -> Option<Docker> {
    match Docker::find() {
        Ok(docker) => Some(docker),
        Err(error) => {
            eprintln!("SKIPPED, no server from a Docker image was tested: {error:#}");
            None
        }
    }
}

/// A separate image for each test, removed afterwards.
struct Standin {
    docker: Docker,
    tag: String,
    binaries: Binaries,
}

impl Standin {
    fn build(purpose: &str) -> Option<Self> {
        let docker = engine()?;
        let binaries = needs::binaries()?;
        let tag = format!("pgmonkey-standin:{purpose}-{}", std::process::id());
        docker.build_standin(&binaries, &tag).unwrap();
        Some(Self {
            docker,
            tag,
            binaries,
        })
    }

    fn start(&self, kind: Kind, certificates: Option<&Certificates>) -> Container {
        self.docker.start(&self.tag, kind, certificates).unwrap()
    }

    fn psql(&self, server: &Container, extra: &str) -> Result<String, String> {
        let options = format!(
            "host={} port={} user={} dbname={} connect_timeout=10 {extra}",
            server.host(),
            server.port(),
            server.user(),
            server.dbname()
        );
        let ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let output = Command::new(self.binaries.dir().join("psql"))
            .args(["-X", "-A", "-t", "-c", ask, &options])
            .env("PGPASSWORD", server.password())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        let removed = self.docker.remove_image(&self.tag);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

fn exists(container: &str) -> bool {
    let output = Command::new("docker")
        .args(["ps", "--all", "--format", "{{.Names}}"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .any(|name| name == container)
}

#[test]
fn all_three_kinds_start_from_an_image_and_are_gone_afterwards() {
    let Some(image) = Standin::build("kinds") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::generate(dir.path(), "postgres").unwrap();
    let ca = format!(
        "sslmode=verify-full sslrootcert={}",
        certificates.ca().display()
    );
    let identity = format!(
        "{ca} sslcert={} sslkey={}",
        certificates.certificate("client").display(),
        certificates.key("client").display()
    );

    let plain = image.start(Kind::Plain, None);
    assert_eq!(image.psql(&plain, "sslmode=prefer").unwrap(), "f");
    let limit = Duration::from_secs(10);
    let told = plain.wait_for_log("connection authorized", limit);
    assert!(told, "{}", plain.log());

    let tls = image.start(Kind::Tls, Some(&certificates));
    assert_eq!(image.psql(&tls, &ca).unwrap(), "t");
    assert_eq!(image.psql(&tls, "sslmode=disable").unwrap(), "f");

    let client_cert = image.start(Kind::ClientCert, Some(&certificates));
    assert_eq!(image.psql(&client_cert, &identity).unwrap(), "t");
    assert!(image.psql(&client_cert, &ca).is_err());

    for container in [plain, tls, client_cert] {
        let name = container.name().to_owned();
        let log = container.log_file().unwrap().to_path_buf();
        assert!(exists(&name));
        drop(container);
        assert!(!exists(&name));
        assert!(!log.parent().is_some_and(Path::exists));
    }
}

#[test]
fn leftovers_of_dead_processes_are_removed() {
    let Some(image) = Standin::build("leftovers") else {
        return;
    };
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let machine = Command::new("uname").arg("-n").output().unwrap().stdout;
    let machine = String::from_utf8(machine).unwrap();
    let name = format!("pgmonkey-leftover-{}", std::process::id());
    let label = format!("pgmonkey.testserver.owner={}:{}", machine.trim(), dead.id());
    let made = Command::new("docker")
        .args(["create", "--name", &name, "--label", &label, &image.tag])
        .status()
        .unwrap();
    assert!(made.success());

    let alive = image.start(Kind::Plain, None);
    assert!(image.docker.remove_leftovers().unwrap() >= 1);
    assert!(!exists(&name));
    assert!(exists(alive.name()));
}

#[test]
fn an_image_that_ends_at_once_shows_its_log() {
    let Some(image) = Standin::build("broken") else {
        return;
    };
    let tag = format!("{}-no-server", image.tag);
    let mut build = Command::new("docker");
    build.args([
        "commit",
        "--change",
        "ENTRYPOINT [\"/bin/bash\",\"-c\",\"echo no server here; exit 3\"]",
    ]);
    let name = format!("pgmonkey-broken-{}", std::process::id());
    let run = |args: &[&str]| Command::new("docker").args(args).status().unwrap();
    assert!(run(&["create", "--name", &name, &image.tag]).success());
    assert!(build.args([&name, &tag]).status().unwrap().success());
    assert!(run(&["rm", &name]).success());

    let error = image.docker.start(&tag, Kind::Plain, None).unwrap_err();
    image.docker.remove_image(&tag).unwrap();
    assert!(error.to_string().contains("no server here"), "{error:#}");
}

#[test]
fn a_pull_gives_up_in_time() {
    let Some(docker) = engine() else {
        return;
    };
    // A registry that accepts and never answers.
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/postgres:17", registry.local_addr().unwrap());
    assert!(!docker.has_image(&image));
    let begin = Instant::now();
    let error = docker.pull(&image, Duration::from_secs(2)).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(8));
    let text = format!("{error:#}");
    assert!(
        text.contains(&image) && text.contains("gave up after 2s"),
        "{text}"
    );
}

#[test]
fn a_pull_that_is_refused_names_the_way_out() {
    let Some(docker) = engine() else {
        return;
    };
    // Nothing listens there any more.
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/postgres:17", registry.local_addr().unwrap());
    drop(registry);
    let error = docker.pull(&image, Duration::from_secs(60)).unwrap_err();
    let text = format!("{error:#}");
    let way_out = format!("cargo xtask standin --image {image}");
    assert!(
        text.contains(&way_out) && !text.contains("gave up"),
        "{text}"
    );
}
