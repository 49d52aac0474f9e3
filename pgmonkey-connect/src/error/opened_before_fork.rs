//! The check that a child of `fork` does not use what its parent opened.

use super::Error;
use crate::process::Origin;

impl Origin {
    /// Checks that this process created `what`.
    ///
    /// # Errors
    ///
    /// [`Error::OpenedBeforeFork`] in a child that inherited it.
    #[inline]
    pub fn check(self, what: &'static str) -> Result<(), Error> {
        match self.is_here() {
            true => Ok(()),
            false => Err(Error::OpenedBeforeFork { what }),
        }
    }
}
