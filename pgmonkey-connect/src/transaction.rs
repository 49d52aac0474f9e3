//! Transactions with options: the text that begins them, and when they are run again.

mod options;
mod setting;

pub use options::Options;
#[doc(no_inline)]
pub use tokio_postgres::IsolationLevel;
