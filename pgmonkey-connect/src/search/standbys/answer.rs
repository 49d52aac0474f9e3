//! What a standby answers when it is asked how far it is.

use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;

use crate::role::Requirement;
use crate::token::{Position, parse_lsn};

/// One row. Every role may ask it. The timeline of a standby is known from its walreceiver, whose
/// details only some roles see, or else from its control file, which may be late: a timeline that is
/// too old sends a read to the writer, never to a standby that lacks what was written.
pub(crate) const QUESTION: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
     pg_catalog.current_setting('transaction_read_only'), \
     pg_catalog.pg_last_wal_receive_lsn(), \
     CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
       ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
     CASE WHEN pg_catalog.pg_is_in_recovery() THEN greatest( \
       (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver), \
       (pg_catalog.pg_control_recovery()).min_recovery_end_timeline, \
       (pg_catalog.pg_control_checkpoint()).timeline_id) \
       ELSE ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8)) \
       ::pg_catalog.bit(32)::pg_catalog.int4 END, \
     EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver), \
     extract(epoch FROM pg_catalog.clock_timestamp() \
       - pg_catalog.pg_last_xact_replay_timestamp())";

/// The answer to [`QUESTION`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Answer {
    pub(crate) in_recovery: bool,
    pub(super) read_only: bool,
    /// What has been received; none without streaming.
    pub(crate) received: Option<u64>,
    /// What has been replayed, or written by a primary.
    pub(crate) position: Option<Position>,
    /// Whether a walreceiver runs.
    pub(crate) streams: bool,
    /// How long ago the last transaction that was replayed was committed.
    pub(crate) replayed_ago: Option<Duration>,
}

impl Answer {
    /// `None` if the answer is not understood.
    pub(crate) fn of(answer: &[SimpleQueryMessage]) -> Option<Self> {
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })?;
        Self::read(|column| row.try_get(column).ok().flatten())
    }

    pub(super) fn read<'a>(column: impl Fn(usize) -> Option<&'a str>) -> Option<Self> {
        let lsn = column(3).and_then(parse_lsn);
        let timeline = column(4).and_then(|text| text.parse().ok());
        let seconds = column(6).and_then(|text| text.parse::<f64>().ok());
        let ago = seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)));
        Some(Self {
            in_recovery: column(0)? == "t",
            read_only: column(1)? == "on",
            received: column(2).and_then(parse_lsn),
            position: lsn
                .zip(timeline)
                .map(|(lsn, timeline)| Position { timeline, lsn }),
            streams: column(5)? == "t",
            replayed_ago: ago.and_then(Result::ok),
        })
    }

    /// Whether the server has this role.
    pub(super) fn fits(&self, requirement: Requirement) -> bool {
        match requirement {
            Requirement::Any => true,
            Requirement::Primary => !self.in_recovery,
            Requirement::Standby => self.in_recovery,
            Requirement::ReadWrite => !self.read_only,
            Requirement::ReadOnly => self.read_only,
        }
    }

    /// Whether everything that was received has been replayed, and more is being received.
    pub(super) fn is_caught_up(&self) -> bool {
        let replayed = self.position.map(|position| position.lsn);
        self.streams && replayed.is_some() && replayed >= self.received
    }
}
