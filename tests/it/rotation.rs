//! Passwords that are read for each new session: from a file that is replaced, or from a command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pgmonkey::{Config, Error, aio, sync};
use pgmonkey_tests::{Fixture, LONG, Outcome, twin};
use pgmonkey_testserver::Proxy;

use crate::program::Program;

/// How often the password changes in a test, and the pause before each change. For longer tests,
/// `PGMONKEY_TEST_ROTATIONS` is the number of changes, two seconds apart.
fn rotations() -> (u32, Duration) {
    match std::env::var("PGMONKEY_TEST_ROTATIONS") {
        Ok(number) => (number.parse().expect("a number"), Duration::from_secs(2)),
        Err(_) => (6, Duration::from_millis(100)),
    }
}

/// Where the secret is written.
#[derive(Clone, Copy)]
enum Place {
    /// A file that is written again.
    Plain,
    /// As in Kubernetes: a link to a file in a folder that is itself a link, which is replaced.
    Swapped,
    /// A file that a command prints.
    Printed,
}

/// A role whose password rotates, reached through a proxy that counts the connections.
struct Rotating {
    on: Fixture,
    proxy: Proxy,
    folder: tempfile::TempDir,
    place: Place,
}

impl Rotating {
    fn new(on: Fixture, place: Place) -> Self {
        let proxy = Proxy::to((on.server().host(), on.server().port())).expect("a proxy");
        let folder = tempfile::tempdir().expect("a scratch folder");
        let this = Self {
            on,
            proxy,
            folder,
            place,
        };
        this.on
            .run(&format!("CREATE ROLE {} LOGIN PASSWORD '0'", this.role()));
        this.write(0);
        this
    }

    fn role(&self) -> String {
        format!("r_{}", self.on.name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the secret of this number to the place where the handle reads it.
    fn write(&self, number: u32) {
        match self.place {
            Place::Plain | Place::Printed => {
                // Replaced in one step, because a half-written secret would be a wrong one.
                fs::write(self.path("new"), number.to_string()).expect("a file");
                fs::rename(self.path("new"), self.path("password")).expect("a file");
            }
            Place::Swapped => {
                let folder = self.path(&format!("..{number}"));
                fs::create_dir(&folder).expect("a folder");
                fs::write(folder.join("password"), format!("{number}\n")).expect("a file");
                let (link, old) = (self.path("..new"), self.path("..data"));
                std::os::unix::fs::symlink(&folder, &link).expect("a link");
                fs::rename(link, old).expect("a link");
                let target = Path::new("..data").join("password");
                // There already after the first time.
                let _ = std::os::unix::fs::symlink(target, self.path("password"));
            }
        }
    }

    fn alter(&self, number: u32) {
        self.on
            .run(&format!("ALTER ROLE {} PASSWORD '{number}'", self.role()));
    }

    /// Gives the role another password and writes it, in turns in either order, then ends the
    /// sessions, so that new ones have to log in.
    fn rotate(&self, number: u32) {
        match number % 2 {
            0 => {
                self.alter(number);
                self.write(number);
            }
            _ => {
                self.write(number);
                self.alter(number);
            }
        }
        self.on.kill();
    }

    /// The file with the password's source, in both families.
    fn yaml(&self, source: &str, timeout: u32) -> String {
        self.yaml_of_size(source, timeout, 3)
    }

    fn yaml_of_size(&self, source: &str, timeout: u32, max_size: u32) -> String {
        let pools = format!("{{ min_size: 2, max_size: {max_size}, timeout: {timeout} }}");
        let yaml = self.on.yaml_at(
            "127.0.0.1",
            self.proxy.port(),
            &format!("pool_settings: {pools}\nasync_pool_settings: {pools}\n"),
        );
        let user = format!("user: '{}'", self.on.server().user());
        let password = format!("password: '{}'", self.on.server().password());
        yaml.replacen(&user, &format!("user: {}", self.role()), 1)
            .replacen(&password, &format!("password: {source}"), 1)
    }

    fn config(&self) -> Config {
        let path = self.path("password");
        let source = match self.place {
            Place::Plain | Place::Swapped => format!("{{ from_file: '{}' }}", path.display()),
            Place::Printed => format!("{{ from_command: [cat, '{}'], ttl: 1h }}", path.display()),
        };
        load(&self.yaml(&source, 20))
    }

    /// Checks that all but `opened` connections were refused logins, and that there were at most
    /// two for each rotation.
    #[track_caller]
    fn check(&self, opened: u64) {
        let accepted = u64::try_from(self.proxy.accepted()).expect("few");
        let refused = accepted - opened;
        assert!(
            refused <= u64::from(2 * rotations().0),
            "{refused} refused logins"
        );
    }

    /// Rotates in the background, with pauses in which the handle is used, and sets `over`.
    fn begin(self, over: &Over) -> JoinHandle<Self> {
        let over = over.clone();
        std::thread::spawn(move || {
            let (rotations, pause) = rotations();
            for number in 1..=rotations {
                std::thread::sleep(pause);
                self.rotate(number);
            }
            over.0.store(true, Ordering::SeqCst);
            self
        })
    }
}

/// Whether the rotations are done.
#[derive(Clone, Default)]
struct Over(Arc<AtomicBool>);

impl Over {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Rotating {
    fn drop(&mut self) {
        self.on.until("its sessions end", || self.on.kill() == 0);
        self.on.run(&format!("DROP ROLE {}", self.role()));
    }
}

twin! {
    fn a_pool_lives_through_rotations_of_its_password(on, driver, go, work) {
        for place in [Place::Plain, Place::Swapped, Place::Printed] {
            let rotating = Rotating::new(Fixture::on(on.server().clone()), place);
            let pool = go!(driver::Pool::new(&rotating.config()))?;
            let (more, over) = (pool.clone(), Over::default());
            let rotations = rotating.begin(&over);
            while !over.is_set() {
                let (one, other) = (go!(pool.acquire())?, go!(more.acquire())?);
                drop((one, other));
                assert!(pool.status().size <= 3);
            }
            let rotating = rotations.join().expect("no panic");
            // A session that was released microseconds ago is handed out without a look at it.
            std::thread::sleep(Duration::from_millis(5));
            go!(pool.query_one("SELECT 1", &[]))?;
            rotating.check(pool.status().opened);
        }
        Ok(())
    }
}

twin! {
    fn a_connection_lives_through_rotations_of_its_password(on, driver, go, work) {
        for place in [Place::Plain, Place::Swapped, Place::Printed] {
            let rotating = Rotating::new(Fixture::on(on.server().clone()), place);
            let connection = go!(driver::Connection::new(&rotating.config()))?;
            let over = Over::default();
            let rotations = rotating.begin(&over);
            while !over.is_set() {
                drop(go!(connection.acquire())?);
            }
            let rotating = rotations.join().expect("no panic");
            // A session that was released microseconds ago is handed out without a look at it.
            std::thread::sleep(Duration::from_millis(5));
            go!(connection.query_one("SELECT 1", &[]))?;
            rotating.check(connection.status().opened);
        }
        Ok(())
    }
}

/// Callers that use sessions all the time see no error but that of a session that was killed.
#[track_caller]
fn worked(outcome: Result<(), Error>) {
    if let Err(error) = outcome {
        let killed = error.code().is_some_and(|code| code.code() == "57P01");
        assert!(
            killed || error.to_string().contains("connection closed"),
            "{error}"
        );
    }
}

#[test]
fn threads_of_a_busy_pool_notice_no_rotation() -> Outcome {
    let rotating = Rotating::new(Fixture::new(), Place::Swapped);
    let pool = sync::Pool::new(&rotating.config())?;
    let over = Over::default();
    let rotations = rotating.begin(&over);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.is_set() {
                    worked(pool.query_one("SELECT 1", &[]).map(drop));
                    assert!(pool.status().size <= 3);
                }
            });
        }
    });
    rotations
        .join()
        .expect("no panic")
        .check(pool.status().opened);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_a_busy_pool_notice_no_rotation() -> Outcome {
    let rotating = Rotating::new(Fixture::new(), Place::Swapped);
    let pool = aio::Pool::new(&rotating.config()).await?;
    let over = Over::default();
    let rotations = rotating.begin(&over);
    let busy = (0..16).map(|_| {
        let (pool, over) = (pool.clone(), over.clone());
        tokio::spawn(async move {
            while !over.is_set() {
                worked(pool.query_one("SELECT 1", &[]).await.map(drop));
                assert!(pool.status().size <= 3);
            }
        })
    });
    for busy in busy.collect::<Vec<_>>() {
        busy.await?;
    }
    rotations
        .join()
        .expect("no panic")
        .check(pool.status().opened);
    Ok(())
}

twin! {
    fn a_watched_file_changes_while_its_password_rotates(on, driver, go, work) {
        let rotating = Rotating::new(on, Place::Swapped);
        let file = rotating.path("pgmonkey.yaml");
        let source = format!("{{ from_file: '{}' }}", rotating.path("password").display());
        let write = |rotating: &Rotating, max_size| {
            let new = rotating.path("pgmonkey.new");
            fs::write(&new, rotating.yaml_of_size(&source, 20, max_size))?;
            fs::rename(new, rotating.path("pgmonkey.yaml"))
        };
        write(&rotating, 3)?;
        let manager = driver::ConnectionManager::new();
        let pool = go!(manager.pool_from_file(&file))?;
        let watch = manager.watch(&file);
        for number in 1..=3 {
            rotating.rotate(number);
            write(&rotating, 3 + number)?;
            let end = Instant::now() + LONG;
            while pool.status().max_size != 3 + number {
                worked(go!(pool.query_one("SELECT 1", &[])).map(drop));
                assert!(Instant::now() < end, "the change is not applied");
            }
        }
        worked(go!(pool.query_one("SELECT 1", &[])).map(drop));
        assert_eq!(manager.cache_info().len(), 1);
        drop(watch);
        Ok(())
    }
}

twin! {
    fn a_password_that_changes_before_its_file_is_waited_for(on, driver, go, work) {
        let rotating = Rotating::new(on, Place::Plain);
        let pool = go!(driver::Pool::new(&rotating.config()))?;
        let opened = rotating.proxy.accepted();
        rotating.alter(1);
        rotating.on.kill();
        rotating.on.until("the proxy passes it on", || rotating.proxy.connections() == 0);
        let rotating = Arc::new(rotating);
        let late = Arc::clone(&rotating);
        // Not before the pool has met the refusal.
        let writer = std::thread::spawn(move || {
            late.on.until("a refused login", || late.proxy.accepted() > opened);
            std::thread::sleep(Duration::from_millis(300));
            late.write(1);
        });
        go!(pool.query_one("SELECT 1", &[]))?;
        writer.join().expect("no panic");
        let refused = rotating.proxy.accepted() as u64 - pool.status().opened;
        assert!((1..=2).contains(&refused), "{refused} refused logins");
        Ok(())
    }
}

twin! {
    fn a_wrong_password_in_a_file_fails_at_once(on, driver, go, work) {
        let rotating = Rotating::new(on, Place::Plain);
        rotating.alter(1);
        let error = go!(driver::Pool::new(&rotating.config())).expect_err("a wrong password");
        assert!(error.is_authentication(), "{error}");
        assert_eq!(error.code().map(|code| code.code()), Some("28P01"), "{error}");
        let text = error.to_string();
        assert!(text.contains("the password came from /"), "{text}");
        assert_eq!(rotating.proxy.accepted(), 1, "not repeated");
        Ok(())
    }
}

twin! {
    fn a_source_that_cannot_be_read_is_named_and_leaves_sessions_alone(on, driver, go, work) {
        let rotating = Rotating::new(on, Place::Plain);
        let source = format!("{{ from_file: '{}' }}", rotating.path("password").display());
        let pool = go!(driver::Pool::new(&load(&rotating.yaml(&source, 1))))?;
        std::fs::remove_file(rotating.path("password"))?;
        let held = [go!(pool.acquire())?, go!(pool.acquire())?];
        let error = go!(pool.acquire()).expect_err("no password");
        assert!(error.to_string().contains("the password cannot be read: "), "{error}");
        assert!(error.to_string().contains("file not found"), "{error}");
        drop(held);
        go!(pool.query_one("SELECT 1", &[]))?;

        for (command, expected) in [
            ("[sleep, '100'], timeout: 200ms", "`sleep` did not end within its timeout (200ms)"),
            ("['false']", "`false` failed (exit status: 1)"),
            ("['true']", "`true` printed nothing"),
            ("[head, -c, '2000000', /dev/zero]", "printed more than"),
        ] {
            let config = load(&rotating.yaml(&format!("{{ from_command: {command} }}"), 1));
            let error = go!(driver::Pool::new(&config)).expect_err("no password");
            assert!(error.to_string().contains(expected), "{error}");
        }
        Ok(())
    }
}

twin! {
    fn a_command_runs_once_for_sessions_that_open_together(on, driver, go, work) {
        let rotating = Rotating::new(on, Place::Plain);
        let runs = rotating.path("runs");
        let script = format!("echo run >> '{}'; sleep 0.2; echo 0", runs.display());
        let source = format!("{{ from_command: [sh, -c, \"{script}\"], ttl: 1h }}");
        let pool = go!(driver::Pool::new(&load(&rotating.yaml(&source, 20))))?;
        let held = [go!(pool.acquire())?, go!(pool.acquire())?, go!(pool.acquire())?];
        drop(held);
        assert_eq!(fs::read_to_string(&runs)?.lines().count(), 1);
        Ok(())
    }
}

fn load(yaml: &str) -> Config {
    let loader = Config::loader().yaml(yaml).libpq_sources(false);
    let loader = loader.allow_commands(true);
    loader.load().expect("the test's own file is right")
}

/// The commands of the book, each with a stand-in of that name in front of the real one.
#[test]
fn the_commands_of_the_book_give_a_password() -> Outcome {
    let rotating = Rotating::new(Fixture::new(), Place::Plain);
    let book = include_str!("../../docs/tls-and-credentials.md");
    let commands: Vec<String> = book
        .split("```yaml\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .filter(|block| block.contains("from_command: ["))
        .map(|block| {
            let from = block.find("from_command: [").expect("just seen") + "from_command: ".len();
            let end = block[from..].find(']').expect("a list") + from;
            block[from..=end].replace('\n', " ")
        })
        .collect();
    assert_eq!(commands.len(), 4);
    let folder = rotating.path("bin");
    fs::create_dir(&folder)?;
    for name in ["aws", "gcloud", "az", "vault"] {
        let path = folder.join(name);
        // Fails without arguments, as the real ones do.
        fs::write(&path, "#!/bin/sh\ntest $# -gt 1 && echo 0\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    let path = format!("{}:{}", folder.display(), std::env::var("PATH")?);
    for command in commands {
        let source = format!("{{ from_command: {command} }}");
        let program = Program::new().env("PATH", &path);
        program.write("pgmonkey.yaml", &rotating.yaml(&source, 20));
        let told = program.run(&["config", "test", "pgmonkey.yaml", "--allow-commands"]);
        assert_eq!(told.code, 0, "{source}: {told:?}");
        let told = program.run(&["config", "test", "pgmonkey.yaml"]);
        assert_ne!(told.code, 0, "{source}: a privilege");
        assert!(told.stderr.contains("--allow-commands"), "{told:?}");
    }
    Ok(())
}
