//! Which side of a cluster a read goes to, and when it goes to the other one.
//!
//! The driver crates carry this out, blocking or async, and decide nothing.

use std::fmt;
use std::time::{Duration, Instant};

use crate::Error;
use crate::attempt::Address;
use crate::session::stale_statements::is_outdated;
use crate::standbys::Reach;
use crate::status::{StandbyStatus, Status};
use crate::token::Token;

/// How long a read with a token waits for a reader, unless the cluster is told otherwise.
pub const WAIT: Duration = Duration::from_secs(1);

/// How many readers a read tries whose sessions are lost under it.
const MOST_READERS: u32 = 3;
/// The pauses between two questions whether a reader has replayed a token.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A side of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The pool of the standbys.
    Reader,
    /// The pool of the primary.
    Writer,
}

/// What is known when a read begins.
#[derive(Debug, Clone, Copy)]
pub struct ReadRules {
    /// Whether the writer is read from while no reader can be used.
    pub fallback: bool,
    /// How long to wait for a reader that has replayed a token.
    pub wait: Duration,
    /// Whether any reader can be used, as far as is known.
    pub is_usable: bool,
    /// Whether a session stays at one server. Behind a pooler it does not: then what one statement
    /// learns of the server says nothing about the next one.
    pub keeps_server: bool,
}

/// One read, which may try several readers.
#[derive(Debug)]
pub struct Reading {
    rules: ReadRules,
    token: Option<Token>,
    until: Instant,
    failures: u32,
    pause: Duration,
    /// Whether a statement was found to be prepared for an earlier schema.
    is_outdated: bool,
    /// The readers that were found behind since the last pause.
    behind: Vec<Address>,
    /// The readers at which it failed.
    failed_at: Vec<Address>,
}

/// What to do after a reader was found that has not replayed the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Look at an idle session of another reader, or if there is none, call
    /// [`Reading::found_none`].
    Another,
    /// Look at any reader again after this pause.
    Pause(Duration),
    /// Read from the writer.
    Writer,
}

impl Reading {
    /// A read that begins now; one with a token must see what the token stands for.
    pub fn new(rules: ReadRules, token: Option<Token>, now: Instant) -> Self {
        Self {
            until: now + rules.wait,
            rules,
            token,
            failures: 0,
            pause: FIRST_PAUSE,
            is_outdated: false,
            behind: Vec::new(),
            failed_at: Vec::new(),
        }
    }

    /// Where it goes first.
    pub fn first(&self) -> Side {
        let is_known = self.token != Some(Token::UNKNOWN);
        let can_tell = self.token.is_none() || self.rules.keeps_server && is_known;
        let waits = self.token.is_none() && !self.rules.fallback;
        match can_tell && (self.rules.is_usable || waits) {
            true => Side::Reader,
            false => Side::Writer,
        }
    }

    /// The token that the reader must have replayed.
    pub fn token(&self) -> Option<Token> {
        self.token
    }

    /// Whether the writer serves it if no reader does: then it does not wait for readers that are
    /// away.
    pub fn turns_away(&self) -> bool {
        self.rules.fallback || self.token.is_some()
    }

    /// When it stops waiting for a session of a reader; `None` leaves that to the pool.
    pub fn until(&self) -> Option<Instant> {
        self.token.map(|_| self.until)
    }

    /// Whether it has failed at a reader. Then the session that serves it must answer before: others
    /// of that reader may have no server either, and do not notice behind a pooler.
    pub fn has_failed(&self) -> bool {
        !self.failed_at.is_empty()
    }

    /// Whether an idle session of this reader comes before one that is opened.
    pub fn may_use(&self, address: &Address) -> bool {
        !self.failed_at.contains(address)
    }

    /// Whether an idle session of this reader is worth a look.
    pub fn may_try(&self, address: &Address, reach: Reach) -> bool {
        self.may_use(address) && (reach == Reach::Reached || !self.behind.contains(address))
    }

    /// Whether no reader has been looked at since the last pause.
    pub fn is_fresh(&self) -> bool {
        self.behind.is_empty()
    }

    /// Records that a reader was found which has not replayed the token.
    pub fn found(&mut self, address: &Address, reach: Reach) -> Next {
        if reach == Reach::Elsewhere {
            return Next::Writer;
        }
        self.behind.push(address.clone());
        Next::Another
    }

    /// Records that no idle session of another reader was found.
    pub fn found_none(&mut self, now: Instant) -> Next {
        self.behind.clear();
        let left = self.until.saturating_duration_since(now);
        if left.is_zero() {
            return Next::Writer;
        }
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Next::Pause(pause)
    }

    /// Whether the session that serves the read must forget its prepared statements before: one of
    /// an earlier session was prepared for an earlier schema.
    pub fn prepares_anew(&self) -> bool {
        self.is_outdated
    }

    /// Whether to read again, on the same side, after a session of it failed with this error.
    pub fn reads_anew(&mut self, error: &Error) -> bool {
        let again = !self.is_outdated && is_outdated(error);
        self.is_outdated |= again;
        again
    }

    /// Where to go after a reader failed, or `None` if the error is the caller's.
    ///
    /// `at` is the reader of its session, if there was one: what failed there may succeed on
    /// another reader.
    pub fn failed(&mut self, error: &Error, at: Option<&Address>) -> Option<Side> {
        let held = at.is_some();
        if held && self.reads_anew(error) {
            return Some(Side::Reader);
        }
        let in_vain = match held {
            // A COMMIT whose answer was lost changed nothing either.
            true => error.is_session_lost() || error.is_outcome_unknown() || may_pass(error),
            false => error.is_transient() && !matches!(error, Error::Timeout(_)),
        };
        // A read with a token waits for its own limit only.
        let in_vain = in_vain || !held && self.token.is_some() && error.is_transient();
        if !in_vain {
            return None;
        }
        self.failures += 1;
        self.failed_at.extend(at.cloned());
        if held && self.failures < MOST_READERS {
            return Some(Side::Reader);
        }
        self.turns_away().then_some(Side::Writer)
    }
}

/// Whether a server's error says nothing of the read itself: a conflict with recovery, a full disk.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Database(_)) && error.is_transient()
}

/// The numbers of a cluster, by side and by standby.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// The pool of the primary.
    pub writer: Status,
    /// The pool of the standbys; that of the primary if the file has no section `readers`.
    pub reader: Status,
    /// The servers of the reading side, in the order of their hosts.
    pub standbys: Vec<StandbyStatus>,
}

impl ClusterStatus {
    /// Puts the parts together.
    pub fn new(writer: Status, reader: Status, standbys: Vec<StandbyStatus>) -> Self {
        Self {
            writer,
            reader,
            standbys,
        }
    }
}

impl fmt::Display for ClusterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "writer: {}\nreader: {}", self.writer, self.reader)?;
        self.standbys
            .iter()
            .try_for_each(|standby| write!(f, "\n  {standby}"))
    }
}

#[cfg(test)]
mod tests;
