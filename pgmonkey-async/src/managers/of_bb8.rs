//! The manager of bb8.

use pgmonkey_connect::Error;

use super::{ManagedSession, SessionManager};

#[cfg_attr(docsrs, doc(cfg(feature = "bb8")))]
impl bb8::ManageConnection for SessionManager {
    type Connection = ManagedSession;
    type Error = Error;

    async fn connect(&self) -> Result<ManagedSession, Error> {
        self.open().await
    }

    async fn is_valid(&self, managed: &mut ManagedSession) -> Result<(), Error> {
        // A new session is checked too.
        let was_returned = !managed.is_checked;
        self.examine(managed, was_returned).await
    }

    /// Called when a session is returned.
    fn has_broken(&self, managed: &mut ManagedSession) -> bool {
        !self.keeps(managed)
    }
}
