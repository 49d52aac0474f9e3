//! The per-user files that libpq uses if the settings name none.

use std::path::{Path, PathBuf};

use crate::source::passfile::user_file;

/// Returns the default path of a certificate file: `name` (`root.crt`, `postgresql.crt`, …) in
/// `~/.postgresql` (`%APPDATA%\postgresql` on Windows). It need not exist; `None` without a home
/// directory.
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

/// Expands a path as a configuration file does: `~/` is the home directory.
///
/// `lookup` reads an environment variable; an empty one counts as not set.
///
/// ```
/// let home = |name: &str| (name == "HOME").then(|| "/home/app".to_owned());
/// let path = pgmonkey_config::user_files::expand_home("~/pg.yaml", &home);
/// assert_eq!(path, std::path::Path::new("/home/app/pg.yaml"));
/// ```
pub fn expand_home(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let Some(rest) = text.strip_prefix("~/") else {
        return PathBuf::from(text);
    };
    let home = lookup("HOME").filter(|home| !home.is_empty());
    let home = home
        .map(PathBuf::from)
        .or_else(|| etcetera::home_dir().ok());
    home.map_or_else(|| PathBuf::from(text), |home| home.join(rest))
}
