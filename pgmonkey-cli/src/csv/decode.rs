//! Decodes a file's bytes to UTF-8.
//!
//! Nothing is read twice or guessed from a sample: a file is UTF-8 for as long as it is valid
//! UTF-8. At the first invalid byte the encoding is guessed, but only if everything before it was
//! ASCII, which is the same in the guessed encoding.

use std::io::{self, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::DecoderResult;

use super::charset::{Charset, Endian};

/// How many bytes after the first invalid one are examined before an encoding is guessed.
const GUESSED_FROM: usize = 1 << 20;

/// How the encoding was determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Set by the caller or a settings file.
    Given,
    /// By a byte order mark.
    Mark,
    /// UTF-8: every byte so far is valid.
    Valid,
    /// Guessed as the most likely one.
    Guess,
}

/// Why a file could not be decoded.
#[derive(Debug)]
pub(crate) enum Undecodable {
    Io(io::Error),
    /// Invalid bytes, and the place in the buffer where their text would be.
    Bytes {
        at: usize,
        bytes: Vec<u8>,
    },
}

/// Reads any encoding as UTF-8.
pub(crate) struct Decoder<R> {
    input: R,
    state: State,
    charset: Charset,
    evidence: Evidence,
    /// Bytes read and not yet decoded.
    raw: Vec<u8>,
    /// How many bytes at the end of the caller's buffer are an incomplete character.
    open: usize,
    finished: bool,
}

enum State {
    /// UTF-8, or undecided while all bytes so far are ASCII.
    Utf8 {
        unsure: bool,
    },
    Ascii,
    Latin1,
    Wide(Wide),
    Table(encoding_rs::Decoder),
}

#[derive(Clone, Copy)]
struct Wide {
    size: usize,
    endian: Endian,
}

impl<R: Read> Decoder<R> {
    /// Reads in the given encoding, or detects it.
    pub(crate) fn new(mut input: R, given: Option<Charset>) -> io::Result<Self> {
        let mut raw = Vec::new();
        fill(&mut input, &mut raw, 4096)?;
        let marked = Charset::by_mark(&raw);
        let (charset, evidence) = match (given, marked) {
            // The mark takes precedence over the name if the two differ only in byte order.
            (Some(Charset::Utf16(_)), Some((found @ Charset::Utf16(_), _)))
            | (Some(Charset::Utf32(_)), Some((found @ Charset::Utf32(_), _))) => {
                (found, Evidence::Given)
            }
            (Some(given), _) => (given, Evidence::Given),
            (None, Some((found, _))) => (found, Evidence::Mark),
            (None, None) => match Charset::by_zeros(&raw) {
                Some(found) => (found, Evidence::Guess),
                None => (Charset::Utf8, Evidence::Valid),
            },
        };
        let own_mark = |(found, length)| match (found, charset) {
            (Charset::Utf8Marked, Charset::Utf8) => Some(length),
            _ => (found == charset).then_some(length),
        };
        raw.drain(..marked.and_then(own_mark).unwrap_or(0));
        Ok(Self {
            input,
            state: State::of(charset, evidence == Evidence::Valid),
            charset,
            evidence,
            raw,
            open: 0,
            finished: false,
        })
    }

    /// The encoding, and how it was determined so far.
    pub(crate) fn found(&self) -> (Charset, Evidence) {
        (self.charset, self.evidence)
    }

    /// Whether all of the file was read.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Appends up to about `amount` bytes.
    ///
    /// The caller must not remove an incomplete character from the end of the buffer.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>, amount: usize) -> Result<(), Undecodable> {
        match self.state {
            _ if self.finished => Ok(()),
            State::Utf8 { .. } => self.read_utf8(buffer, amount),
            _ => self.read_foreign(buffer, amount),
        }
    }

    fn read_utf8(&mut self, buffer: &mut Vec<u8>, amount: usize) -> Result<(), Undecodable> {
        let from = buffer.len() - self.open;
        buffer.append(&mut self.raw);
        let got = fill(&mut self.input, buffer, amount).map_err(Undecodable::Io)?;
        self.finished = got < amount;
        let new = &buffer[from..];
        let State::Utf8 { unsure } = &mut self.state else {
            unreachable!("only called in this state")
        };
        if *unsure && new.is_ascii() {
            self.open = 0;
            return Ok(());
        }
        let Err(error) = std::str::from_utf8(new) else {
            (*unsure, self.open) = (false, 0);
            return Ok(());
        };
        let valid = error.valid_up_to();
        if error.error_len().is_none() && !self.finished {
            *unsure &= new[..valid].is_ascii();
            self.open = new.len() - valid;
            return Ok(());
        }
        if !(*unsure && new[..valid].is_ascii()) {
            return Err(undecodable(buffer, from + valid));
        }
        self.raw = buffer.split_off(from + valid);
        self.open = 0;
        self.guess().map_err(Undecodable::Io)?;
        self.read_foreign(buffer, amount)
    }

    /// Guesses the most likely encoding for bytes that are not UTF-8.
    fn guess(&mut self) -> io::Result<()> {
        let got = fill(&mut self.input, &mut self.raw, GUESSED_FROM)?;
        self.finished = false;
        let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
        detector.feed(&self.raw, got < GUESSED_FROM);
        let encoding = detector.guess(None, Utf8Detection::Deny);
        self.charset = Charset::Table(encoding);
        self.evidence = Evidence::Guess;
        self.state = State::of(self.charset, false);
        Ok(())
    }

    fn read_foreign(&mut self, buffer: &mut Vec<u8>, amount: usize) -> Result<(), Undecodable> {
        // At least one more byte, so that an incomplete character does not loop forever.
        let wanted = amount.saturating_sub(self.raw.len()).max(1);
        let got = fill(&mut self.input, &mut self.raw, wanted).map_err(Undecodable::Io)?;
        self.finished = got < wanted;
        let raw = std::mem::take(&mut self.raw);
        let taken = match &mut self.state {
            State::Table(decoder) => table(decoder, &raw, buffer, self.finished)?,
            State::Wide(wide) => wide.decode(&raw, buffer, self.finished)?,
            State::Latin1 => {
                buffer.extend_from_slice(
                    &encoding_rs::mem::decode_latin1(&raw)
                        .into_owned()
                        .into_bytes(),
                );
                raw.len()
            }
            State::Ascii => match raw.iter().position(|byte| !byte.is_ascii()) {
                None => {
                    buffer.extend_from_slice(&raw);
                    raw.len()
                }
                Some(at) => {
                    buffer.extend_from_slice(&raw);
                    return Err(undecodable(buffer, buffer.len() - raw.len() + at));
                }
            },
            State::Utf8 { .. } => unreachable!("UTF-8 is read without a copy"),
        };
        self.raw = raw[taken..].to_vec();
        Ok(())
    }
}

impl State {
    fn of(charset: Charset, unsure: bool) -> Self {
        let wide = |size, endian| Self::Wide(Wide { size, endian });
        match charset {
            Charset::Utf8 | Charset::Utf8Marked | Charset::Raw => Self::Utf8 { unsure },
            Charset::Ascii => Self::Ascii,
            Charset::Latin1 => Self::Latin1,
            Charset::Utf16(endian) => wide(2, endian),
            Charset::Utf32(endian) => wide(4, endian),
            Charset::Table(encoding) => Self::Table(encoding.new_decoder_without_bom_handling()),
        }
    }
}

impl Wide {
    /// Returns how many bytes it consumed: all but an incomplete character.
    fn decode(self, raw: &[u8], buffer: &mut Vec<u8>, last: bool) -> Result<usize, Undecodable> {
        let mut at = 0;
        let mut encoded = [0; 4];
        while at < raw.len() {
            match self.character(&raw[at..]) {
                Ok((character, size)) => {
                    buffer.extend_from_slice(character.encode_utf8(&mut encoded).as_bytes());
                    at += size;
                }
                Err(true) if !last => break,
                Err(_) => {
                    let bytes = raw[at..raw.len().min(at + self.size)].to_vec();
                    return Err(Undecodable::Bytes {
                        at: buffer.len(),
                        bytes,
                    });
                }
            }
        }
        Ok(at)
    }

    /// The first character and its size, or whether more bytes could complete one.
    fn character(self, raw: &[u8]) -> Result<(char, usize), bool> {
        if self.size == 4 {
            let unit: [u8; 4] = *raw.first_chunk().ok_or(true)?;
            let number = match self.endian {
                Endian::Little => u32::from_le_bytes(unit),
                Endian::Big => u32::from_be_bytes(unit),
            };
            return char::from_u32(number).map(|c| (c, 4)).ok_or(false);
        }
        let unit = |at: usize| {
            let unit: [u8; 2] = *raw.get(at..)?.first_chunk()?;
            Some(match self.endian {
                Endian::Little => u16::from_le_bytes(unit),
                Endian::Big => u16::from_be_bytes(unit),
            })
        };
        let first = unit(0).ok_or(true)?;
        let units = match first {
            0xd800..0xdc00 => vec![first, unit(2).ok_or(true)?],
            _ => vec![first],
        };
        match char::decode_utf16(units.iter().copied()).next() {
            Some(Ok(character)) => Ok((character, character.len_utf16() * 2)),
            _ => Err(false),
        }
    }
}

fn table(
    decoder: &mut encoding_rs::Decoder,
    raw: &[u8],
    buffer: &mut Vec<u8>,
    last: bool,
) -> Result<usize, Undecodable> {
    let room = decoder.max_utf8_buffer_length_without_replacement(raw.len());
    let begin = buffer.len();
    buffer.resize(begin + room.unwrap_or(raw.len() * 3 + 16), 0);
    let (result, read, written) =
        decoder.decode_to_utf8_without_replacement(raw, &mut buffer[begin..], last);
    buffer.truncate(begin + written);
    match result {
        DecoderResult::Malformed(length, after) => {
            let end = read.saturating_sub(usize::from(after));
            let bytes = raw[end.saturating_sub(usize::from(length))..end].to_vec();
            Err(Undecodable::Bytes {
                at: buffer.len(),
                bytes,
            })
        }
        DecoderResult::InputEmpty | DecoderResult::OutputFull => Ok(read),
    }
}

fn undecodable(buffer: &[u8], at: usize) -> Undecodable {
    Undecodable::Bytes {
        at,
        bytes: buffer[at..buffer.len().min(at + 1)].to_vec(),
    }
}

/// Appends up to `amount` bytes; fewer only at the end of the file.
fn fill(input: &mut impl Read, buffer: &mut Vec<u8>, amount: usize) -> io::Result<usize> {
    let begin = buffer.len();
    buffer.resize(begin + amount, 0);
    let mut end = begin;
    let outcome = loop {
        match input.read(&mut buffer[end..]) {
            Ok(0) => break Ok(end - begin),
            Ok(read) => end += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    buffer.truncate(end);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(
        bytes: &[u8],
        given: Option<Charset>,
        amount: usize,
    ) -> Result<(String, Charset, Evidence), Undecodable> {
        let mut decoder = Decoder::new(bytes, given).map_err(Undecodable::Io)?;
        let mut buffer = Vec::new();
        while !decoder.is_finished() {
            decoder.read(&mut buffer, amount)?;
        }
        let (charset, evidence) = decoder.found();
        Ok((
            String::from_utf8(buffer).expect("UTF-8 output"),
            charset,
            evidence,
        ))
    }

    fn text(bytes: &[u8]) -> String {
        decode(bytes, None, 64).expect("decodable").0
    }

    #[test]
    fn d31_a_small_utf8_file_is_utf8() {
        let (text, charset, evidence) =
            decode("id,name\n1,Jos\u{e9}\n".as_bytes(), None, 64).expect("valid");
        assert_eq!(text, "id,name\n1,Jos\u{e9}\n");
        assert_eq!((charset, evidence), (Charset::Utf8, Evidence::Valid));
    }

    #[test]
    fn d31_an_accent_after_much_ascii_is_read_as_what_it_is() {
        let head = "1,plain\n".repeat(50_000);
        let utf8 = format!("{head}2,Jos\u{e9}\n");
        assert_eq!(text(utf8.as_bytes()), utf8);
        let mut western = head.clone().into_bytes();
        western.extend_from_slice(b"2,Jos\xe9 est all\xe9 \xe0 Besan\xe7on\n");
        let (text, charset, evidence) = decode(&western, None, 4096).expect("guessed");
        assert_eq!(
            text,
            format!("{head}2,Jos\u{e9} est all\u{e9} \u{e0} Besan\u{e7}on\n")
        );
        assert_eq!(charset.to_string(), "windows-1252");
        assert_eq!(evidence, Evidence::Guess);
    }

    #[test]
    fn d31_b18_marks_never_become_part_of_the_text() {
        let rows = "id,name\n1,\u{1f412}\n";
        for charset in [
            Charset::Utf8Marked,
            Charset::Utf16(Endian::Little),
            Charset::Utf16(Endian::Big),
            Charset::Utf32(Endian::Little),
            Charset::Utf32(Endian::Big),
        ] {
            let mut bytes = charset.mark().to_vec();
            super::super::encode::Encoder::new(charset)
                .encode(rows.as_bytes(), &mut bytes)
                .expect("covers Unicode");
            for given in [None, Some(charset)] {
                for amount in [1, 3, 64] {
                    let (text, found, _) = decode(&bytes, given, amount).expect("decodable");
                    assert_eq!(
                        (text.as_str(), found),
                        (rows, charset),
                        "{given:?} {amount}"
                    );
                }
            }
        }
        let marked = decode(b"\xef\xbb\xbfa\n", Some(Charset::Utf8), 8).expect("valid");
        assert_eq!(marked.0, "a\n");
    }

    #[test]
    fn broken_utf8_is_no_reason_to_guess() {
        let broken = b"a\n\xc3\xa9\n\xff\n";
        match decode(broken, None, 64) {
            Err(Undecodable::Bytes { at, bytes }) => assert_eq!((at, bytes), (5, vec![0xff])),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_an_encoding_does_not_have_is_an_error() {
        for (bytes, charset, at) in [
            (&b"ab\xe9"[..], Charset::Ascii, 2),
            (b"ab\xe9", Charset::Utf8, 2),
            (b"a\0\0\xd8", Charset::Utf16(Endian::Little), 1),
            (b"a\0b", Charset::Utf16(Endian::Little), 1),
        ] {
            match decode(bytes, Some(charset), 64) {
                Err(Undecodable::Bytes { at: found, .. }) => assert_eq!(found, at, "{charset}"),
                other => panic!("{charset}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn every_block_size_gives_the_same_text(text in "\\PC{0,200}", amount in 1usize..50) {
            let (read, ..) = decode(text.as_bytes(), Some(Charset::Utf8), amount).expect("valid");
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            prop_assert_eq!(read, text);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), amount in 1usize..50) {
            for name in [None, Some("utf-8"), Some("utf-16"), Some("utf-32"), Some("shift_jis"), Some("latin1"), Some("gb18030")] {
                let _ = decode(&bytes, name.and_then(Charset::by_name), amount);
            }
        }
    }
}
