//! The file of an import, its first rows at hand.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::csv::charset::Charset;
use crate::csv::decode::{Decoder, Evidence, Undecodable};
use crate::csv::source;
use crate::error::Error;

/// How much is read and sent at a time.
pub(crate) const BLOCK: usize = 256 << 10;

pub(crate) struct Input {
    /// As it is shown.
    pub(crate) name: String,
    /// What was read and not yet taken, as UTF-8.
    pub(crate) buffer: Vec<u8>,
    /// Whether that is all there is left.
    pub(crate) ended: bool,
    /// The length on disk.
    pub(crate) size: Option<u64>,
    pub(crate) compression: Option<&'static str>,
    read: Arc<AtomicU64>,
    decoder: Decoder<Box<dyn Read + Send>>,
}

/// A file as it is shown.
pub(crate) fn name(path: &Path) -> String {
    match path == Path::new("-") {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    }
}

impl Input {
    pub(crate) fn open(path: &Path, charset: Option<Charset>) -> Result<Self, Error> {
        let failed = |error| Error::file("read", path, error);
        let source = source::open(path).map_err(failed)?;
        let decoder = Decoder::new(source.reader, charset).map_err(failed)?;
        let mut input = Self {
            name: name(path),
            buffer: Vec::new(),
            ended: false,
            size: source.size,
            compression: source.compression,
            read: source.read,
            decoder,
        };
        input.more(BLOCK, 1)?;
        Ok(input)
    }

    /// Reads on; `line` is that of the buffer's first row.
    pub(crate) fn more(&mut self, amount: usize, line: u64) -> Result<(), Error> {
        let read = self.decoder.read(&mut self.buffer, amount);
        self.ended = self.decoder.is_finished();
        read.map_err(|failed| self.undecodable(failed, line))
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
            hint: Some("--encoding says what the file is written in".to_owned()),
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
