//! Names that exist only on Unix, outside items that are compiled only there: no other target's
//! standard library is at hand to compile for.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The crates that other systems compile.
const PORTABLE: [&str; 7] = [
    "pgmonkey-config/src",
    "pgmonkey-cache/src",
    "pgmonkey-connect/src",
    "pgmonkey-sync/src",
    "pgmonkey-async/src",
    "pgmonkey/src",
    "pgmonkey-cli/src",
];

const UNIX_NAMES: [&str; 10] = [
    "os::unix",
    "os::fd",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "signal::unix",
    "pthread_atfork",
    "libc::fork",
    ".host_path(",
    "AsRawFd",
];

pub(super) fn found(root: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(file);
        if !PORTABLE.iter().any(|folder| name.starts_with(folder)) {
            continue;
        }
        let text = fs::read_to_string(file).with_context(|| name.display().to_string())?;
        problems.extend(ungated(&text).into_iter().map(|(line, what)| {
            let name = name.display();
            format!("{name}:{line}: `{what}` is only on Unix: put it under #[cfg(unix)]")
        }));
    }
    Ok(problems)
}

/// The lines with such a name outside every item under `#[cfg(unix)]`.
fn ungated(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    // While in a gated item: how many brackets are open in it.
    let mut gated: Option<i32> = None;
    for (index, line) in text.lines().enumerate() {
        let code = line.trim();
        if code.starts_with("//") {
            continue;
        }
        let attribute = code.starts_with("#[") && code.ends_with(']');
        if gated.is_none() && attribute && is_unix(code) {
            gated = Some(0);
            continue;
        }
        match &mut gated {
            // Further attributes of the item.
            Some(0) if attribute => {}
            Some(open) => {
                *open += brackets(code);
                if *open <= 0 && code.ends_with(['}', ';', ',']) {
                    gated = None;
                }
            }
            None => {
                let names = UNIX_NAMES.iter().filter(|name| code.contains(**name));
                // Generated text, not code.
                let names = names.filter(|name| !code.contains(&format!("\"{name}")));
                found.extend(names.map(|name| (index + 1, *name)));
            }
        }
    }
    found
}

fn is_unix(attribute: &str) -> bool {
    let unix = attribute.contains("unix") || attribute.contains("target_os = \"linux\"");
    attribute.contains("cfg(") && unix && !attribute.contains("not(unix")
}

fn brackets(code: &str) -> i32 {
    let count = |of: [char; 3]| code.matches(|c| of.contains(&c)).count() as i32;
    count(['(', '[', '{']) - count([')', ']', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outside_a_gated_item_is_found() {
        let text = "\
#[cfg(unix)]
use tokio::net::UnixStream;
use std::os::unix::fs::MetadataExt;

#[cfg(unix)]
#[expect(unused, reason = \"none\")]
fn gated() {
    UnixStream::pair();
    if true {
        UnixStream::pair();
    }
}
// UnixStream
fn other(stream: UnixStream) {
    match stream {
        #[cfg(unix)]
        Address::Unix(path) => {
            UnixStream::connect(path);
        }
        _ => config.host_path(\"/tmp\"),
    }
}
#[cfg(not(unix))]
fn elsewhere() {
    pthread_atfork();
}
";
        let found: Vec<_> = ungated(text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(found, [3, 14, 20, 25]);
    }
}
