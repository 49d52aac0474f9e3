//! Observes a session on the wire: message framing, the session state derived from it, and the
//! stream that feeds both.

mod framing;
mod limit;
mod login;
mod observer;
mod server_error;
mod stream;
mod texts;

pub use framing::TransactionEnd;
pub use limit::LimitExceeded;
pub use login::LoginRefused;
pub(crate) use observer::Stage;
#[cfg(feature = "__fuzz")]
pub(crate) use observer::exercise::exercise;
pub use observer::{
    AttemptMark, BeginMessages, Limited, Observer, TransactionEnds, Unbegun, WireState,
};
pub use server_error::ServerFailure;
pub use stream::ObservedStream;
