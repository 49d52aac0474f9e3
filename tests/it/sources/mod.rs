//! Where settings and passwords come from: each row of the tables here is carried out by `psql`
//! and by our four types, with the same variables, home directory, files and settings, and the
//! outcomes are compared.

mod hosts;
mod keys;
mod passfiles;
mod rig;
mod row;
mod services;
mod variables;
