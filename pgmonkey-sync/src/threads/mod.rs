//! The threads of the process, which all handles share.

pub(crate) mod keeper;
pub(crate) mod openers;
pub(crate) mod sockets;
