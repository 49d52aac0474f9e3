//! The schema of a file: its keys, their allowed words, and the pages generated from them.

pub(crate) mod choice;
pub(crate) mod json_schema;
pub(crate) mod keys;
pub(crate) mod reference;
pub(crate) mod suggest;
pub(crate) mod template;
