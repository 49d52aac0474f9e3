//! A CSV file: encoding, delimiter, header, types and rows.
#![no_main]

use std::io::Cursor;

use self::modules::charset::Charset;
use self::modules::decode::Decoder;
use self::modules::dialect::Dialect;
use self::modules::scan::{Blank, Meaning, Rows, Scanner};
use self::modules::shape::{self, Shape};
use self::modules::{first_row, header, record, types};

/// The program's own, which no crate exports: building all of it would take minutes.
#[allow(dead_code)]
#[path = "../../pgmonkey-cli/src/csv"]
mod modules {
    pub(crate) mod charset;
    pub(crate) mod decode;
    pub(crate) mod dialect;
    pub(crate) mod first_row;
    pub(crate) mod header;
    pub(crate) mod record;
    pub(crate) mod scan;
    pub(crate) mod shape;
    pub(crate) mod types;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| csv(data));

/// A CSV file. The first two bytes choose how it is read: quotes, blank lines, header, encoding,
/// and how it is cut into pieces.
fn csv(data: &[u8]) {
    let [how, cut, file @ ..] = data else {
        return;
    };
    let given = ["utf-8", "latin-1", "utf-16", "windows-1252"].get(usize::from(how >> 4));
    let Some(text) = decoded(file, given.and_then(|name| Charset::by_name(name))) else {
        return;
    };
    let quote = (how & 1 == 0).then_some(b'"');
    let mut dialect = Dialect {
        delimiter: b',',
        quote,
        escape: (cut & 16 == 0).then_some(b'\\'),
        comment: (cut & 32 == 0).then_some(b'#'),
        trim: cut & 64 == 0,
    };
    if let Shape::Separated(delimiter) = shape::detect(&text, how & 2 == 0, dialect) {
        dialect.delimiter = delimiter;
    }
    shape::quote(&text, how & 2 == 0, dialect);
    let sample = record::rows(&text, dialect, how & 2 == 0, 100);
    let Some(first) = sample.first() else {
        return;
    };
    first_row::has_header(&sample, None);
    let names: Vec<String> = first.iter().map(|field| field.text.clone()).collect();
    let (columns, _) = header::columns(&names, how & 4 != 0);
    assert_eq!(columns.len(), names.len());
    let found = header::matched(&names, &columns);
    assert_eq!(found, Ok((0..names.len()).collect()), "{names:?}");
    let nulls = [String::new(), "NA".to_owned()];
    let inferred = types::infer(&sample, names.len(), &nulls);
    assert_eq!(inferred.len(), names.len());
    let meaning = Meaning {
        kinds: inferred.iter().map(|column| column.kind).collect(),
        nulls: nulls.map(String::into_bytes).to_vec(),
        one_column: cut & 128 == 0,
    };
    let blank = match how & 8 == 0 {
        true => Blank::Skipped,
        false => Blank::Null,
    };
    let scan = |size: usize| {
        let mut scanner = Scanner::new(dialect, names.len(), blank, meaning.clone(), 1);
        let (mut rows, mut begin, mut end) = (Rows::default(), 0, 0);
        loop {
            end = text.len().min(end + size);
            let last = end == text.len();
            match scanner.take(&text[begin..end], last, &mut rows) {
                Ok(taken) => begin += taken,
                Err(error) => return Err((error.line, error.field)),
            }
            if last {
                assert_eq!(begin, end, "the last row ends with the file");
                return Ok((rows.bytes, rows.count, rows.lines, scanner.line()));
            }
        }
    };
    assert_eq!(scan(text.len().max(1)), scan(usize::from(*cut) + 1));
}

/// The file as UTF-8, if it is a text.
fn decoded(file: &[u8], given: Option<Charset>) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(Cursor::new(file), given).ok()?;
    let mut text = Vec::new();
    while !decoder.is_finished() {
        decoder.read(&mut text, 100).ok()?;
    }
    assert!(std::str::from_utf8(&text).is_ok(), "not UTF-8");
    Some(text)
}
