//! Encodes UTF-8 in the encoding of a file.

use encoding_rs::EncoderResult;

use super::charset::{Charset, Endian};

/// A character that the encoding lacks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unencodable(pub(crate) char);

/// Writes UTF-8 in another encoding.
pub(crate) struct Encoder {
    charset: Charset,
    table: Option<encoding_rs::Encoder>,
}

impl Encoder {
    pub(crate) fn new(charset: Charset) -> Self {
        let table = match charset {
            Charset::Table(encoding) => Some(encoding.new_encoder()),
            _ => None,
        };
        Self { charset, table }
    }

    /// Whether the text is written unchanged.
    pub(crate) fn is_identity(&self) -> bool {
        matches!(
            self.charset,
            Charset::Utf8 | Charset::Utf8Marked | Charset::Raw
        )
    }

    /// Encodes `text`, which consists of whole characters, and appends it to `out`.
    ///
    /// # Panics
    ///
    /// If `text` is not UTF-8; the server sends UTF-8 as requested.
    pub(crate) fn encode(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unencodable> {
        if self.is_identity() {
            out.extend_from_slice(text);
            return Ok(());
        }
        let text = std::str::from_utf8(text).expect("the server sends UTF-8 as requested");
        match self.charset {
            Charset::Utf16(endian) => text.encode_utf16().for_each(|unit| {
                out.extend_from_slice(&match endian {
                    Endian::Little => unit.to_le_bytes(),
                    Endian::Big => unit.to_be_bytes(),
                });
            }),
            Charset::Utf32(endian) => text.chars().for_each(|character| {
                out.extend_from_slice(&match endian {
                    Endian::Little => u32::from(character).to_le_bytes(),
                    Endian::Big => u32::from(character).to_be_bytes(),
                });
            }),
            Charset::Ascii => narrow(text, 0x7f, out)?,
            _ => match &mut self.table {
                Some(table) => by_table(table, text, out)?,
                None => narrow(text, 0xff, out)?,
            },
        }
        Ok(())
    }
}

/// One byte per character, up to the highest in the encoding.
fn narrow(text: &str, last: u8, out: &mut Vec<u8>) -> Result<(), Unencodable> {
    for character in text.chars() {
        match u8::try_from(u32::from(character)) {
            Ok(byte) if byte <= last => out.push(byte),
            _ => return Err(Unencodable(character)),
        }
    }
    Ok(())
}

fn by_table(
    table: &mut encoding_rs::Encoder,
    text: &str,
    out: &mut Vec<u8>,
) -> Result<(), Unencodable> {
    let begin = out.len();
    let room = table.max_buffer_length_from_utf8_without_replacement(text.len());
    out.resize(begin + room.unwrap_or(text.len() * 4 + 16), 0);
    let (result, _, written) =
        table.encode_from_utf8_without_replacement(text, &mut out[begin..], false);
    out.truncate(begin + written);
    match result {
        EncoderResult::Unmappable(character) => Err(Unencodable(character)),
        EncoderResult::InputEmpty | EncoderResult::OutputFull => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::Decoder;
    use super::*;

    fn encode(name: &str, text: &str) -> Result<Vec<u8>, Unencodable> {
        let mut out = Vec::new();
        Encoder::new(Charset::by_name(name).expect("known"))
            .encode(text.as_bytes(), &mut out)
            .map(|()| out)
    }

    #[test]
    fn d37_encodings_that_the_server_does_not_know() {
        assert_eq!(encode("utf-16", "é1"), Ok(vec![0xe9, 0, b'1', 0]));
        assert_eq!(encode("cp1252", "é€"), Ok(vec![0xe9, 0x80]));
        assert_eq!(encode("latin-1", "é"), Ok(vec![0xe9]));
        assert_eq!(encode("ascii", "abc"), Ok(b"abc".to_vec()));
        assert_eq!(encode("utf-8-sig", "é"), Ok("é".as_bytes().to_vec()));
    }

    /// The meaning of a byte depends on those before it: each row must end in the initial state.
    #[test]
    fn encodings_with_a_state_are_written_and_read_back() {
        let charset = Charset::by_name("iso-2022-jp").expect("known");
        let rows = ["名,猿\n", "plain,1\n", "猿\n"];
        let mut encoder = Encoder::new(charset);
        let mut bytes = Vec::new();
        let mut expected = String::new();
        for row in rows {
            encoder
                .encode(row.as_bytes(), &mut bytes)
                .expect("in the encoding");
            expected.push_str(row);
            assert!(bytes.ends_with(b"\n"), "{bytes:?}");
        }
        assert!(
            bytes.starts_with(b"\x1b$B") && bytes.is_ascii(),
            "{bytes:?}"
        );
        for amount in 1..bytes.len() {
            let mut decoder = Decoder::new(&bytes[..], Some(charset)).expect("memory");
            let mut read = Vec::new();
            while !decoder.is_finished() {
                decoder.read(&mut read, amount).expect("valid bytes");
            }
            assert_eq!(
                String::from_utf8(read).as_deref(),
                Ok(&*expected),
                "{amount}"
            );
        }
        for unknown in ["iso-2022-kr", "iso-2022-cn", "hz-gb-2312", "utf-7"] {
            assert_eq!(Charset::by_name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn what_an_encoding_does_not_have_is_named() {
        assert_eq!(encode("ascii", "a\u{e9}"), Err(Unencodable('é')));
        assert_eq!(encode("latin-1", "10 €"), Err(Unencodable('€')));
        assert_eq!(
            encode("cp1252", "monkey \u{1f412}"),
            Err(Unencodable('\u{1f412}'))
        );
    }
}
