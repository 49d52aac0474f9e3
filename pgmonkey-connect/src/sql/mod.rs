//! SQL text: quoted on its way into a statement, and read for what it can do to the session that
//! runs it.

mod copy;
mod effects;
mod lexer;
mod quote;

pub use copy::takes_data;
pub(crate) use effects::of;
pub use effects::{Effects, effects};
pub use quote::{identifier, literal};
