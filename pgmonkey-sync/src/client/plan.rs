//! How the statement of a stream is sent: prepared, or unnamed.

use std::sync::Arc;

use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::parameter_types::check_number;
use pgmonkey_connect::{AsStatement, Error, StatementRef};
use postgres::Statement;
use postgres::types::Type;

use crate::session::Session;
use crate::session::answer::Params;

/// How a statement is sent; does not borrow from the caller.
pub(super) enum Plan {
    AsIs(Statement),
    Prepared {
        text: String,
        statement: Statement,
        /// Whether the statement came from the cache.
        kept: bool,
    },
    Unnamed {
        text: String,
        types: Arc<[Type]>,
    },
}

impl Plan {
    pub(super) fn of<S: ?Sized + AsStatement>(
        session: &mut Session,
        statement: &S,
        params: Params<'_>,
        takes: Takes,
    ) -> Result<Self, Error> {
        check_number(params.len())?;
        session.make_ready()?;
        session.check_settings()?;
        let text = match statement.as_statement() {
            StatementRef::Prepared(statement) => return Ok(Self::AsIs(statement.clone())),
            StatementRef::Text(text) => text.to_owned(),
        };
        session.check_text(&text, takes)?;
        if session.prepared_mut().is_off() {
            let types = match params {
                [] => Arc::default(),
                _ => session.types_of(&text)?,
            };
            let text = session.label().text_to_send(&text).into_owned();
            return Ok(Self::Unnamed { text, types });
        }
        let found = session.find_prepared(&text, &[]);
        let kept = found.is_some();
        let statement = match found {
            Some(statement) => statement,
            None => session.prepare(&text, &[])?,
        };
        Ok(Self::Prepared {
            text,
            statement,
            kept,
        })
    }

    /// The statement's text; `None` for a statement that the caller has prepared.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::AsIs(_) => None,
            Self::Prepared { text, .. } | Self::Unnamed { text, .. } => Some(text),
        }
    }

    pub(super) fn types(&self) -> &[Type] {
        match self {
            Self::AsIs(statement) | Self::Prepared { statement, .. } => statement.params(),
            Self::Unnamed { types, .. } => types,
        }
    }
}

/// Sends a statement as planned; prepares it again if the error calls for that.
macro_rules! send {
    ($session:ident, $plan:ident, $origin:ident, |$statement:ident| $send:expr, |$text:ident| $unnamed:expr) => {
        match $plan {
            $crate::client::plan::Plan::AsIs(prepared) => {
                let $statement = &prepared;
                $send.map_err(|error| $origin.explain(error))?
            }
            $crate::client::plan::Plan::Prepared {
                text,
                statement: prepared,
                kept,
            } => 'sent: {
                let $statement = &prepared;
                let error = match $send {
                    Ok(sent) => break 'sent sent,
                    Err(error) => error,
                };
                let failed = $crate::session::prepared::Failed {
                    error,
                    statement: prepared.clone(),
                    kept,
                    sending: $origin.sending,
                };
                let prepared = $session.prepare_anew(&text, failed, $origin.takes)?;
                let $statement = &prepared;
                $send.map_err(|error| $origin.explain(error))?
            }
            $crate::client::plan::Plan::Unnamed { text: $text, .. } => {
                $unnamed.map_err(|error| $origin.explain(error))?
            }
        }
    };
}

pub(super) use send;
