//! Panics in the program's own code, caught where a waiter needs an answer.

use std::any::Any;

use super::Error;

/// The panic message, if it was text.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => String::clone(text),
        (None, None) => "no text".to_owned(),
    }
}

impl Error {
    /// Converts the payload of a panic that occurred while opening a session.
    pub fn panicked(payload: &(dyn Any + Send)) -> Self {
        Self::Panicked {
            text: text_of(payload),
        }
    }
}
