//! What a call takes of a statement's answer, and what it means that the answer is another.

use crate::Error;
use crate::driver;
use crate::sql::takes_data;
use crate::wire::{Observer, WireState};

/// What a call takes of a statement's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Rows, or their number.
    Rows,
    /// That the server waits for the data of a `COPY … FROM STDIN`.
    CopyIn,
    /// The data of a `COPY … TO STDOUT`.
    CopyOut,
}

/// Why a session is given up whose server waits for data that the driver never sends.
const UNFED_COPY: &str = "a COPY was sent on this session by a call that does not take it: the session was given up, acquire another one (COPY … FROM STDIN takes copy_in, COPY … TO STDOUT copy_out)";

impl Takes {
    fn advice(self) -> &'static str {
        match self {
            Self::Rows => {
                "query, execute and batch_execute take no COPY: use copy_in for COPY … FROM STDIN, copy_out for COPY … TO STDOUT"
            }
            Self::CopyIn => {
                "copy_in takes nothing but COPY … FROM STDIN: use copy_out for COPY … TO STDOUT, query or execute for other statements"
            }
            Self::CopyOut => {
                "copy_out takes nothing but COPY … TO STDOUT: use copy_in for COPY … FROM STDIN, query or execute for other statements"
            }
        }
    }

    /// An error of the driver's for a statement of which this was taken. A session that waits for
    /// data is given up: the driver has no way to end such a copy.
    pub fn explain(self, error: tokio_postgres::Error, observer: Option<&Observer>) -> Error {
        let out_of_step = observer.is_some_and(Observer::has_lost_count);
        if !driver::is_unexpected(&error) || (out_of_step && self != Self::CopyIn) {
            return Error::of_session(error, observer);
        }
        if let Some(observer) = observer
            && (observer.takes_copy_data() || self == Self::CopyIn)
            && observer.state() != WireState::Closed
        {
            observer.condemn(UNFED_COPY);
        }
        self.refusal()
    }

    /// Whether this can be taken of a text, for a session where nobody would see that the server
    /// waits for data.
    ///
    /// # Errors
    ///
    /// [`Error::WrongCopy`] for a `COPY … FROM STDIN` of which something else is taken.
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
