//! One connection through the proxy.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Cut;

/// One client's connection, and its connection to the server once it exists.
///
/// The sockets close when the last reference is dropped, and closing a socket with unread bytes
/// sends a reset: that is how [`Cut::Rst`] works without raw socket options.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: TcpStream,
    server: Mutex<Option<Arc<TcpStream>>>,
    cut: AtomicBool,
    /// Held while a fault happens.
    fault: Mutex<()>,
    /// Whether the server has sent something since the client has.
    pub(super) answered: AtomicBool,
    /// The pause before each byte to the client, in milliseconds.
    pub(super) trickle: AtomicU64,
}

impl Link {
    /// Without a connection to the server.
    pub(super) fn new(client: TcpStream) -> Self {
        Self {
            client,
            server: Mutex::new(None),
            cut: AtomicBool::new(false),
            fault: Mutex::new(()),
            answered: AtomicBool::new(true),
            trickle: AtomicU64::new(0),
        }
    }

    pub(super) fn fault(&self) -> MutexGuard<'_, ()> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    pub(super) fn cut(&self, how: Cut) {
        if how == Cut::HalfClose {
            let _ = self.client.shutdown(Shutdown::Write);
            return;
        }
        self.cut.store(true, Ordering::SeqCst);
        // Errors are ignored: a closed socket needs no shutdown.
        if let Some(server) = self.server().take() {
            let _ = server.shutdown(Shutdown::Both);
        }
        if how == Cut::Fin {
            let _ = self.client.shutdown(Shutdown::Both);
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<Arc<TcpStream>>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the connection to the server, or closes it if the link was cut meanwhile.
    pub(super) fn attach(&self, server: &Arc<TcpStream>) {
        *self.server() = Some(Arc::clone(server));
        if self.is_cut() {
            let _ = server.shutdown(Shutdown::Both);
        }
    }
}
