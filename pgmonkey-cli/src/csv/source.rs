//! Opens the input: a file or standard input, compressed or not.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file being read.
pub(crate) struct Source {
    /// The contents, decompressed.
    pub(crate) reader: Box<dyn Read + Send>,
    /// The length on disk, if it is a file.
    pub(crate) size: Option<u64>,
    /// How many of its bytes were read so far.
    pub(crate) read: Arc<AtomicU64>,
    /// `gzip` or `zstd`.
    pub(crate) compression: Option<&'static str>,
}

/// The first bytes of compressed data. No text begins with them.
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// Opens a file; `-` is standard input. Compression is detected by content.
pub(crate) fn open(path: &Path) -> io::Result<Source> {
    let (raw, size): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path)?;
        let about = file.metadata()?;
        if about.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        (Box::new(file), about.is_file().then_some(about.len()))
    };
    let read = Arc::new(AtomicU64::new(0));
    let mut counted = Counted {
        inner: raw,
        count: Arc::clone(&read),
    };
    let mut head = Vec::new();
    counted.by_ref().take(4).read_to_end(&mut head)?;
    let compressed = |magic| head.starts_with(magic);
    let (gzip, zstd) = (compressed(GZIP), compressed(ZSTD));
    let whole = Cursor::new(head).chain(counted);
    let (reader, compression): (Box<dyn Read + Send>, _) = if gzip {
        let reader = BufReader::with_capacity(1 << 16, whole);
        (
            Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
            Some("gzip"),
        )
    } else if zstd {
        (Box::new(zstd::Decoder::new(whole)?), Some("zstd"))
    } else {
        (Box::new(whole), None)
    };
    Ok(Source {
        reader,
        size,
        read,
        compression,
    })
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: &[u8]) -> (String, Option<&'static str>, u64) {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("written");
        let mut source = open(file.path()).expect("opened");
        let mut text = String::new();
        source.reader.read_to_string(&mut text).expect("readable");
        assert_eq!(source.size, Some(bytes.len() as u64));
        (
            text,
            source.compression,
            source.read.load(Ordering::Relaxed),
        )
    }

    #[test]
    fn compression_is_told_by_the_content() {
        let rows = "a,b\n1,2\n".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(rows.as_bytes()).expect("in memory");
        let gzip = gzip.finish().expect("in memory");
        // Two members, as parallel compressors write them.
        let two = [gzip.clone(), gzip.clone()].concat();
        let zstd = zstd::encode_all(rows.as_bytes(), 1).expect("in memory");
        for (bytes, text, compression) in [
            (rows.as_bytes(), rows.clone(), None),
            (&gzip, rows.clone(), Some("gzip")),
            (&two, rows.repeat(2), Some("gzip")),
            (&zstd, rows.clone(), Some("zstd")),
            (b"", String::new(), None),
            (b"ab", "ab".to_owned(), None),
        ] {
            assert_eq!(read(bytes), (text, compression, bytes.len() as u64));
        }
    }
}
