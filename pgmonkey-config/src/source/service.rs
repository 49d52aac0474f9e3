//! libpq's connection service file: named groups of connection settings.

use std::io;
use std::path::{Path, PathBuf};

use crate::source::files;
use crate::source::passfile::{is_missing, set, user_file};

/// The maximum number of settings of one service. libpq has about sixty.
const MOST_SETTINGS: usize = 256;

/// Why a service file cannot be used. The text contains file and line, never a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ServiceError {
    /// The file named by the settings or the environment does not exist.
    #[error("there is no service file {path}", path = path.display())]
    Missing { path: PathBuf },
    /// The file exists, but cannot be read or is not UTF-8.
    #[error("cannot read service file {path}: {reason}", path = path.display())]
    Read { path: PathBuf, reason: io::Error },
    /// The service has too many settings.
    #[error("{path}:{line}: more than {MOST_SETTINGS} settings in one service", path = path.display())]
    Many { path: PathBuf, line: usize },
    /// A line of the service that is not `key=value`.
    #[error("{path}:{line}: expected key=value in the service file", path = path.display())]
    Syntax { path: PathBuf, line: usize },
    /// A service that refers to another one.
    #[error("{path}:{line}: a service cannot set `service` or `servicefile`; remove the line", path = path.display())]
    Nested { path: PathBuf, line: usize },
    /// A service that asks an LDAP server for its settings.
    #[error("{path}:{line}: looking up a service in LDAP is not supported; write its settings into the file", path = path.display())]
    Ldap { path: PathBuf, line: usize },
}

/// A service file to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceFile {
    pub(crate) path: PathBuf,
    /// Whether the settings or the environment name the file, so that it must exist.
    named: bool,
}

/// Returns the files to search, in libpq's order: `servicefile` or `PGSERVICEFILE` or
/// `~/.pg_service.conf`, then `pg_service.conf` in `PGSYSCONFDIR`.
pub(crate) fn find_files(
    lookup: &dyn Fn(&str) -> Option<String>,
    servicefile: Option<&Path>,
) -> Vec<ServiceFile> {
    let named = servicefile
        .map(Path::to_owned)
        .or_else(|| set(lookup, "PGSERVICEFILE").map(PathBuf::from));
    let usual = || user_file(lookup, ".pg_service.conf", ".pg_service.conf");
    let system = set(lookup, "PGSYSCONFDIR").map(|dir| Path::new(&dir).join("pg_service.conf"));
    let file = |named| move |path| ServiceFile { path, named };
    let own = named.map(file(true)).or_else(|| usual().map(file(false)));
    own.into_iter().chain(system.map(file(false))).collect()
}

/// Returns the settings of the first group called `service` in the file, or `None` if the file has
/// no such group, or if it does not exist and was not named explicitly. If a key is repeated, its
/// first value counts, as in libpq.
///
/// # Errors
/// [`ServiceError`] if the file cannot be read or a line of the group is invalid.
pub(crate) fn read(
    file: &ServiceFile,
    service: &str,
) -> Result<Option<Vec<(String, String)>>, ServiceError> {
    let path = || file.path.clone();
    let text = files::read(&file.path, files::SHARED_LIMIT).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    match text {
        Ok(text) => group(&text, &file.path, service),
        Err(error) if is_missing(&error) && file.named => {
            Err(ServiceError::Missing { path: path() })
        }
        Err(error) if is_missing(&error) => Ok(None),
        Err(reason) => Err(ServiceError::Read {
            path: path(),
            reason,
        }),
    }
}

pub(crate) fn group(
    text: &str,
    path: &Path,
    service: &str,
) -> Result<Option<Vec<(String, String)>>, ServiceError> {
    let mut settings: Option<Vec<(String, String)>> = None;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            if settings.is_some() {
                break;
            }
            // libpq ignores text after the bracket, such as a comment.
            let rest = name.strip_prefix(service);
            if rest.is_some_and(|rest| rest.starts_with(']')) {
                settings = Some(Vec::new());
            }
        } else if let Some(settings) = &mut settings {
            let (key, value) = setting(line, path, index + 1)?;
            if !settings.iter().any(|(known, _)| *known == key) {
                if settings.len() == MOST_SETTINGS {
                    return Err(ServiceError::Many {
                        path: path.to_owned(),
                        line: index + 1,
                    });
                }
                settings.push((key, value));
            }
        }
    }
    Ok(settings)
}

fn setting(line: &str, path: &Path, number: usize) -> Result<(String, String), ServiceError> {
    let path = || path.to_owned();
    if line.starts_with("ldap") {
        return Err(ServiceError::Ldap {
            path: path(),
            line: number,
        });
    }
    let Some((name, value)) = line
        .split_once('=')
        .filter(|(name, _)| is_keyword(name.trim_end()))
    else {
        return Err(ServiceError::Syntax {
            path: path(),
            line: number,
        });
    };
    let key = name.trim_end();
    if matches!(key, "service" | "servicefile") {
        return Err(ServiceError::Nested {
            path: path(),
            line: number,
        });
    }
    // `key=value` is taken literally, as in libpq, which rejects `key = value`.
    let value = if key == name {
        value
    } else {
        value.trim_start()
    };
    Ok((key.to_owned(), value.to_owned()))
}

/// Whether the name looks like a keyword; anything else may be the second line of a secret.
fn is_keyword(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const FILE: &str = "\
# comment
ignored before any group
[shop]
host=db.internal
port=5433

  # indented comment
  password= with blank = and # signs
host=second
user = app

[other]
nonsense here is of no concern
[shop]
host=late
[bad]
dbname
[nested]
service=shop
[ldap]
ldap://dir/cn=x
[secretive]
pa ss-tricky=1
[empty]
[noted] # in production
user=app
";

    fn of(service: &str) -> Result<Option<Vec<(String, String)>>, ServiceError> {
        group(FILE, Path::new("/etc/svc.conf"), service)
    }

    fn message(service: &str) -> String {
        of(service).expect_err("a refused service").to_string()
    }

    #[test]
    fn reads_the_first_group_of_that_name() {
        let settings = of("shop").expect("fine").expect("found");
        let settings: Vec<_> = settings
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            settings,
            [
                ("host", "db.internal"),
                ("port", "5433"),
                ("password", " with blank = and # signs"),
                ("user", "app"),
            ]
        );
    }

    #[test]
    fn an_empty_group_is_found_and_an_absent_one_is_not() {
        assert_eq!(of("empty").expect("fine"), Some(Vec::new()));
        assert_eq!(of("absent").expect("fine"), None);
        assert_eq!(of("sho").expect("fine"), None);
        assert_eq!(of("shops").expect("fine"), None);
    }

    #[test]
    fn what_follows_the_name_of_a_group_is_ignored() {
        let user = ("user".to_owned(), "app".to_owned());
        assert_eq!(of("noted").expect("fine"), Some(vec![user]));
    }

    #[test]
    fn errors_name_file_and_line_and_no_value() {
        assert!(message("bad").starts_with("/etc/svc.conf:17: expected key=value"));
        assert!(message("nested").starts_with("/etc/svc.conf:19: a service cannot set"));
        assert!(message("ldap").starts_with("/etc/svc.conf:21: looking up a service in LDAP"));
        assert!(!message("secretive").contains("tricky"));
        assert!(!format!("{:?}", of("secretive")).contains("tricky"));
    }

    #[test]
    fn a_service_has_a_bounded_number_of_settings() {
        let name = |mut n: usize| {
            let mut name = String::from("k");
            while n > 0 {
                name.push(char::from(b'a' + (n % 26) as u8));
                n /= 26;
            }
            name
        };
        let file = |count: usize| {
            let lines = (0..count).map(|n| format!("{}=1\n", name(n)));
            format!("[a]\n{}", lines.collect::<String>())
        };
        let settings = group(&file(256), Path::new("f"), "a").expect("the limit itself");
        assert_eq!(settings.map(|settings| settings.len()), Some(256));
        let error = group(&file(257), Path::new("f"), "a").expect_err("one more");
        assert_eq!(
            error.to_string(),
            "f:258: more than 256 settings in one service"
        );
    }

    #[test]
    fn a_file_with_windows_line_ends_and_a_byte_order_mark_works() {
        let settings = group("\u{feff}[a]\r\nhost=h\r\n", Path::new("f"), "a");
        assert_eq!(
            settings.unwrap().unwrap(),
            [("host".to_owned(), "h".to_owned())]
        );
    }

    fn file(path: impl Into<PathBuf>, named: bool) -> ServiceFile {
        let path = path.into();
        ServiceFile { path, named }
    }

    #[test]
    fn missing_and_unreadable_files_differ() {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let absent = directory.path().join("absent.conf");
        assert_eq!(read(&file(&absent, false), "a").expect("no file"), None);
        let error = read(&file(&absent, true), "a").expect_err("a named file");
        assert!(error.to_string().starts_with("there is no service file /"));
        let error = read(&file(directory.path(), false), "a").expect_err("a directory");
        assert!(error.to_string().starts_with("cannot read service file"));
        let there = file(absent, true);
        fs::write(&there.path, b"[a]\nhost=\xff\n").expect("write");
        assert!(matches!(read(&there, "a"), Err(ServiceError::Read { .. })));
        fs::write(&there.path, b"[a]\nhost=h\n").expect("write");
        assert!(read(&there, "a").expect("readable").is_some());
        if cfg!(unix) {
            let error = read(&file("/dev/zero", true), "a").expect_err("no end");
            let text = error.to_string();
            assert_eq!(
                text,
                "cannot read service file /dev/zero: not a regular file"
            );
        }
        let large = fs::File::create(&there.path).expect("write");
        large.set_len(files::SHARED_LIMIT + 1).expect("write");
        let text = read(&there, "a").expect_err("too large").to_string();
        assert!(text.ends_with("larger than 16777216 bytes"), "{text}");
    }

    #[test]
    fn files_are_looked_for_in_order() {
        let environment = |name: &str| match name {
            "PGSERVICEFILE" => Some("/srv/own.conf".to_owned()),
            "PGSYSCONFDIR" => Some("/etc/pg".to_owned()),
            _ => None,
        };
        let system = file("/etc/pg/pg_service.conf", false);
        let found = find_files(&environment, None);
        assert_eq!(found, [file("/srv/own.conf", true), system.clone()]);
        let found = find_files(&environment, Some(Path::new("given.conf")));
        assert_eq!(found, [file("given.conf", true), system]);
        if !cfg!(windows) {
            let home = |name: &str| (name == "HOME").then(|| "/home/app".to_owned());
            assert_eq!(
                find_files(&home, None),
                [file("/home/app/.pg_service.conf", false)]
            );
        }
    }
}
