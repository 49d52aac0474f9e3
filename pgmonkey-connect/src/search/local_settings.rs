//! Session settings that are sent with each transaction, for a pooler that gives each transaction
//! another session of the server: `session_settings: transaction`.

use std::fmt;
use std::sync::Arc;

use pgmonkey_config::{SessionSettings, SettingsDelivery};

use super::plan::Address;
use super::target::ConnectTarget;
use crate::{Error, sql};

/// The settings of a session as `SET LOCAL` statements.
pub(crate) struct LocalSettings {
    section: &'static str,
    text: String,
}

/// Omits the text: a value may be secret.
impl fmt::Debug for LocalSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSettings")
            .field("section", &self.section)
            .finish_non_exhaustive()
    }
}

impl LocalSettings {
    /// `None` if nothing is to be set.
    ///
    /// # Errors
    ///
    /// [`Error::SessionSetting`] for one that no statement sets.
    fn new(settings: &SessionSettings, section: &'static str) -> Result<Option<Self>, Error> {
        let statements = settings.iter().map(|(name, value)| {
            sql::set_local(name, value).map_err(|reason| Error::SessionSetting {
                key: format!("{section}.{name}"),
                reason: reason.to_owned(),
                code: None,
            })
        });
        let statements: Vec<_> = statements.collect::<Result<_, _>>()?;
        Ok((!statements.is_empty()).then(|| Self {
            section,
            text: statements.join("; "),
        }))
    }

    /// The text that begins a transaction, `begin`, with the settings: after its modes, and before
    /// its own settings, which take precedence.
    pub(super) fn begin(&self, begin: &str) -> String {
        match begin.split_once(';') {
            Some((modes, own)) => format!("{modes}; {};{own}", self.text),
            None => format!("{begin}; {}", self.text),
        }
    }

    /// The error of a statement that is not in a transaction, and would run without the settings.
    #[cold]
    pub(super) fn outside(&self) -> Error {
        Error::SessionSetting {
            key: self.section.to_owned(),
            reason:
                "session_settings: transaction sends these settings with BEGIN, so a statement \
                     outside a transaction would run without them, and was not sent: use \
                     transaction(…), begin() or build_transaction()"
                    .to_owned(),
            code: None,
        }
    }
}

impl ConnectTarget {
    /// The settings that are to be sent with each transaction, if any are.
    pub(super) fn local(
        delivery: SettingsDelivery,
        settings: &SessionSettings,
        section: &'static str,
    ) -> Result<Option<Arc<LocalSettings>>, Error> {
        match delivery {
            SettingsDelivery::Transaction => {
                Ok(LocalSettings::new(settings, section)?.map(Arc::new))
            }
            _ => Ok(None),
        }
    }

    /// The statements that try the settings of each transaction on a new session at this address, so
    /// that a wrong one is reported by its key; `None` if they are known to work there.
    pub fn settings_trial(&self, address: &Address) -> Option<String> {
        let local = self.local_settings.as_ref()?;
        let known = self.checked().contains(address);
        (!known).then(|| format!("{}; ROLLBACK", local.begin("BEGIN")))
    }

    /// Notes that the settings work at this address.
    pub fn settings_tried(&self, address: &Address) {
        self.checked().insert(address.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(pairs: &[(&str, &str)]) -> Result<Option<LocalSettings>, Error> {
        LocalSettings::new(&pairs.iter().copied().collect(), "sync_settings")
    }

    #[test]
    fn settings_follow_the_modes_and_yield_to_the_transactions_own() {
        let settings = local(&[("work_mem", "9MB"), ("search_path", "app, public")]);
        let settings = settings.expect("two settings").expect("two");
        let set = r#"SET LOCAL "work_mem" = '9MB'; SET LOCAL "search_path" = 'app', 'public'"#;
        assert_eq!(settings.begin("BEGIN"), format!("BEGIN; {set}"));
        let own = "BEGIN READ ONLY; SET LOCAL \"work_mem\" = '1MB;'";
        let both = format!("BEGIN READ ONLY; {set}; SET LOCAL \"work_mem\" = '1MB;'");
        assert_eq!(settings.begin(own), both);
        assert!(!format!("{settings:?}").contains("9MB"));
    }

    #[test]
    fn what_no_statement_sets_is_refused_by_its_key() {
        assert!(local(&[]).expect("none is wrong").is_none());
        let error = local(&[("search_path", "a b")]).expect_err("a list");
        assert!(error.is_configuration(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("sync_settings.search_path: not a list"),
            "{text}"
        );
    }
}
