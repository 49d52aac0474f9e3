use std::io;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::failure::{ConnectCause, ConnectFailure, FailedAttempt};

/// A writer and its readers, and what the driver crates do with them.
struct World {
    written: u64,
    readers: Vec<Reader>,
    /// Whether a pooler stands before each reader: then its idle sessions do not notice that the
    /// reader is gone, until they are used.
    has_poolers: bool,
    now: Instant,
    /// What happens at each question to a reader, and each use of one.
    events: Vec<Event>,
}

#[derive(Debug, Clone, Copy)]
struct Reader {
    replayed: u64,
    is_there: bool,
    idle: u32,
    timeline: u32,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Writes,
    Replays(usize),
    Goes(usize),
    Comes(usize),
    IsTaken(usize),
    IsIdle(usize),
    Follows(usize),
}

fn address(at: usize) -> Address {
    Address::Tcp(([10, 0, 0, at as u8], 5432).into())
}

fn away() -> Error {
    let refused = ConnectCause::Io(io::ErrorKind::ConnectionRefused.into());
    let failed = FailedAttempt::before("db:5432".to_owned(), refused);
    Error::Connect(Arc::new(ConnectFailure::new(
        "app".into(),
        "shop".into(),
        vec![failed],
    )))
}

fn lost() -> Error {
    Error::commit_unknown(away())
}

/// Where a read was served, and how much it saw.
#[derive(Debug, PartialEq)]
enum Served {
    Reader(usize, u64),
    Writer(u64),
}

impl World {
    fn happens(&mut self) {
        self.now += Duration::from_millis(1);
        let Some(event) = self.events.pop() else {
            return;
        };
        let readers = self.readers.len();
        match event {
            Event::Writes => self.written += 1,
            Event::Replays(at) => {
                let reader = &mut self.readers[at % readers];
                if reader.timeline == 2 {
                    reader.replayed = self.written;
                }
            }
            Event::Goes(at) => self.readers[at % readers].is_there = false,
            Event::Comes(at) => self.readers[at % readers].is_there = true,
            Event::IsTaken(at) => {
                let idle = &mut self.readers[at % readers].idle;
                *idle = idle.saturating_sub(1);
            }
            Event::IsIdle(at) => self.readers[at % readers].idle += 1,
            Event::Follows(at) => self.readers[at % readers].timeline = 2,
        }
    }

    fn reach(&self, at: usize, token: Option<u64>) -> Reach {
        let reader = &self.readers[at];
        match token {
            None => Reach::Reached,
            Some(token) if reader.timeline == 2 && reader.replayed >= token => Reach::Reached,
            Some(_) => Reach::Behind,
        }
    }

    fn is_checked(&self, reading: &Reading) -> bool {
        !self.has_poolers || reading.has_failed()
    }

    /// As the driver crates do: a session of a reader, or none for the writer.
    fn hold(&mut self, reading: &mut Reading, token: Option<u64>) -> Result<Option<usize>, Error> {
        loop {
            self.happens();
            let fits = |at: &usize| {
                let reader = &self.readers[*at];
                let is_worth_it = match token {
                    Some(_) => reading.may_try(&address(*at), Reach::Behind),
                    None => reading.may_use(&address(*at)),
                };
                reader.idle > 0 && is_worth_it
            };
            let mut idle = (0..self.readers.len()).rev().find(fits);
            if idle.is_none() && (token.is_none() || reading.is_fresh()) {
                idle = (0..self.readers.len())
                    .rev()
                    .find(|at| self.readers[*at].idle > 0);
            }
            // One that is opened is where a server is.
            let opened = || (0..self.readers.len()).find(|at| self.readers[*at].is_there);
            let next = match idle {
                Some(at) => Some(at),
                None if token.is_none() || reading.is_fresh() => match opened() {
                    Some(at) => Some(at),
                    None => return Err(away()),
                },
                None => None,
            };
            let next = match next {
                // A check of an idle session notices that its server is gone.
                Some(at) if !self.readers[at].is_there && self.is_checked(reading) => {
                    self.readers[at].idle -= 1;
                    continue;
                }
                Some(at) => match self.reach(at, token) {
                    Reach::Reached => return Ok(Some(at)),
                    reach => reading.found(&address(at), reach),
                },
                None => reading.found_none(self.now),
            };
            match next {
                Next::Another => {}
                Next::Pause(pause) => self.now += pause,
                Next::Writer => return Ok(None),
            }
        }
    }

    fn read(&mut self, fallback: bool, token: Option<u64>) -> Result<Served, Error> {
        let rules = ReadRules {
            fallback,
            wait: WAIT,
            is_usable: true,
            keeps_server: !self.has_poolers,
        };
        let text = token.map(|lsn| format!("2-0-{lsn:x}").parse().expect("a token"));
        let mut reading = Reading::new(rules, text, self.now);
        let mut side = reading.first();
        while side == Side::Reader {
            let (error, at) = match self.hold(&mut reading, token) {
                Ok(Some(at)) => {
                    self.happens();
                    if self.readers[at].is_there {
                        return Ok(Served::Reader(at, self.readers[at].replayed));
                    }
                    let reader = &mut self.readers[at];
                    reader.idle = reader.idle.saturating_sub(1);
                    (lost(), Some(address(at)))
                }
                Ok(None) => break,
                Err(error) => (error, None),
            };
            match reading.failed(&error, at.as_ref()) {
                Some(next) => side = next,
                None => return Err(error),
            }
        }
        Ok(Served::Writer(self.written))
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let reader = 0_usize..3;
    let event = prop_oneof![
        3 => Just(Event::Writes),
        3 => reader.clone().prop_map(Event::Replays),
        1 => reader.clone().prop_map(Event::Goes),
        1 => reader.clone().prop_map(Event::Comes),
        1 => reader.clone().prop_map(Event::IsTaken),
        2 => reader.clone().prop_map(Event::IsIdle),
        1 => reader.prop_map(Event::Follows),
    ];
    prop::collection::vec(event, 0..60)
}

fn world(events: Vec<Event>, readers: usize, has_poolers: bool) -> World {
    let reader = Reader {
        replayed: 5,
        is_there: true,
        idle: 5,
        timeline: 2,
    };
    let mut readers = vec![reader; readers];
    readers[0].timeline = 1;
    World {
        written: 9,
        readers,
        has_poolers,
        now: Instant::now(),
        events,
    }
}

proptest! {
    #[test]
    fn a_read_after_a_token_never_sees_less(
        events in events(),
        readers in 1_usize..4,
        token in 1_u64..10,
        fallback: bool,
        has_poolers: bool,
    ) {
        let mut world = world(events, readers, has_poolers);
        match world.read(fallback, Some(token)) {
            Ok(Served::Reader(at, seen)) => {
                prop_assert!(seen >= token && world.readers[at].timeline == 2);
            }
            Ok(Served::Writer(seen)) => prop_assert!(seen >= token),
            Err(error) => prop_assert!(false, "it fails: {error}"),
        }
    }

    /// Only the first reader is left alone: it is the good one.
    #[test]
    fn with_one_good_reader_no_read_fails_for_anothers_fault(
        events in events(),
        readers in 2_usize..4,
        fallback: bool,
        has_poolers: bool,
    ) {
        let spares = |event: &Event| !matches!(event, Event::Goes(at) if at % readers == 0);
        let events = events.into_iter().filter(spares).collect();
        let mut world = world(events, readers, has_poolers);
        prop_assert!(world.read(fallback, None).is_ok());
    }

    #[test]
    fn without_fallback_a_read_without_a_token_never_goes_to_the_writer(
        events in events(),
        readers in 1_usize..4,
        has_poolers: bool,
    ) {
        let served = world(events, readers, has_poolers).read(false, None);
        prop_assert!(!matches!(served, Ok(Served::Writer(_))), "{served:?}");
    }
}

#[test]
fn a_token_that_says_nothing_goes_to_the_writer_at_once() {
    let rules = ReadRules {
        fallback: false,
        wait: WAIT,
        is_usable: true,
        keeps_server: true,
    };
    let first = |rules, token| Reading::new(rules, token, Instant::now()).first();
    assert_eq!(first(rules, None), Side::Reader);
    assert_eq!(first(rules, Some(Token::UNKNOWN)), Side::Writer);
    let token = "1-0-1".parse().ok();
    assert_eq!(first(rules, token), Side::Reader);
    let behind_a_pooler = ReadRules {
        keeps_server: false,
        ..rules
    };
    assert_eq!(first(behind_a_pooler, token), Side::Writer);
    assert_eq!(first(behind_a_pooler, None), Side::Reader);
}
