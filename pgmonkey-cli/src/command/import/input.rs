//! The file of an import, with its first rows buffered.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::csv::charset::Charset;
use crate::csv::decode::{Decoder, Evidence, Undecodable};
use crate::csv::record;
use crate::csv::source::{self, Other};
use crate::error::Error;

/// How many bytes are read and sent at a time.
pub(crate) const BLOCK: usize = 256 << 10;

pub(crate) struct Input {
    /// The name as it is displayed.
    pub(crate) name: String,
    /// Text read and not yet taken, as UTF-8.
    pub(crate) buffer: Vec<u8>,
    /// The line of the file on which the buffer begins.
    pub(crate) line: u64,
    /// Whether the buffer holds the rest of the file.
    pub(crate) ended: bool,
    /// The length on disk.
    pub(crate) size: Option<u64>,
    pub(crate) compression: Option<&'static str>,
    read: Arc<AtomicU64>,
    decoder: Decoder<Box<dyn Read + Send>>,
}

/// The name of a file as it is displayed.
pub(crate) fn name(path: &Path) -> String {
    match path == Path::new("-") {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    }
}

/// The error for a file that is no CSV.
fn other(path: &Path, other: Other) -> Error {
    Error::Failed {
        text: format!("{}: not a CSV file but {}", name(path), other.what),
        hint: Some(other.advice.to_owned()),
    }
}

impl Input {
    pub(crate) fn open(path: &Path, charset: Option<Charset>) -> Result<Self, Error> {
        let failed = |error| Error::file("read", path, error);
        let source = source::open(path).map_err(failed)?;
        if let Some(what) = source.other {
            return Err(other(path, what));
        }
        let decoder = Decoder::new(source.reader, charset).map_err(failed)?;
        let mut input = Self {
            name: name(path),
            buffer: Vec::new(),
            line: 1,
            ended: false,
            size: source.size,
            compression: source.compression,
            read: source.read,
            decoder,
        };
        input.more(BLOCK, 1)?;
        Ok(input)
    }

    /// Reads more; `line` is the line of the buffer's first row.
    pub(crate) fn more(&mut self, amount: usize, line: u64) -> Result<(), Error> {
        let read = self.decoder.read(&mut self.buffer, amount);
        self.ended = self.decoder.is_finished();
        read.map_err(|failed| self.undecodable(failed, line))
    }

    /// Leaves out the first lines of the file.
    pub(crate) fn skip(&mut self, lines: u64) -> Result<(), Error> {
        for _ in 0..lines {
            loop {
                let end = memchr::memchr2(b'\n', b'\r', &self.buffer);
                // The line feed of a carriage return may not have been read yet.
                if self.ended || end.is_some_and(|at| at + 1 < self.buffer.len()) {
                    break;
                }
                self.more(self.buffer.len().max(BLOCK), self.line)?;
            }
            let length = record::line(&self.buffer);
            self.buffer.drain(..length);
            self.line += 1;
        }
        Ok(())
    }

    fn undecodable(&self, failed: Undecodable, line: u64) -> Error {
        let (at, bytes) = match failed {
            Undecodable::Io(error) => return Error::file("read", Path::new(&self.name), error),
            Undecodable::Bytes { at, bytes } => (at, bytes),
        };
        let before = &self.buffer[..at.min(self.buffer.len())];
        let line = line + memchr::memchr_iter(b'\n', before).count() as u64;
        let begin = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        let character = String::from_utf8_lossy(&before[begin..]).chars().count() + 1;
        let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Error::Failed {
            text: format!(
                "{}:{line}: character {character}: the bytes {} are not {}",
                self.name,
                bytes.join(" "),
                self.decoder.found().0
            ),
            hint: Some("set the file's encoding with --encoding".to_owned()),
        }
    }

    /// The delimiter that the first line sets for Excel, as `sep=;`.
    pub(crate) fn separator(&self) -> Option<u8> {
        let end = memchr::memchr2(b'\n', b'\r', &self.buffer);
        let line = &self.buffer[..end.unwrap_or(self.buffer.len())];
        let inner = line.strip_prefix(b"\"");
        let inner = inner.and_then(|line| line.strip_suffix(b"\""));
        match inner.unwrap_or(line) {
            [name @ .., separator] if name.eq_ignore_ascii_case(b"sep=") => {
                let usable = separator.is_ascii() && !separator.is_ascii_alphanumeric();
                (usable && *separator != b'"').then_some(*separator)
            }
            _ => None,
        }
    }

    pub(crate) fn found(&self) -> (Charset, Evidence) {
        self.decoder.found()
    }

    /// How many bytes of the file were read.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}
