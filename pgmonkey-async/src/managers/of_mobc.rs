//! The manager of mobc.

use async_trait::async_trait;
use mobc::Manager;
use pgmonkey_connect::Error;
use tokio::runtime::Handle;

use super::{ManagedSession, SessionManager};
use crate::runtimes;

#[cfg_attr(docsrs, doc(cfg(feature = "mobc")))]
#[async_trait]
impl Manager for SessionManager {
    type Connection = ManagedSession;
    type Error = Error;

    /// mobc spawns a task when a session is returned, also outside a runtime, where Tokio would
    /// panic.
    fn spawn_task<T>(&self, task: T)
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        let here = Handle::try_current();
        here.unwrap_or_else(|_| runtimes::openings().clone())
            .spawn(task);
    }

    async fn connect(&self) -> Result<ManagedSession, Error> {
        self.open().await
    }

    async fn check(&self, mut managed: ManagedSession) -> Result<ManagedSession, Error> {
        self.examine(&mut managed, true).await?;
        Ok(managed)
    }

    /// Called when a session is returned.
    fn validate(&self, managed: &mut ManagedSession) -> bool {
        self.keeps(managed)
    }
}
