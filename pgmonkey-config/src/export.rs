//! A configuration as the tree of a file: with its secrets to be written back, without for readers.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::config::{Config, Settings};
use crate::connection::{ConnectionSettings, RootCert};
use crate::pool::PoolSettings;
use crate::redact;
use crate::secret::{REDACTED, Secret};
use crate::session::SessionSettings;

/// A configuration whose `Serialize` writes the secrets; see [`Config::exposed`].
///
/// What it writes loads as an equal configuration. Defaults are written out, except where they
/// depend on the machine.
pub struct Exposed<'a>(&'a Config);

impl<'a> Exposed<'a> {
    pub(crate) fn new(config: &'a Config) -> Self {
        Self(config)
    }
}

impl fmt::Debug for Exposed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Exposed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        tree(self.0, Form::Exposed).serialize(serializer)
    }
}

/// The tree with every secret hidden.
pub(crate) fn redacted(settings: &Settings) -> impl Serialize + use<> {
    tree(settings, Form::Redacted)
}

/// Every value with its section and key, in the order of the documentation, secrets hidden.
pub(crate) fn rows(settings: &Settings) -> Vec<(String, serde_json::Value)> {
    let Node::Map(Map(top)) = tree(settings, Form::Redacted) else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    for (section, node) in top {
        match node {
            Node::Map(Map(keys)) => {
                let keys = keys.into_iter();
                rows.extend(keys.map(|(key, node)| (format!("{section}.{key}"), node.shown(&key))));
            }
            node => rows.push((section.clone(), node.shown(&section))),
        }
    }
    rows
}

/// Who reads a tree: a person, or the loader.
#[derive(Clone, Copy)]
enum Form {
    /// A file, with all its secrets.
    Exposed,
    /// A reader.
    Redacted,
}

impl Form {
    fn secret(self, secret: &Secret) -> String {
        match self {
            Self::Exposed => secret.expose().to_owned(),
            Self::Redacted => REDACTED.to_owned(),
        }
    }

    fn text<'a>(self, name: &str, text: &'a str) -> Cow<'a, str> {
        match self {
            Self::Exposed => Cow::Borrowed(text),
            Self::Redacted => redact::told(name, text),
        }
    }
}

fn tree(settings: &Settings, form: Form) -> Node {
    let mut top = Map::default();
    top.text("connection_type", settings.connection_type.as_str());
    top.map(
        "connection_settings",
        connection(&settings.connection_settings, form),
    );
    top.map("sync_settings", session(&settings.sync_settings, form));
    top.map("async_settings", session(&settings.async_settings, form));
    top.map("pool_settings", pool(&settings.pool_settings));
    let mut async_pool = pool(&settings.async_pool_settings);
    async_pool.flag("multiplex", settings.async_pool_settings.multiplex);
    top.map("async_pool_settings", async_pool);
    Node::Map(top)
}

fn connection(settings: &ConnectionSettings, form: Form) -> Map {
    let mut map = Map::default();
    map.list(
        "host",
        settings.host.iter().map(|h| Node::Text(h.to_string())),
    );
    let addresses = settings.hostaddr.iter();
    map.list("hostaddr", addresses.map(|ip| Node::Text(ip.to_string())));
    map.list(
        "port",
        settings.port.iter().map(|p| Node::Number((*p).into())),
    );
    map.optional_text("dbname", settings.dbname.as_deref());
    map.optional_text("user", settings.user.as_deref());
    let password = |secret: &Option<Secret>| secret.as_ref().map(|secret| form.secret(secret));
    map.optional_text("password", password(&settings.password).as_deref());
    map.path("passfile", settings.passfile.as_deref());
    map.optional_text("service", settings.service.as_deref());
    map.text("sslmode", settings.sslmode.as_str());
    match &settings.sslrootcert {
        None => {}
        Some(RootCert::System) => map.text("sslrootcert", "system"),
        Some(RootCert::Path(path)) => map.path("sslrootcert", Some(path)),
    }
    map.path("sslcert", settings.sslcert.as_deref());
    map.path("sslkey", settings.sslkey.as_deref());
    map.optional_text("sslpassword", password(&settings.sslpassword).as_deref());
    map.path("sslcrl", settings.sslcrl.as_deref());
    map.flag("sslsni", settings.sslsni);
    map.text("sslnegotiation", settings.sslnegotiation.as_str());
    map.text(
        "ssl_min_protocol_version",
        settings.ssl_min_protocol_version.as_str(),
    );
    let newest = settings
        .ssl_max_protocol_version
        .map(|version| version.as_str());
    map.optional_text("ssl_max_protocol_version", newest);
    map.text("channel_binding", settings.channel_binding.as_str());
    if !settings.require_auth.is_any() {
        map.text("require_auth", &settings.require_auth.to_string());
    }
    map.limit("connect_timeout", settings.connect_timeout);
    map.optional_text("application_name", settings.application_name.as_deref());
    let options = settings.options.as_deref();
    map.optional_text(
        "options",
        options.map(|text| form.text("options", text)).as_deref(),
    );
    map.flag("keepalives", settings.keepalives);
    map.limit("keepalives_idle", settings.keepalives_idle);
    map.limit("keepalives_interval", settings.keepalives_interval);
    map.number(
        "keepalives_count",
        settings.keepalives_count.unwrap_or(0).into(),
    );
    map.milliseconds("tcp_user_timeout", settings.tcp_user_timeout);
    map.text(
        "target_session_attrs",
        settings.target_session_attrs.as_str(),
    );
    map.text("load_balance_hosts", settings.load_balance_hosts.as_str());
    let pooler = settings.pooler.map(|pooler| pooler.as_str());
    map.optional_text("pooler", pooler);
    map.flag("autocommit", settings.autocommit);
    map
}

fn session(settings: &SessionSettings, form: Form) -> Map {
    let mut map = Map::default();
    for (name, value) in settings.iter() {
        map.text(name, &form.text(name, value));
    }
    map
}

/// Every field by its name, so that the compiler asks for a new one. `multiplex` is written by the
/// caller, for one of the two sections has none.
fn pool(settings: &PoolSettings) -> Map {
    let PoolSettings {
        min_size,
        max_size,
        timeout,
        max_idle,
        max_lifetime,
        check_on_checkout,
        max_waiting,
        reconnect_timeout,
        num_workers,
        reset,
        statement_cache,
        leak_warning,
        multiplex: _,
    } = settings;
    let mut map = Map::default();
    map.number("min_size", (*min_size).into());
    map.number("max_size", (*max_size).into());
    map.limit("timeout", Some(*timeout));
    map.limit("max_idle", Some(*max_idle));
    map.limit("max_lifetime", *max_lifetime);
    map.flag("check_on_checkout", *check_on_checkout);
    map.number("max_waiting", max_waiting.unwrap_or(0).into());
    map.limit("reconnect_timeout", *reconnect_timeout);
    map.number("num_workers", (*num_workers).into());
    map.text("reset", reset.as_str());
    map.number("statement_cache", *statement_cache as u64);
    map.limit("leak_warning", *leak_warning);
    map
}

enum Node {
    Text(String),
    Number(u64),
    Flag(bool),
    // Not a text: a path that is no Unicode must fail to be written, not be written wrongly.
    Path(PathBuf),
    List(Vec<Self>),
    Map(Map),
}

impl Node {
    /// The value under this key as readers see it; a path that is no Unicode is shown roughly.
    fn shown(self, key: &str) -> serde_json::Value {
        use serde_json::Value;
        let value = match self {
            Self::Text(text) => Value::String(text),
            Self::Number(number) => number.into(),
            Self::Flag(flag) => flag.into(),
            Self::Path(path) => path.to_string_lossy().into_owned().into(),
            Self::List(items) => items.into_iter().map(|item| item.shown(key)).collect(),
            Self::Map(_) => Value::Null,
        };
        // A free text, such as `options`, may hold one too.
        let shown = redact::redact(&serde_json::json!({ key: value }));
        shown[key].clone()
    }
}

/// Keeps the order of the documentation.
#[derive(Default)]
struct Map(Vec<(String, Node)>);

impl Map {
    fn put(&mut self, name: &str, node: Node) {
        self.0.push((name.to_owned(), node));
    }

    fn map(&mut self, name: &str, map: Self) {
        if !map.0.is_empty() {
            self.put(name, Node::Map(map));
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        self.put(name, Node::Text(text.to_owned()));
    }

    fn optional_text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn path(&mut self, name: &str, path: Option<&Path>) {
        if let Some(path) = path {
            self.put(name, Node::Path(path.to_owned()));
        }
    }

    fn flag(&mut self, name: &str, flag: bool) {
        self.put(name, Node::Flag(flag));
    }

    fn number(&mut self, name: &str, number: u64) {
        self.put(name, Node::Number(number));
    }

    /// No limit is zero, as in a file.
    fn limit(&mut self, name: &str, limit: Option<Duration>) {
        self.duration(name, limit.unwrap_or_default(), Duration::from_secs(1), "s");
    }

    fn milliseconds(&mut self, name: &str, limit: Option<Duration>) {
        self.duration(
            name,
            limit.unwrap_or_default(),
            Duration::from_millis(1),
            "ms",
        );
    }

    /// A number where the unit of the key is fine enough, else text with a unit.
    fn duration(&mut self, name: &str, time: Duration, unit: Duration, word: &str) {
        let whole = time.as_nanos() / unit.as_nanos();
        match u64::try_from(whole) {
            Ok(number) if time.as_nanos().is_multiple_of(unit.as_nanos()) => {
                self.number(name, number);
            }
            _ if word == "s" => {
                let text = format!("{}.{:09}s", time.as_secs(), time.subsec_nanos());
                self.text(name, &text);
            }
            _ => {
                let text = format!("{whole}.{:06}ms", time.as_nanos() % unit.as_nanos());
                self.text(name, &text);
            }
        }
    }

    fn list(&mut self, name: &str, items: impl ExactSizeIterator<Item = Node>) {
        if items.len() > 0 {
            self.put(name, Node::List(items.collect()));
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Path(path) => path.serialize(serializer),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(Map(entries)) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (name, node) in entries {
                    map.serialize_entry(name, node)?;
                }
                map.end()
            }
        }
    }
}
