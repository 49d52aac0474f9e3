//! Entry points of the fuzz targets. Not part of the API.

use std::path::Path;

use crate::Loader;
use crate::source::passfile::PassFile;
use crate::source::{service, url as connection_string};

/// A configuration in one of three formats, selected by the first byte. If it loads, it is written
/// out and must load again as an equal configuration.
pub fn loader(data: &[u8]) {
    let Some((format, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let loader = nowhere()
        .resolve_env(format & 4 != 0)
        .allow_commands(format & 8 != 0);
    let loader = match format % 3 {
        0 => loader.yaml(text),
        1 => loader.toml(text),
        _ => loader.json(text),
    };
    check(loader);
}

/// A connection string.
pub fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = connection_string::parse(text);
    check(nowhere().url(text));
}

/// A service file and a password file with the same text.
pub fn service(data: &[u8]) {
    let lookups = [("db", 5432, "shop", "app"), ("", 1, "*", "\\:")];
    let passwords = PassFile::of(Path::new("passfile"), data);
    for (host, port, dbname, user) in lookups {
        let _ = passwords.lookup(host, port, dbname, user);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for name in ["shop", "a", ""] {
        if let Ok(Some(settings)) = service::group(text, Path::new("service"), name) {
            let mut keys: Vec<_> = settings.iter().map(|(key, _)| key).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), settings.len(), "a key counts once");
        }
    }
}

/// A loader that reads nothing from this machine.
fn nowhere() -> Loader {
    Loader::new().variables([("HOME", "/nonexistent"), ("VAR", "value")])
}

fn check(loader: Loader) {
    match loader.load_with_sources() {
        Ok(loaded) => {
            let _ = (format!("{:?} {0}", loaded.config), loaded.warnings.len());
            let written = serde_json::to_string(&loaded.config.exposed()).expect("plain data");
            let again = nowhere().libpq_sources(false).allow_commands(true);
            let again = again.json(written.as_str()).load();
            assert_eq!(again.expect("what was written loads"), loaded.config);
        }
        Err(error) => {
            assert!(!error.problems().is_empty());
            let _ = error.to_string();
        }
    }
}
