//! Sessions whose statements are known.

use crate::wire::statements::StatementOutcome;

/// A statement as the reference knows it; positions count bytes in one direction.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) text: String,
    pub(super) rows: u64,
    pub(super) outcome: StatementOutcome,
    /// From where to where its request and its answer reach.
    pub(super) sent: (u64, u64),
    pub(super) received: (u64, u64),
    /// Up to where its request must be sent for it to begin.
    pub(super) complete: u64,
    /// How much of what was sent later belongs to it.
    pub(super) data: u64,
    /// Whether another statement follows in its request.
    pub(super) is_followed: bool,
}

/// A session as it is written: bytes in both directions, and what its statements are.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) segments: Vec<(bool, Vec<u8>)>,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) statements: Vec<Expected>,
}

pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(body);
    out
}

impl Script {
    pub(super) fn new() -> Self {
        let mut script = Self::default();
        script.send(message(0, b"\0\x03\0\0user\0u\0\0")[1..].to_vec());
        script.answer(message(b'R', &0_u32.to_be_bytes()));
        script.answer(message(b'S', b"standard_conforming_strings\0on\0"));
        script.answer(message(b'Z', b"I"));
        script
    }

    pub(super) fn send(&mut self, bytes: Vec<u8>) -> (u64, u64) {
        let from = self.sent;
        self.sent += bytes.len() as u64;
        self.segments.push((false, bytes));
        (from, self.sent)
    }

    fn answer(&mut self, bytes: Vec<u8>) -> (u64, u64) {
        let from = self.received;
        self.received += bytes.len() as u64;
        self.segments.push((true, bytes));
        (from, self.received)
    }

    /// Parse, Bind and Execute of a text, whose statement may have a name.
    pub(super) fn run(name: &str, text: &str) -> Vec<u8> {
        let mut bytes = message(b'P', format!("{name}\0{text}\0\0\0").as_bytes());
        bytes.extend(message(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes()));
        bytes.extend(message(b'E', b"\0\0\0\0\0"));
        bytes
    }

    fn rows(count: u64) -> Vec<u8> {
        let mut bytes = message(b'2', b"");
        (0..count).for_each(|_| bytes.extend(message(b'D', b"\0\x01\0\0\0\x011")));
        bytes.extend(message(b'C', format!("SELECT {count}\0").as_bytes()));
        bytes
    }

    fn expect(&mut self, text: &str, rows: u64, sent: (u64, u64), received: (u64, u64)) {
        self.statements.push(Expected {
            text: text.to_owned(),
            rows,
            outcome: StatementOutcome::Done,
            sent,
            received,
            complete: sent.1,
            data: 0,
            is_followed: false,
        });
    }

    fn fail(&mut self, code: &[u8; 5]) {
        let last = self.statements.last_mut().expect("a statement");
        last.outcome = StatementOutcome::Failed(*code);
    }

    /// One request and its answer; `n` makes its texts its own.
    pub(super) fn work(&mut self, kind: u8, n: u64) {
        let text = format!("SELECT {n}");
        let sync = || message(b'S', b"");
        let ready = || message(b'Z', b"I");
        let error = || message(b'E', b"SERROR\0C22012\0Mzero\0\0");
        match kind {
            // One statement, of the simple and of the extended protocol.
            0 => {
                let sent = self.send(message(b'Q', format!("{text}\0").as_bytes()));
                let received = self.answer([Self::rows(n), ready()].concat());
                self.expect(&text, n, sent, received);
            }
            1 => {
                let name = format!("s{n}");
                let sent = self.send([Self::run(&name, &text), sync()].concat());
                let received = self.answer([Self::rows(n), ready()].concat());
                self.expect(&text, n, sent, received);
            }
            // A statement that fails.
            2 => {
                let sent = self.send([Self::run("", &text), sync()].concat());
                let received = self.answer([message(b'2', b""), error(), ready()].concat());
                self.expect(&text, 0, sent, received);
                self.fail(b"22012");
            }
            // A text that is prepared, which fails or not; only the failure is told.
            3 => {
                let parse = message(b'P', format!("p{n}\0{text}\0\0\0").as_bytes());
                let sent = self.send([parse, sync()].concat());
                if n.is_multiple_of(2) {
                    self.answer([message(b'1', b""), ready()].concat());
                } else {
                    let received = self.answer([error(), ready()].concat());
                    self.expect(&text, 0, sent, received);
                    self.fail(b"22012");
                }
            }
            4 => self.three(n),
            5 => self.pipeline(n),
            // A copy in, by both protocols.
            6 | 7 => self.copy_in(kind == 6, n),
            // A statement that is closed, and an empty query.
            8 => {
                self.send([message(b'C', b"Ss1\0"), sync()].concat());
                self.send(message(b'Q', b"\0"));
                self.answer([message(b'3', b""), ready()].concat());
                self.answer([message(b'I', b""), ready()].concat());
            }
            // Rows that are fetched in two parts, and a commit that fails.
            9 => {
                let begins = self.send([Self::run("", &text), sync()].concat());
                let first = [message(b'D', b"\0\0"), message(b's', b""), ready()].concat();
                let received = self.answer(first);
                self.expect(&text, 1, begins, received);
            }
            _ => {
                let sent = self.send([Self::run("", &text), sync()].concat());
                let received = self.answer([Self::rows(1), error(), ready()].concat());
                self.expect(&text, 1, sent, received);
                self.fail(b"22012");
            }
        }
    }

    /// Three statements in one simple query, the second of which may fail.
    fn three(&mut self, n: u64) {
        let text = format!("SELECT a; SELECT b{n} ;; SELECT c");
        let sent = self.send(message(b'Q', format!("{text}\0").as_bytes()));
        let fails = n.is_multiple_of(3);
        let rest = match fails {
            true => [message(b'E', b"C22012\0\0"), message(b'Z', b"I")].concat(),
            false => [Self::rows(2), Self::rows(3), message(b'Z', b"I")].concat(),
        };
        let received = self.answer([Self::rows(1), rest].concat());
        self.expect(&text, if fails { 1 } else { 6 }, sent, received);
        if fails {
            self.fail(b"22012");
        }
    }

    /// Requests that are sent before the first is answered, one of them with two statements.
    fn pipeline(&mut self, n: u64) {
        let texts = [
            format!("SELECT a{n}"),
            format!("SELECT b{n}"),
            format!("SELECT c{n}"),
        ];
        let sync = || message(b'S', b"");
        let one = self.send([Self::run("x", &texts[0]), sync()].concat());
        let two = self.send(Self::run("", &texts[1]));
        let three = self.send([Self::run("", &texts[2]), sync()].concat());
        let received = self.answer([Self::rows(1), message(b'Z', b"I")].concat());
        self.expect(&texts[0], 1, one, received);
        let received = self.answer(Self::rows(2));
        self.expect(&texts[1], 2, two, received);
        let second = self.statements.last_mut().expect("one");
        (second.complete, second.is_followed) = (three.1, true);
        let received = self.answer([Self::rows(3), message(b'Z', b"I")].concat());
        self.expect(&texts[2], 3, three, received);
    }

    fn copy_in(&mut self, is_simple: bool, n: u64) {
        let text = format!("COPY t{n} FROM STDIN");
        let request = match is_simple {
            true => message(b'Q', format!("{text}\0").as_bytes()),
            false => [Self::run("", &text), message(b'S', b"")].concat(),
        };
        let sent = self.send(request);
        let begins = self.answer(message(b'G', b"\0\0\0"));
        let mut data = message(b'd', b"1\n");
        data.extend(message(b'c', b""));
        if !is_simple {
            data.extend(message(b'S', b""));
        }
        let data = self.send(data);
        let tag = format!("COPY {n}\0");
        let ends = self.answer([message(b'C', tag.as_bytes()), message(b'Z', b"I")].concat());
        self.expect(&text, n, sent, (begins.0, ends.1));
        self.statements.last_mut().expect("one").data = data.1 - data.0;
    }
}
