//! A configuration as the tree of a file: with its secrets for writing, without them for display.

use std::borrow::Cow;
use std::fmt;

use serde::ser::{Serialize, Serializer};

use crate::model::config::Config;
use crate::model::connection::{ConnectionSettings, RootCert};
use crate::model::pool::PoolSettings;
use crate::model::readers::Readers;
use crate::model::secret_source::{SecretCommand, SecretSource};
use crate::model::session::SessionSettings;
use crate::model::settings::Settings;
use crate::model::statements::StatementSettings;
use crate::redact;
use crate::schema::keys;
use crate::secret::{REDACTED, Secret};
use crate::show::tree::{Map, Node};

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
            Node::Map(Map(keys)) if section == keys::READERS => {
                let keys = keys.into_iter();
                keys.for_each(|(key, node)| add_rows(&mut rows, &format!("{section}."), key, node));
            }
            node => add_rows(&mut rows, "", section, node),
        }
    }
    rows
}

/// Adds the rows of a section, or of a key that is in none.
fn add_rows(
    rows: &mut Vec<(String, serde_json::Value)>,
    prefix: &str,
    section: String,
    node: Node,
) {
    match node {
        Node::Map(Map(keys)) => {
            let keys = keys.into_iter();
            let row = |(key, node): (String, Node)| {
                (format!("{prefix}{section}.{key}"), node.shown(&key))
            };
            rows.extend(keys.map(row));
        }
        node => rows.push((format!("{prefix}{section}"), node.shown(&section))),
    }
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
    statements(&mut top, &settings.statements);
    if matches!(form, Form::Exposed) && holds_reference(settings) {
        // The text is that of a file whose references have been resolved.
        top.flag(keys::RESOLVE_ENV, false);
    }
    sections(&mut top, settings, form);
    if let Some(readers) = &settings.readers {
        let Readers {
            config,
            max_lag,
            fallback,
        } = readers;
        let mut map = Map::default();
        sections(&mut map, config, form);
        if max_lag.is_some() {
            map.limit("max_lag", *max_lag);
        }
        map.flag("fallback", *fallback);
        top.map(keys::READERS, map);
    }
    Node::Map(top)
}

fn sections(top: &mut Map, settings: &Settings, form: Form) {
    top.map(
        "connection_settings",
        connection(&settings.connection_settings, form),
    );
    let sections = [
        ("sync_settings", &settings.sync_settings),
        ("async_settings", &settings.async_settings),
    ];
    // One that is absent would be taken from the other.
    if sections.iter().any(|(_, section)| !section.is_empty()) {
        for (name, section) in sections {
            top.put(name, Node::Map(session(section, form)));
        }
    }
    top.map("pool_settings", pool(&settings.pool_settings));
    let mut async_pool = pool(&settings.async_pool_settings);
    async_pool.flag("multiplex", settings.async_pool_settings.multiplex);
    top.map("async_pool_settings", async_pool);
}

/// Whether a loader would take a text in the tree for a reference.
fn holds_reference(settings: &Settings) -> bool {
    let readers = settings.readers.as_ref();
    if readers.is_some_and(|readers| holds_reference(&readers.config)) {
        return true;
    }
    let connection = &settings.connection_settings;
    let connection = self::connection(connection, Form::Exposed);
    let sections = [&settings.sync_settings, &settings.async_settings];
    let sections = sections.map(|section| session(section, Form::Exposed));
    sections
        .iter()
        .chain([&connection])
        .any(Map::holds_reference)
}

fn statements(map: &mut Map, settings: &StatementSettings) {
    let StatementSettings {
        slow_statement,
        slow_acquire,
        statements_per_checkout,
        statement_text,
        statement_stats,
        sqlcommenter,
    } = settings;
    map.limit("slow_statement", *slow_statement);
    map.limit("slow_acquire", *slow_acquire);
    map.number(
        "statements_per_checkout",
        statements_per_checkout.unwrap_or(0).into(),
    );
    map.text("statement_text", statement_text.as_str());
    map.flag("statement_stats", *statement_stats);
    map.flag("sqlcommenter", *sqlcommenter);
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
    map.flag("follow_dns", settings.follow_dns);
    let pooler = settings.pooler.map(|pooler| pooler.as_str());
    map.optional_text("pooler", pooler);
    map.text("session_settings", settings.session_settings.as_str());
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
    secret(map, "password", settings.password.as_ref(), form);
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
    secret(map, "sslpassword", settings.sslpassword.as_ref(), form);
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

fn secret(map: &mut Map, name: &str, source: Option<&SecretSource>, form: Form) {
    match source {
        None => {}
        Some(SecretSource::Value(secret)) => map.text(name, &form.secret(secret)),
        Some(SecretSource::File(path)) => {
            let mut inner = Map::default();
            inner.path("from_file", Some(path));
            map.map(name, inner);
        }
        Some(SecretSource::Command(command)) => map.map(name, from_command(command, form)),
    }
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
