//! An image that replaces the official `postgres` image where no registry can be reached, built
//! from the programs on this machine.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::docker::{Docker, bounded, docker};
use crate::locate::Binaries;

/// The programs that the entrypoint and the server call besides PostgreSQL's own.
const TOOLS: [&str; 11] = [
    "bash", "cat", "chmod", "chown", "cp", "id", "mkdir", "rm", "setpriv", "sleep", "sh",
];

const SERVER: [&str; 4] = ["initdb", "postgres", "pg_isready", "psql"];

/// Left out because they are large; without them the server does not JIT-compile queries.
const LEFT_OUT: [&str; 2] = ["llvmjit.so", "llvmjit_types.bc"];

/// Handles the variables and the init directory as the official image does, with one difference:
/// no server runs while the init scripts run.
const ENTRYPOINT: &str = r#"#!/bin/bash
set -eu
export PGDATA=/var/lib/postgresql/data
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA"
  chown postgres:postgres "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
if [ ! -e "$PGDATA/PG_VERSION" ]; then
  printf '%s' "${POSTGRES_PASSWORD:?must be set}" >/tmp/password
  initdb --no-sync --encoding=UTF8 --locale=C --auth=scram-sha-256 \
    --username="${POSTGRES_USER:-postgres}" --pwfile=/tmp/password --pgdata="$PGDATA"
  rm /tmp/password
  database="${POSTGRES_DB:-${POSTGRES_USER:-postgres}}"
  if [ "$database" != postgres ]; then
    printf 'CREATE DATABASE "%s";\n' "$database" |
      postgres --single -D "$PGDATA" -c fsync=off postgres
  fi
  printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  printf "listen_addresses = '*'\nunix_socket_directories = '/tmp'\n" >>"$PGDATA/postgresql.conf"
  for script in /docker-entrypoint-initdb.d/*.sh; do
    [ -e "$script" ] && . "$script"
  done
fi
exec postgres -D "$PGDATA" "$@"
"#;

impl Docker {
    /// Builds an image called `tag` from `binaries`, their libraries and a few tools of this
    /// machine. Linux only; the engine must run on the same architecture.
    ///
    /// # Errors
    ///
    /// When a file it needs is missing on this machine, or the engine refuses the image.
    pub fn build_standin(&self, binaries: &Binaries, tag: &str) -> anyhow::Result<()> {
        let parent = tempfile::tempdir()?;
        let root = Root {
            dir: parent.path().join("root"),
        };
        root.fill(binaries)?;
        let archive = parent.path().join("root.tar");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&root.dir).arg("-cf").arg(&archive);
        bounded(
            {
                tar.args(["--owner=0", "--group=0", "."]);
                tar
            },
            LIMIT,
        )?;
        let mut import = docker(["import"]);
        for change in [
            "ENTRYPOINT [\"/entrypoint.sh\"]".to_owned(),
            format!("ENV PATH=/bin:{}", binaries.dir().display()),
            "EXPOSE 5432".to_owned(),
        ] {
            import.args(["--change", &change]);
        }
        bounded(
            {
                import.arg(&archive).arg(tag);
                import
            },
            LIMIT,
        )
        .with_context(|| format!("cannot import {tag}"))?;
        Ok(())
    }

    /// Removes an image; does nothing if there is none.
    ///
    /// # Errors
    ///
    /// When a container still uses it.
    pub fn remove_image(&self, tag: &str) -> anyhow::Result<()> {
        if self.has_image(tag) {
            bounded(docker(["image", "rm", tag]), LIMIT)?;
        }
        Ok(())
    }
}

const LIMIT: Duration = Duration::from_secs(120);

/// The file tree of the image.
struct Root {
    dir: PathBuf,
}

impl Root {
    fn fill(&self, binaries: &Binaries) -> anyhow::Result<()> {
        for dir in ["tmp", "etc", "bin", "docker-entrypoint-initdb.d"] {
            fs::create_dir_all(self.dir.join(dir))?;
        }
        let open = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(self.dir.join("tmp"), open)?;
        self.write(
            "etc/passwd",
            "root:x:0:0::/:/bin/bash\npostgres:x:999:999::/:/bin/bash\n",
        )?;
        self.write("etc/group", "root:x:0:\npostgres:x:999:\n")?;
        self.write("entrypoint.sh", ENTRYPOINT)?;

        let mut programs = BTreeSet::new();
        for tool in TOOLS {
            let from = which(tool)?;
            self.copy(&from, &Path::new("/bin").join(tool))?;
            programs.insert(from);
        }
        for name in SERVER {
            let from = binaries.dir().join(name);
            self.copy(&from, &from)?;
            programs.insert(from);
        }
        programs.extend(self.server_libraries(binaries)?);
        self.copy_tree(&config(binaries, "--sharedir")?)?;
        self.copy_tree(Path::new("/usr/share/zoneinfo"))?;
        self.shared_libraries(&programs)
    }

    fn server_libraries(&self, binaries: &Binaries) -> anyhow::Result<Vec<PathBuf>> {
        let mut libraries = Vec::new();
        for entry in config(binaries, "--pkglibdir")?.read_dir()? {
            let entry = entry?;
            let name = entry.file_name();
            let wanted = !LEFT_OUT.iter().any(|left_out| name == *left_out);
            if wanted && entry.path().is_file() {
                self.copy(&entry.path(), &entry.path())?;
                libraries.push(entry.path());
            }
        }
        Ok(libraries)
    }

    /// Copies the libraries that the loader reports for each program, and the loader itself.
    fn shared_libraries(&self, programs: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
        let output = Command::new("ldd").args(programs).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let paths: BTreeSet<&str> = text
            .split_whitespace()
            .filter(|word| word.starts_with('/') && !word.ends_with(':'))
            .collect();
        ensure!(!paths.is_empty(), "`ldd` names no libraries");
        for path in paths {
            self.copy(Path::new(path), Path::new(path))?;
        }
        Ok(())
    }

    fn copy_tree(&self, from: &Path) -> anyhow::Result<()> {
        let to = self.inside(from);
        fs::create_dir_all(to.parent().context("a tree to copy has a parent")?)?;
        let mut cp = Command::new("cp");
        // Follows links: they may point outside the tree.
        cp.arg("-rL").arg(from).arg(&to).stdin(Stdio::null());
        bounded(cp, LIMIT).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        let to = self.inside(to);
        fs::create_dir_all(to.parent().context("a file to copy has a parent")?)?;
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }

    fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.dir.join(path);
        fs::write(&path, text)?;
        Ok(fs::set_permissions(
            &path,
            fs::Permissions::from_mode(0o755),
        )?)
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.dir.join(path.strip_prefix("/").unwrap_or(path))
    }
}

fn which(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
        .with_context(|| format!("no `{program}` on PATH"))
}

fn config(binaries: &Binaries, what: &str) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(binaries.dir().join("pg_config"));
    command.arg(what);
    let output = bounded(command, LIMIT).context("cannot ask `pg_config`")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}
