//! The format of CSV files: detection, scanning, encodings. Nothing here knows a server.

pub(crate) mod charset;
pub(crate) mod decode;
pub(crate) mod dialect;
pub(crate) mod encode;
pub(crate) mod first_row;
pub(crate) mod header;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod settings;
pub(crate) mod shape;
pub(crate) mod source;
pub(crate) mod types;
