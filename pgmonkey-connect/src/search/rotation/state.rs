//! Which secret to log in with, and when, decided without I/O.
//!
//! A server or an administrator that counts refused logins may lock the account. So a secret that
//! was refused is repeated only after a pause, logins whose outcome is uncertain run one at a time,
//! and others at most two at a time: then a rotation costs at most two refused logins.

use std::time::{Duration, Instant};

use pgmonkey_config::Secret;

/// The pause before a refused secret is tried again, doubled with each refusal.
const FIRST: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST: Duration = Duration::from_secs(30);
/// The pause before asking again whether another login or read has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Most logins at the same time with a secret that a server accepted before.
const SIDE_BY_SIDE: u32 = 2;

/// What to do for a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Log in with this secret, then report the outcome.
    Use(Secret),
    /// Read the source, then report the result and ask again.
    Read,
    /// Ask again after this pause.
    Wait(Duration),
    /// Every known secret was refused a short time ago.
    Refused,
}

/// A secret that was refused.
#[derive(Debug, Clone)]
struct Refusal {
    secret: Secret,
    /// How often in a row.
    times: u32,
    /// The earliest time of the next login with it.
    next: Instant,
}

/// What is known about a secret that rotates.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The latest content of the source, and when the read of it began.
    newest: Option<(Secret, Instant)>,
    /// The last one that a server accepted.
    accepted: Option<Secret>,
    refused: Vec<Refusal>,
    /// Logins under way.
    logins: u32,
    reading: bool,
    /// Whether the source may hold another secret now.
    is_stale: bool,
}

impl State {
    /// Decides for a login that was wanted at `wanted`. `ttl` limits the age of what was read;
    /// without it, each login needs a read that began after it was wanted.
    pub(super) fn ask(&mut self, wanted: Instant, ttl: Option<Duration>, now: Instant) -> Answer {
        let newest = match &self.newest {
            Some((secret, read)) if !self.is_stale && is_fresh(*read, wanted, ttl, now) => {
                secret.clone()
            }
            _ if self.reading => return Answer::Wait(LOOK),
            _ => {
                self.reading = true;
                return Answer::Read;
            }
        };
        let Some(secret) = self.choose(newest, now) else {
            // The login under way may show that a secret is good.
            return match self.logins {
                0 => Answer::Refused,
                _ => Answer::Wait(LOOK),
            };
        };
        let is_certain = self.accepted.as_ref() == Some(&secret) && self.refused.is_empty();
        let most = if is_certain { SIDE_BY_SIDE } else { 1 };
        if self.logins >= most {
            return Answer::Wait(LOOK);
        }
        self.logins += 1;
        Answer::Use(secret)
    }

    /// The newest secret, unless it was refused a short time ago; then the one before it, unless
    /// that was too.
    fn choose(&self, newest: Secret, now: Instant) -> Option<Secret> {
        let is_due = |secret: &Secret| {
            let known = self
                .refused
                .iter()
                .find(|refusal| refusal.secret == *secret);
            known.is_none_or(|refusal| now >= refusal.next)
        };
        [Some(newest), self.accepted.clone()]
            .into_iter()
            .flatten()
            .find(is_due)
    }

    /// Records the content of the source, whose read began at `began`.
    pub(super) fn read(&mut self, secret: Secret, began: Instant) {
        self.reading = false;
        self.is_stale = false;
        self.newest = Some((secret, began));
        self.forget_others();
    }

    /// Records that the source could not be read.
    pub(super) fn read_failed(&mut self) {
        self.reading = false;
    }

    /// Records that the source has changed.
    pub(super) fn changed(&mut self) {
        self.is_stale = true;
    }

    /// Records that a login was accepted.
    pub(super) fn accepted(&mut self, secret: &Secret) {
        self.logins -= 1;
        self.accepted = Some(secret.clone());
        self.refused.retain(|refusal| refusal.secret != *secret);
        self.forget_others();
    }

    /// Records that a login, wanted at `wanted`, was refused.
    pub(super) fn refused(&mut self, secret: &Secret, wanted: Instant, now: Instant) {
        self.logins -= 1;
        if self.newest.as_ref().is_some_and(|(_, read)| *read < wanted) {
            self.is_stale = true;
        }
        let known = self.refused.iter_mut().find(|r| r.secret == *secret);
        match known {
            Some(refusal) => {
                refusal.times = refusal.times.saturating_add(1);
                refusal.next = now + pause(refusal.times);
            }
            None => {
                if self.accepted.as_ref() == Some(secret) {
                    // The password has changed since: a new one that came too early may be right.
                    self.refused.iter_mut().for_each(|other| other.next = now);
                }
                self.refused.push(Refusal {
                    secret: secret.clone(),
                    times: 1,
                    next: now + pause(1),
                });
            }
        }
    }

    /// Records that a login ended for another reason.
    pub(super) fn login_over(&mut self) {
        self.logins -= 1;
    }

    /// Whether a server has accepted a secret of this source.
    pub(super) fn was_accepted(&self) -> bool {
        self.accepted.is_some()
    }

    /// Forgets refusals of secrets that will not be used again.
    fn forget_others(&mut self) {
        let newest = self.newest.as_ref().map(|(secret, _)| secret);
        let accepted = self.accepted.as_ref();
        self.refused
            .retain(|refusal| newest == Some(&refusal.secret) || accepted == Some(&refusal.secret));
    }
}

fn is_fresh(read: Instant, wanted: Instant, ttl: Option<Duration>, now: Instant) -> bool {
    read >= wanted || ttl.is_some_and(|ttl| now.saturating_duration_since(read) < ttl)
}

fn pause(times: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1 << times.saturating_sub(1).min(16));
    doubled.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A server with a password, a file with a secret, and logins that are under way.
    struct World {
        state: State,
        now: Instant,
        server: u32,
        file: u32,
        logins: Vec<(Secret, Instant)>,
        refused: u32,
    }

    fn secret(number: u32) -> Secret {
        Secret::new(format!("secret {number}"))
    }

    impl World {
        fn new() -> Self {
            Self {
                state: State::default(),
                now: Instant::now(),
                server: 0,
                file: 0,
                logins: Vec::new(),
                refused: 0,
            }
        }

        /// Asks for a login and reads the file if necessary; false if there is none to begin.
        fn begin(&mut self) -> bool {
            let wanted = self.now;
            loop {
                match self.state.ask(wanted, Some(Duration::MAX), self.now) {
                    Answer::Use(secret) => {
                        self.logins.push((secret, wanted));
                        return true;
                    }
                    Answer::Read => self.state.read(secret(self.file), self.now),
                    Answer::Wait(_) | Answer::Refused => return false,
                }
            }
        }

        /// Ends a login; returns whether it was accepted.
        fn end(&mut self, at: usize) -> bool {
            let (used, wanted) = self.logins.swap_remove(at);
            let accepted = used == secret(self.server);
            match accepted {
                true => self.state.accepted(&used),
                false => {
                    self.refused += 1;
                    self.state.refused(&used, wanted, self.now);
                }
            }
            accepted
        }

        fn write(&mut self, number: u32) {
            self.file = number;
            self.state.changed();
        }
    }

    #[derive(Debug, Clone)]
    enum Event {
        Begin,
        End(usize),
        Pass(u64),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            4 => Just(Event::Begin),
            4 => any::<usize>().prop_map(Event::End),
            1 => (0..20u64).prop_map(Event::Pass),
        ];
        prop::collection::vec(event, 0..20)
    }

    proptest! {
        #[test]
        fn a_rotation_costs_at_most_two_refused_logins(
            rotations in prop::collection::vec((any::<bool>(), events(), events(), events()), 1..6),
        ) {
            let mut world = World::new();
            prop_assert!(world.begin() && world.end(0));
            for (number, (server_first, before, between, after)) in (1..).zip(rotations) {
                let happen = |world: &mut World, events: Vec<Event>| {
                    for event in events {
                        match event {
                            Event::Begin => drop(world.begin()),
                            Event::End(at) if !world.logins.is_empty() => {
                                world.end(at % world.logins.len());
                            }
                            Event::End(_) => {}
                            // Less than a second in all.
                            Event::Pass(pause) => world.now += Duration::from_millis(pause),
                        }
                        assert!(world.logins.len() <= SIDE_BY_SIDE as usize);
                    }
                };
                happen(&mut world, before);
                world.refused = 0;
                match server_first {
                    true => world.server = number,
                    false => world.write(number),
                }
                happen(&mut world, between);
                match server_first {
                    true => world.write(number),
                    false => world.server = number,
                }
                happen(&mut world, after);
                while !world.logins.is_empty() {
                    world.end(0);
                }
                // The next login succeeds, possibly after the secret that came before.
                let mut tries = 0;
                while !(world.begin() && world.end(0)) {
                    tries += 1;
                    prop_assert!(tries <= 2, "{:?}", world.state);
                }
                prop_assert!(world.refused <= 2, "{} refused", world.refused);
                prop_assert_eq!(world.logins.len(), 0);
            }
        }
    }

    #[test]
    fn a_secret_that_stays_wrong_is_repeated_less_and_less() {
        let mut world = World::new();
        assert!(world.begin() && world.end(0));
        world.server = 1;
        let began = world.now;
        let mut at = Vec::new();
        while world.now < began + Duration::from_secs(100) {
            if world.begin() {
                assert!(!world.end(0));
                at.push(world.now.duration_since(began).as_secs());
            }
            world.now += Duration::from_millis(100);
        }
        assert_eq!(at, [0, 1, 3, 7, 15, 31, 61, 91]);
    }

    #[test]
    fn what_was_read_for_one_login_serves_those_wanted_before_the_read() {
        let (mut state, now) = (State::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(state.ask(now, None, now), Answer::Read);
        assert_eq!(
            state.ask(now, None, now),
            Answer::Wait(LOOK),
            "one at a time"
        );
        state.read(secret(1), now);
        assert_eq!(state.ask(now, None, now + second), Answer::Use(secret(1)));
        state.accepted(&secret(1));
        assert_eq!(state.ask(now, None, now + second), Answer::Use(secret(1)));
        let later = now + second;
        assert_eq!(state.ask(later, None, later), Answer::Read);
        state.read_failed();
        let ttl = Some(10 * second);
        assert_eq!(state.ask(later, ttl, later), Answer::Use(secret(1)));
        let old = now + 10 * second;
        assert_eq!(state.ask(old, ttl, old), Answer::Read);
    }
}
