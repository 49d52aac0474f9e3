//! Output: a configuration as a file, its effective values, and excerpts for errors.

pub(crate) mod effective;
pub(crate) mod excerpt;
pub(crate) mod export;
mod tree;
