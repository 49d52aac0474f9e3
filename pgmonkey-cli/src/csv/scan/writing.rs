//! Rewrites rows that the server would read differently.

use super::super::record::{self, Field};
use super::Scanner;

impl Scanner {
    /// Writes the row as the server reads it: with quotes where they are needed, one word for NULL
    /// and no escapes.
    pub(super) fn rewrite(&self, text: &[u8], out: &mut Vec<u8>) {
        let (delimiter, quote) = (self.dialect.delimiter, self.dialect.wire_quote());
        let null = self.meaning.nulls.first().map_or(&b""[..], Vec::as_slice);
        let (fields, ..) = record::raw(text, self.dialect);
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                out.push(delimiter);
            }
            let Field { text, quoted } = field;
            let text = text.as_slice();
            if !quoted && self.meaning.nulls.iter().any(|word| word == text) {
                out.extend_from_slice(null);
                continue;
            }
            let special = |byte: &u8| [quote, delimiter, b'\n', b'\r'].contains(byte);
            if !quoted && text != b"\\." && !text.iter().any(special) {
                out.extend_from_slice(text);
                continue;
            }
            out.push(quote);
            for byte in text {
                out.extend(std::iter::repeat_n(*byte, 1 + usize::from(*byte == quote)));
            }
            out.push(quote);
        }
    }
}
