//! Plants secrets in every key, spelling and source, and searches for them in everything that a
//! reader may see: texts, `Debug`, serialised forms, excerpts and log lines.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use pgmonkey_config::{Config, ConnectionType, Error, Host, Loader, RootCert, Settings, redact};
use proptest::prelude::*;
use proptest::sample::select;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// Connection strings, `@` for the secret. Each may be used in place of a name.
const LOGINS: &[&str] = &[
    "postgres://u:@%40h/d",
    "postgresql://u:@%40h:5432/d?sslmode=require",
    "POSTGRES://u:@%40h/d",
    "postgres://h/d?user=u&password=@",
    "postgres://u:/@%40h/d",
    "postgres://u:12/@%40h/d",
    "postgres://u:a/@%40h",
    "jdbc:postgresql://h/d?user=u&password=@",
    "mysql://u:@%40h/d",
    "host=h password=@",
    "dbname = d user = u password = '@'",
    "Server=h;Database=d;Pwd=@",
    "u password=@",
];

/// The same for texts that also occur in free text, so that they are refused only as names.
const NAMED_LOGINS: &[&str] = &["u:@%40h", "u:@%40h/d", "//u:@%40h/d", "password: @"];

const OPTIONS: &[&str] = &[
    "-c app.api_token=@",
    "-c geqo=off -c app.password=@ -c jit=off",
    "--app.api-key=@",
    "-capp.secret=@",
    "-c app.token = @",
    "-c app.token='x @'",
    "-c app.source=postgres://u:@%40h/d",
    "-c app.source=host=h\\ password=@",
];

/// Keys of `connection_settings` whose value is free text, a path or a host.
const NAMES: &[&str] = &[
    "host",
    "dbname",
    "database",
    "user",
    "passfile",
    "service",
    "servicefile",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "application_name",
    "fallback_application_name",
    "options",
];

/// Keys of other kinds, with their sections.
const TYPED: &[(&str, &str)] = &[
    ("connection_settings", "port"),
    ("connection_settings", "hostaddr"),
    ("connection_settings", "sslmode"),
    ("connection_settings", "sslsni"),
    ("connection_settings", "sslnegotiation"),
    ("connection_settings", "ssl_min_protocol_version"),
    ("connection_settings", "channel_binding"),
    ("connection_settings", "require_auth"),
    ("connection_settings", "connect_timeout"),
    ("connection_settings", "keepalives"),
    ("connection_settings", "keepalives_count"),
    ("connection_settings", "tcp_user_timeout"),
    ("connection_settings", "target_session_attrs"),
    ("connection_settings", "load_balance_hosts"),
    ("connection_settings", "follow_dns"),
    ("connection_settings", "pooler"),
    ("connection_settings", "session_settings"),
    ("connection_settings", "client_encoding"),
    ("connection_settings", "autocommit"),
    ("pool_settings", "min_size"),
    ("pool_settings", "timeout"),
    ("pool_settings", "reset"),
    ("async_pool_settings", "leak_warning"),
    ("async_pool_settings", "multiplex"),
];

/// Keys whose value is always secret.
const SECRET: &[(&str, &str)] = &[
    ("connection_settings", "password"),
    ("connection_settings", "sslpassword"),
    ("connection_settings", "oauth_client_secret"),
    ("connection_settings", "scram_client_key"),
    ("sync_settings", "app.api_token"),
    ("async_settings", "app.encryption_key"),
];

/// A planted secret: section, key, and the text that contains the secret.
#[derive(Debug, Clone)]
struct Plant {
    section: &'static str,
    key: &'static str,
    text: String,
}

fn plant(secret: String) -> impl Strategy<Value = Plant> {
    let filled = move |(section, key, shape): (&'static str, &'static str, &'static str)| Plant {
        section,
        key,
        // In these texts `%40` stands for an @.
        text: shape.replace('@', &secret).replace("%40", "@"),
    };
    let connection = |(key, shape)| ("connection_settings", key, shape);
    let named = [LOGINS, NAMED_LOGINS].concat();
    let strict: Vec<&str> = NAMES[..11].to_vec();
    prop_oneof![
        (select(strict), select(named.clone())).prop_map(connection),
        (select(NAMES), select(LOGINS)).prop_map(connection),
        (select(vec!["url"]), select(LOGINS)).prop_map(connection),
        select(vec!["u:@", "u:@x"]).prop_map(|shape| ("connection_settings", "user", shape)),
        select(OPTIONS).prop_map(|shape| ("connection_settings", "options", shape)),
        select(SECRET).prop_map(|(section, key)| (section, key, "@")),
        (select(TYPED), select([named, vec!["@"]].concat()))
            .prop_map(|((section, key), shape)| (section, key, shape)),
        (
            select(vec!["sync_settings", "async_settings"]),
            select(LOGINS)
        )
            .prop_map(|(section, shape)| (section, "app.source", shape)),
    ]
    .prop_map(filled)
}

/// How a value reaches the loader.
#[derive(Debug, Clone, Copy)]
enum Way {
    Yaml,
    Flow,
    Toml,
    Json,
    Profile,
    Wrapper,
    Reference,
    FromEnv,
    Default,
    Code,
    Ours,
    Libpq,
    Service,
    Url,
}

const WAYS: &[Way] = &[
    Way::Yaml,
    Way::Flow,
    Way::Toml,
    Way::Json,
    Way::Profile,
    Way::Wrapper,
    Way::Reference,
    Way::FromEnv,
    Way::Default,
    Way::Code,
    Way::Ours,
    Way::Libpq,
    Way::Service,
    Way::Url,
];

const VARIABLES: &[(&str, &str)] = &[
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("service", "PGSERVICE"),
    ("servicefile", "PGSERVICEFILE"),
    ("sslmode", "PGSSLMODE"),
    ("sslcert", "PGSSLCERT"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("application_name", "PGAPPNAME"),
    ("options", "PGOPTIONS"),
];

/// Returns a loader with the value in that source, and the text for excerpts. `folder` is for
/// files.
#[expect(clippy::too_many_lines, reason = "one arm for each source")]
fn loader(plant: &Plant, way: Way, folder: &std::path::Path) -> Option<(Loader, String)> {
    let Plant { section, key, text } = plant;
    let quoted = serde_json::to_string(text).unwrap();
    let literal = format!("'{}'", text.replace('\'', "''"));
    let base = |variables: &[(&str, &str)]| {
        let home = [("HOME", "/nonexistent")];
        Loader::new().variables(home.into_iter().chain(variables.iter().copied()))
    };
    let plain = base(&[]);
    let yaml = |value: &str| format!("{section}:\n  {key}: {value}\n");
    let of_yaml = |loader: Loader, text: String| Some((loader.yaml(text.clone()), text));
    match way {
        Way::Yaml => of_yaml(plain, yaml(&literal)),
        Way::Flow => of_yaml(plain, format!("{section}: {{ {key}: {literal}, x: 1 }}\n")),
        Way::Toml => {
            let text = format!("[{section}]\n\"{key}\" = {quoted}\n");
            Some((plain.toml(text.clone()), text))
        }
        Way::Json => {
            let text = serde_json::json!({ *section: { *key: text } }).to_string();
            Some((plain.json(text.clone()), text))
        }
        Way::Profile => {
            let text = format!("profiles:\n  p:\n    {section}:\n      {key}: {literal}\n");
            of_yaml(plain.profile("p"), text)
        }
        Way::Wrapper => {
            let text = format!("postgresql:\n  {section}:\n    {key}: {literal}\n");
            of_yaml(plain, text)
        }
        Way::Reference => {
            let loader = base(&[("PLANTED", text)]);
            of_yaml(loader, yaml("'${PLANTED}'"))
        }
        Way::FromEnv => {
            let loader = base(&[("PLANTED", text)]);
            of_yaml(loader, yaml("{ from_env: PLANTED }"))
        }
        Way::Default => {
            let loader = plain.allow_sensitive_defaults(true);
            let reference = format!("${{NONE:-{}}}", text.replace('}', ""));
            of_yaml(
                loader,
                yaml(&format!("'{}'", reference.replace('\'', "''"))),
            )
        }
        Way::Code => Some((
            plain.set(format!("{section}.{key}"), text.as_str()),
            String::new(),
        )),
        Way::Ours => {
            let name = format!("PGMONKEY_{section}__{}", key.replace('.', "__")).to_uppercase();
            Some((base(&[(&name, text)]).env(true), String::new()))
        }
        Way::Libpq => {
            let (_, variable) = VARIABLES.iter().find(|(known, _)| known == key)?;
            Some((base(&[(variable, text)]), String::new()))
        }
        Way::Service => {
            let path = folder.join("services");
            std::fs::write(&path, format!("[a]\n{key}={text}\n")).unwrap();
            let loader = base(&[
                ("PGSERVICEFILE", path.to_str().unwrap()),
                ("PGSERVICE", "a"),
            ]);
            (*section == "connection_settings").then_some((loader, String::new()))
        }
        Way::Url => {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let url = match *key {
                "url" => text.clone(),
                "user" => format!("postgres://{encoded}@h"),
                "dbname" => format!("postgres://h/{encoded}"),
                key => format!("postgres://h?{key}={encoded}"),
            };
            (*section == "connection_settings").then(|| (plain.url(url), String::new()))
        }
    }
}

/// Everything that a reader may see of a loader's work.
fn everything(loader: &Loader, text: &str) -> String {
    let mut shown = format!("{loader:?}");
    let told = Told::default();
    let loaded = tracing::subscriber::with_default(told.clone(), || {
        let _ = loader.clone().load();
        loader.clone().load_with_sources()
    });
    match loaded {
        Err(error) => of_error(&mut shown, &error, text),
        Ok(loaded) => {
            write!(
                shown,
                "{loaded:?}{:#?}{:?}",
                loaded.values(),
                loaded.source("x")
            )
            .unwrap();
            for warning in &loaded.warnings {
                let excerpt = warning.excerpt(text);
                write!(shown, "{warning}{warning:?}{excerpt:?}").unwrap();
            }
            for value in loaded.values() {
                let excerpt = value
                    .source
                    .and_then(|place| place.excerpt(text, &value.key));
                write!(shown, "{excerpt:?}").unwrap();
            }
            of_config(&mut shown, &loaded.config);
        }
    }
    shown + &told.text()
}

fn of_error(shown: &mut String, error: &Error, text: &str) {
    write!(shown, "{error}{error:?}{error:#?}").unwrap();
    for problem in error.problems() {
        write!(shown, "{problem}{:?}{:?}", problem, problem.excerpt(text)).unwrap();
    }
}

fn of_config(shown: &mut String, config: &Config) {
    let settings = config.to_settings();
    let json = serde_json::to_string(config).unwrap();
    let toml = toml::to_string(config).unwrap();
    let prints = ConnectionType::ALL.map(|kind| config.fingerprint(kind).to_string());
    let targets = config.connection_settings.targets();
    let described = config.connection_settings.describe();
    write!(
        shown,
        "{config}{config:?}{config:#?}{settings:?}{json}{toml}{prints:?}"
    )
    .unwrap();
    write!(shown, "{targets:?}{described}{:?}", config.exposed()).unwrap();
    // The redacted form is not a valid file: loading it gives an error, without a secret.
    if let Err(error) = serde_json::from_str::<Config>(&json) {
        write!(shown, "{error}{error:?}").unwrap();
    }
}

/// Captures everything that is sent to `tracing`, at every level.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<String>>);

impl Told {
    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0.lock().unwrap(), " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Told {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut self.clone());
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn secret() -> impl Strategy<Value = String> {
    "S3[a-zA-Z0-9]{10}Z"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_secret_shows_wherever_it_is_planted(
        (secret, plant) in secret().prop_flat_map(|secret| (Just(secret.clone()), plant(secret))),
        way in select(WAYS),
    ) {
        let folder = tempfile::tempdir().unwrap();
        if let Some((loader, text)) = loader(&plant, way, folder.path()) {
            let shown = everything(&loader, &text);
            prop_assert!(!shown.contains(&secret), "{plant:?} {way:?}: {shown}");
        }
    }

    #[test]
    fn settings_of_the_program_show_none_before_they_are_checked(
        (secret, plant) in secret().prop_flat_map(|secret| (Just(secret.clone()), plant(secret))),
    ) {
        let mut settings = Settings::default();
        let c = &mut settings.connection_settings;
        let text = || Some(plant.text.clone());
        match plant.key {
            "host" => c.host = vec![Host::new(&plant.text)],
            "dbname" => c.dbname = text(),
            "user" => c.user = text(),
            "passfile" => c.passfile = text().map(Into::into),
            "service" => c.service = text(),
            "sslrootcert" => c.sslrootcert = text().map(|path| RootCert::Path(path.into())),
            "sslcert" => c.sslcert = text().map(Into::into),
            "sslkey" => c.sslkey = text().map(Into::into),
            "sslcrl" => c.sslcrl = text().map(Into::into),
            "application_name" => c.application_name = text(),
            "options" => c.options = text(),
            "password" => c.password = text().map(Into::into),
            key => settings.sync_settings.insert(key, plant.text.clone()),
        }
        if plant.section == "connection_settings" && settings.sync_settings.is_empty() {
            let mut shown = format!("{settings:?}{:?}", settings.connection_settings.targets());
            shown += &settings.connection_settings.describe();
            match Config::new(settings) {
                Err(error) => of_error(&mut shown, &error, ""),
                Ok(config) => of_config(&mut shown, &config),
            }
            prop_assert!(!shown.contains(&secret), "{plant:?}: {shown}");
        }
        let tree = serde_json::json!({ plant.section: { plant.key: plant.text } });
        let typed = TYPED.iter().any(|(_, key)| *key == plant.key) || plant.key == "database";
        let path = ["servicefile", "sslrootcert", "sslcert", "sslkey", "sslcrl"].contains(&plant.key);
        let fallback = plant.key == "fallback_application_name";
        if !typed && !path && !fallback {
            let shown = redact(&tree).to_string();
            prop_assert!(!shown.contains(&secret), "{shown}");
        }
    }
}

/// Names that refer to nothing: an error repeats them only if they are plain names.
#[test]
fn errors_do_not_repeat_a_login_in_the_place_of_a_name() {
    let login = "postgres://u:S3cretS3cret@h/d";
    let variables = [("HOME", "/nonexistent")];
    let base = || Loader::new().variables(variables);
    let from = |target: &str| {
        base().yaml(format!(
            "connection_settings: {{ password: {{ {target}: '{login}' }} }}"
        ))
    };
    let loaders = [
        base().file(login),
        base().file("host=h password=S3cretS3cret"),
        base().yaml("profiles: { p: {} }").profile(login),
        base()
            .yaml("profiles: { p: {} }")
            .variables([("PGMONKEY_PROFILE", login)]),
        from("from_env"),
        from("from_file"),
        base().url("postgres://u:S3cret/S3cret@h"),
        base().url("u:S3cretS3cret@h"),
        base().set(login, 1),
        base().set(format!("connection_settings.{login}"), 1),
        base().yaml(format!("'{login}': 1")),
        base().yaml(format!("sync_settings: {{ '{login}': 1 }}")),
        base().yaml("url: '${PW}'").variables([("PW", login)]),
    ];
    for (index, loader) in loaders.iter().enumerate() {
        let shown = everything(loader, "");
        assert!(!shown.contains("S3cretS3cret"), "{index}: {shown}");
        assert!(loader.clone().load().is_err(), "{index}: {shown}");
    }
}

#[test]
fn a_password_that_begins_with_a_slash_is_no_database() {
    for password in ["/7MrEdHz", "12/7MrEdHz", "a/7MrEdHz"] {
        let text = "connection_settings:\n  url: \"postgres://u:${PW}@h/d\"\n";
        let loader = Loader::new().variables([("PW", password)]);
        let config = loader.clone().yaml(text).load().unwrap();
        assert_eq!(config.connection_settings.describe(), "u@h:5432/d");
        assert_eq!(config.connection_settings.password, Some(password.into()));
        let loader = loader.yaml(text.replace("${PW}", password));
        let shown = everything(&loader, "");
        assert!(!shown.contains("7MrEdHz"), "{shown}");
        let error = loader.load().unwrap_err().to_string();
        assert!(error.contains("%2F"), "{error}");
    }
}
