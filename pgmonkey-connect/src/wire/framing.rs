//! The framing of protocol 3.0, followed without copying payloads. Pure: bytes in, events out.

/// How many bytes of a message's body are kept for the few messages that are looked into. A
/// `ReadyForQuery` has one, a `ParameterStatus` two short texts, an authentication request its
/// number and the names of a few mechanisms; an `ErrorResponse` begins with its codes.
const BODY_KEPT: usize = 512;

/// One message seen from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Backend<'a> {
    /// `ReadyForQuery` with its status byte.
    Ready(u8),
    /// `CopyInResponse` or `CopyBothResponse`: the server takes data now and ignores Sync.
    CopyIn,
    /// `ParameterStatus`, as sent: name, NUL, value, NUL.
    Parameter(&'a [u8]),
    /// A message of the login: what the server asks for, or that it is content.
    Authentication(&'a [u8]),
    /// `ErrorResponse`: its fields, as many as there was room for.
    Error(&'a [u8]),
}

/// One message seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frontend {
    /// The startup message, which has no type byte.
    Startup,
    /// A simple query or a function call: answered by one `ReadyForQuery`.
    Query,
    /// `Sync`: answered by one `ReadyForQuery`, but for one that falls into a copy.
    Sync,
    /// `Close` of a statement or a portal.
    Close,
    /// `CopyDone` or `CopyFail`.
    CopyEnd,
    /// `Terminate`.
    Terminate,
    /// Anything else.
    Other,
}

impl Frontend {
    fn of(kind: u8) -> Self {
        match kind {
            b'Q' | b'F' => Self::Query,
            b'S' => Self::Sync,
            b'C' => Self::Close,
            b'c' | b'f' => Self::CopyEnd,
            b'X' => Self::Terminate,
            _ => Self::Other,
        }
    }
}

/// The kind of the message at the front of `bytes`, if all of it is there, and what follows it.
#[inline]
fn whole(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [kind, length @ ..] = bytes.first_chunk::<5>()?;
    let size = (u32::from_be_bytes(*length) as usize)
        .max(4)
        .saturating_add(1);
    Some((*kind, bytes.get(size..)?))
}

/// The part of a message that has been seen.
#[derive(Debug, Default)]
struct Frame {
    header: [u8; 5],
    header_len: usize,
    body_left: usize,
    kept: Vec<u8>,
}

impl Frame {
    /// Takes header bytes from `bytes`; true once the header is whole.
    fn take_header(&mut self, bytes: &mut &[u8], size: usize) -> bool {
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
        // A length under four is a broken peer; the driver fails on it by itself.
        self.body_left = (u32::from_be_bytes(at) as usize).saturating_sub(4);
        true
    }

    /// Takes body bytes from `bytes`, keeping the first ones if asked; true once all came.
    fn take_body(&mut self, bytes: &mut &[u8], keep: bool) -> bool {
        let taken = self.body_left.min(bytes.len());
        if keep {
            let room = BODY_KEPT.saturating_sub(self.kept.len());
            self.kept.extend_from_slice(&bytes[..taken.min(room)]);
        }
        self.body_left -= taken;
        *bytes = &bytes[taken..];
        self.body_left == 0
    }

    fn reset(&mut self) {
        self.header_len = 0;
        self.kept.clear();
    }
}

/// Follows what the server sends.
#[derive(Debug, Default)]
pub(crate) struct BackendFraming {
    frame: Frame,
    in_body: bool,
}

impl BackendFraming {
    /// Feeds bytes in the order they arrived; calls `event` once for each message that ended and
    /// is looked into.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(Backend<'_>)) {
        loop {
            if self.at_boundary() {
                bytes = pass_over(bytes);
                // How nearly every answer ends.
                if let [b'Z', 0, 0, 0, 5, status, rest @ ..] = bytes {
                    event(Backend::Ready(*status));
                    bytes = rest;
                    continue;
                }
            }
            if bytes.is_empty() {
                return;
            }
            if !self.in_body {
                if !self.frame.take_header(&mut bytes, 5) {
                    return;
                }
                self.in_body = true;
            }
            let kind = self.frame.header[0];
            let keep = matches!(kind, b'Z' | b'S' | b'R' | b'E');
            if !self.frame.take_body(&mut bytes, keep) {
                return;
            }
            match kind {
                b'Z' => event(Backend::Ready(
                    self.frame.kept.first().copied().unwrap_or(0),
                )),
                b'G' | b'W' => event(Backend::CopyIn),
                b'S' => event(Backend::Parameter(&self.frame.kept)),
                b'R' => event(Backend::Authentication(&self.frame.kept)),
                b'E' => event(Backend::Error(&self.frame.kept)),
                _ => {}
            }
            self.frame.reset();
            self.in_body = false;
        }
    }

    /// How many bytes the message under way still lacks.
    pub(crate) fn missing(&self) -> usize {
        match self.in_body {
            true => self.frame.body_left,
            false => 0,
        }
    }

    /// Whether the last byte ended a message.
    pub(crate) fn at_boundary(&self) -> bool {
        !self.in_body && self.frame.header_len == 0
    }
}

/// Passes over the whole messages at the front of `bytes` that are not looked into: the rows of
/// a large result, thousands in one read.
fn pass_over(mut bytes: &[u8]) -> &[u8] {
    while let Some((kind, rest)) = whole(bytes) {
        // A row, first of all, without a look at the others.
        if kind != b'D' && matches!(kind, b'Z' | b'G' | b'W' | b'S' | b'R' | b'E') {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// Follows what the client sends, from the startup message on.
#[derive(Debug, Default)]
pub(crate) struct FrontendFraming {
    frame: Frame,
    in_body: bool,
    started: bool,
}

impl FrontendFraming {
    /// Feeds bytes in the order they were written; calls `event` as soon as a message's type is
    /// known, that is before its body has left: a half-written query already counts.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(Frontend)) {
        while !bytes.is_empty() {
            // Messages that are written whole, as nearly all are.
            if self.started
                && !self.in_body
                && self.frame.header_len == 0
                && let Some((kind, rest)) = whole(bytes)
            {
                event(Frontend::of(kind));
                bytes = rest;
                continue;
            }
            if !self.in_body {
                let size = if self.started { 5 } else { 4 };
                if !self.frame.take_header(&mut bytes, size) {
                    return;
                }
                self.in_body = true;
                event(self.kind());
                self.started = true;
            }
            if !self.frame.take_body(&mut bytes, false) {
                return;
            }
            self.frame.reset();
            self.in_body = false;
        }
    }

    fn kind(&self) -> Frontend {
        match self.started {
            true => Frontend::of(self.frame.header[0]),
            false => Frontend::Startup,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    fn startup(body: &[u8]) -> Vec<u8> {
        message(0, body)[1..].to_vec()
    }

    fn backend_events(chunks: &[&[u8]]) -> Vec<String> {
        let mut framing = BackendFraming::default();
        let mut events = Vec::new();
        for chunk in chunks {
            framing.feed(chunk, |event| events.push(format!("{event:?}")));
        }
        assert!(framing.at_boundary());
        events
    }

    #[test]
    fn an_empty_body_at_the_end_of_a_read_is_seen_at_once() {
        let events = backend_events(&[&message(b'W', b"")]);
        assert_eq!(events, ["CopyIn"]);
        assert!(backend_events(&[&message(b'1', b"")]).is_empty());
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same_backend_events(
            bodies in proptest::collection::vec((0usize..9, proptest::collection::vec(any::<u8>(), 0..900)), 1..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let kinds = *b"ZGSDCTWRE";
            let bytes: Vec<u8> = bodies.iter().flat_map(|(k, body)| message(kinds[*k], body)).collect();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(backend_events(&chunks), backend_events(&[&bytes]));
        }

        #[test]
        fn every_split_gives_the_same_frontend_events(
            bodies in proptest::collection::vec((0usize..6, proptest::collection::vec(any::<u8>(), 0..300)), 0..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let kinds = *b"QSPcXd";
            let mut bytes = startup(b"\0\x03\0\0user\0u\0\0");
            bytes.extend(bodies.iter().flat_map(|(k, body)| message(kinds[*k], body)));
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let mut whole = Vec::new();
            FrontendFraming::default().feed(&bytes, |event| whole.push(event));
            let mut split = Vec::new();
            let mut framing = FrontendFraming::default();
            for cut in at.windows(2) {
                framing.feed(&bytes[cut[0]..cut[1]], |event| split.push(event));
            }
            prop_assert_eq!(whole[0], Frontend::Startup);
            prop_assert_eq!(whole.len(), bodies.len() + 1);
            prop_assert_eq!(whole, split);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            BackendFraming::default().feed(&bytes, |_| ());
            FrontendFraming::default().feed(&bytes, |_| ());
        }
    }
}
