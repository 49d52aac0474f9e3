//! What was sent and is unanswered.

use std::collections::VecDeque;

use super::record::StatementRecord;

/// What a request ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It has no end yet.
    Open,
    /// A Sync, which the server ignores if a copy begins.
    Sync,
    /// It is a simple query.
    Query,
}

/// A statement that was sent, or the end of a request without one.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) record: Option<StatementRecord>,
    /// Whether the statement is only prepared: reported only if that fails.
    pub(super) prepares: bool,
    /// The end of its request, if no other statement follows in it.
    pub(super) end: End,
}

/// What is unanswered, oldest first. There is nearly always one unit at most, which has a place of
/// its own: moving it would cost more than all the rest.
#[derive(Debug, Default)]
pub(super) struct Queue {
    first: Option<Unit>,
    rest: VecDeque<Unit>,
}

impl Queue {
    #[inline]
    pub(super) fn push(&mut self, unit: Unit) {
        match &self.first {
            None => self.first = Some(unit),
            Some(_) => self.rest.push_back(unit),
        }
    }

    #[inline]
    pub(super) fn pop(&mut self) {
        self.first = match self.rest.is_empty() {
            true => None,
            false => self.rest.pop_front(),
        };
    }

    #[inline]
    pub(super) fn first(&self) -> Option<&Unit> {
        self.first.as_ref()
    }

    #[inline]
    pub(super) fn first_mut(&mut self) -> Option<&mut Unit> {
        self.first.as_mut()
    }

    /// The statement that the server is executing, or has completed last.
    #[inline]
    pub(super) fn current(&mut self) -> Option<&mut StatementRecord> {
        self.first.as_mut()?.record.as_mut()
    }

    #[inline]
    pub(super) fn last_mut(&mut self) -> Option<&mut Unit> {
        match self.rest.is_empty() {
            true => self.first.as_mut(),
            false => self.rest.back_mut(),
        }
    }

    /// The units from the last one backwards.
    pub(super) fn backwards(&mut self) -> impl Iterator<Item = &mut Unit> {
        self.rest.iter_mut().rev().chain(&mut self.first)
    }

    /// Whether a statement is without the first byte of its answer, or may be left by the server.
    #[inline]
    pub(super) fn awaits(&self) -> bool {
        let record = self.first.as_ref().and_then(|unit| unit.record.as_ref());
        record.is_some_and(|record| record.first_at.is_none()) || !self.rest.is_empty()
    }

    #[inline]
    pub(super) fn is_single(&self) -> bool {
        self.rest.is_empty()
    }
}

/// The number at the end of a command tag.
#[inline]
pub(super) fn rows_of(tag: &[u8]) -> u64 {
    let (mut rows, mut unit) = (0_u64, 1_u64);
    for byte in tag.iter().rev().skip_while(|byte| **byte == 0) {
        match byte {
            b'0'..=b'9' => {
                rows = rows.wrapping_add(u64::from(byte - b'0').wrapping_mul(unit));
                unit = unit.wrapping_mul(10);
            }
            b' ' => return rows,
            // A tag without a number.
            _ => return 0,
        }
    }
    0
}

/// The SQLSTATE in an error's fields; `XX000` if there is none.
pub(super) fn code_of(fields: &[u8]) -> [u8; 5] {
    let mut fields = fields.split(|byte| *byte == 0);
    let code = fields.find_map(|field| field.strip_prefix(b"C"));
    code.and_then(|code| code.try_into().ok())
        .unwrap_or(*b"XX000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_rows_is_at_the_end_of_a_tag() {
        let cases: [(&[u8], u64); 8] = [
            (b"SELECT 5\0", 5),
            (b"INSERT 0 120\0", 120),
            (b"COPY 18446744073709551615\0", u64::MAX),
            (b"BEGIN\0", 0),
            (b"CREATE TABLE\0", 0),
            (b"SET\0", 0),
            (b"7\0", 0),
            (b"", 0),
        ];
        for (tag, rows) in cases {
            assert_eq!(rows_of(tag), rows);
        }
    }

    #[test]
    fn the_code_is_found_among_the_fields() {
        assert_eq!(&code_of(b"SERROR\0VERROR\0C42601\0Msyntax\0\0"), b"42601");
        assert_eq!(&code_of(b"SERROR\0"), b"XX000");
    }
}
