//! Reads files of unknown, possibly unlimited size, up to a limit.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// The limit for a file that only this library and its CLI read: a configuration, the target of
/// `from_file`, settings beside a CSV file. 1 MiB; such files have a few kilobytes.
pub const OWN_LIMIT: u64 = 1 << 20;

/// The limit for a file that libpq also reads, without a limit: certificates, revocation lists,
/// password and service files. 16 MiB; a system's whole list of authorities has a quarter of one
/// MiB.
pub const SHARED_LIMIT: u64 = 16 << 20;

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
///
/// An error of the operating system, or an error if the path is not a regular file but, for
/// example, a device or a pipe, or if the file is larger than `limit`. The error does not name the
/// path.
///
/// ```
/// use pgmonkey_config::files;
///
/// # if cfg!(unix) {
/// let error = files::read("/dev/zero".as_ref(), files::OWN_LIMIT).unwrap_err();
/// assert_eq!(error.to_string(), "not a regular file");
/// # }
/// ```
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_of(path, limit, FileType::is_file, "not a regular file")
}

/// Reads a regular file or a pipe, such as `<(…)` or `/dev/stdin`, of at most `limit` bytes. A pipe
/// is read to its end.
///
/// # Errors
///
/// As for [`read`].
///
/// ```
/// use pgmonkey_config::files;
///
/// # if cfg!(unix) {
/// let error = files::read_or_pipe("/dev/zero".as_ref(), files::OWN_LIMIT).unwrap_err();
/// assert_eq!(error.to_string(), "neither a regular file nor a pipe");
/// # }
/// ```
pub fn read_or_pipe(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let fits = |kind: &FileType| kind.is_file() || is_pipe(kind);
    read_of(path, limit, fits, "neither a regular file nor a pipe")
}

/// Reads an open source of at most `limit` bytes.
///
/// # Errors
///
/// The error of the source, or an error if there are more than `limit` bytes.
///
/// ```
/// use pgmonkey_config::files;
///
/// let error = files::read_from(std::io::repeat(0), 10).unwrap_err();
/// assert_eq!(error.to_string(), "larger than 10 bytes");
/// ```
pub fn read_from(source: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            too_large(limit),
        ));
    }
    Ok(bytes)
}

/// Returns the text of a file that holds one value: without a byte order mark and without one
/// newline at its end.
pub(crate) fn line_of(bytes: Vec<u8>) -> Result<String, &'static str> {
    let text = String::from_utf8(bytes).map_err(|_| "not valid UTF-8 text")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let line = match text.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => text,
    };
    Ok(line.to_owned())
}

/// Whether the path is a pipe.
pub(crate) fn is_pipe_at(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| is_pipe(&metadata.file_type()))
}

/// Like [`mode_open_to_others`], of a path.
pub(crate) fn mode_open_to_others_at(path: &Path) -> Option<u32> {
    mode_open_to_others(&fs::metadata(path).ok()?)
}

/// Returns the permissions of a regular file if its group or others have access to it, as libpq
/// checks for the password file.
#[cfg(unix)]
pub(crate) fn mode_open_to_others(metadata: &Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o7777;
    (metadata.is_file() && mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
pub(crate) fn mode_open_to_others(_: &Metadata) -> Option<u32> {
    None
}

pub(crate) fn too_large(limit: u64) -> String {
    format!("larger than {limit} bytes")
}

fn read_of(
    path: &Path,
    limit: u64,
    fits: impl Fn(&FileType) -> bool,
    otherwise: &'static str,
) -> io::Result<Vec<u8>> {
    let check = |metadata: Metadata| match metadata.file_type() {
        // Opening or reading a directory fails with an error of the operating system.
        kind if kind.is_dir() || fits(&kind) => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, otherwise)),
    };
    // Checked before the open, because opening a pipe waits for its writer, and again after it, in
    // case the path has been replaced.
    check(fs::metadata(path)?)?;
    let file = File::open(path)?;
    check(file.metadata()?)?;
    read_from(file, limit)
}

#[cfg(unix)]
fn is_pipe(kind: &FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    kind.is_fifo()
}

#[cfg(not(unix))]
fn is_pipe(_: &FileType) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_read() {
        assert_eq!(read_from([7; 10].as_slice(), 10).unwrap(), [7; 10]);
        assert!(read_from([7; 11].as_slice(), 10).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_is_read_where_one_may_be_and_opened_nowhere_else() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let pipe = scratch.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo runs").success());
        // Opening it would never return: there is no writer.
        let error = read(&pipe, 10).unwrap_err();
        assert_eq!(error.to_string(), "not a regular file");
        let theirs = pipe.clone();
        let writer = std::thread::spawn(move || fs::write(theirs, "text"));
        assert_eq!(read_or_pipe(&pipe, 10).unwrap(), b"text");
        writer.join().expect("no panic").expect("written");
    }
}
