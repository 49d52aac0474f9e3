//! Closes a session.

use std::mem::ManuallyDrop;
use std::time::Instant;

use pgmonkey_connect::pool::Permit;
use pgmonkey_connect::process::Origin;
use pgmonkey_connect::{Error, limits};

use super::Session;
use crate::context;

impl Drop for Session {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else {
            return;
        };
        self.take_leave();
        let closed = (client, self.permit.take());
        match self.given_up {
            // The driver waits for the end of a copy that may never come.
            Some(Error::WrongCopy { .. }) => end_apart(closed),
            _ => end(closed, self.connected_to.observer().origin()),
        }
    }
}

impl Session {
    /// Limits how long closing the session may wait for the server.
    fn take_leave(&self) {
        if let Some(observer) = &self.observer {
            observer.limit_to(Some(Instant::now() + limits::FAREWELL));
        }
    }
}

/// A client to be closed, and the permit that its session holds until then.
type Closed = (postgres::Client, Option<Permit>);

/// Closes a session politely, wherever that happens.
pub(crate) fn end(closed: Closed, origin: Origin) {
    if !origin.is_here() {
        // Closing it would close the session of the parent, which owns the socket.
        return std::mem::forget(closed);
    }
    if !context::near_a_runtime() {
        return drop(closed);
    }
    // The driver's own drop blocks, which panics inside a task and aborts during a panic.
    end_apart(closed);
}

fn end_apart(closed: Closed) {
    // If no thread can be started, the client is leaked rather than dropped here.
    let closed = ManuallyDrop::new(closed);
    let _ = std::thread::Builder::new()
        .name("pgmonkey-close".to_owned())
        .spawn(move || drop(ManuallyDrop::into_inner(closed)));
}
