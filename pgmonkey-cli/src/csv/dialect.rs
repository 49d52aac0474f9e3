//! How the fields of a file are separated and quoted.

/// How fields are separated and quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    /// `None`: quotes are ordinary text.
    pub(crate) quote: Option<u8>,
    /// Makes the next character an ordinary one, as in MySQL's and Spark's files.
    pub(crate) escape: Option<u8>,
    /// A line that begins with it is no row.
    pub(crate) comment: Option<u8>,
    /// Blanks around fields and quotes are ignored.
    pub(crate) trim: bool,
}

/// The candidates for a delimiter, the rarest in ordinary text first.
pub(crate) const CANDIDATES: [u8; 4] = *b"\t;|,";

impl Dialect {
    /// The format of RFC 4180.
    #[cfg(test)]
    pub(crate) const COMMA: Self = Self {
        delimiter: b',',
        quote: Some(b'"'),
        escape: None,
        comment: None,
        trim: false,
    };

    /// The quote character to pass to the server.
    pub(crate) fn wire_quote(self) -> u8 {
        self.quote.unwrap_or(super::scan::NO_QUOTE)
    }

    /// Whether the byte is a blank that separates nothing.
    pub(crate) fn is_blank(self, byte: u8) -> bool {
        matches!(byte, b' ' | b'\t') && byte != self.delimiter
    }
}

/// The name of a delimiter in messages.
pub(crate) fn name(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "tab".to_owned(),
        b',' => "comma".to_owned(),
        b';' => "semicolon".to_owned(),
        b'|' => "pipe".to_owned(),
        other => format!("'{}'", char::from(other).escape_default()),
    }
}

/// Parses a delimiter as the user writes it: one character, `\t` or a name.
pub(crate) fn parse(text: &str) -> Result<u8, String> {
    match text {
        "\\t" | "tab" => Ok(b'\t'),
        "comma" => Ok(b','),
        "semicolon" => Ok(b';'),
        "pipe" => Ok(b'|'),
        _ => match text.as_bytes() {
            [b'\n' | b'\r' | b'"' | 0 | 1] => Err(format!("{text:?} cannot be a delimiter")),
            [byte] if byte.is_ascii() => Ok(*byte),
            _ => Err(format!(
                "{text:?} is not a single ASCII character, as PostgreSQL requires; `\\t` is a tab"
            )),
        },
    }
}

/// Parses a character that marks escapes or comments.
pub(crate) fn mark(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] if byte.is_ascii_graphic() && !byte.is_ascii_alphanumeric() && *byte != b'"' => {
            Ok(*byte)
        }
        _ => Err(format!(
            "{text:?} is not one ASCII punctuation character other than \""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d33_a_tab_may_be_written_in_two_characters() {
        assert_eq!(parse("\\t"), Ok(b'\t'));
        assert_eq!(parse("\t"), Ok(b'\t'));
        assert_eq!(parse(";"), Ok(b';'));
        for wrong in ["", "ab", "\n", "é", "\""] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(mark("\\"), Ok(b'\\'));
        for wrong in ["", "\"", "a", "##", " "] {
            assert!(mark(wrong).is_err(), "{wrong:?}");
        }
    }
}
