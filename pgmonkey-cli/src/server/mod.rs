//! What a file needs of a server, what the server has, and what is weak about it.

pub(crate) mod access;
pub(crate) mod facts;
pub(crate) mod needs;
pub(crate) mod weakness;
