//! The output file of an export: written beside its destination and renamed when complete.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::NamedTempFile;
use tokio::sync::{mpsc, oneshot};

use crate::csv::charset::Charset;
use crate::csv::encode::{Encoder, Unencodable};
use crate::error::Error;

/// How many blocks may be queued for the writing thread.
const AHEAD: usize = 4;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// A file written by a thread of its own. Dropped before `finish`, it leaves nothing behind.
pub(crate) struct Target {
    blocks: Option<mpsc::Sender<Vec<u8>>>,
    /// Empty blocks to be filled again.
    empty: mpsc::Receiver<Vec<u8>>,
    done: oneshot::Receiver<Result<(), Error>>,
    /// Kept here rather than in the thread, so that dropping it removes the file immediately.
    place: Place,
    path: PathBuf,
}

/// Where the bytes go.
enum Place {
    /// To a temporary file beside the destination.
    Beside(NamedTempFile, PathBuf),
    /// Directly to what exists: a pipe, a device, standard output.
    Through,
}

impl Target {
    /// Opens a file; `-` is standard output. An existing file stays in place until `finish`.
    pub(crate) fn create(path: &Path, charset: Charset) -> Result<Self, Error> {
        let failed = |error| Error::file("create", path, error);
        let (sink, place) = open(path).map_err(failed)?;
        let mut writer = Writer {
            sink: compressed(path, sink).map_err(failed)?,
            encoder: Encoder::new(charset),
            line: 0,
            path: path.to_owned(),
        };
        // A rename can reach the disk before the data does; without the sync, a power failure could
        // leave an empty file in place of a complete one. Either the old or the new name may
        // survive, so the directory is not synced.
        let durable = match &place {
            Place::Beside(file, _) => Some(file.as_file().try_clone().map_err(failed)?),
            Place::Through => None,
        };
        let (blocks, mut filled) = mpsc::channel::<Vec<u8>>(AHEAD);
        let (give_back, empty) = mpsc::channel(AHEAD * 2);
        let (tell, done) = oneshot::channel();
        thread::spawn(move || {
            let mut work = || {
                writer.put(charset.mark())?;
                while let Some(mut block) = filled.blocking_recv() {
                    if block.is_empty() {
                        // The end marker: without it the command has given up.
                        writer.end()?;
                        let synced = durable.as_ref().map_or(Ok(()), File::sync_all);
                        return synced.map_err(|error| writer.failed(error));
                    }
                    writer.write(&block)?;
                    block.clear();
                    let _ = give_back.try_send(block);
                }
                Ok(())
            };
            let outcome = work();
            // Closed first, so that `write` learns of the failure.
            drop(filled);
            let _ = tell.send(outcome);
        });
        Ok(Self {
            blocks: Some(blocks),
            empty,
            done,
            place,
            path: path.to_owned(),
        })
    }

    /// Queues a block for writing and returns an empty one.
    pub(crate) async fn write(&mut self, block: Vec<u8>) -> Result<Vec<u8>, Error> {
        if block.is_empty() {
            return Ok(block);
        }
        let blocks = self.blocks.as_ref().expect("only finish takes it");
        if blocks.send(block).await.is_err() {
            return Err(self.reason().await);
        }
        Ok(self.empty.try_recv().unwrap_or_default())
    }

    /// Waits until all data is on disk, then renames the file to its destination.
    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        let blocks = self.blocks.take().expect("only finish takes it");
        let _ = blocks.send(Vec::new()).await;
        match (&mut self.done).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                return Err(Error::failed(
                    "the writing thread ended unexpectedly".to_owned(),
                ));
            }
        }
        if let Place::Beside(file, to) = self.place {
            let put = file.persist(&to);
            put.map_err(|error| Error::file("write", &self.path, error.error))?;
        }
        Ok(())
    }

    async fn reason(&mut self) -> Error {
        match (&mut self.done).await {
            Ok(Err(error)) => error,
            _ => Error::failed("the writing thread ended unexpectedly".to_owned()),
        }
    }
}

fn open(path: &Path) -> io::Result<(Box<dyn Write + Send>, Place)> {
    if path == Path::new("-") {
        return Ok((Box::new(stdout()?), Place::Through));
    }
    // A symbolic link stays a link; its target is replaced.
    let to = destination(path);
    let there = to.metadata().ok();
    if there.as_ref().is_some_and(|there| there.is_dir()) {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        return Ok((
            Box::new(File::options().write(true).open(&to)?),
            Place::Through,
        ));
    }
    let folder = match to.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let name = to
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut beside = tempfile::Builder::new();
    let prefix = format!(".{name}.");
    beside.prefix(&prefix).suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As for any new file, the umask applies; a replaced file keeps its mode.
        beside.permissions(std::fs::Permissions::from_mode(0o666));
    }
    // The error does not name the temporary file; the same error applies to the destination.
    let file = beside
        .tempfile_in(folder)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(error.kind(), "no such directory"),
            kind => io::Error::from(kind),
        })?;
    if let Some(there) = there {
        file.as_file().set_permissions(there.permissions())?;
    }
    Ok((Box::new(file.reopen()?), Place::Beside(file, to)))
}

/// The file that a path leads to, also where it does not exist yet.
fn destination(path: &Path) -> PathBuf {
    /// As many links as the operating system follows.
    const MOST: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST {
        if let Ok(found) = path.canonicalize() {
            return found;
        }
        let Ok(target) = path.read_link() else {
            break;
        };
        path = match path.parent() {
            Some(folder) => folder.join(target),
            None => target,
        };
    }
    path
}

/// Standard output, bypassing the lock that the command holds on it.
#[cfg(unix)]
fn stdout() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

#[cfg(windows)]
fn stdout() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(File::from(io::stdout().as_handle().try_clone_to_owned()?))
}

/// The compression that the file's extension asks for.
fn compressed(path: &Path, sink: Box<dyn Write + Send>) -> io::Result<Sink> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    Ok(match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("gz" | "gzip") => Sink::Gzip(flate2::write::GzEncoder::new(
            sink,
            flate2::Compression::default(),
        )),
        Some("zst" | "zstd") => Sink::Zstd(zstd::Encoder::new(sink, ZSTD_LEVEL)?),
        _ => Sink::Plain(sink),
    })
}

enum Sink {
    Plain(Box<dyn Write + Send>),
    Gzip(flate2::write::GzEncoder<Box<dyn Write + Send>>),
    Zstd(zstd::Encoder<'static, Box<dyn Write + Send>>),
}

struct Writer {
    sink: Sink,
    encoder: Encoder,
    /// Lines written so far.
    line: u64,
    path: PathBuf,
}

impl Writer {
    fn write(&mut self, text: &[u8]) -> Result<(), Error> {
        if self.encoder.is_identity() {
            return self.put(text);
        }
        let mut bytes = Vec::with_capacity(text.len() * 2);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            self.line += 1;
            self.encoder.encode(line, &mut bytes).map_err(|Unencodable(character)| {
                let code = u32::from(character);
                Error::Failed {
                    text: format!(
                        "{}: line {} contains {character:?} (U+{code:04X}), which the encoding lacks",
                        self.path.display(),
                        self.line
                    ),
                    hint: Some("--encoding utf-8 has every character".to_owned()),
                }
            })?;
        }
        self.put(&bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = match &mut self.sink {
            Sink::Plain(sink) => sink.write_all(bytes),
            Sink::Gzip(sink) => sink.write_all(bytes),
            Sink::Zstd(sink) => sink.write_all(bytes),
        };
        written.map_err(|error| self.failed(error))
    }

    fn end(&mut self) -> Result<(), Error> {
        let ended = match &mut self.sink {
            Sink::Plain(sink) => sink.flush(),
            Sink::Gzip(sink) => sink.try_finish().and_then(|()| sink.get_mut().flush()),
            Sink::Zstd(sink) => sink.do_finish().and_then(|()| sink.get_mut().flush()),
        };
        ended.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Error::print(error),
            _ => Error::file("write", &self.path, error),
        }
    }
}
