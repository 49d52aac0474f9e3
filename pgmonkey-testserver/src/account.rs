//! The account a server runs under: PostgreSQL refuses to run as root.

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Accounts to drop to; the first that exists is used. `initdb` needs an account with an entry in
/// the password database, so an arbitrary uid does not work.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// The account that server processes run as: the current one, or an unprivileged one if the
/// current one is root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    drop_to: Option<(u32, u32)>,
}

impl Account {
    pub(crate) fn choose() -> anyhow::Result<Self> {
        if id(&["-u"])? != 0 {
            return Ok(Self { drop_to: None });
        }
        for name in CANDIDATES {
            if let (Ok(user), Ok(group)) = (id(&["-u", name]), id(&["-g", name])) {
                return Ok(Self {
                    drop_to: Some((user, group)),
                });
            }
        }
        bail!(
            "PostgreSQL refuses to run as root and there is no account to drop to: tried {}",
            CANDIDATES.join(", ")
        )
    }

    /// Returns a command that runs as this account, without this process's `PG*` variables.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Some((user, group)) = self.drop_to {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes this account the owner of `path`.
    pub(crate) fn own(&self, path: &Path) -> anyhow::Result<()> {
        let Some((user, group)) = self.drop_to else {
            return Ok(());
        };
        chown(path, Some(user), Some(group))
            .with_context(|| format!("cannot give {} to uid {user}", path.display()))
    }

    /// Whether this account can reach `path`.
    pub(crate) fn can_reach(&self, path: &Path) -> bool {
        self.drop_to.is_none() || path.ancestors().all(open_to_others)
    }
}

fn open_to_others(directory: &Path) -> bool {
    directory
        .metadata()
        .is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
}

fn id<S: AsRef<OsStr>>(args: &[S]) -> anyhow::Result<u32> {
    let output = Command::new("id")
        .args(args)
        .output()
        .context("cannot run `id`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .context("`id` did not print a number: there is no such account")
}

/// Whether the account that servers run as can reach `path`.
///
/// # Errors
///
/// When there is no account for them.
pub fn servers_reach(path: &Path) -> anyhow::Result<bool> {
    Ok(Account::choose()?.can_reach(path))
}

/// Returns a command that runs `program` as the account that servers run as: the current one, or an
/// unprivileged one if the current one is root. This process's `PG*` variables are left out.
///
/// # Errors
///
/// When there is no account for them.
pub fn server_command(program: &Path) -> anyhow::Result<Command> {
    Ok(Account::choose()?.command(program))
}

/// Makes the account that servers run as the owner of `path`.
///
/// # Errors
///
/// When there is no account for them, or the owner cannot be changed.
pub fn give_to_servers(path: &Path) -> anyhow::Result<()> {
    Account::choose()?.own(path)
}
