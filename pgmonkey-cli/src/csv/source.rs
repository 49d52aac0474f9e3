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
    /// `gzip`, `zstd`, `bzip2` or `xz`.
    pub(crate) compression: Option<&'static str>,
    /// What the file is, if its first bytes say that it is no text with rows.
    pub(crate) other: Option<Other>,
}

/// A file that is no CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Other {
    pub(crate) what: &'static str,
    pub(crate) advice: &'static str,
}

/// The first bytes of compressed data. No text begins with them.
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// After the level of compression.
const BZIP2: &[u8] = b"1AY&SY";
const XZ: &[u8] = b"\xfd7zXZ\0";

/// How many bytes tell what a file is: a web page may begin with blanks, and a zip archive with the
/// name of its first member.
const HEAD: u64 = 4096;

const SHEET: &str = "save the sheet as CSV and import that file";

/// The first bytes of files that are no CSV.
const OTHERS: [(&[u8], Other); 8] = [
    (
        b"\xd0\xcf\x11\xe0",
        Other {
            what: "an Excel workbook (xls)",
            advice: SHEET,
        },
    ),
    (
        b"PAR1",
        Other {
            what: "a Parquet file",
            advice: "convert it to CSV, for example with DuckDB: COPY 'f.parquet' TO 'f.csv'",
        },
    ),
    (
        b"%PDF-",
        Other {
            what: "a PDF document",
            advice: "export its table as CSV from the program that made it",
        },
    ),
    (
        b"PGDMP",
        Other {
            what: "a dump of pg_dump",
            advice: "load it with pg_restore",
        },
    ),
    (
        b"SQLite format 3\0",
        Other {
            what: "an SQLite database",
            advice: "export the table as CSV: sqlite3 -csv -header FILE 'SELECT * FROM t'",
        },
    ),
    (
        b"7z\xbc\xaf\x27\x1c",
        Other {
            what: "a 7z archive",
            advice: UNPACK,
        },
    ),
    (
        b"Rar!\x1a\x07",
        Other {
            what: "a RAR archive",
            advice: UNPACK,
        },
    ),
    (
        b"Obj\x01",
        Other {
            what: "an Avro file",
            advice: "convert it to CSV",
        },
    ),
];

const UNPACK: &str = "unpack it and import the CSV file in it";

/// What a file is if it is no CSV, by its first bytes.
fn other(head: &[u8]) -> Option<Other> {
    let contains = |text: &[u8]| memchr::memmem::find(head, text).is_some();
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        let (what, advice) = if contains(b"mimetypeapplication/vnd.oasis.opendocument") {
            ("an OpenDocument file (ods)", SHEET)
        } else if contains(b"[Content_Types].xml") || contains(b"xl/") {
            ("an Excel workbook (xlsx)", SHEET)
        } else {
            ("a zip archive", UNPACK)
        };
        return Some(Other { what, advice });
    }
    let begin = head.iter().position(|byte| !byte.is_ascii_whitespace());
    let text = &head[begin.unwrap_or(0)..];
    let page = [&b"<!doctype html"[..], b"<html"].into_iter().any(|tag| {
        text.get(..tag.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(tag))
    });
    if page {
        return Some(Other {
            what: "a web page (HTML)",
            advice: "the download may have been answered by a login or an error page: look at the file",
        });
    }
    let known = OTHERS.iter().find(|(magic, _)| head.starts_with(magic));
    known.map(|(_, other)| *other)
}

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
    counted.by_ref().take(10).read_to_end(&mut head)?;
    let (mut reader, compression) = decompressed(head, counted)?;
    let mut head = Vec::new();
    reader.by_ref().take(HEAD).read_to_end(&mut head)?;
    let other = other(&head);
    Ok(Source {
        reader: Box::new(Cursor::new(head).chain(reader)),
        other,
        size,
        read,
        compression,
    })
}

/// The contents of a file, which begins with `head`.
fn decompressed(
    head: Vec<u8>,
    rest: impl Read + Send + 'static,
) -> io::Result<(Box<dyn Read + Send>, Option<&'static str>)> {
    let compression = match head.as_slice() {
        bytes if bytes.starts_with(GZIP) => Some("gzip"),
        bytes if bytes.starts_with(ZSTD) => Some("zstd"),
        bytes if bytes.starts_with(XZ) => Some("xz"),
        [b'B', b'Z', b'h', _, rest @ ..] if rest == BZIP2 => Some("bzip2"),
        _ => None,
    };
    let whole = BufReader::with_capacity(1 << 16, Cursor::new(head).chain(rest));
    let reader: Box<dyn Read + Send> = match compression {
        Some("gzip") => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Some("zstd") => Box::new(zstd::Decoder::with_buffer(whole)?),
        Some("bzip2") => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
        Some("xz") => Box::new(lzma_rust2::XzReader::new(whole, true)),
        _ => Box::new(whole),
    };
    Ok((reader, compression))
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
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(rows.as_bytes()).expect("in memory");
        let bzip2 = bzip2.finish().expect("in memory");
        // `printf 'a,b\n1,2\n' | xz`
        let xz =
            b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\x02\0!\x01\x16\0\0\0t/\xe5\xa3\x01\0\x07a,b\n1,2\n\0\
            \xbe\x9c\xbdI\xb5\x12*\xfe\0\x01 \x08\xbb\x19\xd9\xbb\x1f\xb6\xf3}\x01\0\0\0\0\x04YZ";
        for (bytes, text, compression) in [
            (&bzip2[..], rows.clone(), Some("bzip2")),
            (&xz[..], "a,b\n1,2\n".to_owned(), Some("xz")),
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

    #[test]
    fn files_that_are_no_csv_are_named() {
        for (head, what) in [
            (
                &b"PK\x03\x04..............[Content_Types].xml"[..],
                "an Excel workbook (xlsx)",
            ),
            (
                b"PK\x03\x04....mimetypeapplication/vnd.oasis.opendocument.spreadsheet",
                "an OpenDocument file (ods)",
            ),
            (b"PK\x03\x04.....data.csv", "a zip archive"),
            (
                b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
                "an Excel workbook (xls)",
            ),
            (b"PAR1\x15\x04", "a Parquet file"),
            (b"%PDF-1.7", "a PDF document"),
            (b"\r\n<!DOCTYPE html><html>", "a web page (HTML)"),
            (b"<HTML>", "a web page (HTML)"),
            (b"PGDMP\x01", "a dump of pg_dump"),
        ] {
            assert_eq!(other(head).map(|other| other.what), Some(what));
        }
        for text in ["id,name\n", "<tag>,b\n", "PK,b\n", "BZh9,b\n", ""] {
            assert_eq!(other(text.as_bytes()), None, "{text}");
            assert_eq!(read(text.as_bytes()).0, text);
        }
    }
}
