//! How far the server of one session is known to be.

use std::sync::{Mutex, PoisonError};

use super::answer::Answer;
use crate::token::{Position, Token};

/// The position that the server of one session had when it was last asked. A session stays at its
/// server, and a server does not go back.
#[derive(Debug, Default)]
pub(crate) struct Replayed(Mutex<Option<Position>>);

/// Whether a session's server has what a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It has.
    Reached,
    /// It will have, or it is not known to.
    Behind,
    /// It follows another timeline than the one that the token belongs to, since a failover.
    Elsewhere,
}

impl Replayed {
    pub(crate) fn set(&self, answer: &Answer) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answer.position;
    }

    pub(crate) fn reaches(&self, token: Token) -> Reach {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known else {
            return Reach::Behind;
        };
        let wanted = token.position();
        if known.timeline > wanted.timeline {
            return Reach::Elsewhere;
        }
        match known.timeline == wanted.timeline && known.lsn >= wanted.lsn {
            true => Reach::Reached,
            false => Reach::Behind,
        }
    }
}
