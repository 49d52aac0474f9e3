//! What a call expects as a statement's answer, and what an unexpected answer means.

use crate::Error;
use crate::error::driver;
use crate::sql::takes_data;
use crate::wire::{Observer, WireState};

/// What a call expects as a statement's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Rows, or a row count.
    Rows,
    /// A request for the data of a `COPY … FROM STDIN`.
    CopyIn,
    /// The data of a `COPY … TO STDOUT`.
    CopyOut,
}

/// Why a session is discarded whose server waits for data that the driver never sends.
const UNFED_COPY: &str = "a COPY was sent on this session by a call that does not support it: the session was discarded, acquire another one (use copy_in for COPY … FROM STDIN, copy_out for COPY … TO STDOUT)";

impl Takes {
    fn advice(self) -> &'static str {
        match self {
            Self::Rows => {
                "query, execute and batch_execute do not support COPY: use copy_in for COPY … FROM STDIN, copy_out for COPY … TO STDOUT"
            }
            Self::CopyIn => {
                "copy_in supports only COPY … FROM STDIN: use copy_out for COPY … TO STDOUT, query or execute for other statements"
            }
            Self::CopyOut => {
                "copy_out supports only COPY … TO STDOUT: use copy_in for COPY … FROM STDIN, query or execute for other statements"
            }
        }
    }

    /// Converts the driver's error for a statement from which this was expected. A session that
    /// waits for data is discarded: the driver has no way to end such a copy.
    pub fn explain(self, error: tokio_postgres::Error, observer: Option<&Observer>) -> Error {
        let out_of_step = observer.is_some_and(Observer::has_lost_count);
        if !driver::is_unexpected(&error) || (out_of_step && self != Self::CopyIn) {
            return Error::of_session(error, observer);
        }
        if let Some(observer) = observer
            && (observer.takes_copy_data() || self == Self::CopyIn)
            && (observer.state() != WireState::Closed || out_of_step)
        {
            observer.condemn(UNFED_COPY);
        }
        self.refusal()
    }

    /// Checks a statement's text before it is sent, for a session whose wire is not observed: there
    /// it would go unnoticed that the server waits for data.
    ///
    /// # Errors
    ///
    /// [`Error::WrongCopy`] for a `COPY … FROM STDIN` from which anything else is expected.
    pub fn check(self, text: &str) -> Result<(), Error> {
        match self != Self::CopyIn && takes_data(text) {
            true => Err(self.refusal()),
            false => Ok(()),
        }
    }

    fn refusal(self) -> Error {
        let advice = self.advice();
        Error::WrongCopy { advice }
    }
}
