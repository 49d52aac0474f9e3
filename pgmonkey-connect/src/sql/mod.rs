//! SQL text: quotes values and names, and finds out what a text can do to its session.

mod copy;
mod effects;
mod lexer;
mod quote;
mod reads;
mod setting;
pub(crate) mod shape;
mod split;
pub(crate) mod trace;

pub use copy::takes_data;
pub(crate) use effects::of;
pub use effects::{Effects, effects};
pub use quote::{identifier, literal};
pub use reads::only_reads;
pub(crate) use setting::set_local;
pub use split::statements;
