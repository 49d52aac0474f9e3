//! The layered tree, read into typed settings; everything wrong is collected on the way.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Dict, Num, Value};

use crate::choice::{Choice, RequireAuth, SslMode};
use crate::config::Settings;
use crate::connection::{ConnectionSettings, Host, RootCert};
use crate::duration;
use crate::error::ProblemKind;
use crate::keys::{self, Kind, MOST_HOSTS};
use crate::layer::not_resolved;
use crate::pool::PoolSettings;
use crate::redact::suspicion;
use crate::secret::Secret;
use crate::session::SessionSettings;

/// Values longer than this are not repeated in errors.
const SHOWN: usize = 60;

/// A key with its section, and what is wrong with it.
pub(crate) type Found = (Vec<String>, ProblemKind);

/// Reads the settings; where something is wrong the default stands in.
pub(crate) fn settings(dict: &Dict) -> (Settings, Vec<Found>) {
    let mut problems = Vec::new();
    let mut top = Reader::new("", Some(dict), &mut problems);
    let connection_type = top.word("connection_type");
    top.flag("libpq_sources", true);
    let mut section = Reader::of(dict, &mut problems, "connection_settings");
    let connection_settings = connection(&mut section);
    let sync_settings = Reader::of(dict, &mut problems, "sync_settings").parameters();
    let async_settings = Reader::of(dict, &mut problems, "async_settings").parameters();
    let pool_settings = pool(&mut Reader::of(dict, &mut problems, "pool_settings"));
    let mut section = Reader::of(dict, &mut problems, "async_pool_settings");
    let mut async_pool_settings = pool(&mut section);
    async_pool_settings.multiplex = section.flag("multiplex", false);
    let settings = Settings {
        connection_type,
        connection_settings,
        sync_settings,
        async_settings,
        pool_settings,
        async_pool_settings,
    };
    (settings, problems)
}

fn connection(reader: &mut Reader<'_>) -> ConnectionSettings {
    let default = ConnectionSettings::default();
    // No settings, but their values must be right too.
    reader.path("servicefile");
    reader.encoding("client_encoding");
    let fallback = reader.text(keys::FALLBACK_APPLICATION_NAME);
    let sslrootcert = reader.roots("sslrootcert");
    let sslmode = reader.optional_word("sslmode");
    // As in libpq: the roots of the system make the strongest mode the default.
    let default_mode = match sslrootcert {
        Some(RootCert::System) => SslMode::VerifyFull,
        _ => SslMode::default(),
    };
    ConnectionSettings {
        host: reader.hosts("host"),
        hostaddr: reader.addresses("hostaddr"),
        port: reader.ports("port"),
        dbname: reader.text("dbname"),
        user: reader.text("user"),
        password: reader.secret("password"),
        passfile: reader.path("passfile"),
        service: reader.text("service"),
        sslmode: sslmode.unwrap_or(default_mode),
        sslrootcert,
        sslcert: reader.path("sslcert"),
        sslkey: reader.path("sslkey"),
        sslpassword: reader.secret("sslpassword"),
        sslcrl: reader.path("sslcrl"),
        sslsni: reader.flag("sslsni", default.sslsni),
        sslnegotiation: reader.word("sslnegotiation"),
        ssl_min_protocol_version: reader.word("ssl_min_protocol_version"),
        ssl_max_protocol_version: reader.optional_word("ssl_max_protocol_version"),
        channel_binding: reader.word("channel_binding"),
        require_auth: reader.methods("require_auth"),
        connect_timeout: reader
            .seconds("connect_timeout")
            .or(default.connect_timeout),
        application_name: reader.text("application_name").or(fallback),
        options: reader.text("options"),
        keepalives: reader.flag("keepalives", default.keepalives),
        keepalives_idle: reader.seconds("keepalives_idle"),
        keepalives_interval: reader.seconds("keepalives_interval"),
        keepalives_count: reader.optional_count("keepalives_count"),
        tcp_user_timeout: reader.milliseconds("tcp_user_timeout"),
        target_session_attrs: reader.word("target_session_attrs"),
        load_balance_hosts: reader.word("load_balance_hosts"),
        pooler: reader.optional_word("pooler"),
        autocommit: reader.flag("autocommit", default.autocommit),
    }
}

fn pool(reader: &mut Reader<'_>) -> PoolSettings {
    let default = PoolSettings::default();
    let min_size = reader.count("min_size", default.min_size);
    PoolSettings {
        min_size,
        max_size: reader.count("max_size", default.max_size.max(min_size)),
        timeout: reader.seconds("timeout").unwrap_or(default.timeout),
        max_idle: reader.seconds("max_idle").unwrap_or(default.max_idle),
        max_lifetime: reader.seconds("max_lifetime").or(default.max_lifetime),
        check_on_checkout: reader.flag("check_on_checkout", default.check_on_checkout),
        max_waiting: reader.optional_count("max_waiting"),
        reconnect_timeout: reader
            .seconds("reconnect_timeout")
            .or(default.reconnect_timeout),
        num_workers: reader.count("num_workers", default.num_workers),
        reset: reader.word("reset"),
        statement_cache: reader
            .optional_count("statement_cache")
            .map_or(default.statement_cache, |count| count as usize),
        leak_warning: reader.seconds_or_off("leak_warning"),
        multiplex: false,
    }
}

/// Reads the keys of one section.
struct Reader<'a> {
    section: &'static str,
    dict: Option<&'a Dict>,
    problems: &'a mut Vec<Found>,
}

impl<'a> Reader<'a> {
    fn new(section: &'static str, dict: Option<&'a Dict>, problems: &'a mut Vec<Found>) -> Self {
        Self {
            section,
            dict,
            problems,
        }
    }

    fn of(dict: &'a Dict, problems: &'a mut Vec<Found>, section: &'static str) -> Self {
        let dict = dict.get(section).and_then(Value::as_dict);
        Self::new(section, dict, problems)
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.read(name, text_of)
    }

    fn secret(&mut self, name: &str) -> Option<Secret> {
        self.read(name, |value| value.as_str().map(Secret::new))
    }

    fn path(&mut self, name: &str) -> Option<PathBuf> {
        self.read(name, |value| value.as_str().map(PathBuf::from))
    }

    fn roots(&mut self, name: &str) -> Option<RootCert> {
        let path = self.path(name)?;
        Some(if path.as_os_str() == "system" {
            RootCert::System
        } else {
            RootCert::Path(path)
        })
    }

    fn flag(&mut self, name: &str, default: bool) -> bool {
        self.read(name, flag_of).unwrap_or(default)
    }

    fn optional_count(&mut self, name: &str) -> Option<u32> {
        let Kind::Count { min, max } = self.kind(name) else {
            return None;
        };
        self.read(name, |value| {
            let count = u32::try_from(integer_of(value)?).ok()?;
            (min..=max).contains(&count).then_some(count)
        })
    }

    fn count(&mut self, name: &str, default: u32) -> u32 {
        self.optional_count(name).unwrap_or(default)
    }

    fn seconds(&mut self, name: &str) -> Option<Duration> {
        let kind = self.kind(name);
        self.read(name, |value| {
            duration::parse(&number_or_text(value)?).filter(|time| kind.takes(*time))
        })
    }

    fn seconds_or_off(&mut self, name: &str) -> Option<Duration> {
        let off = |value: &Value| value.as_str() == Some("off");
        if self.dict?.get(name).is_some_and(off) {
            return None;
        }
        self.seconds(name)
    }

    fn milliseconds(&mut self, name: &str) -> Option<Duration> {
        let kind = self.kind(name);
        self.read(name, |value| {
            let text = number_or_text(value)?;
            let bare = text.trim().bytes().all(|b| b.is_ascii_digit() || b == b'.');
            duration::parse(&if bare { format!("{text}ms") } else { text })
                .filter(|time| kind.takes(*time))
        })
    }

    fn optional_word<T: Choice>(&mut self, name: &str) -> Option<T> {
        self.read(name, |value| T::from_word(value.as_str()?))
    }

    fn word<T: Choice + Default>(&mut self, name: &str) -> T {
        self.optional_word(name).unwrap_or_default()
    }

    fn encoding(&mut self, name: &str) {
        self.read(name, |value| {
            let name = value.as_str()?.to_ascii_lowercase();
            let known = ["utf8", "utf-8", "unicode", "auto"];
            known.contains(&name.as_str()).then_some(())
        });
    }

    fn methods(&mut self, name: &str) -> RequireAuth {
        let read = self.read(name, |value| {
            items_of(value)?.join(",").parse::<RequireAuth>().ok()
        });
        read.unwrap_or_default()
    }

    fn hosts(&mut self, name: &str) -> Vec<Host> {
        let hosts = self.read(name, |value| {
            let items = hosts_of(value)?;
            Some(items.iter().map(|item| Host::new(item)).collect())
        });
        hosts.unwrap_or_default()
    }

    fn addresses(&mut self, name: &str) -> Vec<IpAddr> {
        let addresses = self.read(name, |value| {
            let items = hosts_of(value)?;
            items.iter().map(|item| item.parse().ok()).collect()
        });
        addresses.unwrap_or_default()
    }

    fn ports(&mut self, name: &str) -> Vec<u16> {
        let ports = self.read(name, |value| {
            let items = hosts_of(value)?;
            items.iter().map(|item| port_of(item)).collect()
        });
        ports.unwrap_or_default()
    }

    fn parameters(&mut self) -> SessionSettings {
        let mut parameters = Vec::new();
        for (name, value) in self.dict.into_iter().flatten() {
            match parameter_of(value) {
                Some(text) => parameters.push((name.clone(), text)),
                None => self.problem(
                    name,
                    Kind::Text,
                    value,
                    "text, a number, true, false, or a list of them".to_owned(),
                ),
            }
        }
        SessionSettings::of_distinct(parameters)
    }

    /// The value of a key if it is there and right.
    fn read<T>(&mut self, name: &str, parse: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let value = self.dict?.get(name)?;
        let read = parse(value);
        if read.is_none() {
            let kind = self.kind(name);
            self.problem(name, kind, value, expected(kind, name, value));
        }
        read
    }

    fn kind(&self, name: &str) -> Kind {
        keys::find(self.section, name).map_or(Kind::Text, |key| key.kind)
    }

    fn problem(&mut self, name: &str, of: Kind, value: &Value, expected: String) {
        let kind = not_resolved(value).unwrap_or_else(|| ProblemKind::Invalid {
            value: shown(of, name, value),
            expected,
        });
        let section = Some(self.section).filter(|section| !section.is_empty());
        let path = section.into_iter().chain([name]).map(str::to_owned);
        self.problems.push((path.collect(), kind));
    }
}

fn expected(kind: Kind, name: &str, value: &Value) -> String {
    let old_tls = matches!(
        value.as_str(),
        Some("SSLv3" | "TLSv1" | "TLSv1.0" | "TLSv1.1")
    );
    let text = value.as_str().unwrap_or_default();
    match kind {
        Kind::Text if matches!(value, Value::Num(..) | Value::Bool(..)) => "text in quotes".into(),
        kind if suspicion::is_connection_string(text) => {
            format!("{}, {}", kind.expected(), suspicion::ADVICE)
        }
        Kind::Word(_) if name.starts_with("ssl_m") && old_tls => {
            format!("{}; rustls has no older TLS", kind.expected())
        }
        kind => kind.expected(),
    }
}

/// A value for an error, unless it may be secret.
fn shown(kind: Kind, name: &str, value: &Value) -> Option<String> {
    let text = match value {
        Value::String(_, text) if suspicion::may_be_told(name, kind, text) => text.clone(),
        Value::Num(..) | Value::Bool(..) if !keys::is_secret(name) => number_or_text(value)?,
        _ => return None,
    };
    let text = text.escape_debug().to_string();
    (text.len() <= SHOWN).then(|| format!("`{text}`"))
}

/// Text, or a whole number that somebody forgot to quote.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Num(..) => integer_of(value).map(|number| number.to_string()),
        _ => None,
    }
}

fn number_or_text(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Bool(_, flag) => Some(flag.to_string()),
        Value::Num(_, Num::F64(number)) => Some(number.to_string()),
        Value::Num(_, Num::F32(number)) => Some(number.to_string()),
        value => integer_of(value).map(|number| number.to_string()),
    }
}

fn integer_of(value: &Value) -> Option<i128> {
    match value {
        Value::String(_, text) => text.trim().parse().ok(),
        Value::Num(_, Num::F64(number)) => whole(*number),
        Value::Num(_, number) => number
            .to_i128()
            .or_else(|| number.to_u128().and_then(|n| i128::try_from(n).ok())),
        _ => None,
    }
}

/// 30.0 is 30; some formats know no other numbers.
fn whole(number: f64) -> Option<i128> {
    let whole = number.fract() == 0.0 && number.abs() < 1e15;
    whole.then_some(number as i128)
}

pub(crate) fn flag_of(value: &Value) -> Option<bool> {
    if let Value::Bool(_, flag) = value {
        return Some(*flag);
    }
    match number_or_text(value)?.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// The items of a list, or of a text with commas; blanks around them do not count.
fn items_of(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(_, items) => items
            .iter()
            .map(|item| Some(text_of(item)?.trim().to_owned()))
            .collect(),
        value => Some(
            text_of(value)?
                .split(',')
                .map(|item| item.trim().to_owned())
                .collect(),
        ),
    }
}

/// The same for what there may be one of for each host.
fn hosts_of(value: &Value) -> Option<Vec<String>> {
    let count = match value {
        Value::Array(_, items) => items.len(),
        value => value.as_str().map_or(1, |text| text.split(',').count()),
    };
    (count <= MOST_HOSTS).then(|| items_of(value)).flatten()
}

/// An empty item in a list of ports is the default port, as in libpq.
fn port_of(text: &str) -> Option<u16> {
    if text.is_empty() {
        return Some(crate::connection::DEFAULT_PORT);
    }
    text.parse().ok().filter(|port| *port != 0)
}

fn parameter_of(value: &Value) -> Option<String> {
    match value {
        Value::Array(_, items) => {
            let items: Option<Vec<String>> = items.iter().map(number_or_text).collect();
            Some(items?.join(","))
        }
        value => number_or_text(value),
    }
}
