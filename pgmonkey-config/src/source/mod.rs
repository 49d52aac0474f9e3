//! Where values come from: each source gives text for keys, and says where it found it.

pub(crate) mod document;
pub(crate) mod environment;
mod json;
pub(crate) mod libpq;
pub(crate) mod service;
mod toml;
pub(crate) mod url;
mod yaml;
