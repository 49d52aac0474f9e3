//! Output: results on stdout, everything else on stderr.

pub(crate) mod finding;
pub(crate) mod notes;
pub(crate) mod origin;
pub(crate) mod output;
pub(crate) mod statements;
mod style;
pub(crate) mod table;
