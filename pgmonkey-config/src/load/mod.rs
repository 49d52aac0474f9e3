//! Turns sources into a checked configuration: merges layers, resolves references, extracts values,
//! checks ranges.

mod assembly;
mod constructors;
mod duration;
mod extract;
mod interpolate;
pub(crate) mod loaded;
pub(crate) mod loader;
mod normalise;
pub(crate) mod prepare;
mod secret_reference;
mod validate;
