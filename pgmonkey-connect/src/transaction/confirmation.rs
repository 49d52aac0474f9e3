//! Finds out whether a transaction was committed whose `COMMIT` was not answered.
//!
//! Before the `COMMIT` the session asks for the transaction's id and for what identifies the server
//! ([`Ticket`]). If the answer to the `COMMIT` is lost, another session asks what became of that id
//! ([`Answer`]). An id is only comparable on the same cluster and timeline: a promoted standby
//! assigns the ids again whose transactions it has not received. A server that crashed does the
//! same with ids that had not reached its disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use crate::backoff::pause;
use crate::error::LostAnswer;
use crate::{Deadline, Error};

mod crashes;

/// What identifies a server: three columns. The timeline is NULL on a standby. The statistics are
/// reset when a server recovers from a crash, so their age shows whether one has happened.
macro_rules! server {
    () => {
        "(SELECT system_identifier FROM pg_catalog.pg_control_system())::text, \
         CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.left(\
         pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8) END, \
         EXTRACT(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time())::text"
    };
}

/// How far the last checkpoint helps after a crash: the next id at its time, if it is the one with
/// which the server ended its last recovery; otherwise NULL.
macro_rules! recovered {
    () => {
        "(SELECT CASE WHEN redo_lsn = checkpoint_lsn \
         AND pg_catalog.pg_stat_get_bgwriter_stat_reset_time() \
         > pg_catalog.pg_postmaster_start_time() THEN next_xid END \
         FROM pg_catalog.pg_control_checkpoint())"
    };
}

/// The statements that ask for the ticket, in one round trip. The savepoint keeps the transaction
/// usable if the role may not call one of the functions.
pub const ASK: &str = concat!(
    "SAVEPOINT pgmonkey_confirm; SELECT ",
    server!(),
    ", pg_catalog.pg_current_xact_id_if_assigned()::text; RELEASE SAVEPOINT pgmonkey_confirm"
);

/// The statements that undo a failed [`ASK`].
pub const UNDO: &str = "ROLLBACK TO SAVEPOINT pgmonkey_confirm; RELEASE SAVEPOINT pgmonkey_confirm";

#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    system: String,
    timeline: Option<String>,
    statistics: Option<String>,
}

impl Server {
    fn of(columns: &[Option<&str>]) -> Option<Self> {
        let column = |at: usize| columns.get(at).copied().flatten().map(str::to_owned);
        let server = Self {
            system: column(0)?,
            timeline: column(1),
            statistics: column(2),
        };
        if let Some(statistics) = &server.statistics {
            crashes::note(&server.system, statistics);
        }
        Some(server)
    }

    /// Whether the server is known to have crashed at least twice since then, up to `now`.
    fn crashed_again(&self, now: &Self) -> bool {
        match (&self.statistics, &now.statistics) {
            (Some(then), Some(now)) => crashes::any_between(&self.system, then, now),
            _ => false,
        }
    }
}

/// The columns of the only row.
fn row(answer: &[SimpleQueryMessage]) -> Option<Vec<Option<&str>>> {
    answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at)).collect()),
        _ => None,
    })
}

/// What identifies a transaction that is about to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    server: Server,
    /// `None` for a transaction that has written nothing.
    id: Option<u64>,
}

impl Ticket {
    /// Reads the answer to [`ASK`].
    pub fn of(answer: &[SimpleQueryMessage]) -> Option<Self> {
        let columns = row(answer)?;
        Some(Self {
            server: Server::of(&columns)?,
            id: match columns.get(3).copied().flatten() {
                Some(id) => Some(id.parse().ok()?),
                None => None,
            },
        })
    }
}

/// What another session says about the server and the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    server: Server,
    /// The next id when the server had recovered from its last crash; `None` if unknown.
    recovered_to: Option<u64>,
    /// The status; `None` if the server knows it no longer.
    status: Option<String>,
}

impl Answer {
    /// Reads the answer to [`Confirmation::question`].
    pub fn of(answer: &[SimpleQueryMessage]) -> Option<Self> {
        let columns = row(answer)?;
        let text = |at: usize| columns.get(at).copied().flatten();
        Some(Self {
            server: Server::of(&columns)?,
            recovered_to: text(3).and_then(full_id),
            status: text(4).map(str::to_owned),
        })
    }
}

/// Reads an id with its epoch, as `0:731`.
fn full_id(text: &str) -> Option<u64> {
    let (epoch, id) = text.split_once(':')?;
    let (epoch, id) = (epoch.parse::<u32>().ok()?, id.parse::<u32>().ok()?);
    Some(u64::from(epoch) << 32 | u64::from(id))
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Committed,
    RolledBack,
    /// It may be decided later.
    Undecided(String),
    Unknown(String),
}

/// The status that stands for an id that the server has not assigned yet.
const UNASSIGNED: &str = "unassigned";

/// `crashed_again` says whether the server is known to have crashed more than once since the ticket.
fn judge(server: &Server, id: u64, answer: &Answer, crashed_again: bool) -> Verdict {
    let now = &answer.server;
    if now.system != server.system {
        let why = "another database cluster answers, with another system identifier";
        return Verdict::Unknown(why.to_owned());
    }
    match (&server.timeline, &now.timeline) {
        (_, None) => return Verdict::Undecided("a standby answers".to_owned()),
        (Some(then), Some(now)) if then != now => {
            return Verdict::Unknown(format!(
                "the server was promoted, or restored, from timeline {then} to {now}"
            ));
        }
        _ => {}
    }
    let status = answer.status.as_deref();
    if matches!(status, Some("aborted" | UNASSIGNED)) {
        return Verdict::RolledBack;
    }
    if now.statistics != server.statistics {
        // Since a crash, the status may be that of another transaction with the same id.
        match answer.recovered_to {
            Some(next) if next <= id => return Verdict::RolledBack,
            Some(_) if crashed_again => {
                let why = "the server has crashed more than once since, and may have assigned the \
                           transaction's id again in between";
                return Verdict::Unknown(why.to_owned());
            }
            Some(_) => {}
            None => {
                let why = "the server has recovered from a crash and may have assigned the \
                           transaction's id again, or its statistics were reset";
                return Verdict::Unknown(why.to_owned());
            }
        }
    }
    match status {
        Some("committed") => Verdict::Committed,
        Some("in progress") => {
            Verdict::Undecided("the transaction is still in progress".to_owned())
        }
        Some(other) => Verdict::Unknown(format!("its status is {other:?}")),
        None => {
            Verdict::Unknown("the transaction is too old: the server has forgotten it".to_owned())
        }
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Ask again after this pause.
    Ask(Duration),
    /// The outcome of the transaction.
    Done(Result<(), Error>),
}

/// How long the outcome is looked for if the transaction has no time limit and the pool none.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause between two questions.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The search for the outcome of one transaction.
#[derive(Debug)]
pub struct Confirmation {
    ticket: Result<Ticket, String>,
    lost: Arc<LostAnswer>,
    deadline: Deadline,
    asked: u32,
    /// Why the last answer did not decide it.
    undecided: Option<String>,
}

impl Confirmation {
    /// Begins the search for a transaction whose `COMMIT` failed with `lost`. `ticket` says why there
    /// is none. The search ends at `deadline`, by default after `timeout`.
    pub fn new(
        ticket: Result<Ticket, String>,
        lost: Arc<LostAnswer>,
        deadline: Option<Deadline>,
        timeout: Duration,
    ) -> Self {
        let timeout = if timeout.is_zero() { PATIENCE } else { timeout };
        Self {
            ticket,
            lost,
            deadline: deadline.unwrap_or_else(|| Deadline::after(timeout)),
            asked: 0,
            undecided: None,
        }
    }

    /// What the search begins with at `now`: its outcome, if there is nothing to ask or no time.
    pub fn begin(&self, now: Instant) -> Step {
        match &self.ticket {
            Ok(Ticket { id: Some(_), .. }) if self.deadline.is_over(now) => {
                Step::Done(Err(self.unknown("the time is over")))
            }
            Ok(Ticket { id: Some(_), .. }) => Step::Ask(Duration::ZERO),
            // It wrote nothing, so nothing of it can have been kept.
            Ok(Ticket { id: None, .. }) => Step::Done(Err(self.not_committed())),
            Err(why) => Step::Done(Err(self.unknown(why))),
        }
    }

    /// When the search must end.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The question for another session.
    pub fn question(&self) -> String {
        let status = format!(
            "CASE WHEN NOT pg_catalog.pg_is_in_recovery() \
             THEN pg_catalog.pg_xact_status('{}'::pg_catalog.xid8) END",
            self.id()
        );
        self.ask_for(&status)
    }

    /// The question for a server that refused [`question`](Self::question) with `error`, if it did so
    /// because it has not assigned the id.
    pub fn question_after(&self, error: &Error) -> Option<String> {
        let is_ahead = error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE);
        is_ahead.then(|| self.ask_for(&format!("'{UNASSIGNED}'")))
    }

    fn ask_for(&self, status: &str) -> String {
        concat!("SELECT ", server!(), ", ", recovered!(), ", ").to_owned() + status
    }

    fn id(&self) -> u64 {
        let ticket = self.ticket.as_ref().ok();
        ticket.and_then(|ticket| ticket.id).unwrap_or_default()
    }

    /// Decides what follows from an answer, or from the failure to get one.
    pub fn answered(&mut self, answer: Result<Option<Answer>, Error>, now: Instant) -> Step {
        self.asked = self.asked.saturating_add(1);
        let verdict = match (answer, &self.ticket) {
            (Ok(Some(answer)), Ok(ticket)) => {
                let crashed_again = ticket.server.crashed_again(&answer.server);
                judge(&ticket.server, self.id(), &answer, crashed_again)
            }
            (Ok(_), _) => Verdict::Unknown("the server gave no answer".to_owned()),
            (Err(error), _) if error.is_transient() => {
                // A question that the end of the time has cut short says less than the one before.
                let before = self.undecided.take();
                let before = before.filter(|_| self.deadline.is_over(now));
                Verdict::Undecided(before.unwrap_or_else(|| error.to_string()))
            }
            (Err(error), _) => Verdict::Unknown(error.to_string()),
        };
        if let Verdict::Undecided(why) = &verdict {
            self.undecided = Some(why.clone());
        }
        let pause = pause(self.asked).min(LONGEST_PAUSE);
        match verdict {
            Verdict::Committed => Step::Done(Ok(())),
            Verdict::RolledBack => Step::Done(Err(self.not_committed())),
            Verdict::Undecided(_) if pause < self.deadline.remaining(now) => Step::Ask(pause),
            Verdict::Undecided(why) => {
                let why = format!("{why}, and the time is over");
                Step::Done(Err(self.unknown(&why)))
            }
            Verdict::Unknown(why) => Step::Done(Err(self.unknown(&why))),
        }
    }

    fn not_committed(&self) -> Error {
        Error::NotCommitted(Arc::clone(&self.lost))
    }

    fn unknown(&self, why: &str) -> Error {
        Error::CommitUnknown(Arc::new(self.lost.unconfirmed_because(why)))
    }
}

/// Whether a failed [`ASK`] is no reason not to commit: the role may not call one of the functions,
/// or the server does not have it. The text says so, for the case that the outcome is lost.
pub fn may_go_on(error: &Error) -> Option<String> {
    let codes = [
        &SqlState::INSUFFICIENT_PRIVILEGE,
        &SqlState::UNDEFINED_FUNCTION,
        &SqlState::UNDEFINED_OBJECT,
        &SqlState::FEATURE_NOT_SUPPORTED,
    ];
    let goes_on = error.code().is_some_and(|code| codes.contains(&code));
    goes_on.then(|| {
        format!("before the COMMIT the server refused to say which transaction it is: {error}")
    })
}

#[cfg(test)]
mod tests;
