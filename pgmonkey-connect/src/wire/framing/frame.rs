//! The boundaries of messages.

use super::BODY_KEPT;

/// The kind of the message at the front of `bytes` if it is complete, and the bytes after it.
#[inline]
pub(in crate::wire) fn whole(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [kind, length @ ..] = bytes.first_chunk::<5>()?;
    let size = (u32::from_be_bytes(*length) as usize)
        .max(4)
        .saturating_add(1);
    Some((*kind, bytes.get(size..)?))
}

/// The part of a message that has arrived.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) header: [u8; 5],
    pub(super) header_len: usize,
    pub(super) body_left: usize,
    pub(super) kept: Vec<u8>,
    /// Whether the body was longer than what is kept.
    pub(super) dropped: bool,
}

impl Frame {
    /// Takes header bytes from `bytes`; true once the header is complete.
    pub(super) fn take_header(&mut self, bytes: &mut &[u8], size: usize) -> bool {
        let wanted = (size - self.header_len).min(bytes.len());
        self.header[self.header_len..self.header_len + wanted].copy_from_slice(&bytes[..wanted]);
        self.header_len += wanted;
        *bytes = &bytes[wanted..];
        if self.header_len < size {
            return false;
        }
        let [kind, a, b, c, d] = self.header;
        let at = if size == 5 {
            [a, b, c, d]
        } else {
            [kind, a, b, c]
        };
        // A length under four is a protocol violation; the driver fails on it by itself.
        self.body_left = (u32::from_be_bytes(at) as usize).saturating_sub(4);
        true
    }

    /// Takes body bytes from `bytes`, keeping the first `keep`; true once the body is complete.
    pub(super) fn take_body(&mut self, bytes: &mut &[u8], keep: usize) -> bool {
        let taken = self.body_left.min(bytes.len());
        let room = keep.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..taken.min(room)]);
        self.dropped |= taken > room;
        self.body_left -= taken;
        *bytes = &bytes[taken..];
        self.body_left == 0
    }

    /// How many of `bytes` belong to the message that has begun, or begins, with a header of five
    /// bytes.
    pub(super) fn piece(&self, bytes: &[u8], in_body: bool) -> usize {
        if in_body {
            return self.body_left.min(bytes.len());
        }
        let mut header = self.header;
        let wanted = 5 - self.header_len;
        let Some(start) = bytes.get(..wanted) else {
            return bytes.len();
        };
        header[self.header_len..].copy_from_slice(start);
        let [_, length @ ..] = header;
        let body = (u32::from_be_bytes(length) as usize).saturating_sub(4);
        wanted.saturating_add(body).min(bytes.len())
    }

    pub(super) fn reset(&mut self) {
        self.header_len = 0;
        self.kept.clear();
        self.kept.shrink_to(BODY_KEPT);
        self.dropped = false;
    }
}
