//! Streams that were dropped before their end, on a session that is used on.
//!
//! The driver reads only while it waits for an answer, so the rest is still to be read when the
//! next call begins. On a Unix socket, where the wire is not observed, the driver reads all of it.

use std::time::Instant;

use pgmonkey_connect::Error;
use pgmonkey_connect::unread::{Unread, UnreadStep};
use pgmonkey_connect::wire::{Observer, WireState};

use super::Session;

impl Session {
    /// Records that a stream was dropped before its end.
    pub(crate) fn mark_unread(&mut self) {
        self.unread = true;
    }

    /// Prepares the session for the next statement: what is left of a dropped stream is read, or
    /// its statement cancelled.
    ///
    /// # Errors
    ///
    /// As [`check_usable`](Self::check_usable); [`Error::StreamUnread`] inside a transaction if too
    /// much is left; the errors of reading it.
    #[inline]
    pub(crate) fn make_ready(&mut self) -> Result<(), Error> {
        self.check_usable()?;
        match self.unread {
            true => self.finish_unread(false),
            false => Ok(()),
        }
    }

    /// As [`make_ready`](Self::make_ready), before a rollback, which a cancelled statement does not
    /// prevent.
    pub(crate) fn make_ready_to_roll_back(&mut self) -> Result<(), Error> {
        self.check_usable()?;
        match self.unread {
            true => self.finish_unread(true),
            false => Ok(()),
        }
    }

    #[cold]
    fn finish_unread(&mut self, rolls_back: bool) -> Result<(), Error> {
        if let Some(observer) = self.observer.clone() {
            let spared = observer.was_in_transaction() && !rolls_back;
            let unread = Unread::new(&observer, spared, Instant::now());
            observer.read_until(Some(unread.stops_at()));
            let finished = self.read_rest(&observer, unread);
            observer.read_until(None);
            finished?;
        }
        self.unread = false;
        Ok(())
    }

    fn read_rest(&mut self, observer: &Observer, mut unread: Unread) -> Result<(), Error> {
        loop {
            match unread.step(observer.state(), observer.received(), Instant::now()) {
                UnreadStep::Done => return Ok(()),
                UnreadStep::Refuse => return Err(Error::StreamUnread),
                UnreadStep::Cancel => {
                    observer.read_until(None);
                    observer.mark_changed();
                    // A failure to do so is reported by the next statement.
                    let _ = self.cancel() && self.drain();
                    return Ok(());
                }
                UnreadStep::Read(pause) => {
                    // Sends an empty query, whose answer comes after the rest.
                    let read = self.client_mut().is_valid(pause);
                    if let Err(error) = read
                        && observer.state() == WireState::Closed
                    {
                        return Err(self.explain(error));
                    }
                }
            }
        }
    }
}
