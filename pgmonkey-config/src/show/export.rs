//! A configuration as the tree of a file: with its secrets for writing, without them for display.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::model::config::Config;
use crate::model::connection::{ConnectionSettings, RootCert};
use crate::model::pool::PoolSettings;
use crate::model::secret_source::{SecretCommand, SecretSource};
use crate::model::session::SessionSettings;
use crate::model::settings::Settings;
use crate::redact;
use crate::secret::{REDACTED, Secret};

impl Config {
    /// Returns the configuration in the form of a file, including secrets.
    ///
    /// ```
    /// use pgmonkey_config::Config;
    ///
    /// let config = Config::from_yaml("connection_settings: { password: S3cret }").unwrap();
    /// let file = serde_json::to_string(&config.exposed()).unwrap();
    /// assert_eq!(Config::from_json(&file).unwrap(), config);
    /// ```
    pub fn exposed(&self) -> Exposed<'_> {
        Exposed::new(self)
    }
}

/// A configuration whose `Serialize` includes the secrets; see [`Config::exposed`].
///
/// Its output loads as an equal configuration. Defaults are written out unless they depend on the
/// machine.
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

/// Redacted; see [`Config::exposed`].
impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        redacted(self).serialize(serializer)
    }
}

/// Returns the tree with every secret hidden.
pub(crate) fn redacted(settings: &Settings) -> impl Serialize + use<> {
    tree(settings, Form::Redacted)
}

/// Returns every value with its section and key, in the order of the documentation, secrets hidden.
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

/// The purpose of a tree.
#[derive(Clone, Copy)]
enum Form {
    /// A file that the loader reads, with all secrets.
    Exposed,
    /// Display, without secrets.
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

/// Keeps the order of the documentation.
fn connection(settings: &ConnectionSettings, form: Form) -> Map {
    let mut map = Map::default();
    server(&mut map, settings, form);
    encryption(&mut map, settings, form);
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

fn server(map: &mut Map, settings: &ConnectionSettings, form: Form) {
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
    map.optional_secret("password", settings.password.as_ref(), form);
    map.path("passfile", settings.passfile.as_deref());
    map.optional_text("service", settings.service.as_deref());
}

fn encryption(map: &mut Map, settings: &ConnectionSettings, form: Form) {
    map.text("sslmode", settings.sslmode.as_str());
    match &settings.sslrootcert {
        None => {}
        Some(RootCert::System) => map.text("sslrootcert", "system"),
        Some(RootCert::Path(path)) => map.path("sslrootcert", Some(path)),
    }
    map.path("sslcert", settings.sslcert.as_deref());
    map.path("sslkey", settings.sslkey.as_deref());
    map.optional_secret("sslpassword", settings.sslpassword.as_ref(), form);
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
}

/// The arguments may hold secrets, so only the program is displayed.
fn from_command(source: &SecretCommand, form: Form) -> Map {
    let items = match form {
        Form::Exposed => source.command.clone(),
        Form::Redacted => {
            let hidden = source.command.iter().skip(1).map(|_| REDACTED.to_owned());
            let program = redact::told("passfile", source.program()).into_owned();
            std::iter::once(program).chain(hidden).collect()
        }
    };
    let mut map = Map::default();
    map.list("from_command", items.into_iter().map(Node::Text));
    if source.ttl.is_some() {
        map.limit("ttl", source.ttl);
    }
    map.limit("timeout", Some(source.timeout));
    map
}

fn session(settings: &SessionSettings, form: Form) -> Map {
    let mut map = Map::default();
    for (name, value) in settings.iter() {
        map.text(name, &form.text(name, value));
    }
    map
}

/// Destructures every field, so that the compiler reports a missing one. The caller writes
/// `multiplex`, because only one of the two sections has this key.
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
    // Not a text: writing a path that is not valid Unicode must fail instead of changing it.
    Path(PathBuf),
    List(Vec<Self>),
    Map(Map),
}

impl Node {
    /// Returns the value of this key for display; a path that is not valid Unicode is shown
    /// lossily.
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
        // Free text, such as `options`, may contain a secret too.
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

    fn optional_secret(&mut self, name: &str, source: Option<&SecretSource>, form: Form) {
        match source {
            None => {}
            Some(SecretSource::Value(secret)) => self.text(name, &form.secret(secret)),
            Some(SecretSource::File(path)) => {
                let mut map = Self::default();
                map.path("from_file", Some(path));
                self.map(name, map);
            }
            Some(SecretSource::Command(command)) => self.map(name, from_command(command, form)),
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

    /// Writes no limit as zero, as in a file.
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

    /// Writes a whole number in the unit of the key if that is exact, else text with a unit.
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
