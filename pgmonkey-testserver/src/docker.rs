//! A server from a Docker image with the interface of the official `postgres` image.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::certs::Certificates;
use crate::cleanup::Watchdog;
use crate::endpoint::Endpoint;
use crate::ports::random;
use crate::settings::{self, Kind};

mod owner;

use owner::{is_gone, owner};

/// An engine that does not answer within this time counts as absent.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// On a busy machine `initdb` and the unpacking of an image take their time.
const START_LIMIT: Duration = Duration::from_secs(180);
/// How often a start that takes long is reported.
const REPORT_EVERY: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// The label of every container created here; its value is the machine and process that created it.
const LABEL: &str = "pgmonkey.testserver.owner";
/// The image's entrypoint runs the scripts in this directory after `initdb`, before the real start.
const INIT_DIR: &str = "/docker-entrypoint-initdb.d/";

/// Runs as the server's user once its data directory exists.
const INIT_SCRIPT: &str = "here=/docker-entrypoint-initdb.d
cat \"$here/postgresql.conf\" >>\"$PGDATA/postgresql.conf\"
cp \"$here/pg_hba.conf\" \"$PGDATA/pg_hba.conf\"
for file in ca.pem server.pem server.key; do
  if [ -e \"$here/$file\" ]; then
    cp \"$here/$file\" \"$PGDATA/$file\"
    chmod 600 \"$PGDATA/$file\"
  fi
done
";

/// Twice, because the process may have been killed while it was creating the container.
const TEAR_DOWN: &str = "docker rm --force --volumes \"$1\"
rm -rf \"$2\"
[ -n \"$(docker ps --all --quiet --filter \"name=^$1$\")\" ] && docker rm --force --volumes \"$1\"
";

/// A Docker engine that answers, used through the `docker` command.
#[derive(Clone, Debug)]
pub struct Docker {
    version: String,
}

impl Docker {
    /// Asks the engine for its version.
    ///
    /// # Errors
    ///
    /// When there is no `docker` command, or the engine does not answer within ten seconds.
    pub fn find() -> anyhow::Result<Self> {
        let output = bounded(
            docker(["version", "--format", "{{.Server.Version}}"]),
            ANSWER_LIMIT,
        )
        .context("no Docker engine answers")?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self { version })
    }

    /// The engine's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether the image is on this machine.
    #[must_use]
    pub fn has_image(&self, image: &str) -> bool {
        bounded(docker(["image", "inspect", image]), ANSWER_LIMIT).is_ok()
    }

    /// Pulls the image from its registry, giving up after `limit`.
    ///
    /// # Errors
    ///
    /// When the registry does not have it, is unreachable, or takes longer. The error names the ways
    /// to get an image of this name.
    pub fn pull(&self, image: &str, limit: Duration) -> anyhow::Result<()> {
        bounded(docker(["pull", "--quiet", image]), limit).with_context(|| no_image(image))?;
        Ok(())
    }

    /// Removes containers left behind by processes that no longer exist, and returns how many.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub fn remove_leftovers(&self) -> anyhow::Result<usize> {
        let format = format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}");
        let filter = format!("label={LABEL}");
        let list = docker(["ps", "--all", "--filter", &filter, "--format", &format]);
        let list = bounded(list, ANSWER_LIMIT)?;
        let mut removed = 0;
        for line in String::from_utf8_lossy(&list.stdout).lines() {
            if let Some((id, owner)) = line.split_once(' ')
                && is_gone(owner)
            {
                bounded(docker(["rm", "--force", "--volumes", id]), ANSWER_LIMIT)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Starts a server from a local image and waits until it accepts connections.
    ///
    /// # Errors
    ///
    /// When the container exits at once or is not ready within three minutes; the error then includes
    /// the end of its log. A start that takes long is reported on standard error.
    pub fn start(
        &self,
        image: &str,
        kind: Kind,
        certificates: Option<&Certificates>,
    ) -> anyhow::Result<Container> {
        Container::start(image, kind, certificates)
    }
}

/// A throw-away PostgreSQL server in a Docker container.
///
/// Dropping the value removes the container; so does the exit of this process, whatever the cause.
/// It derefs to its [`Endpoint`], which has the host, port, user, password, URL and log.
#[derive(Debug)]
pub struct Container {
    endpoint: Endpoint,
    name: String,
    attached: Option<Child>,
    watchdog: Option<Watchdog>,
}

impl Container {
    /// The container's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server's address and credentials.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn start(image: &str, kind: Kind, certificates: Option<&Certificates>) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("pgmonkey-docker-")
            .tempdir()?
            .keep();
        let name = unique_name();
        let watchdog = Watchdog::start(TEAR_DOWN, [OsStr::new(&name), dir.as_os_str()])?;
        let mut container = Self {
            endpoint: endpoint(dir.join("server.log")),
            name,
            attached: None,
            watchdog: Some(watchdog),
        };
        container.create(image)?;
        container.hand_over(&dir.join("init"), kind, certificates)?;
        container.run()?;
        container.await_ready(image)?;
        container.endpoint.port = container.published_port()?;
        Ok(container)
    }

    fn create(&self, image: &str) -> anyhow::Result<()> {
        let mut command = docker(["create", "--rm", "--name", &self.name]);
        command
            .args(["--label", &format!("{LABEL}={}", owner())])
            .args(["--publish", "127.0.0.1::5432"])
            // Without a value: Docker takes it from this process, and it is not shown in arguments.
            .args(["--env", "POSTGRES_PASSWORD"])
            .env("POSTGRES_PASSWORD", self.endpoint.password())
            .args(["--env", &format!("POSTGRES_USER={}", self.endpoint.user())])
            .args(["--env", &format!("POSTGRES_DB={}", self.endpoint.dbname())])
            .arg(image);
        bounded(command, START_LIMIT).with_context(|| format!("cannot use image {image}"))?;
        Ok(())
    }

    /// Copies the server's files instead of mounting them: the engine may run on another machine.
    fn hand_over(
        &self,
        dir: &Path,
        kind: Kind,
        certificates: Option<&Certificates>,
    ) -> anyhow::Result<()> {
        fs::create_dir(dir)?;
        put(dir, "pgmonkey.sh", INIT_SCRIPT)?;
        put(dir, "pg_hba.conf", &kind.hba(&["all"]))?;
        let mut conf: String = settings::COMMON.map(|(n, v)| settings::line(n, v)).concat();
        if kind.has_tls() {
            let certificates = certificates.context("a server with TLS needs certificates")?;
            conf += &settings::TLS.map(|(n, v)| settings::line(n, v)).concat();
            put(dir, "ca.pem", &fs::read_to_string(certificates.ca())?)?;
            let server = certificates.certificate("server");
            put(dir, "server.pem", &fs::read_to_string(server)?)?;
            let key = certificates.key("server");
            put(dir, "server.key", &fs::read_to_string(key)?)?;
        }
        put(dir, "postgresql.conf", &conf)?;
        let from = format!("{}/.", dir.display());
        let to = format!("{}:{INIT_DIR}", self.name);
        bounded(docker(["cp", "--quiet", &from, &to]), START_LIMIT)?;
        Ok(())
    }

    /// Runs it attached, so that the server's log is written to a local file as it appears.
    fn run(&mut self) -> anyhow::Result<()> {
        let path = self.endpoint.log_file().context("there is a log file")?;
        let log = File::create(path)?;
        let child = docker(["start", "--attach", &self.name])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        self.attached = Some(child);
        Ok(())
    }

    /// Checks over TCP: during the image's initialization its server listens only on the socket.
    fn await_ready(&mut self, image: &str) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut report_at = begin + REPORT_EVERY;
        let user = self.endpoint.user().to_owned();
        loop {
            let mut probe = docker(["exec", &self.name, "pg_isready", "-q", "-h", "127.0.0.1"]);
            probe.args(["-U", &user]);
            if bounded(probe, ANSWER_LIMIT).is_ok() {
                return Ok(());
            }
            let ended = match &mut self.attached {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            ensure!(!ended, "the container exited: {}", self.log_tail());
            let now = Instant::now();
            ensure!(
                now < begin + START_LIMIT,
                "the container is not ready after {START_LIMIT:?}: {}",
                self.log_tail()
            );
            if now >= report_at {
                report_at = now + REPORT_EVERY;
                eprintln!(
                    "{}",
                    waiting(image, &self.name, now - begin, &self.endpoint.log())
                );
            }
            thread::sleep(POLL);
        }
    }

    fn published_port(&self) -> anyhow::Result<u16> {
        let output = bounded(docker(["port", &self.name, "5432/tcp"]), ANSWER_LIMIT)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let first = text.lines().next().unwrap_or_default();
        let port = first.rsplit(':').next().and_then(|port| port.parse().ok());
        port.with_context(|| format!("`docker port` answered {first:?}"))
    }

    fn log_tail(&self) -> String {
        let log = self.endpoint.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Deref for Container {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.watchdog.take());
        if let Some(mut child) = self.attached.take() {
            let _ = child.wait();
        }
    }
}

pub(crate) fn docker<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new("docker");
    command.args(args);
    command
}

/// Runs a command whose output is short, and kills it if it takes longer than `limit`.
pub(crate) fn bounded(mut command: Command, limit: Duration) -> anyhow::Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{name}`"))?;
    let deadline = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            bail!("gave up after {limit:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output)
}

fn no_image(image: &str) -> String {
    format!(
        "cannot pull {image}; where a registry can be reached, run `docker pull {image}`; elsewhere \
         build an image of this name from the server programs on this machine with `cargo xtask \
         standin --image {image}`, or use the programs without Docker (--postgres local)"
    )
}

/// What the start of a container waits for, with the last line of its log.
fn waiting(image: &str, name: &str, since: Duration, log: &str) -> String {
    let last = log.lines().last().unwrap_or("its log is empty");
    format!(
        "Docker: waiting for the server of {image} in the container {name}, {} s of at most {} s: {last}",
        since.as_secs(),
        START_LIMIT.as_secs()
    )
}

/// World-readable, because the uid of the server's user in the container is not known here.
fn put(dir: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = dir.join(name);
    fs::write(&path, text)?;
    Ok(fs::set_permissions(
        &path,
        fs::Permissions::from_mode(0o644),
    )?)
}

fn endpoint(log_file: PathBuf) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port: 0,
        user: settings::SUPERUSER.into(),
        password: format!("{:016x}", random()),
        dbname: settings::DATABASE.into(),
        socket_dir: None,
        log_file: Some(log_file),
    }
}

fn unique_name() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("pgmonkey-{}-{number}-{:08x}", process::id(), random() >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_takes_too_long_is_ended() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let begin = Instant::now();
        let error = bounded(command, Duration::from_millis(50)).unwrap_err();
        assert!(begin.elapsed() < Duration::from_secs(30));
        assert_eq!(error.to_string(), "gave up after 50ms");
    }

    #[test]
    fn an_image_that_cannot_be_pulled_can_be_had_otherwise() {
        let text = no_image("postgres:16");
        for way in [
            "cannot pull postgres:16",
            "docker pull postgres:16",
            "cargo xtask standin --image postgres:16",
            "--postgres local",
        ] {
            assert!(text.contains(way), "{text}");
        }
    }

    #[test]
    fn a_long_start_is_reported_with_the_last_line_of_the_log() {
        let since = Duration::from_secs(20);
        let text = waiting(
            "postgres:17",
            "pgmonkey-1",
            since,
            "one\nrunning bootstrap\n",
        );
        assert!(
            text.contains("postgres:17") && text.contains("20 s of at most"),
            "{text}"
        );
        assert!(text.ends_with("running bootstrap"), "{text}");
        let text = waiting("postgres:17", "pgmonkey-1", since, "");
        assert!(text.ends_with("its log is empty"), "{text}");
    }
}
