//! The password of one host.
//!
//! Reference: libpq, "The Password File".

use pgmonkey_config::passfile::{self, PassFile};
use pgmonkey_config::{ConnectionSettings, Host, Secret, Target};

/// The password to offer `target`: the one configured, else the passfile's, read anew for each
/// session so that a changed file is noticed.
///
/// A passfile that cannot be read is logged and counts as absent, as in libpq.
pub fn password(settings: &ConnectionSettings, target: &Target) -> Option<Secret> {
    if let Some(password) = &settings.password {
        return Some(password.clone());
    }
    let path = match &settings.passfile {
        Some(path) => path.clone(),
        None => passfile::default_path(&|name| std::env::var(name).ok())?,
    };
    let file = PassFile::load(&path)
        .inspect_err(|error| tracing::warn!("passfile ignored: {error}"))
        .ok()??;
    let host = match &target.host {
        // The server's usual directory counts as localhost there, any other by its path.
        Host::Unix(directory) if is_default(directory) => "localhost".to_owned(),
        host => host.to_string(),
    };
    file.lookup(
        &host,
        target.port,
        &settings.effective_dbname(),
        &settings.effective_user(),
    )
}

fn is_default(directory: &std::path::Path) -> bool {
    ["/var/run/postgresql", "/run/postgresql", "/tmp"]
        .iter()
        .any(|usual| directory == std::path::Path::new(usual))
}
