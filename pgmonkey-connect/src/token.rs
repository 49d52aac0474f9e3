//! A position in a server's write-ahead log, by which a reader can wait for what was written.

use std::fmt;
use std::str::FromStr;

use tokio_postgres::SimpleQueryMessage;

/// What the writer is asked behind `COMMIT`: a position read before would lie below that of the
/// commit record.
pub const ASK: &str = "SELECT position.lsn, file.file_name, file.file_offset \
     FROM (SELECT pg_catalog.pg_current_wal_insert_lsn() AS lsn OFFSET 0) AS position, \
     LATERAL pg_catalog.pg_walfile_name_offset(position.lsn) AS file";

/// The sizes of the headers of a page of the log, and of the first page of a file.
const PAGE: u64 = 8192;
const PAGE_HEADER: u64 = 24;
const FILE_HEADER: u64 = 40;

/// How far a writer had written when a transaction was committed. A reader that has replayed this
/// position sees what the transaction wrote.
///
/// It prints as text without spaces or characters that a cookie, a header or a URL would have to
/// escape, and parses from it. It contains no secret, and the reader does not trust it: a made-up
/// token makes a read wait at most as long as the cluster's limit, then go to the writer.
///
/// ```
/// use pgmonkey_connect::Token;
///
/// let token: Token = "1-0-16b3748".parse()?;
/// assert_eq!(token.to_string(), "1-0-16b3748");
/// assert!("1-0".parse::<Token>().is_err());
/// # Ok::<(), pgmonkey_connect::InvalidToken>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(Position);

/// A position in the log of one timeline. Every promotion begins another timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Position {
    pub(crate) timeline: u32,
    pub(crate) lsn: u64,
}

/// A text that is no [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token: expected three hexadecimal numbers, such as 1-0-16b3748")]
pub struct InvalidToken;

impl Token {
    /// The token of a transaction whose position is unknown: its reads go to the writer.
    pub const UNKNOWN: Self = Self(Position {
        timeline: 0,
        lsn: u64::MAX,
    });

    /// Reads the answer to [`ASK`], behind those of other statements; `None` without one.
    pub fn of(answer: &[SimpleQueryMessage]) -> Option<Self> {
        let row = answer.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })?;
        Self::read(|column| row.try_get(column).ok().flatten())
    }

    fn read<'a>(column: impl Fn(usize) -> Option<&'a str>) -> Option<Self> {
        let lsn = parse_lsn(column(0)?)?;
        let timeline = u32::from_str_radix(column(1)?.get(..8)?, 16).ok()?;
        let offset: u64 = column(2)?.parse().ok()?;
        // Behind the header of a page without a record: a server that has replayed all is at the
        // beginning of the page until more is written.
        let header = match offset {
            FILE_HEADER => FILE_HEADER,
            other if other % PAGE == PAGE_HEADER => PAGE_HEADER,
            _ => 0,
        };
        let lsn = lsn.saturating_sub(header);
        Some(Self(Position { timeline, lsn }))
    }

    pub(crate) fn position(self) -> Position {
        self.0
    }
}

/// Parses the server's text of a position, such as `0/16B3748`.
pub(crate) fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    join(high, low)
}

fn join(high: &str, low: &str) -> Option<u64> {
    let half = |text: &str| u32::from_str_radix(text, 16).ok();
    Some(u64::from(half(high)?) << 32 | u64::from(half(low)?))
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { timeline, lsn } = self.0;
        let low = lsn & u64::from(u32::MAX);
        write!(f, "{timeline:x}-{:x}-{low:x}", lsn >> 32)
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let mut parts = text.split('-');
        let mut next = || {
            let part = parts.next()?;
            // `from_str_radix` accepts a sign.
            part.bytes().all(|b| b.is_ascii_hexdigit()).then_some(part)
        };
        let position = (|| {
            let timeline = u32::from_str_radix(next()?, 16).ok()?;
            let lsn = join(next()?, next()?)?;
            Some(Position { timeline, lsn })
        })();
        match (position, parts.next()) {
            (Some(position), None) => Ok(Self(position)),
            _ => Err(InvalidToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_parses_from_what_it_prints(timeline: u32, lsn: u64) {
            let token = Token(Position { timeline, lsn });
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }

        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC*") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.to_string().parse(), Ok(token));
            }
        }
    }

    #[test]
    fn the_header_of_a_page_is_not_waited_for() {
        let file = Some("00000003000000000000002A");
        let lsn = |lsn, offset| {
            let columns = [Some(lsn), file, Some(offset)];
            Token::read(|column| columns[column]).unwrap().to_string()
        };
        assert_eq!(lsn("0/2A000100", "256"), "3-0-2a000100");
        assert_eq!(lsn("0/2A000028", "40"), "3-0-2a000000", "a new file");
        assert_eq!(lsn("0/2A002018", "8216"), "3-0-2a002000", "a new page");
        // The end of a record that began on the page before.
        assert_eq!(lsn("0/2A002020", "8224"), "3-0-2a002020");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in [
            "",
            "1",
            "1-0",
            "1-0-1-2",
            "1-0-x",
            "-1-0-1",
            "+1-0-1",
            "1 -0-1",
            "1-0-123456789",
        ] {
            assert_eq!(text.parse::<Token>(), Err(InvalidToken), "{text}");
        }
    }
}
