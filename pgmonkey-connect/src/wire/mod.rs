//! Observes a session on the wire: message framing, the session state derived from it, and the
//! stream that feeds both.

mod framing;
mod limit;
mod login;
mod observer;
mod server_error;
mod statements;
mod stream;
mod texts;

pub use framing::TransactionEnd;
pub use limit::LimitExceeded;
pub use login::LoginRefused;
pub(crate) use observer::Stage;
#[cfg(feature = "__fuzz")]
pub(crate) use observer::exercise::exercise;
pub use observer::{
    AttemptMark, BeginMessages, CallPlace, Limited, Observer, TransactionEnds, Unbegun, WireState,
};
pub use server_error::ServerFailure;
pub(crate) use statements::hash_of;
pub use statements::{StatementListener, StatementOutcome, StatementRecord, StatementText};
pub use stream::ObservedStream;
