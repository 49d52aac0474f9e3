//! What can be known of a session from the bytes that pass: message framing, the state that
//! follows from it, and the stream that feeds both.

mod complaint;
mod framing;
mod login;
mod observer;
mod stream;

pub use login::LoginRefused;
pub use observer::{Observer, WireState};
pub use stream::ObservedStream;
