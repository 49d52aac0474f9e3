//! The files of the user that libpq looks for where the settings name none.

use std::path::{Path, PathBuf};

use crate::interpolate;
use crate::passfile::user_file;

/// One of the certificate files: `name` (`root.crt`, `postgresql.crt`, …) in `~/.postgresql`
/// (`%APPDATA%\postgresql` on Windows). It need not exist; `None` without a home directory.
///
/// `lookup` reads an environment variable; an empty one counts as not set.
///
/// ```
/// let home = |name: &str| (name == "HOME").then(|| "/home/app".to_owned());
/// # if cfg!(unix) {
/// let roots = pgmonkey_config::user_files::tls("root.crt", &home);
/// assert_eq!(roots, Some("/home/app/.postgresql/root.crt".into()));
/// # }
/// ```
pub fn tls(name: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let unix_name = Path::new(".postgresql").join(name);
    user_file(lookup, &unix_name.to_string_lossy(), name)
}

/// A path as a configuration file means it: `~/` is the home directory.
///
/// `lookup` reads an environment variable; an empty one counts as not set.
///
/// ```
/// let home = |name: &str| (name == "HOME").then(|| "/home/app".to_owned());
/// let path = pgmonkey_config::user_files::expand_home("~/pg.yaml", &home);
/// assert_eq!(path, std::path::Path::new("/home/app/pg.yaml"));
/// ```
pub fn expand_home(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    interpolate::expand_home(text, lookup)
}
