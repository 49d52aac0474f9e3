//! What a file needs from a server, what the server has, and its weak spots.

pub(crate) mod access;
pub(crate) mod capacity;
pub(crate) mod facts;
pub(crate) mod hba;
pub(crate) mod hba_text;
pub(crate) mod needs;
pub(crate) mod weakness;
