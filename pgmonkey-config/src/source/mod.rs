//! The sources of values: files and their formats, connection strings, variables, and libpq's own
//! sources. Each value keeps the place where it was found.

mod comments;
pub(crate) mod document;
pub(crate) mod environment;
pub mod files;
mod json;
pub(crate) mod layer;
pub(crate) mod libpq;
pub mod passfile;
pub(crate) mod service;
#[cfg(feature = "toml")]
mod toml;
pub(crate) mod url;
pub mod user_files;
mod yaml;
