//! Whether session settings arrived: a pooler may drop them without a word.
//!
//! Reference: PostgreSQL, "The View pg_settings": `source` is `client` for a setting of the startup
//! packet, `session` for one that was set by a statement.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use pgmonkey_config::{Pooler, SessionSettings, SettingsDelivery};

use super::connect_attempt::OpenFailure;
use super::plan::Address;
use super::startup;
use super::target::ConnectTarget;
use crate::Error;

/// The statement that reads where the settings come from. Values are not compared as far as
/// possible, because the server shows them in its own form: `30000` as `30s`.
const TEXT: &str = "SELECT wanted.name, source, pg_catalog.current_setting(wanted.name, true), \
    pg_catalog.pg_backend_pid() \
    FROM pg_catalog.unnest($1) AS wanted (name) LEFT JOIN pg_catalog.pg_settings AS known \
    ON pg_catalog.lower(known.name) OPERATOR(pg_catalog.=) pg_catalog.lower(wanted.name)";

impl ConnectTarget {
    /// The check of the settings of a new session at this address; `None` if they are known to
    /// arrive there, or are not to be checked.
    pub fn settings_check(&self, address: &Address) -> Option<SettingsCheck<'_>> {
        let verifies = self.settings().session_settings == SettingsDelivery::Verify;
        let known = || self.checked().contains(address);
        match verifies && !self.session.is_empty() && !known() {
            true => SettingsCheck::new(&self.session, self.section, self.pooler()),
            false => None,
        }
    }

    /// Receives the answer to a check, of a session whose login announced the process `announced`.
    /// An error of the statement alone, as of a `statement_timeout` that arrived and is short, says
    /// nothing: the next session is checked.
    ///
    /// # Errors
    ///
    /// [`OpenFailure::Setting`] if a setting did not arrive; [`OpenFailure::Driver`] if the session
    /// was lost.
    pub fn settings_checked(
        &self,
        check: &SettingsCheck<'_>,
        answer: Result<Vec<Row>, tokio_postgres::Error>,
        address: &Address,
        announced: u32,
    ) -> Result<(), OpenFailure> {
        match answer {
            Ok(rows) => check.judge(&rows, announced)?,
            Err(error) if startup::is_of_statement(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.checked().insert(address.clone());
        Ok(())
    }

    pub(super) fn checked(&self) -> MutexGuard<'_, HashSet<Address>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One check of the session settings.
#[derive(Debug)]
pub struct SettingsCheck<'a> {
    settings: &'a SessionSettings,
    section: &'static str,
    pooler: Option<Pooler>,
    names: Vec<&'a str>,
}

impl<'a> SettingsCheck<'a> {
    /// `None` if nothing is to be checked.
    pub(crate) fn new(
        settings: &'a SessionSettings,
        section: &'static str,
        pooler: Option<Pooler>,
    ) -> Option<Self> {
        let names: Vec<_> = settings.iter().map(|(name, _)| name).collect();
        (!names.is_empty()).then_some(Self {
            settings,
            section,
            pooler,
            names,
        })
    }

    /// The statement's text.
    pub fn text(&self) -> &'static str {
        TEXT
    }

    /// The statement's parameter, with its type: the names of the settings.
    pub fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 1] {
        [(&self.names, Type::TEXT_ARRAY)]
    }

    /// Judges the answer of a session whose login announced the process `announced`.
    ///
    /// # Errors
    ///
    /// [`Error::SessionSetting`] for the first setting that did not arrive.
    pub(crate) fn judge(&self, rows: &[Row], announced: u32) -> Result<(), Error> {
        let lost = rows.iter().find_map(|row| {
            let name = row.try_get::<_, &str>(0).ok()?;
            let source = row.try_get::<_, Option<&str>>(1).ok()?;
            let value = row.try_get::<_, Option<&str>>(2).ok()?;
            let pid = row.try_get::<_, i32>(3).ok()?;
            (!self.has_arrived(name, source, value)).then_some((name, source, pid))
        });
        match lost {
            None => Ok(()),
            Some((name, source, pid)) => {
                // An unobserved login announced nothing.
                let is_pooled = announced != 0 && i64::from(pid) != i64::from(announced);
                Err(self.lost(name, source, is_pooled))
            }
        }
    }

    /// Names with a dot that the server does not know have no row in the view: they are compared.
    fn has_arrived(&self, name: &str, source: Option<&str>, value: Option<&str>) -> bool {
        let mut settings = self.settings.iter();
        let wanted = settings.find(|(setting, _)| *setting == name);
        matches!(source, Some("client" | "session"))
            || value.is_some() && value == wanted.map(|(_, value)| value)
    }

    fn lost(&self, name: &str, source: Option<&str>, is_pooled: bool) -> Error {
        let (by, cure) = match (is_pooled, self.pooler) {
            (true, Some(Pooler::Session)) => (
                "the pooler in front of the server dropped it",
                "set session_settings: statements",
            ),
            (true, _) => (
                "the pooler in front of the server dropped it",
                "set session_settings: transaction, which sends it with each transaction, or set it on the role (ALTER ROLE … SET …), or, if the pooler assigns a server session to each client, set session_settings: statements",
            ),
            (false, _) => (
                "something between the program and the server dropped it",
                "set it on the role (ALTER ROLE … SET …)",
            ),
        };
        let source = match source {
            Some(source) => format!("; its value comes from: {source}"),
            None => String::new(),
        };
        Error::SessionSetting {
            key: format!("{}.{name}", self.section),
            reason: format!(
                "did not arrive at the server: {by}{source}. To cure it, {cure}; session_settings: startup switches this check off"
            ),
            code: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> SessionSettings {
        let mut settings = SessionSettings::default();
        settings.insert("statement_timeout", "30000");
        settings.insert("my.tenant", "7");
        settings
    }

    #[test]
    fn the_source_decides_and_otherwise_the_value() {
        let settings = settings();
        let check = SettingsCheck::new(&settings, "sync_settings", None).expect("two settings");
        assert!(check.has_arrived("statement_timeout", Some("client"), Some("30s")));
        assert!(check.has_arrived("statement_timeout", Some("session"), Some("30s")));
        assert!(!check.has_arrived("statement_timeout", Some("default"), Some("0")));
        assert!(!check.has_arrived("statement_timeout", Some("user"), Some("10s")));
        assert!(check.has_arrived("my.tenant", None, Some("7")));
        assert!(!check.has_arrived("my.tenant", None, None));
        assert!(!check.has_arrived("my.tenant", None, Some("")));
        let none = SessionSettings::default();
        assert!(SettingsCheck::new(&none, "sync_settings", None).is_none());
    }

    #[test]
    fn a_loss_names_the_key_and_the_cure() {
        let settings = settings();
        let check = SettingsCheck::new(&settings, "async_settings", None).expect("two settings");
        let text = check.lost("my.tenant", None, true).to_string();
        assert!(
            text.starts_with("async_settings.my.tenant: did not arrive"),
            "{text}"
        );
        assert!(
            text.contains("ALTER ROLE") && text.contains("session_settings: statements"),
            "{text}"
        );
        assert!(!text.contains('7'), "{text}");
    }
}
