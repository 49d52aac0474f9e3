//! The attempts at one host, and the time that each of them gets.

use std::collections::VecDeque;
use std::time::Instant;

use pgmonkey_config::Target;

use super::Step;
use crate::random::draw;
use crate::search::credentials::{self, Password, PasswordRequest, ProviderError};
use crate::search::plan::{self, Attempt, Lookup, Turn};
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
    /// The deadline of the address being tried.
    share: Option<Instant>,
}

/// The next action for the current host.
pub(super) enum Next {
    Step(Step),
    Attempt(Attempt),
}

impl HostTry {
    /// # Errors
    ///
    /// If the configured password cannot be read.
    pub(super) fn new(
        connect_target: &ConnectTarget,
        target: Target,
        now: Instant,
    ) -> Result<Self, ProviderError> {
        let settings = connect_target.settings();
        let password = match connect_target.asks_provider() {
            true => None,
            false => Some(credentials::password(settings, &target)?),
        };
        Ok(Self {
            attempts: match plan::lookup(&target) {
                Lookup::Known(_) => Some(plan::attempts(settings, &target, &[], draw).into()),
                Lookup::Name(_) => None,
            },
            deadline: connect_target.deadline(now),
            password,
            share: None,
            target,
        })
    }

    /// `None` when nothing is left to try.
    pub(super) fn next(&mut self, connect_target: &ConnectTarget) -> Option<Next> {
        if self.password.is_none() {
            return Some(Next::Step(Step::Password {
                request: PasswordRequest::new(connect_target.settings(), &self.target),
                deadline: self.deadline,
            }));
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
