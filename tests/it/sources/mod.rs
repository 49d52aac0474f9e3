//! Where settings and passwords come from: `psql` and all four types run each row of the tables
//! here with the same variables, home directory, files and settings, and the outcomes are compared.

mod hosts;
mod keys;
mod passfiles;
mod rig;
mod row;
mod services;
mod variables;
