//! Answers that the stream gives in place of the server.

use std::borrow::Cow;

use tokio::io::ReadBuf;

/// `NotificationResponse` from process 0 with an empty channel and payload: no server sends it, so
/// the reader can distinguish it from a real one.
pub(super) const PROBE_ANSWER: [u8; 11] = [b'A', 0, 0, 0, 10, 0, 0, 0, 0, 0, 0];

/// A synthetic answer, copied out as the reader has room.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: Cow<'static, [u8]>,
    at: usize,
}

impl Unread {
    pub(super) fn new(bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Self {
            bytes: bytes.into(),
            at: 0,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Copies as much as the reader has room for, which is at least one byte.
    pub(super) fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let left = &self.bytes[self.at..];
        let now = left.len().min(buf.remaining());
        buf.put_slice(&left[..now]);
        self.at += now;
    }
}

/// SQLSTATE `invalid_transaction_state`.
pub(super) const INVALID_STATE: &str = "25000";
/// SQLSTATE `in_failed_sql_transaction`.
pub(super) const FAILED_TRANSACTION: &str = "25P02";

/// An `ErrorResponse` with this SQLSTATE and text, and a `ReadyForQuery`.
pub(super) fn refusal(code: &str, reason: &str) -> Vec<u8> {
    let fields = format!("SERROR\0VERROR\0C{code}\0M{reason}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    let mut bytes = vec![b'E'];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(fields.as_bytes());
    bytes.extend_from_slice(b"Z\0\0\0\x05I");
    bytes
}
