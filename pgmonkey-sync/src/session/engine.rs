//! r2d2, whose manager for the driver opens sessions. The only file that knows r2d2.
//!
//! The pool's state decides how many sessions are opened in parallel, which are idle, which callers
//! wait and which sessions are closed. r2d2's own pool is not used: it opens sessions on threads of
//! its own, a set for each pool, and waits with parking_lot, which may never return in a child of
//! `fork`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use pgmonkey_connect::pool::Label;
use pgmonkey_connect::{ConnectTarget, Connector, Error, events};
use r2d2::ManageConnection;
use r2d2_postgres::PostgresConnectionManager;

use crate::session::connect::Provider;
use crate::session::connect::{ConnectOptions, Connected, connect};
use crate::session::hooks::Hooks;

/// A connection to be made.
pub(crate) struct Connect(PostgresConnectionManager<Connector>);

impl Connect {
    pub(crate) fn new(config: postgres::Config, connector: Connector) -> Self {
        Self(PostgresConnectionManager::new(config, connector))
    }

    /// Connects; blocks.
    pub(crate) fn run(self) -> Result<postgres::Client, postgres::Error> {
        self.0.connect()
    }
}

/// What is needed to open sessions.
pub(crate) struct SessionFactory {
    pub(crate) connect_target: ConnectTarget,
    pub(crate) provider: Option<Provider>,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) label: Arc<Label>,
}

impl SessionFactory {
    /// Opens a session; blocks. A panic in the program's own code becomes an error, because a
    /// waiter must get an answer.
    ///
    /// # Errors
    ///
    /// The errors of connecting; [`Error::Panicked`].
    pub(crate) fn open(&self) -> Result<Connected, Error> {
        let opened = catch_unwind(AssertUnwindSafe(|| self.search()));
        opened.unwrap_or_else(|panic| Err(Error::panicked(&*panic)))
    }

    fn search(&self) -> Result<Connected, Error> {
        let _span = events::connect(self.label.name()).entered();
        let began = Instant::now();
        let options = ConnectOptions {
            provider: self.provider.as_ref(),
            hooks: self.hooks.as_ref(),
            ..ConnectOptions::default()
        };
        let opened = connect(&self.connect_target, options)?;
        self.label.connected(began);
        Ok(opened)
    }
}
