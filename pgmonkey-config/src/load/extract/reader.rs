//! Reads the keys of one section as typed values and collects what is wrong with them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Dict, Value};

use super::Found;
use super::value::{
    flag_of, hosts_of, integer_of, items_of, number_or_text, parameter_of, port_of, text_of,
};
use crate::error::ProblemKind;
use crate::load::duration;
use crate::load::interpolate::reference;
use crate::load::prepare::not_resolved;
use crate::load::secret_reference;
use crate::model::connection::{Host, RootCert};
use crate::model::secret_source::SecretSource;
use crate::model::session::SessionSettings;
use crate::redact::suspicion;
use crate::schema::choice::{Choice, RequireAuth};
use crate::schema::keys::{self, Kind};

/// Values longer than this are not repeated in errors.
const SHOWN: usize = 60;

/// Reads the keys of one section.
pub(super) struct Reader<'a> {
    section: &'static str,
    dict: Option<&'a Dict>,
    problems: &'a mut Vec<Found>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        section: &'static str,
        dict: Option<&'a Dict>,
        problems: &'a mut Vec<Found>,
    ) -> Self {
        Self {
            section,
            dict,
            problems,
        }
    }

    pub(super) fn of(dict: &'a Dict, problems: &'a mut Vec<Found>, section: &'static str) -> Self {
        let dict = dict.get(section).and_then(Value::as_dict);
        Self::new(section, dict, problems)
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.read(name, text_of)
    }

    pub(super) fn secret(&mut self, name: &str) -> Option<SecretSource> {
        let value = self.dict?.get(name)?;
        let dict = value.as_dict().filter(|dict| reference(dict).is_some());
        let Some(dict) = dict else {
            return self.read(name, |value| value.as_str().map(SecretSource::from));
        };
        match secret_reference::parse(dict) {
            Ok(source) => Some(source),
            Err((part, kind)) => {
                let path = [self.section, name].map(str::to_owned).into_iter();
                self.problems.push((path.chain(part).collect(), kind));
                None
            }
        }
    }

    pub(super) fn path(&mut self, name: &str) -> Option<PathBuf> {
        self.read(name, |value| value.as_str().map(PathBuf::from))
    }

    pub(super) fn roots(&mut self, name: &str) -> Option<RootCert> {
        let path = self.path(name)?;
        Some(if path.as_os_str() == "system" {
            RootCert::System
        } else {
            RootCert::Path(path)
        })
    }

    pub(super) fn flag(&mut self, name: &str, default: bool) -> bool {
        self.read(name, flag_of).unwrap_or(default)
    }

    pub(super) fn optional_count(&mut self, name: &str) -> Option<u32> {
        let Kind::Count { min, max } = self.kind(name) else {
            return None;
        };
        self.read(name, |value| {
            let count = u32::try_from(integer_of(value)?).ok()?;
            (min..=max).contains(&count).then_some(count)
        })
    }

    pub(super) fn count(&mut self, name: &str, default: u32) -> u32 {
        self.optional_count(name).unwrap_or(default)
    }

    pub(super) fn seconds(&mut self, name: &str) -> Option<Duration> {
        let kind = self.kind(name);
        self.read(name, |value| {
            duration::parse(&number_or_text(value)?).filter(|time| kind.takes(*time))
        })
    }

    pub(super) fn seconds_or_off(&mut self, name: &str) -> Option<Duration> {
        let off = |value: &Value| value.as_str() == Some("off");
        if self.dict?.get(name).is_some_and(off) {
            return None;
        }
        self.seconds(name)
    }

    pub(super) fn count_or_off(&mut self, name: &str) -> Option<u32> {
        let off = |value: &Value| value.as_str() == Some("off");
        if self.dict?.get(name).is_some_and(off) {
            return None;
        }
        self.optional_count(name).filter(|count| *count > 0)
    }

    pub(super) fn milliseconds(&mut self, name: &str) -> Option<Duration> {
        let kind = self.kind(name);
        self.read(name, |value| {
            let text = number_or_text(value)?;
            let bare = text.trim().bytes().all(|b| b.is_ascii_digit() || b == b'.');
            duration::parse(&if bare { format!("{text}ms") } else { text })
                .filter(|time| kind.takes(*time))
        })
    }

    pub(super) fn optional_word<T: Choice>(&mut self, name: &str) -> Option<T> {
        self.read(name, |value| T::from_word(value.as_str()?))
    }

    pub(super) fn word<T: Choice + Default>(&mut self, name: &str) -> T {
        self.optional_word(name).unwrap_or_default()
    }

    pub(super) fn encoding(&mut self, name: &str) {
        self.read(name, |value| {
            let name = value.as_str()?.to_ascii_lowercase();
            let known = ["utf8", "utf-8", "unicode", "auto"];
            known.contains(&name.as_str()).then_some(())
        });
    }

    pub(super) fn methods(&mut self, name: &str) -> RequireAuth {
        let read = self.read(name, |value| {
            items_of(value)?.join(",").parse::<RequireAuth>().ok()
        });
        read.unwrap_or_default()
    }

    pub(super) fn hosts(&mut self, name: &str) -> Vec<Host> {
        let hosts = self.read(name, |value| {
            let items = hosts_of(value)?;
            Some(items.iter().map(|item| Host::new(item)).collect())
        });
        hosts.unwrap_or_default()
    }

    pub(super) fn addresses(&mut self, name: &str) -> Vec<IpAddr> {
        let addresses = self.read(name, |value| {
            let items = hosts_of(value)?;
            items.iter().map(|item| item.parse().ok()).collect()
        });
        addresses.unwrap_or_default()
    }

    pub(super) fn ports(&mut self, name: &str) -> Vec<u16> {
        let ports = self.read(name, |value| {
            let items = hosts_of(value)?;
            items.iter().map(|item| port_of(item)).collect()
        });
        ports.unwrap_or_default()
    }

    pub(super) fn parameters(&mut self) -> SessionSettings {
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

    /// Returns the value of a key if it is set and valid.
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
            format!("{}; {}", kind.expected(), suspicion::ADVICE)
        }
        Kind::Word(_) if name.starts_with("ssl_m") && old_tls => {
            format!("{}; rustls supports no older version", kind.expected())
        }
        kind => kind.expected(),
    }
}

/// Returns a value for display in an error, unless it may be secret.
fn shown(kind: Kind, name: &str, value: &Value) -> Option<String> {
    let text = match value {
        Value::String(_, text) if suspicion::may_be_told(name, kind, text) => text.clone(),
        Value::Num(..) | Value::Bool(..) if !keys::is_secret(name) => number_or_text(value)?,
        _ => return None,
    };
    let text = text.escape_debug().to_string();
    (text.len() <= SHOWN).then(|| format!("`{text}`"))
}
