//! What can be known of a session from the bytes that pass: message framing, the state that
//! follows from it, and the stream that feeds both.

mod complaint;
mod framing;
mod limit;
mod login;
mod observer;
mod stream;
mod texts;

pub use complaint::ServerFailure;
pub use framing::TransactionEnd;
pub use limit::LimitExceeded;
pub use login::LoginRefused;
#[cfg(feature = "__fuzz")]
pub(crate) use observer::exercise::exercise;
pub use observer::{Limited, Observer, TransactionEnds, WireState};
pub use stream::ObservedStream;
