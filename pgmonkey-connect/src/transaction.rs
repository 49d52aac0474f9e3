//! Transactions with options: the text that begins them, and when they are run again.

mod attempts;
mod builder;
pub mod confirmation;
mod options;
mod retry;
mod setting;

pub use attempts::{Attempts, GaveUp, Next, Reason};
pub use options::Options;
pub use retry::Retry;

pub use crate::random::draw as random;
#[doc(no_inline)]
pub use tokio_postgres::IsolationLevel;
