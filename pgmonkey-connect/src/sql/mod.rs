//! What a statement's text tells before the server has seen it: whether it may share a session,
//! and whether the session may be another one behind it.

mod effects;
mod lexer;

pub(crate) use effects::of;
pub use effects::{Effects, effects};
