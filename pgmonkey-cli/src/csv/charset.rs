//! Names of encodings: Python's, PostgreSQL's and those of the WHATWG Encoding Standard.

use std::fmt;

use encoding_rs::Encoding;

/// How characters are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    Utf8,
    /// UTF-8, written with a byte order mark.
    Utf8Marked,
    /// Written with a byte order mark.
    Utf16(Endian),
    /// Written with a byte order mark.
    Utf32(Endian),
    Ascii,
    /// ISO 8859-1: each byte is the code point. The WHATWG standard uses this name for
    /// windows-1252.
    Latin1,
    /// Bytes as the server stores them, in whatever encoding; only written.
    Raw,
    Table(&'static Encoding),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endian {
    Little,
    Big,
}

/// Byte order marks. Those of UTF-32 come first, because the little-endian one starts like that of
/// UTF-16.
const MARKS: [(&[u8], Charset); 5] = [
    (b"\xff\xfe\0\0", Charset::Utf32(Endian::Little)),
    (b"\0\0\xfe\xff", Charset::Utf32(Endian::Big)),
    (b"\xef\xbb\xbf", Charset::Utf8Marked),
    (b"\xff\xfe", Charset::Utf16(Endian::Little)),
    (b"\xfe\xff", Charset::Utf16(Endian::Big)),
];

impl Charset {
    /// Finds an encoding by any name that Python, PostgreSQL or a browser accepts.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        let plain: String = name
            .trim()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        Some(match plain.as_str() {
            "utf8" | "u8" | "unicode" => Self::Utf8,
            "utf8sig" | "utf8bom" => Self::Utf8Marked,
            "utf16" | "u16" | "utf16le" => Self::Utf16(Endian::Little),
            "utf16be" => Self::Utf16(Endian::Big),
            "utf32" | "u32" | "utf32le" => Self::Utf32(Endian::Little),
            "utf32be" => Self::Utf32(Endian::Big),
            "ascii" | "usascii" | "sqlascii" => Self::Ascii,
            "latin1" | "iso88591" | "l1" | "8859" | "cp819" => Self::Latin1,
            "raw" | "binary" => Self::Raw,
            plain => Self::Table(table(name.trim(), plain)?),
        })
    }

    /// Detects the byte order mark at the beginning of a file; returns the mark's length too.
    pub(crate) fn by_mark(head: &[u8]) -> Option<(Self, usize)> {
        MARKS
            .iter()
            .find(|(mark, _)| head.starts_with(mark))
            .map(|(mark, charset)| (*charset, mark.len()))
    }

    /// Detects UTF-16 or UTF-32 without a mark by the position of the zero bytes in ASCII
    /// characters.
    pub(crate) fn by_zeros(head: &[u8]) -> Option<Self> {
        let head = &head[..head.len().min(4096) / 4 * 4];
        let zeros = |at: usize| head.iter().skip(at).step_by(4).filter(|b| **b == 0).count();
        let zeros = [zeros(0), zeros(1), zeros(2), zeros(3)];
        let quarter = head.len() / 4;
        let (many, few) = (|n: usize| n * 4 > quarter * 3, |n: usize| n * 4 < quarter);
        if quarter == 0 {
            return None;
        }
        match zeros.map(many) {
            [false, true, true, true] if few(zeros[0]) => Some(Self::Utf32(Endian::Little)),
            [true, true, true, false] if few(zeros[3]) => Some(Self::Utf32(Endian::Big)),
            [false, true, false, true] if few(zeros[0]) => Some(Self::Utf16(Endian::Little)),
            [true, false, true, false] if few(zeros[1]) => Some(Self::Utf16(Endian::Big)),
            _ => None,
        }
    }

    /// The byte order mark that is written.
    pub(crate) fn mark(self) -> &'static [u8] {
        MARKS
            .iter()
            .find_map(|(mark, charset)| (*charset == self).then_some(*mark))
            .unwrap_or_default()
    }
}

/// Finds a table of `encoding_rs` by a name without punctuation.
fn table(name: &str, plain: &str) -> Option<&'static Encoding> {
    let alias = match plain {
        "macroman" | "macintosh" => "macintosh",
        "sjis" | "shiftjis" | "cp932" | "ms932" | "mskanji" => "shift_jis",
        "uhc" | "cp949" | "euckr" => "euc-kr",
        "cp936" | "gbk" | "gb2312" | "euccn" => "gbk",
        "cp950" | "big5" => "big5",
        "eucjp" => "euc-jp",
        "koi8" | "koi8r" => "koi8-r",
        "tis620" | "cp874" => "windows-874",
        _ => name,
    };
    let number = |prefix: &str| plain.strip_prefix(prefix).filter(|n| is_number(n));
    let code_page = number("cp125").map(|n| format!("windows-125{n}"));
    let windows = number("win125").map(|n| format!("windows-125{n}"));
    let iso = number("iso8859").map(|n| format!("iso-8859-{n}"));
    // Latin-7 is ISO 8859-13, and so on: the numbers differ above four.
    let latin = number("latin").and_then(|n| {
        let part = [0, 1, 2, 3, 4, 9, 10, 13, 14, 15, 16].get(n.parse::<usize>().ok()?)?;
        Some(format!("iso-8859-{part}"))
    });
    let label = code_page
        .or(windows)
        .or(iso)
        .or(latin)
        .unwrap_or_else(|| alias.to_owned());
    let found = Encoding::for_label_no_replacement(label.as_bytes());
    found.or_else(|| Encoding::for_label_no_replacement(name.replace('_', "-").as_bytes()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for Charset {
    /// A name that Python knows as well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "utf-8",
            Self::Utf8Marked => "utf-8-sig",
            Self::Utf16(Endian::Little) => "utf-16",
            Self::Utf16(Endian::Big) => "utf-16-be",
            Self::Utf32(Endian::Little) => "utf-32",
            Self::Utf32(Endian::Big) => "utf-32-be",
            Self::Ascii => "ascii",
            Self::Latin1 => "iso-8859-1",
            Self::Raw => "raw",
            Self::Table(encoding) => return f.write_str(&encoding.name().to_ascii_lowercase()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_three_worlds_are_known() {
        for (name, shown) in [
            ("utf-8", "utf-8"),
            ("UTF8", "utf-8"),
            ("utf_8_sig", "utf-8-sig"),
            ("utf-16", "utf-16"),
            ("latin-1", "iso-8859-1"),
            ("LATIN1", "iso-8859-1"),
            ("iso-8859-1", "iso-8859-1"),
            ("latin9", "iso-8859-15"),
            ("iso8859_2", "iso-8859-2"),
            ("cp1252", "windows-1252"),
            ("windows-1252", "windows-1252"),
            ("WIN1250", "windows-1250"),
            ("cp1251", "windows-1251"),
            ("ascii", "ascii"),
            ("MacRoman", "macintosh"),
            ("mac_roman", "macintosh"),
            ("cp932", "shift_jis"),
            ("EUC_JP", "euc-jp"),
            ("KOI8R", "koi8-r"),
            ("gb18030", "gb18030"),
        ] {
            let found = Charset::by_name(name).map(|charset| charset.to_string());
            assert_eq!(found.as_deref(), Some(shown), "{name}");
        }
        assert_eq!(Charset::by_name("klingon"), None);
        assert_eq!(Charset::by_name(""), None);
    }

    #[test]
    fn the_longer_mark_wins() {
        assert_eq!(
            Charset::by_mark(b"\xff\xfe\0\0a\0\0\0"),
            Some((Charset::Utf32(Endian::Little), 4))
        );
        assert_eq!(
            Charset::by_mark(b"\xff\xfea\0"),
            Some((Charset::Utf16(Endian::Little), 2))
        );
        assert_eq!(Charset::by_mark(b"id,name"), None);
    }

    #[test]
    fn wide_characters_without_a_mark_are_seen() {
        let wide =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        assert_eq!(
            Charset::by_zeros(&wide("id,name\n1,Jos\u{e9}\n")),
            Some(Charset::Utf16(Endian::Little))
        );
        assert_eq!(Charset::by_zeros(b"id,name\n1,x\n"), None);
        assert_eq!(Charset::by_zeros(b""), None);
    }
}
