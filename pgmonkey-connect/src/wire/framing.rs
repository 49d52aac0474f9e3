//! Follows the framing of protocol 3.0 without copying payloads. Pure: bytes in, events out.

use frame::Frame;
pub(super) use frame::whole;
pub use message::TransactionEnd;
pub(crate) use message::{Backend, Frontend};

mod frame;
mod message;

/// How many bytes of a message's body are kept for the few messages that are parsed. A
/// `ReadyForQuery` has one, a `ParameterStatus` two short texts, an authentication request its
/// number and the names of a few mechanisms; an `ErrorResponse` begins with its codes.
const BODY_KEPT: usize = 512;

/// The longest accepted `ParameterStatus`, in bytes of its body. The driver keeps the value for the
/// life of the session.
pub(crate) const LONGEST_PARAMETER: usize = 64 << 10;

/// How many bytes are kept of a body that is written in pieces: enough for nearly every statement
/// text, and for the names at the start of other messages.
fn kept_of(kind: u8) -> usize {
    match kind {
        b'Q' | b'P' => 1 << 20,
        b'B' | b'C' | b'E' => BODY_KEPT,
        _ => 0,
    }
}

/// Follows the server's messages.
#[derive(Debug, Default)]
pub(crate) struct BackendFraming {
    frame: Frame,
    in_body: bool,
    /// Whether a `BindComplete` arrived since the last `ReadyForQuery`.
    bound: bool,
    /// Whether a `ReadyForQuery` has arrived. Until then every message is counted.
    ready: bool,
    messages: u32,
    long_parameter: bool,
    /// How many bytes were fed.
    position: u64,
    /// Whether each statement is reported, and how many rows of the current one have arrived.
    reports: bool,
    rows: u64,
}

impl BackendFraming {
    /// Reports the completion of each statement from now on.
    pub(crate) fn report_statements(&mut self) {
        self.reports = true;
    }

    /// Feeds bytes in arrival order; calls `event` once for each completed message that is parsed,
    /// with the number of bytes fed up to its end.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(Backend<'_>, u64)) {
        self.position += bytes.len() as u64;
        let position = self.position;
        loop {
            if self.at_boundary() {
                if self.ready {
                    bytes = self.pass_over(bytes);
                }
                // The end of nearly every answer.
                if let [b'Z', 0, 0, 0, 5, status, rest @ ..] = bytes {
                    self.ready = true;
                    self.bound = false;
                    event(Backend::Ready(*status), position - rest.len() as u64);
                    bytes = rest;
                    continue;
                }
                // Nearly always just before it.
                if self.reports
                    && self.ready
                    && let Some((b'C', rest)) = whole(bytes)
                {
                    let tag = &bytes[5..bytes.len() - rest.len()];
                    self.completed(tag, position - rest.len() as u64, &mut event);
                    bytes = rest;
                    continue;
                }
            }
            if bytes.is_empty() {
                return;
            }
            bytes = self.feed_piece(bytes, position, &mut event);
        }
    }

    #[inline]
    fn completed(&mut self, tag: &[u8], at: u64, event: &mut impl FnMut(Backend<'_>, u64)) {
        if let Some(end) = TransactionEnd::of_tag(tag) {
            event(Backend::Ended(end), at);
        }
        if self.reports {
            self.rows = 0;
            event(Backend::Completed(tag), at);
        }
    }

    /// Feeds one message, or a part of it. A separate function, so that the hot path stays short.
    fn feed_piece<'a>(
        &mut self,
        mut bytes: &'a [u8],
        position: u64,
        mut event: &mut dyn FnMut(Backend<'_>, u64),
    ) -> &'a [u8] {
        if !self.in_body {
            if !self.frame.take_header(&mut bytes, 5) {
                return bytes;
            }
            self.in_body = true;
            self.long_parameter |=
                self.frame.header[0] == b'S' && self.frame.body_left > LONGEST_PARAMETER;
        }
        let kind = self.frame.header[0];
        let keep = if is_looked_into(kind) { BODY_KEPT } else { 0 };
        if !self.frame.take_body(&mut bytes, keep) {
            return bytes;
        }
        self.messages = self.messages.saturating_add(1);
        let at = position - bytes.len() as u64;
        let body = std::mem::take(&mut self.frame.kept);
        match kind {
            b'Z' => {
                self.ready = true;
                self.bound = false;
                event(Backend::Ready(body.first().copied().unwrap_or(0)), at);
            }
            b'G' | b'W' => event(Backend::CopyIn, at),
            b'S' => event(Backend::Parameter(&body), at),
            b'R' => event(Backend::Authentication(&body), at),
            b'E' => {
                let (bound, rows) = (self.bound, std::mem::take(&mut self.rows));
                let fields = &body;
                event(
                    Backend::Error {
                        fields,
                        bound,
                        rows,
                    },
                    at,
                );
            }
            b'N' => event(Backend::Notice(&body), at),
            b'D' => self.rows += 1,
            b'2' => self.bound = true,
            b'C' => self.completed(&body, at, &mut event),
            b'I' if self.reports => event(Backend::Empty, at),
            b's' if self.reports => event(Backend::Suspended(std::mem::take(&mut self.rows)), at),
            b'K' => body
                .first_chunk()
                .into_iter()
                .for_each(|pid| event(Backend::Key(u32::from_be_bytes(*pid)), at)),
            _ => {}
        }
        self.frame.kept = body;
        self.frame.reset();
        self.in_body = false;
        bytes
    }

    /// How many bytes were fed.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes of the current message are still to come.
    pub(crate) fn missing(&self) -> usize {
        match self.in_body {
            true => self.frame.body_left,
            false => 0,
        }
    }

    /// The text of the current message if it is an error. One in the format of protocol 2 has no length:
    /// its text begins where the length would be.
    pub(crate) fn error_without_length(&self) -> Option<Vec<u8>> {
        let is_error = self.in_body && self.frame.header[0] == b'E';
        let text = || [&self.frame.header[1..5], &self.frame.kept].concat();
        is_error.then(text)
    }

    /// How many messages are complete; exact until the first `ReadyForQuery`.
    pub(crate) fn messages(&self) -> u32 {
        self.messages
    }

    /// Whether a `ParameterStatus` longer than [`LONGEST_PARAMETER`] was announced.
    pub(crate) fn has_long_parameter(&self) -> bool {
        self.long_parameter
    }

    /// Whether the last byte ended a message.
    pub(crate) fn at_boundary(&self) -> bool {
        !self.in_body && self.frame.header_len == 0
    }

    /// How many of `bytes`, at least one if there is one, belong to the current message.
    pub(crate) fn piece(&self, bytes: &[u8]) -> usize {
        self.frame.piece(bytes, self.in_body)
    }

    /// Forgets a `BindComplete` that belongs to another statement than the next messages.
    pub(crate) fn unbind(&mut self) {
        self.bound = false;
    }

    /// Skips the complete messages at the front of `bytes` that are not parsed: the rows of a large
    /// result, thousands in one read.
    fn pass_over<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        let mut rows = 0;
        while let Some((kind, rest)) = whole(bytes) {
            // Rows first, without testing for other kinds.
            if kind == b'D' {
                rows += 1;
            } else {
                match kind {
                    b'2' => self.bound = true,
                    b'C' if !self.reports && TransactionEnd::of_tag(&bytes[5..]).is_none() => {}
                    b'I' | b's' if self.reports => break,
                    _ if is_looked_into(kind) => break,
                    _ => {}
                }
            }
            bytes = rest;
        }
        self.rows += rows;
        bytes
    }
}

/// Whether a server message of this kind is parsed.
fn is_looked_into(kind: u8) -> bool {
    matches!(
        kind,
        b'Z' | b'G' | b'W' | b'S' | b'R' | b'E' | b'N' | b'2' | b'C' | b'K'
    )
}

/// Follows the client's messages, from the startup message on.
#[derive(Debug, Default)]
pub(crate) struct FrontendFraming {
    frame: Frame,
    in_body: bool,
    started: bool,
    /// How many bytes were fed.
    position: u64,
}

impl FrontendFraming {
    /// Feeds bytes in write order; calls `event` as soon as a message's type is known, before its
    /// body is written: a half-written query already counts. The body follows once it is complete.
    /// The other argument is the number of bytes fed up to the message's end.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(Frontend<'_>, u64)) {
        self.position += bytes.len() as u64;
        let position = self.position;
        while !bytes.is_empty() {
            // Nearly all messages are written in one piece.
            if self.started
                && !self.in_body
                && self.frame.header_len == 0
                && let Some((kind, rest)) = whole(bytes)
            {
                let body = bytes.get(5..bytes.len() - rest.len());
                event(Frontend::of(kind, body), position - rest.len() as u64);
                bytes = rest;
                continue;
            }
            bytes = self.feed_piece(bytes, position, &mut event);
        }
    }

    /// How many bytes were fed.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether the last byte ended a message.
    pub(crate) fn at_boundary(&self) -> bool {
        !self.in_body && self.frame.header_len == 0
    }

    /// How many of `bytes`, at least one if there is one, belong to the current message, which is
    /// not the startup message.
    pub(crate) fn piece(&self, bytes: &[u8]) -> usize {
        self.frame.piece(bytes, self.in_body)
    }

    /// Feeds a part of a message that is written in pieces.
    #[cold]
    fn feed_piece<'a>(
        &mut self,
        mut bytes: &'a [u8],
        position: u64,
        event: &mut dyn FnMut(Frontend<'_>, u64),
    ) -> &'a [u8] {
        if !self.in_body {
            let size = if self.started { 5 } else { 4 };
            if !self.frame.take_header(&mut bytes, size) {
                return bytes;
            }
            self.in_body = true;
            let message = match self.started {
                true => Frontend::of(self.frame.header[0], None),
                false => Frontend::Startup,
            };
            let missing = self.frame.body_left as u64;
            event(message, position - bytes.len() as u64 + missing);
        }
        let kind = match self.started {
            true => self.frame.header[0],
            false => 0,
        };
        if !self.frame.take_body(&mut bytes, kept_of(kind)) {
            return bytes;
        }
        if kept_of(kind) > 0 {
            let late = Frontend::Late {
                kind,
                body: &self.frame.kept,
                whole: !self.frame.dropped,
            };
            event(late, position - bytes.len() as u64);
        }
        self.started = true;
        self.frame.reset();
        self.in_body = false;
        bytes
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
            framing.feed(chunk, |event, _| events.push(format!("{event:?}")));
        }
        assert!(framing.at_boundary());
        events
    }

    /// A message whose body arrives late gives the same events as one written in one piece.
    fn frontend_events(chunks: &[&[u8]]) -> Vec<String> {
        let mut framing = FrontendFraming::default();
        let mut events: Vec<String> = Vec::new();
        for chunk in chunks {
            framing.feed(chunk, |event, _| match event {
                Frontend::Late { kind, body, whole } => {
                    assert!(whole, "these are short");
                    let last = events.last_mut().expect("it was announced");
                    *last = format!("{:?}", Frontend::of(kind, Some(body)));
                }
                event => events.push(format!("{event:?}")),
            });
        }
        events
    }

    #[test]
    fn transactions_end_by_their_tag() {
        let tags: [(&[u8], Option<TransactionEnd>); 6] = [
            (b"COMMIT\0", Some(TransactionEnd::Commit)),
            (b"ROLLBACK\0", Some(TransactionEnd::Rollback)),
            (b"PREPARE TRANSACTION\0", Some(TransactionEnd::Prepare)),
            (b"COMMIT PREPARED\0", None),
            (b"ROLLBACK PREPARED\0", None),
            (b"SELECT 1\0", None),
        ];
        for (tag, wanted) in tags {
            let found = backend_events(&[&message(b'C', tag)]);
            let wanted: Vec<String> = wanted
                .map(|end| format!("{:?}", Backend::Ended(end)))
                .into_iter()
                .collect();
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn an_error_behind_a_bind_says_so() {
        let error = message(b'E', b"SERROR\0\0");
        let bound = |bytes: &[u8]| backend_events(&[bytes])[0].contains("bound: true");
        assert!(!bound(&error));
        assert!(bound(&[message(b'2', b""), error.clone()].concat()));
        let next = [message(b'2', b""), message(b'Z', b"I"), error].concat();
        assert!(backend_events(&[&next])[1].contains("bound: false"));
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
            bodies in proptest::collection::vec((0usize..12, proptest::collection::vec(any::<u8>(), 0..900)), 1..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let kinds = *b"ZGSDCTWRE2KC";
            let bytes: Vec<u8> = bodies.iter().flat_map(|(k, body)| message(kinds[*k], body)).collect();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(backend_events(&chunks), backend_events(&[&bytes]));
        }

        #[test]
        fn every_split_gives_the_same_frontend_events(
            bodies in proptest::collection::vec((0usize..8, proptest::collection::vec(any::<u8>(), 0..300)), 0..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let kinds = *b"QSPcXdBC";
            let mut bytes = startup(b"\0\x03\0\0user\0u\0\0");
            bytes.extend(bodies.iter().flat_map(|(k, body)| message(kinds[*k], body)));
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let whole = frontend_events(&[&bytes]);
            prop_assert_eq!(&*whole[0], "Startup");
            prop_assert_eq!(whole.len(), bodies.len() + 1);
            prop_assert_eq!(whole, frontend_events(&chunks));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            BackendFraming::default().feed(&bytes, |_, _| ());
            FrontendFraming::default().feed(&bytes, |_, _| ());
        }
    }
}
