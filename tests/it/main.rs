//! One binary, a module a behaviour.
