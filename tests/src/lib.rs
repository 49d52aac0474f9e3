//! Behaviour tests against real servers.
