use std::fmt;

use crate::redact;

/// `sync_settings` and `async_settings`: server parameters for each new session, in a fixed order.
///
/// `Debug` hides the value of a parameter if its name is that of a secret, or if the value contains
/// one, as a connection string may.
///
/// ```
/// use pgmonkey_config::SessionSettings;
///
/// let mut settings = SessionSettings::default();
/// settings.insert("statement_timeout", "30000");
/// settings.insert("lock_timeout", "10000");
/// settings.insert("statement_timeout", "5000");
/// let all: Vec<_> = settings.iter().collect();
/// assert_eq!(all, [("statement_timeout", "5000"), ("lock_timeout", "10000")]);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SessionSettings(Vec<(String, String)>);

impl SessionSettings {
    /// Wraps parameters with distinct names.
    pub(crate) fn of_distinct(parameters: Vec<(String, String)>) -> Self {
        Self(parameters)
    }

    /// Returns the parameters, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the value of a parameter.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter()
            .find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Sets a parameter; one that is already set keeps its position and gets the new value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        let value = value.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// Removes a parameter and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(index).1)
    }

    /// Returns the number of parameters.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SessionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self
            .iter()
            .map(|(name, value)| (name, redact::told(name, value)));
        f.debug_map().entries(shown).finish()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for SessionSettings {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(parameters: I) -> Self {
        let mut settings = Self::default();
        for (name, value) in parameters {
            settings.insert(name, value);
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_secret_parameters() {
        let settings: SessionSettings = [
            ("my.api_token", "S3cret"),
            ("my.source", "postgres://u:S3cret@h/d"),
            ("work_mem", "64MB"),
        ]
        .into_iter()
        .collect();
        let shown = format!("{settings:?}");
        assert!(!shown.contains("S3cret"), "{shown}");
        assert!(shown.contains("64MB"), "{shown}");
    }

    #[test]
    fn remove_takes_one_out() {
        let mut settings: SessionSettings = [("a", "1"), ("b", "2")].into_iter().collect();
        assert_eq!(settings.remove("a").as_deref(), Some("1"));
        assert_eq!(settings.remove("a"), None);
        assert_eq!(settings.value("b"), Some("2"));
        assert_eq!(settings.len(), 1);
    }
}
