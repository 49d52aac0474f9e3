use std::time::Duration;

use crate::schema::choice::StatementTextMode;

/// What is reported of single statements.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatementSettings {
    /// A statement that runs this long or longer is logged. Default: none is.
    pub slow_statement: Option<Duration>,
    /// An acquire that waits this long or longer is logged. Default: none is.
    pub slow_acquire: Option<Duration>,
    /// A text that runs this often in one checkout is logged once. Default: none is.
    pub statements_per_checkout: Option<u32>,
    /// How much of a text is shown. Default: no literals, unless the text has parameters.
    pub statement_text: StatementTextMode,
    /// Whether statements are counted by their texts. Default: true.
    pub statement_stats: bool,
    /// Whether the current trace is appended to texts that are not cached. Default: false.
    pub sqlcommenter: bool,
}

impl Default for StatementSettings {
    fn default() -> Self {
        Self {
            slow_statement: None,
            slow_acquire: None,
            statements_per_checkout: None,
            statement_text: StatementTextMode::default(),
            statement_stats: true,
            sqlcommenter: false,
        }
    }
}
