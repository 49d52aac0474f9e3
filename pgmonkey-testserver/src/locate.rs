//! Finds PostgreSQL's server programs.

use std::cmp::Reverse;
use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// The variable with the directory to use; if it is set, no other place is searched.
const VARIABLE: &str = "PGMONKEY_PG_BIN";

/// Where packages install several versions: the directory that holds the versions, the prefix of
/// their names, and the path from there to the programs.
const VERSIONED: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Library/PostgreSQL", "", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// Where packages install a single version.
const SINGLE: [&str; 6] = [
    "/opt/homebrew/opt/postgresql/bin",
    "/usr/local/opt/postgresql/bin",
    "/usr/local/pgsql/bin",
    "/usr/libexec/postgresql",
    "/usr/local/bin",
    "/usr/bin",
];

/// A directory with PostgreSQL's server programs in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// Looks in `$PGMONKEY_PG_BIN` (and nowhere else when that is set), on `PATH`, where
    /// `pg_config` points, and in the directories packages use, highest version first.
    ///
    /// # Errors
    ///
    /// When there are none; the error lists every place that was searched.
    pub fn find() -> anyhow::Result<Self> {
        if let Some(dir) = env::var_os(VARIABLE).filter(|dir| !dir.is_empty()) {
            return Self::at(dir).with_context(|| format!("${VARIABLE} is set"));
        }
        let places = places();
        first(&places).with_context(|| nowhere(&places))
    }

    /// Looks for the programs of this major version in the same places, except
    /// `$PGMONKEY_PG_BIN`.
    #[must_use]
    pub fn installed(major: u32) -> Option<Self> {
        let mut found = places().into_iter().filter_map(|dir| Self::at(dir).ok());
        found.find(|found| found.major() == Some(major))
    }

    /// The major version, for example 17; `None` if the programs cannot be run.
    #[must_use]
    pub fn major(&self) -> Option<u32> {
        major(&self.version().ok()?)
    }

    /// Uses the programs in this directory.
    ///
    /// # Errors
    ///
    /// When `initdb` or `postgres` is not in it.
    pub fn at(dir: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let dir = dir.into();
        ensure!(
            is_server_dir(&dir),
            "no `initdb` and `postgres` in {}",
            dir.display()
        );
        Ok(Self { dir })
    }

    /// The directory they are in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of the libpq that came with them; none for those of a distribution, whose libpq
    /// is the system's.
    pub(crate) fn own_libpq(&self) -> Option<PathBuf> {
        let libraries = self.dir.parent()?.join("lib");
        libraries.join("libpq.so.5").is_file().then_some(libraries)
    }

    /// Returns the output of `postgres --version`, for example `postgres (PostgreSQL) 17.2`.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn version(&self) -> anyhow::Result<String> {
        let program = self.program("postgres");
        let output = Command::new(&program)
            .arg("--version")
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Searches `PATH` too: some packages of server programs lack the client.
    pub(crate) fn psql(&self) -> anyhow::Result<PathBuf> {
        let beside = self.program("psql");
        if beside.is_file() {
            return Ok(beside);
        }
        match on_path("psql") {
            Some(dir) => Ok(dir.join("psql")),
            None => bail!("no `psql` in {} nor on PATH", self.dir.display()),
        }
    }
}

/// The major version in the output of `postgres --version`.
fn major(version: &str) -> Option<u32> {
    let number = version.split_once(") ")?.1;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    places.extend(on_path("postgres").map(resolved));
    places.extend(pg_config());
    for (parent, prefix, rest) in VERSIONED {
        places.extend(versions(Path::new(parent), prefix).map(|dir| dir.join(rest)));
    }
    places.extend(SINGLE.map(PathBuf::from));
    places
}

fn first(places: &[PathBuf]) -> Option<Binaries> {
    let dir = places.iter().find(|dir| is_server_dir(dir))?.clone();
    Some(Binaries { dir })
}

fn nowhere(places: &[PathBuf]) -> String {
    let mut text = format!(
        "no PostgreSQL server programs (`initdb` and `postgres`) found: ${VARIABLE} is not set, \
         none on PATH, `pg_config --bindir` points to none, none in /usr/lib/postgresql/*/bin"
    );
    for place in places {
        // Writing to a `String` cannot fail.
        let _ = write!(text, ", {}", place.display());
    }
    text
}

fn is_server_dir(dir: &Path) -> bool {
    ["initdb", "postgres"]
        .iter()
        .all(|name| dir.join(name).is_file())
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).find(|dir| dir.join(program).is_file())
}

/// Resolves links: `/usr/local/bin/postgres` often is one, and the other programs are next to its
/// target.
fn resolved(dir: PathBuf) -> PathBuf {
    let program = dir.join("postgres");
    match program.canonicalize() {
        Ok(real) => real.parent().map_or(dir, Path::to_path_buf),
        Err(_) => dir,
    }
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| PathBuf::from(text.trim()))
}

/// The directories below `parent` that end in a version number, highest first.
fn versions(parent: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    let mut found: Vec<(Reverse<Vec<u32>>, PathBuf)> = parent
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((Reverse(version(&entry.file_name(), prefix)?), entry.path())))
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path)
}

fn version(name: &OsStr, prefix: &str) -> Option<Vec<u32>> {
    let number = name.to_str()?.strip_prefix(prefix)?;
    number.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_versions_come_first_by_number_not_by_letter() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["9.6", "10", "17", "not-a-version"] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        let names: Vec<_> = versions(parent.path(), "")
            .map(|path| path.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["17", "10", "9.6"]);
    }

    #[test]
    fn a_client_only_directory_is_passed_over() {
        let parent = tempfile::tempdir().unwrap();
        let (client, server) = (parent.path().join("client"), parent.path().join("server"));
        for (dir, names) in [(&client, &["psql"][..]), (&server, &["initdb", "postgres"])] {
            std::fs::create_dir(dir).unwrap();
            for name in names {
                std::fs::write(dir.join(name), "").unwrap();
            }
        }
        assert_eq!(first(&[client, server.clone()]).unwrap().dir(), server);
    }

    #[test]
    fn the_major_version_is_read_from_every_spelling() {
        for (text, expected) in [
            ("postgres (PostgreSQL) 17.2", Some(17)),
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)",
                Some(15),
            ),
            ("postgres (PostgreSQL) 19beta1", Some(19)),
            ("sh: postgres: not found", None),
        ] {
            assert_eq!(major(text), expected, "{text}");
        }
    }

    #[test]
    fn the_error_names_the_places() {
        let text = nowhere(&[PathBuf::from("/some/where")]);
        assert!(text.contains("/some/where") && text.contains(VARIABLE));
    }

    #[test]
    fn a_linked_program_leads_to_its_neighbours() {
        let parent = tempfile::tempdir().unwrap();
        let real = parent.path().canonicalize().unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join("postgres"), "").unwrap();
        std::os::unix::fs::symlink(real.join("postgres"), parent.path().join("postgres")).unwrap();
        assert_eq!(resolved(parent.path().to_path_buf()), real);
    }
}
