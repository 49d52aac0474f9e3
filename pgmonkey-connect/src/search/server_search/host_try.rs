//! The attempts at one host, and the time that each of them gets.

use std::collections::VecDeque;
use std::time::Instant;

use pgmonkey_config::Target;

use super::Step;
use crate::error::failure::ConnectCause;
use crate::random::draw;
use crate::search::credentials::{self, Password, PasswordRequest};
use crate::search::failover::Scope;
use crate::search::plan::{self, Attempt, Lookup, Turn};
use crate::search::rotation::{Ask, Login, RotatingSecret};
use crate::search::target::ConnectTarget;

/// The host being tried.
#[derive(Debug)]
pub(super) struct HostTry {
    pub(super) target: Target,
    pub(super) deadline: Option<Instant>,
    /// `None` until the name is resolved.
    pub(super) attempts: Option<VecDeque<Attempt>>,
    /// `None` until a password has been looked up.
    pub(super) password: Option<Option<Password>>,
    /// When the host's turn began.
    wanted: Instant,
    /// The login under way with a password that rotates.
    pub(super) login: Option<Login>,
    /// The attempt that the server refused for such a password, until another one is known.
    pub(super) refused: Option<(Attempt, ConnectCause)>,
    /// The deadline of the address being tried.
    share: Option<Instant>,
    /// Whether this is part of a probe, which has less time.
    is_probe: bool,
}

/// The next action for the current host.
pub(super) enum Next {
    Step(Step),
    Attempt(Attempt),
    /// No password is left to try.
    Refused,
}

impl HostTry {
    pub(super) fn new(
        connect_target: &ConnectTarget,
        scope: &Scope,
        target: Target,
        now: Instant,
    ) -> Self {
        let settings = connect_target.settings();
        let known = scope.known_address();
        let attempts = || plan::attempts(settings, &target, known.as_slice(), draw);
        let is_asked = connect_target.asks_provider() || connect_target.rotating().is_some();
        Self {
            attempts: match plan::lookup(&target) {
                Lookup::Known(_) => Some(connect_target.ordered(scope, attempts()).into()),
                Lookup::Name(_) if known.is_some() => {
                    Some(connect_target.ordered(scope, attempts()).into())
                }
                Lookup::Name(_) => None,
            },
            deadline: connect_target.deadline_of(scope.is_probe(), now),
            is_probe: scope.is_probe(),
            password: (!is_asked).then(|| credentials::password(settings, &target)),
            wanted: now,
            login: None,
            refused: None,
            share: None,
            target,
        }
    }

    /// `None` when nothing is left to try.
    pub(super) fn next(&mut self, connect_target: &ConnectTarget, now: Instant) -> Option<Next> {
        if self.password.is_none() {
            let Some(rotating) = connect_target.rotating() else {
                return Some(Next::Step(Step::Password {
                    request: PasswordRequest::new(connect_target.settings(), &self.target),
                    deadline: self.deadline,
                }));
            };
            if let Some(next) = self.ask(rotating, now) {
                return Some(next);
            }
            // As after a provider's answer, the host has its whole time from here.
            self.restart(connect_target, now);
            self.share = None;
        }
        let Some(attempts) = &mut self.attempts else {
            return Some(Next::Step(Step::Resolve {
                name: self.target.host.to_string(),
                port: self.target.port,
                deadline: self.deadline,
            }));
        };
        attempts.pop_front().map(Next::Attempt)
    }

    /// Starts the time limit for the host again.
    pub(super) fn restart(&mut self, connect_target: &ConnectTarget, now: Instant) {
        self.deadline = connect_target.deadline_of(self.is_probe, now);
    }

    /// Asks for the password; `None` once there is one.
    fn ask(&mut self, rotating: &RotatingSecret, now: Instant) -> Option<Next> {
        match rotating.ask(self.wanted, now) {
            Ask::Use(login) => {
                self.password = Some(Some(login.secret().clone().into()));
                self.login = Some(login);
                self.refused = None;
                None
            }
            Ask::Read(read) => Some(Next::Step(Step::Read(read))),
            Ask::Wait(pause) => Some(Next::Step(Step::Pause(pause))),
            Ask::Refused => Some(Next::Refused),
        }
    }

    /// Records that the server refused the password of `attempt`, which is repeated if there is
    /// another password; false if the password does not rotate.
    pub(super) fn refuse(&mut self, attempt: &Attempt, cause: &ConnectCause, now: Instant) -> bool {
        let (Some(error), Some(login)) = (
            cause.as_refusal(),
            self.login.take_if(|_| cause.as_refusal().is_some()),
        ) else {
            return false;
        };
        login.refused(error, now);
        self.password = None;
        if let Some(attempts) = &mut self.attempts {
            attempts.push_front(attempt.clone());
        }
        self.refused = Some((attempt.clone(), ConnectCause::Driver(error.clone())));
        true
    }

    /// The deadline of an attempt. A second kind of encryption gets the time that the first left.
    pub(super) fn share_of(&mut self, attempt: &Attempt, now: Instant) -> Option<Instant> {
        let attempts = self.attempts.as_ref()?;
        let is_second = self.share.is_some() && attempt.turn == Turn::Second;
        if !is_second {
            let later = attempts.iter().filter(|later| later.turn != Turn::Second);
            self.share = plan::share(now, self.deadline, 1 + later.count());
        }
        self.share
    }

    /// Removes the second kind of encryption at the address of `attempt` if `drops`; returns
    /// whether it is still to be tried.
    pub(super) fn drop_second_of(&mut self, attempt: &Attempt, drops: bool) -> bool {
        let Some(attempts) = &mut self.attempts else {
            return false;
        };
        let there = attempt.turn == Turn::First
            && attempts
                .front()
                .is_some_and(|next| next.turn == Turn::Second);
        if there && drops {
            attempts.pop_front();
        }
        there && !drops
    }
}
