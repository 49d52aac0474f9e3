//! Secrets by reference that the configuration keeps: `{ from_file: … }`, `password_file` and
//! `{ from_command: … }`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pgmonkey_config::{
    Config, ConnectionType, Error, Loader, ProblemKind, REDACTED, SecretCommand, SecretSource,
    Settings, Warning, WarningKind, redact,
};
use serde_json::json;
use tempfile::TempDir;

use super::{bad, connection, has, loader, read_password};

/// A folder with a configuration and a secret file.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.write("secret", "S3cret\n");
        desk
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        permit(&path, 0o600);
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn loader(&self, lines: &str) -> Loader {
        self.write("pgmonkey.yaml", &connection(lines));
        let home = self.0.path().to_str().unwrap();
        Loader::new()
            .variables([("HOME", home)])
            .file(self.path("pgmonkey.yaml"))
    }

    fn load(&self, lines: &str) -> Result<(Config, Vec<Warning>), Error> {
        self.loader(lines).load_with_warnings()
    }
}

#[cfg(unix)]
fn permit(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn permit(_: &Path, _: u32) {}

fn command(lines: &str) -> Result<Config, Error> {
    loader(&[("REGION", "eu-1")])
        .yaml(connection(lines))
        .allow_commands(true)
        .load()
}

fn print(config: &Config) -> pgmonkey_config::Fingerprint {
    *config.fingerprint(ConnectionType::Pool)
}

#[test]
fn a_secret_file_is_kept_by_its_absolute_path() {
    let desk = Desk::new();
    for line in [
        "password: { from_file: secret }",
        "password: { from_file: ~/secret }",
        "password: { from_file: ./secret }",
        "password_file: secret",
        "password_file: ~/secret",
    ] {
        let (config, warnings) = desk.load(line).unwrap();
        assert_eq!(warnings, [], "{line}");
        assert_eq!(read_password(&config).as_deref(), Some("S3cret"), "{line}");
        let Some(SecretSource::File(path)) = &config.connection_settings.password else {
            panic!("{line}: {config:?}");
        };
        assert!(
            path.is_absolute() && path.ends_with("secret"),
            "{line}: {path:?}"
        );
    }
    let (config, _) = desk.load("sslpassword: { from_file: secret }").unwrap();
    let file = SecretSource::File(desk.path("secret"));
    assert_eq!(config.connection_settings.sslpassword, Some(file));
}

#[test]
fn the_fingerprint_covers_the_path_and_not_the_content() {
    let desk = Desk::new();
    let load = |lines: &str| desk.load(lines).unwrap().0;
    let before = load("password_file: secret");
    desk.write("secret", "an0ther");
    let after = load("password: { from_file: secret }");
    assert_eq!((print(&before), &before), (print(&after), &after));
    desk.write("other", "an0ther");
    let other = load("password_file: other");
    assert_ne!(print(&before), print(&other));
    // The path is no secret: the short id shows that they differ.
    assert_ne!(print(&before).to_string(), print(&other).to_string());
    let literal = load("password: an0ther");
    assert_ne!(print(&other), print(&literal));
    let key = load("sslpassword: { from_file: secret }");
    assert_ne!(print(&before), print(&key));
}

#[test]
fn a_secret_file_is_checked_when_the_file_is_loaded() {
    let desk = Desk::new();
    fs::create_dir(desk.path("folder")).unwrap();
    desk.write("empty", "\n");
    fs::write(desk.path("binary"), b"\xffS3cret").unwrap();
    for (file, reason) in [
        ("nowhere", "file not found"),
        ("folder", "is a directory"),
        ("empty", "the file is empty"),
        ("binary", "UTF-8"),
        ("/dev/null", "not a regular file"),
    ] {
        for (line, key) in [
            (format!("password: {{ from_file: {file} }}"), "password:"),
            (format!("password_file: {file}"), "password_file:"),
            (
                format!("sslpassword: {{ from_file: {file} }}"),
                "sslpassword:",
            ),
        ] {
            let error = desk.load(&line).unwrap_err().to_string();
            has(&error, &["pgmonkey.yaml:2:3", key, file, reason]);
            assert!(!error.contains("S3cret"), "{error}");
        }
    }
    // Only the file that counts is read.
    let overridden = desk.loader("password_file: nowhere");
    let config = overridden
        .set("connection_settings.password", "S3cret")
        .load()
        .unwrap();
    assert_eq!(read_password(&config).as_deref(), Some("S3cret"));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_once() {
    let desk = Desk::new();
    let pipe = desk.path("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let writer = std::thread::spawn(move || fs::write(pipe, "S3cret\n"));
    let (config, _) = desk.load("password_file: pipe").unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(config.connection_settings.password, Some("S3cret".into()));
}

#[cfg(unix)]
#[test]
fn files_that_others_can_read_are_told_with_their_mode() {
    let desk = Desk::new();
    for mode in [0o640, 0o604, 0o644] {
        permit(&desk.path("secret"), mode);
        for (line, key) in [
            ("password_file: secret", "connection_settings.password_file"),
            (
                "password: { from_file: secret }",
                "connection_settings.password",
            ),
            (
                "sslpassword: { from_file: secret }",
                "connection_settings.sslpassword",
            ),
        ] {
            let (_, warnings) = desk.load(line).unwrap();
            let [warning] = warnings.as_slice() else {
                panic!("{line}: {warnings:?}");
            };
            let path = desk.path("secret");
            assert_eq!(
                warning.kind,
                WarningKind::SecretFileReadableByOthers { path, mode }
            );
            assert_eq!(warning.key.as_deref(), Some(key));
            let mode = format!("mode {mode:04o}");
            has(
                &warning.to_string(),
                &["pgmonkey.yaml:2:3", "chmod 600", &mode],
            );
        }
    }
    permit(&desk.path("secret"), 0o400);
    assert_eq!(desk.load("password_file: secret").unwrap().1, []);
}

#[cfg(unix)]
#[test]
fn a_passfile_that_is_ignored_is_told_with_its_mode() {
    let desk = Desk::new();
    desk.write(".pgpass", "*:*:*:*:S3cret\n");
    assert_eq!(desk.load("dbname: d").unwrap().1, []);
    permit(&desk.path(".pgpass"), 0o640);
    for (line, place) in [
        ("dbname: d", ".pgpass: the password file"),
        (
            "passfile: .pgpass",
            "pgmonkey.yaml:2:3: connection_settings.passfile",
        ),
    ] {
        let (_, warnings) = desk.load(line).unwrap();
        let [warning] = warnings.as_slice() else {
            panic!("{line}: {warnings:?}");
        };
        has(&warning.to_string(), &[place, "is ignored", "mode 0640"]);
    }
    // It is not searched.
    assert_eq!(desk.load("password: 'x'").unwrap().1, []);
    permit(&desk.path(".pgpass"), 0o600);
    assert_eq!(desk.load("dbname: d").unwrap().1, []);
}

#[test]
fn the_short_form_stands_for_the_long_one() {
    let error = bad(&connection("password: S3cret\n  password_file: secret"));
    has(
        &error,
        &["line 3", "password_file", "`password` is also set"],
    );
    has(
        &bad(&connection("password_file: 5.5")),
        &["line 2", "password_file", "5.5"],
    );
    has(
        &bad(&connection("password_file: [a]")),
        &["password_file", "a path"],
    );
    let desk = Desk::new();
    for lines in [
        "password_file: ''\n  password: S3cret",
        "password: ''\n  password_file: secret",
    ] {
        let (config, _) = desk.load(lines).unwrap();
        assert_eq!(read_password(&config).as_deref(), Some("S3cret"));
    }
    let path = desk.path("secret");
    let from_variable = [(
        "PGMONKEY_CONNECTION_SETTINGS__PASSWORD_FILE",
        path.to_str().unwrap(),
    )];
    let config = loader(&from_variable)
        .env(true)
        .yaml(connection("password: { from_command: [x] }"))
        .load()
        .unwrap();
    assert_eq!(
        config.connection_settings.password,
        Some(SecretSource::File(path))
    );
}

#[test]
fn a_stronger_layer_replaces_the_whole_reference() {
    let desk = Desk::new();
    let weak = "password: { from_command: [x], ttl: 5m }";
    let strong = connection(&format!("password_file: {}", desk.path("secret").display()));
    let config = desk.loader(weak).yaml(strong).load().unwrap();
    assert_eq!(read_password(&config).as_deref(), Some("S3cret"));
    let config = desk
        .loader("password_file: secret")
        .yaml(connection("password: { from_command: [y] }"))
        .allow_commands(true)
        .load()
        .unwrap();
    let source = SecretSource::Command(SecretCommand::new(["y"]));
    assert_eq!(config.connection_settings.password, Some(source));
    let profiles = "password: { from_command: [x], ttl: 5m }
profiles: { test: { connection_settings: { password_file: secret } }, plain: { connection_settings: { password: other } } }";
    let config = desk.loader(profiles).profile("test").load().unwrap();
    assert_eq!(read_password(&config).as_deref(), Some("S3cret"));
    let config = desk.loader(profiles).profile("plain").load().unwrap();
    assert_eq!(read_password(&config).as_deref(), Some("other"));
    let config = desk
        .loader("url: 'postgres://u:p@h/d'\n  password_file: secret")
        .load()
        .unwrap();
    assert_eq!(read_password(&config).as_deref(), Some("S3cret"));
}

#[test]
fn a_command_is_a_list_with_times() {
    let read = |lines: &str| match command(lines).unwrap().connection_settings.password.clone() {
        Some(SecretSource::Command(command)) => command,
        other => panic!("{lines}: {other:?}"),
    };
    let simple = read("password: { from_command: [vault, read, 5] }");
    assert_eq!(simple, SecretCommand::new(["vault", "read", "5"]));
    assert_eq!(
        (simple.ttl, simple.timeout),
        (None, Duration::from_secs(10))
    );
    let full = read(
        "password:\n    from_command: [aws, '${REGION}', '$${x}']\n    ttl: 10m\n    timeout: 2.5",
    );
    assert_eq!(full.command, ["aws", "eu-1", "${x}"]);
    assert_eq!(full.ttl, Some(Duration::from_secs(600)));
    assert_eq!(full.timeout, Duration::from_millis(2500));
    assert_eq!(read("password: { from_command: [x], ttl: 0 }").ttl, None);
    assert_eq!(
        read("password: { from_command: [x], ttl: null, timeout: '' }").ttl,
        None
    );
}

#[test]
fn a_program_in_a_folder_is_found_from_the_file() {
    let desk = Desk::new();
    for (program, expected) in [
        ("./token", desk.path("token")),
        ("bin/token", desk.path("bin/token")),
        ("~/token", desk.path("token")),
        ("/opt/token", "/opt/token".into()),
        ("token", "token".into()),
    ] {
        let lines = format!("password: {{ from_command: ['{program}', ./x] }}");
        let config = desk.loader(&lines).allow_commands(true).load().unwrap();
        let Some(SecretSource::Command(command)) = &config.connection_settings.password else {
            panic!("{config:?}");
        };
        let found = Path::new(&command.command[0]).components();
        assert_eq!(found.as_path(), expected.components().as_path());
        assert_eq!(command.command[1], "./x");
    }
}

#[test]
fn a_command_needs_permission() {
    let text = connection("password: { from_command: [/opt/token, --key=S3cret], ttl: 5m }");
    let error = loader(&[]).yaml(&text).load().unwrap_err();
    let program = Some("/opt/token".to_owned());
    assert_eq!(
        error.problems()[0].kind,
        ProblemKind::CommandNotAllowed { program }
    );
    let shown = format!("{error} {error:?}");
    assert!(
        !shown.contains("S3cret") && !shown.contains("--key"),
        "{shown}"
    );
    has(
        &error.to_string(),
        &[
            "line 2, column 3",
            "connection_settings.password",
            "`/opt/token`",
            "rights of this process",
            "allow_commands(true)",
            "--allow-commands",
        ],
    );
    // Neither does a program that came by reference show.
    let reference = connection("password: { from_command: ['${PW}'] }");
    let error = loader(&[("PW", "S3cret")])
        .yaml(reference)
        .load()
        .unwrap_err()
        .to_string();
    assert!(
        !error.contains("S3cret") && error.contains("a program"),
        "{error}"
    );
    // What does not count needs none.
    let config = loader(&[])
        .yaml(&text)
        .set("connection_settings.password", "x")
        .load();
    assert!(config.is_ok());
    let text = serde_json::to_string(
        &command("password: { from_command: [x] }")
            .unwrap()
            .exposed(),
    );
    let error = serde_json::from_str::<Config>(&text.unwrap())
        .unwrap_err()
        .to_string();
    has(&error, &["not allowed"]);
    // A program that writes the settings itself needs none.
    let mut settings = Settings::default();
    settings.connection_settings.password = Some(SecretSource::Command(SecretCommand::new(["x"])));
    assert!(Config::new(settings).is_ok());
}

/// Values of `password`, and what the error says.
const WRONG: &[(&str, &[&str])] = &[
    (
        "{ from_command: [] }",
        &["connection_settings.password", "list of texts"],
    ),
    (
        "{ from_command: 'aws S3cret' }",
        &["list of texts", "no shell"],
    ),
    ("{ from_command: [[a]] }", &["list of texts"]),
    ("{ from_command: [''] }", &["names no program"]),
    ("{ from_command: [' ', S3cret] }", &["names no program"]),
    ("{ from_command: [x, \"S3cret\\0\"] }", &["zero byte"]),
    ("{ from_command: [x, '***REDACTED***'] }", &["placeholder"]),
    ("{ from_command: [x], tll: 5 }", &["password.tll", "`ttl`"]),
    (
        "{ from_command: [x], ttl: S3cret }",
        &["password.ttl", "seconds"],
    ),
    (
        "{ from_command: [x], ttl: -1 }",
        &["password.ttl", "seconds"],
    ),
    (
        "{ from_command: [x], timeout: 0 }",
        &["password.timeout", "above 0"],
    ),
    (
        "{ from_command: [x], timeout: [5] }",
        &["password.timeout", "seconds"],
    ),
    (
        "{ from_command: [x], from_file: S3cret }",
        &["password", "the only key"],
    ),
    (
        "{ from_command: [x], from_env: S3cret }",
        &["password", "the only key"],
    ),
    (
        "{ from_file: S3cret, ttl: 5 }",
        &["password", "the only key"],
    ),
    ("{ from_file: '' }", &["password", "path of the file"]),
    ("{ from_file: [S3cret] }", &["password", "path of the file"]),
];

#[test]
fn a_command_that_cannot_work_is_refused() {
    for (value, parts) in WRONG {
        let error = command(&format!("password: {value}"))
            .unwrap_err()
            .to_string();
        has(&error, &["line 2"]);
        has(&error, parts);
        assert!(!error.contains("S3cret"), "{error}");
    }
}

#[test]
fn a_command_under_another_key_is_refused() {
    let error = command("sslpassword: { from_command: [x] }")
        .unwrap_err()
        .to_string();
    has(&error, &["sslpassword", "only for `password`"]);
    for yaml in [
        connection("user: { from_command: [x, S3cret] }"),
        connection("url: { from_command: [x, S3cret] }"),
        "sync_settings: { my.token: { from_command: [x, S3cret] } }".to_owned(),
    ] {
        let error = loader(&[])
            .yaml(yaml)
            .allow_commands(true)
            .load()
            .unwrap_err()
            .to_string();
        has(&error, &["only for `password`"]);
        assert!(!error.contains("S3cret"), "{error}");
    }
}

#[test]
fn the_fingerprint_covers_the_command() {
    let load = |value: &str| command(&format!("password: {value}")).unwrap();
    let base = load("{ from_command: [x, S3cret] }");
    assert_eq!(
        print(&base),
        print(&load("{ from_command: [x, S3cret], timeout: 10 }"))
    );
    for other in [
        "{ from_command: [x, other] }",
        "{ from_command: [x, S3cret, a] }",
        "{ from_command: [x, S3cret], ttl: 5 }",
        "{ from_command: [x, S3cret], timeout: 5 }",
        "x",
    ] {
        assert_ne!(print(&base), print(&load(other)), "{other}");
    }
    // The arguments may hold secrets.
    let short = |config: &Config| print(config).to_string();
    assert_eq!(short(&base), short(&load("{ from_command: [x, other] }")));
    assert_ne!(short(&base), short(&load("{ from_command: [y, S3cret] }")));
}

#[test]
fn every_form_is_shown_without_its_secret_and_written_with_it() {
    let desk = Desk::new();
    let path = desk.path("secret").display().to_string();
    for (lines, shown) in [
        ("password: S3cret", json!(REDACTED)),
        ("password_file: secret", json!({ "from_file": path })),
        (
            "password: { from_command: [/opt/t, --key, S3cret], ttl: 90s }",
            json!({ "from_command": ["/opt/t", REDACTED, REDACTED], "ttl": 90, "timeout": 10 }),
        ),
    ] {
        let loaded = desk
            .loader(lines)
            .allow_commands(true)
            .load_with_sources()
            .unwrap();
        let config = &loaded.config;
        let values = loaded.values();
        let value = values
            .iter()
            .find(|value| value.key == "connection_settings.password");
        let value = value.unwrap();
        assert_eq!(value.value, shown);
        has(
            &value.source.as_ref().unwrap().to_string(),
            &["pgmonkey.yaml:2:3"],
        );
        let json = serde_json::to_value(config).unwrap();
        assert_eq!(json["connection_settings"]["password"], shown);
        assert_eq!(
            redact(&serde_json::to_value(config.exposed()).unwrap()),
            json
        );
        let text = format!(
            "{config} {config:?} {config:#?} {json} {values:?} {:?} {}",
            config.exposed(),
            toml::to_string(config).unwrap()
        );
        assert!(!text.contains("S3cret"), "{text}");
        let again = |loader: Loader| loader.allow_commands(true).load().unwrap();
        let json = serde_json::to_string(&config.exposed()).unwrap();
        assert_eq!(again(loader(&[]).json(&json)), *config);
        assert_eq!(again(loader(&[]).yaml(&json)), *config);
        let toml = toml::to_string(&config.exposed()).unwrap();
        assert_eq!(again(loader(&[]).toml(&toml)), *config);
        if !lines.contains("from_command") {
            assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), *config);
        }
    }
}

#[test]
fn a_reference_in_a_tree_is_shown_without_its_secret() {
    for (value, shown) in [
        (json!({ "from_env": "PW" }), json!({ "from_env": "PW" })),
        (
            json!({ "from_env": "u:S3cret@h" }),
            json!({ "from_env": REDACTED }),
        ),
        (
            json!({ "from_file": "postgres://u:S3cret@h" }),
            json!({ "from_file": REDACTED }),
        ),
        (
            json!({ "from_command": ["x S3cret"] }),
            json!({ "from_command": ["x"] }),
        ),
        (
            json!({ "from_command": "S3cret" }),
            json!({ "from_command": REDACTED }),
        ),
        (
            json!({ "from_command": ["x"], "ttl": "S3cret!" }),
            json!({ "from_command": ["x"], "ttl": REDACTED }),
        ),
        (
            json!({ "from_file": "/x", "other": "S3cret" }),
            json!(REDACTED),
        ),
        (json!({ "ttl": 5 }), json!(REDACTED)),
    ] {
        assert_eq!(
            redact(&json!({ "password": value })),
            json!({ "password": shown })
        );
    }
    let path = json!({ "password_file": "/run/pg" });
    assert_eq!(redact(&path), path);
}

#[test]
fn text_that_looks_like_a_reference_is_written_as_text() {
    let config = loader(&[("X", "y")])
        .set("connection_settings.password", "a${X}b")
        .set("connection_settings.options", "$${X}")
        .load()
        .unwrap();
    let json = serde_json::to_string(&config.exposed()).unwrap();
    let again = loader(&[("X", "y")]).json(&json).load().unwrap();
    assert_eq!(again, config);
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
}
