//! The manager of deadpool.

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use pgmonkey_connect::Error;

use super::{ManagedSession, SessionManager};

#[cfg_attr(docsrs, doc(cfg(feature = "deadpool")))]
impl Manager for SessionManager {
    type Type = ManagedSession;
    type Error = Error;

    async fn create(&self) -> Result<ManagedSession, Error> {
        self.open().await
    }

    async fn recycle(&self, managed: &mut ManagedSession, _: &Metrics) -> RecycleResult<Error> {
        let examined = self.examine(managed, true).await;
        examined.map_err(RecycleError::Backend)
    }
}
