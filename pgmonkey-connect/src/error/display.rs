//! Parts of the texts of errors.

use std::fmt;
use std::sync::Arc;

use super::Error;
use super::driver::DriverText;

pub(super) fn parameters(count: usize) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} parameter{s}")
}

pub(super) fn write_database(
    error: &Arc<tokio_postgres::Error>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    fmt::Display::fmt(&DriverText(error), f)
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not `{self:#}` for `{:#?}`: `dbg!` wants line breaks, not the server's DETAIL.
        write!(f, "{self}")
    }
}
