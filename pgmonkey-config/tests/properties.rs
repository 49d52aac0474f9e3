//! Property tests: invariants of every configuration.

use std::net::IpAddr;
use std::time::Duration;

use pgmonkey_config::{
    ChannelBinding, Config, ConnectionSettings, ConnectionType, Error, Host, LoadBalanceHosts,
    Loader, PoolSettings, Pooler, Reset, RootCert, SecretCommand, SecretSource, SessionSettings,
    Settings, SettingsDelivery, SslMode, StatementSettings, StatementTextMode, TargetSessionAttrs,
    TlsVersion, redact,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A failing case is printed in full, so it is not saved to a file.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn loader() -> Loader {
    Loader::new().variables([("HOME", "/nonexistent"), ("SET", "value")])
}

fn load(yaml: &str) -> Result<Config, Error> {
    loader().yaml(yaml).load()
}

/// A key with its possible values; the first is the default. Each value has equivalent spellings;
/// an empty one leaves the key out.
struct Choices {
    section: &'static str,
    key: &'static str,
    values: &'static [&'static [&'static str]],
}

const fn of(
    section: &'static str,
    key: &'static str,
    values: &'static [&'static [&'static str]],
) -> Choices {
    Choices {
        section,
        key,
        values,
    }
}

const C: &str = "connection_settings";

#[rustfmt::skip]
const CHOICES: &[Choices] = &[
    of(C, "host", &[&["a", "'a'", "[a]", " a "], &["a,b", "[a, b]", "'a, b'"], &["/tmp"], &["::1", "'::1'"]]),
    of(C, "port", &[&["", "5432", "'5432'", "null", "''", "[5432]"], &["5433", "\"5433\"", "' 5433'"]]),
    of(C, "user", &[&["app", "'app'"], &["0123", "'0123'"], &["83"]]),
    of(C, "dbname", &[&["", "~", "''"], &["shop", "'shop'"]]),
    of(C, "password", &[&["", "''"], &["1e5", "'1e5'"], &["100000"], &["yes", "'yes'"], &["true"]]),
    of(C, "sslmode", &[&["", "prefer", "'prefer'", "''"], &["disable"], &["verify-full"]]),
    of(C, "sslsni", &[&["", "true", "1", "'on'"], &["false", "0", "'off'", "no"]]),
    of(C, "connect_timeout", &[&["", "10", "10s", "'10'", "10000ms", "10.0"], &["0", "0s"], &["1.5", "1500ms"], &["1"]]),
    of(C, "keepalives", &[&["", "1", "true"], &["0", "false", "'0'"]]),
    of(C, "keepalives_count", &[&["", "0"], &["3", "'3'"]]),
    of(C, "tcp_user_timeout", &[&["", "0"], &["5000", "5s"]]),
    of(C, "require_auth", &[&[""], &["'md5,none'", "[none, md5]", "'none, md5'"], &["'!md5'"]]),
    of(C, "client_encoding", &[&["", "UTF8", "auto", "utf-8"]]),
    of(C, "autocommit", &[&["", "false", "off"], &["true", "'1'"]]),
    of(C, "follow_dns", &[&["", "false", "off"], &["true", "'1'"]]),
    of("sync_settings", "statement_timeout", &[&["", "null"], &["30000", "'30000'"], &["''"]]),
    of("sync_settings", "search_path", &[&[""], &["'app,public'", "[app, public]"]]),
    of("async_settings", "jit", &[&[""], &["off", "'off'"], &["'on'", "on"]]),
    of("pool_settings", "min_size", &[&["", "1", "'1'"], &["0"], &["2"]]),
    of("pool_settings", "max_size", &[&["", "10", "'10'"], &["20"]]),
    of("pool_settings", "max_lifetime", &[&["", "3600", "1h", "60m"], &["0"]]),
    of("pool_settings", "leak_warning", &[&["", "0", "off"], &["60", "1m"]]),
    of("async_pool_settings", "reset", &[&["", "auto"], &["transaction"], &["session"], &["none"]]),
    of("async_pool_settings", "multiplex", &[&["", "false"], &["true", "on"]]),
];

/// Returns the types that read a section.
fn users(section: &str) -> Vec<ConnectionType> {
    let all = ConnectionType::ALL.into_iter();
    all.filter(|kind| match section {
        "sync_settings" => !kind.is_async(),
        "async_settings" => kind.is_async(),
        "pool_settings" => *kind == ConnectionType::Pool,
        "async_pool_settings" => *kind == ConnectionType::AsyncPool,
        _ => true,
    })
    .collect()
}

const SECTIONS: [&str; 5] = [
    C,
    "sync_settings",
    "async_settings",
    "pool_settings",
    "async_pool_settings",
];

/// Writes the values as YAML: `spelling` selects the spelling, `order` the order of keys and
/// sections.
fn write(values: &[usize], spelling: &[usize], order: &[u32], flow: bool, wrapped: bool) -> String {
    let mut sections = Vec::new();
    for section in SECTIONS {
        let mut lines = Vec::new();
        for (at, choices) in CHOICES
            .iter()
            .enumerate()
            .filter(|(_, c)| c.section == section)
        {
            let spellings = choices.values[values[at] % choices.values.len()];
            let word = spellings[spelling[at] % spellings.len()];
            if !word.is_empty() {
                lines.push((order[at], format!("{}: {word}", choices.key)));
            }
        }
        lines.sort_by_key(|(place, _)| *place);
        let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
        if lines.is_empty() {
            if section != C {
                // An absent section would be taken from its counterpart.
                sections.push((0, format!("{section}: {{}}\n")));
            }
            continue;
        }
        // A flow mapping would treat the comma of an unquoted list as its own.
        let text = if flow
            && !lines
                .iter()
                .any(|line| line.contains("a,b") || line.contains("::1"))
        {
            format!("{section}: {{ {} }}\n", lines.join(", "))
        } else {
            format!("{section}:\n  {}\n", lines.join("\n  "))
        };
        sections.push((order[CHOICES.len() + sections.len()], text));
    }
    sections.sort_by_key(|(place, _)| *place);
    let text: String = sections.into_iter().map(|(_, text)| text).collect();
    if wrapped && !text.is_empty() {
        let inner: String = text.lines().map(|line| format!("  {line}\n")).collect();
        return format!("postgresql:\n{inner}");
    }
    if text.is_empty() {
        "{}".to_owned()
    } else {
        text
    }
}

/// A number for each key; its remainder selects a value or a spelling.
fn values() -> impl Strategy<Value = Vec<usize>> {
    vec(0..60usize, CHOICES.len())
}

fn order() -> impl Strategy<Value = Vec<u32>> {
    vec(any::<u32>(), CHOICES.len() + SECTIONS.len())
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn spelling_never_changes_the_meaning(
        values in values(),
        spellings in [values(), values()],
        orders in [order(), order()],
        flow: [bool; 2],
        wrapped: bool,
    ) {
        let a = write(&values, &spellings[0], &orders[0], flow[0], false);
        let b = write(&values, &spellings[1], &orders[1], flow[1], wrapped);
        let load = |text: &str| load(text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")));
        let (one, other) = (load(&a)?, load(&b)?);
        for kind in ConnectionType::ALL {
            prop_assert_eq!(one.fingerprint(kind), other.fingerprint(kind), "{}\n{}", a, b);
        }
    }

    #[test]
    fn every_change_of_a_value_changes_the_fingerprint(
        values in values(),
        spelling in values(),
        order in order(),
        at in any::<Index>(),
        step in any::<Index>(),
    ) {
        let at = at.index(CHOICES.len());
        let count = CHOICES[at].values.len();
        prop_assume!(count > 1);
        let mut changed = values.clone();
        changed[at] = values[at] % count + 1 + step.index(count - 1);
        let a = write(&values, &spelling, &order, false, false);
        let b = write(&changed, &spelling, &order, false, false);
        // A list of hosts needs as many ports.
        let (Ok(one), Ok(other)) = (load(&a), load(&b)) else { return Err(TestCaseError::fail(a + &b)) };
        for kind in ConnectionType::ALL {
            let differs = one.fingerprint(kind) != other.fingerprint(kind);
            prop_assert_eq!(differs, users(CHOICES[at].section).contains(&kind), "{} {}\n{}", kind, a, b);
        }
    }
}

proptest! {
    #![proptest_config(cases(60))]

    /// The section is laid over the rest as a later file would be.
    #[test]
    fn readers_are_the_file_with_the_section_laid_over_it(
        values in [values(), values()],
        spellings in [values(), values()],
        orders in [order(), order()],
    ) {
        let [writer, section] = [0, 1].map(|at| write(&values[at], &spellings[at], &orders[at], false, false));
        // The servers of the section would replace those of the writer as a whole.
        let servers = |line: &&str| line.starts_with("  host:") || line.starts_with("  port:");
        let lines: Vec<&str> = section.lines().filter(|line| !servers(line)).collect();
        let indented: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        let file = format!("{writer}readers:\n{indented}");
        let fail = |error: Error| TestCaseError::fail(format!("{error}\n{file}"));
        let config = load(&file).map_err(fail)?;
        let role = "connection_settings: { target_session_attrs: prefer-standby, load_balance_hosts: random }";
        let laid = loader().yaml(&*writer).yaml(lines.join("\n")).yaml(role).load().map_err(fail)?;
        prop_assert_eq!(&config.readers.as_ref().unwrap().config, &laid, "{}", file);
        let alone = load(&writer).map_err(fail)?;
        for kind in ConnectionType::ALL {
            prop_assert_eq!(config.fingerprint(kind), alone.fingerprint(kind), "{}", file);
        }
        let written = serde_json::to_string(&config.exposed()).unwrap();
        prop_assert_eq!(loader().json(written).load().map_err(fail)?, config);
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\\x00]{1,12}",
        select(vec![
            "null",
            "~",
            "true",
            "0123",
            "1e5",
            "'",
            "\"",
            "${A}",
            "a: b",
            "# x",
            "- a",
            "{}",
            " ",
            "\u{feff}",
            "\r\n",
            "*a",
            "!b",
            "%",
            "host=a password=b"
        ])
        .prop_map(str::to_owned),
    ]
}

/// Text that is neither a connection string nor the placeholder of a secret.
fn name() -> impl Strategy<Value = String> {
    text().prop_filter("a name", |text| !text.contains([':', '=']))
}

fn path() -> impl Strategy<Value = std::path::PathBuf> {
    // `~/` always means the home directory.
    "[^\\x00~:=]{1,12}".prop_map(Into::into)
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..u64::from(u32::MAX)).prop_map(Duration::from_secs),
        (0..100_000_000_000u64).prop_map(Duration::from_nanos),
        (0..10_000u64).prop_map(Duration::from_millis),
    ]
}

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        "[a-z][a-z0-9.-]{0,10}".prop_map(|name| Host::new(&name)),
        any::<IpAddr>().prop_map(Host::Ip),
        "/[a-z][a-z/ ,]{0,8}[a-z]".prop_map(|path| Host::new(&path)),
    ]
}

/// A password by reference: a file that exists, or a command.
fn reference() -> impl Strategy<Value = SecretSource> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let times = (option::of(duration()), duration());
    // A program with a slash is found from the folder of the file.
    let command = ("[^\\x00/\\s$]{1,8}", vec("[^\\x00]{0,12}", 0..4), times);
    let command = command.prop_map(|(program, arguments, (ttl, timeout))| {
        let mut command = SecretCommand::new(std::iter::once(program).chain(arguments));
        command.ttl = ttl;
        if !timeout.is_zero() {
            command.timeout = timeout;
        }
        SecretSource::Command(command)
    });
    prop_oneof![Just(SecretSource::File(file.into())), command]
}

prop_compose! {
    fn connection()(
        hosts in vec((host(), any::<IpAddr>(), 1..=u16::MAX), 0..3),
        (addresses, ports) in any::<(bool, bool)>(),
        texts in [option::of(name()), option::of(name()), option::of(name()), option::of(name())],
        secrets in [option::of(text()), option::of(text())],
        paths in [option::of(path()), option::of(path()), option::of(path())],
        pair in option::of((path(), path())),
        (mode, root, negotiate) in (
            select(vec![SslMode::Disable, SslMode::Allow, SslMode::Prefer, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull]),
            option::of(path()), any::<bool>(),
        ),
        tls13: [bool; 2],
        auth in select(vec!["", "md5", "!md5", "none,scram-sha-256", "!password,!none"]),
        limit in option::of(duration()),
        keepalives in [option::of(1..=32767u32), option::of(1..=32767u32)],
        unacknowledged in option::of(1..=i32::MAX as u32),
        count in option::of(0..=127u32),
        flags: [bool; 4],
        attrs in select(vec![TargetSessionAttrs::Any, TargetSessionAttrs::PreferStandby]),
        source in option::of(reference()),
        balance in select(vec![LoadBalanceHosts::Disable, LoadBalanceHosts::Random]),
        delivery in select(vec![SettingsDelivery::Verify, SettingsDelivery::Startup, SettingsDelivery::Statements]),
        pooler in option::of(select(vec![Pooler::None, Pooler::Session, Pooler::Transaction, Pooler::Statement])),
    ) -> ConnectionSettings {
        let mut c = ConnectionSettings::default();
        c.host = hosts.iter().map(|(host, ..)| host.clone()).collect();
        if addresses {
            c.hostaddr = hosts.iter().map(|(_, address, _)| *address).collect();
        }
        if ports {
            c.port = hosts.iter().map(|(.., port)| *port).collect();
        }
        [c.dbname, c.user, c.application_name, c.options] = texts;
        [c.password, c.sslpassword] = secrets.map(|secret| secret.map(SecretSource::from));
        c.password = source.or(c.password);
        [c.passfile, c.sslcrl] = [paths[0].clone(), paths[1].clone()];
        (c.sslcert, c.sslkey) = pair.unzip();
        c.sslmode = mode;
        c.sslrootcert = root.map(RootCert::Path);
        if mode == SslMode::VerifyFull && negotiate {
            c.sslrootcert = Some(RootCert::System);
        }
        if tls13[0] {
            c.ssl_min_protocol_version = TlsVersion::Tls13;
        }
        c.ssl_max_protocol_version = tls13[1].then_some(TlsVersion::Tls13);
        c.channel_binding = if flags[0] { ChannelBinding::Disable } else { ChannelBinding::Prefer };
        c.require_auth = auth.parse().unwrap();
        c.connect_timeout = limit;
        [c.keepalives_idle, c.keepalives_interval] =
            keepalives.map(|time| time.map(|seconds| Duration::from_secs(seconds.into())));
        c.tcp_user_timeout = unacknowledged.map(|millis| Duration::from_millis(millis.into()));
        c.keepalives_count = count;
        [c.sslsni, c.keepalives, c.autocommit, c.follow_dns] = flags;
        c.target_session_attrs = attrs;
        c.load_balance_hosts = balance;
        c.pooler = pooler;
        c.session_settings = delivery;
        c
    }
}

prop_compose! {
    fn pool()(
        (min, more) in (0..1000u32, 1..1000u32),
        times in [duration(), duration()],
        limits in [option::of(duration()), option::of(duration()), option::of(duration())],
        (waiting, workers, cache) in (option::of(0..i32::MAX as u32), 1..100u32, 0..100_000usize),
        check: bool,
        reset in select(vec![Reset::Auto, Reset::Transaction, Reset::Session, Reset::None]),
    ) -> PoolSettings {
        let mut p = PoolSettings::default();
        (p.min_size, p.max_size) = (min, min + more);
        [p.timeout, p.max_idle] = times;
        [p.max_lifetime, p.reconnect_timeout, p.leak_warning] = limits;
        (p.max_waiting, p.num_workers, p.statement_cache) = (waiting, workers, cache);
        (p.check_on_checkout, p.reset) = (check, reset);
        p
    }
}

fn session() -> impl Strategy<Value = SessionSettings> {
    let name = prop_oneof![
        "[a-z_]{1,8}(\\.[a-z_]{1,8})?",
        Just("my.api_token".to_owned())
    ];
    btree_map(name, "[^\\x00]{0,12}", 0..4).prop_map(|all| all.into_iter().collect())
}

prop_compose! {
    fn statements()(
        limits in [option::of(duration()), option::of(duration())],
        most in option::of(1..i32::MAX as u32),
        text in select(vec![StatementTextMode::None, StatementTextMode::Parameterized, StatementTextMode::All]),
        stats: bool,
        comments: bool,
    ) -> StatementSettings {
        let mut s = StatementSettings::default();
        [s.slow_statement, s.slow_acquire] = limits;
        (s.statements_per_checkout, s.statement_text, s.statement_stats) = (most, text, stats);
        s.sqlcommenter = comments;
        s
    }
}

prop_compose! {
    fn settings()(
        kind in select(ConnectionType::ALL.to_vec()),
        // Boxed, because unboxed strategies of this size overflow a thread's stack.
        connection in connection().boxed(),
        sessions in [session().boxed(), session().boxed()],
        pools in [pool().boxed(), pool().boxed()],
        multiplex: bool,
        statements in statements(),
    ) -> Settings {
        let mut settings = Settings::default();
        settings.connection_type = kind;
        settings.connection_settings = connection;
        [settings.sync_settings, settings.async_settings] = sessions;
        [settings.pool_settings, settings.async_pool_settings] = pools;
        settings.async_pool_settings.multiplex = multiplex;
        settings.statements = statements;
        settings
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn what_is_written_loads_as_the_same(settings in settings().boxed()) {
        let config = Config::new(settings).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let json = serde_json::to_string(&config.exposed()).unwrap();
        let command = matches!(config.connection_settings.password, Some(SecretSource::Command(_)));
        let read: Result<Config, _> = serde_json::from_str(&json);
        match read {
            Ok(read) => prop_assert_eq!(&read, &config, "{}", json),
            Err(error) => prop_assert!(command, "{error}\n{json}"),
        }
        let loader = || loader().allow_commands(true);
        let read = loader().json(&json).load().map_err(|e| TestCaseError::fail(format!("{e}\n{json}")))?;
        prop_assert_eq!(&read, &config, "{}", json);
        let toml = toml::to_string(&config.exposed()).unwrap();
        let read = loader().toml(&toml).load().map_err(|e| TestCaseError::fail(format!("{e}\n{toml}")))?;
        prop_assert_eq!(&read, &config, "{}", toml);
        for kind in ConnectionType::ALL {
            prop_assert_eq!(read.fingerprint(kind), config.fingerprint(kind));
        }
    }
}

proptest! {
    #![proptest_config(cases(300))]

    /// Whatever the values are, each arrives whole in its part, and nowhere else.
    #[test]
    fn the_references_of_a_url_stay_in_their_parts(
        values in ["[^\\x00]{1,12}", "[^\\x00:=@/]{1,12}", "[^\\x00:=@/]{1,12}"],
        port in 1..=u16::MAX,
        shape in select(vec![
            "postgres://${U}:${P}@db:${N}/${D}",
            "postgres://db:${N}?user=${U}&password=${P}&dbname=${D}",
            "host=db port=${N} user='${U}' password='${P}' dbname=${D}",
        ]),
    ) {
        let [password, user, dbname] = &values;
        let number = port.to_string();
        let variables = [("P", password), ("U", user), ("D", dbname), ("N", &number)];
        let yaml = format!("connection_settings:\n  url: \"{shape}\"\n");
        let loaded = Loader::new().variables(variables).libpq_sources(false).yaml(yaml).load();
        let config = loaded.map_err(|e| TestCaseError::fail(e.to_string()))?;
        let c = &config.connection_settings;
        prop_assert_eq!(&c.host, &vec![Host::new("db")]);
        prop_assert_eq!(&c.port, &vec![port]);
        prop_assert_eq!(&c.password, &Some(SecretSource::from(password.as_str())));
        prop_assert_eq!((&c.user, &c.dbname), (&Some(user.clone()), &Some(dbname.clone())));
    }
}

/// Files with a secret in every form it can have; `@` stands for the secret.
const SHAPES: &[&str] = &[
    "connection_settings:\n  password: @\n  host: a\n",
    "connection_settings: { host: a, password: @, port: 5432 }\n",
    "connection_settings: { host: a, password: '@', sslpassword: \"@\" }\n",
    "connection_settings:\n  password: |\n    @\n  host: a\n",
    "connection_settings: { password: [@, '@'] }\n",
    "connection_settings: { password: { value: @ } }\n",
    "connection_settings: { url: 'postgres://app:@@db:5432/shop' }\n",
    "connection_settings: { url: 'postgres://db/shop?user=a&password=@' }\n",
    "connection_settings: { url: 'host=db password=@ user=a' }\n",
    "connection_settings: { host: 'postgres://app:@@db:5432/shop' }\n",
    "connection_settings: { oauth_client_secret: @, scram_client_key: @ }\n",
    "sync_settings: { my.api_token: @, work_mem: 64MB }\n",
    "async_settings:\n  my.client_secret: [@, x]\n  my.credentials: { a: @ }\n",
    "profiles:\n  test:\n    connection_settings: { password: @ }\n    sync_settings: { my.token: @ }\n",
    "postgresql:\n  connection_settings:\n    password: @\n",
    "a: &x @\nconnection_settings: { password: *x }\n",
    "connection_settings: { password: '${NONE:-@}' }\n",
    "connection_settings: { password: { from_env: SET, other: @ } }\n",
    "[connection_settings]\npassword = '@'\nhost = 'a'\n",
    "connection_settings = { password = \"@\", sslpassword = '''@''' }\n",
    "{\"connection_settings\": {\"password\": \"@\", \"port\": 5432}}",
    "{\"connection_settings\": {\"password\": [\"@\"]}, \"profiles\": {\"test\": {\"connection_settings\": {\"sslpassword\": \"@\"}}}}",
];

#[derive(Debug, Clone)]
enum Damage {
    None,
    Remove(Index),
    Insert(Index, char),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::None),
        any::<Index>().prop_map(Damage::Remove),
        (
            any::<Index>(),
            select(
                "*&!%@`{}[],:#|>'\"\\-?\n\t =\0$"
                    .chars()
                    .collect::<Vec<_>>()
            )
        )
            .prop_map(|(at, c)| Damage::Insert(at, c)),
        any::<Index>().prop_map(Damage::Cut),
    ]
}

fn damaged(text: &str, damage: &Damage) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    match damage {
        Damage::None => {}
        Damage::Remove(at) => {
            chars.remove(at.index(chars.len()));
        }
        Damage::Insert(at, c) => chars.insert(at.index(chars.len()), *c),
        Damage::Cut(at) => chars.truncate(at.index(chars.len())),
    }
    chars.into_iter().collect()
}

/// Everything in a loader's result that a user may see.
fn everything(loader: Loader) -> String {
    let shown = format!("{loader:?}");
    match loader.load_with_warnings() {
        Err(error) => format!("{shown}{error}{error:?}{error:#?}"),
        Ok((config, warnings)) => {
            let json = serde_json::to_string(&config).unwrap();
            let prints = ConnectionType::ALL.map(|kind| format!("{:?}", config.fingerprint(kind)));
            let warnings: String = warnings.iter().map(|w| format!("{w}{w:?}")).collect();
            let settings = config.to_settings();
            format!("{shown}{config}{config:?}{config:#?}{settings:?}{json}{prints:?}{warnings}")
        }
    }
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn no_secret_is_ever_shown(
        shape in select(SHAPES.to_vec()),
        // Long enough to be detected, and in halves because mutation may split it.
        secret in "S3[a-zA-Z0-9]{10}Z",
        damage in damage(),
        (resolve, profile, allow) in any::<(bool, bool, bool)>(),
    ) {
        let text = damaged(&shape.replace('@', &secret), &damage);
        // If a mutation hits the secret itself, the rest of it must not be shown either.
        let part = &secret[2..];
        let halves = [&part[..6], &part[part.len() - 5..]];
        for of in [Loader::yaml as fn(Loader, String) -> Loader, Loader::toml, Loader::json] {
            let loader = of(loader(), text.clone()).resolve_env(resolve).allow_sensitive_defaults(allow);
            let loader = if profile { loader.profile("test") } else { loader };
            // A mutation may turn a secret into another, accepted value; an error shows neither.
            let shown = match (&damage, loader.clone().load()) {
                (Damage::None, _) | (_, Err(_)) => everything(loader),
                (_, Ok(_)) => continue,
            };
            for half in halves {
                prop_assert!(!shown.contains(half), "{} in {}\nof {}", half, shown, text);
            }
        }
    }

    #[test]
    fn redacted_trees_hold_no_secret(tree in tree(), secret in "S3[a-zA-Z0-9]{10}Z") {
        let text = tree.to_string().replace("SECRET", &secret);
        let tree = serde_json::from_str(&text).unwrap();
        let shown = redact(&tree).to_string();
        prop_assert!(!shown.contains(&secret), "{}", shown);
        prop_assert_eq!(shown.contains("plain"), text.contains("plain") && redact(&tree).to_string().contains("plain"));
    }
}

/// Trees in which every secret is under a key that marks it as one, at any depth.
fn tree() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let secret = prop_oneof![
        Just(json!("SECRET")),
        Just(json!(["SECRET", { "a": "SECRET" }])),
        Just(json!({ "value": "SECRET", "b": ["SECRET"] })),
    ];
    let name = select(vec![
        "password",
        "sslpassword",
        "PASSWORD",
        "api_key",
        "my.token",
        "client_secret",
        "credentials",
        "passwd",
        "passphrase",
    ]);
    let entry = (name, secret).prop_map(|(name, secret)| json!({ name: secret }));
    let leaf = prop_oneof![
        entry,
        Just(json!("plain")),
        Just(json!({ "url": "postgres://app:SECRET@db/x" })),
        Just(json!({ "dsn": "postgres://db/x?password=SECRET" })),
        Just(json!({ "url": "host=a password=SECRET" })),
        Just(json!(5)),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            btree_map("[a-z]{1,6}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// Text that resembles a configuration, which gets further than random text.
fn nearly() -> impl Strategy<Value = String> {
    let words = "connection_settings pool_settings sync_settings profiles postgresql host port url password \
        from_env from_file connection_type service sslrootcert timeout test : :\n :\n\u{20}\u{20} , { } [ ] - \n \n\u{20}\u{20} ' \" & * ! | > # \
        &a *a << = . 5432 -1 1e5 70000 true null ~ ${SET} ${NONE:-x} ${ } $${ postgres://a:b@c a,b /tmp system \u{feff} ü \\ % \t --- ...";
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    vec((select(words), select(vec!["", " ", " "])), 0..40)
        .prop_map(|words| words.into_iter().map(|(word, gap)| word + gap).collect())
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn no_text_makes_the_loader_panic(text in prop_oneof![nearly(), any::<String>()], profile: bool) {
        for of in [Loader::yaml as fn(Loader, String) -> Loader, Loader::toml, Loader::json, Loader::url] {
            let loader = of(loader(), text.clone()).resolve_env(true).env(true);
            let loader = if profile { loader.profile("test") } else { loader };
            let _ = everything(loader);
        }
    }

    #[test]
    fn no_file_makes_the_loader_panic(bytes in vec(any::<u8>(), 0..200), ending in select(vec!["yaml", "toml", "json", ""])) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("a.{ending}"));
        std::fs::write(&path, bytes).unwrap();
        let _ = everything(loader().file(&path));
    }

    #[test]
    fn no_value_set_in_code_makes_the_loader_panic(path in "[a-z_.]{0,20}|connection_settings\\.[a-z]{1,8}", value in any::<String>(), number: i64) {
        let _ = everything(loader().set(path.clone(), value).set(path, number));
    }

    #[test]
    fn no_environment_makes_the_loader_panic(variables in vec((select(vec!["PGHOST", "PGPORT", "PGSERVICE", "PGSSLMODE", "PGHOSTADDR", "PGTZ", "PGMONKEY_PROFILE", "PGMONKEY_POOL_SETTINGS__MAX_SIZE", "PGMONKEY_", "PGMONKEY___", "PGMONKEY_SYNC_SETTINGS__", "HOME", "PGCONNECT_TIMEOUT"]), any::<String>()), 0..5)) {
        let _ = everything(Loader::new().env(true).resolve_env(true).variables(variables));
    }
}
