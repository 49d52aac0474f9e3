//! The options of a transaction, and the text of its `BEGIN`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::IsolationLevel;

use super::{Retry, setting};
use crate::session::savepoint;
use crate::{Deadline, Error};

/// The options of a transaction. The default has none: the server's defaults apply.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The isolation level.
    pub isolation_level: Option<IsolationLevel>,
    /// Whether writes are refused.
    pub read_only: Option<bool>,
    /// Whether the transaction waits for a snapshot that no conflict can abort. Has an effect only
    /// on one that is `SERIALIZABLE` and read-only.
    pub deferrable: Option<bool>,
    /// The time for the whole: waiting for a session, all attempts, and the pauses between them.
    pub timeout: Option<Duration>,
    /// The time for each statement.
    pub statement_timeout: Option<Duration>,
    /// The time for each lock that a statement waits for.
    pub lock_timeout: Option<Duration>,
    /// Whether a transaction that failed is run again; not if `None`.
    pub retry: Option<Retry>,
    /// Whether the outcome of a `COMMIT` is looked for if its answer is lost.
    pub confirm_commit: bool,
    /// The name in events and errors.
    pub label: Option<Arc<str>>,
    pub(super) settings: Vec<(String, String)>,
    pub(super) role: Option<String>,
}

impl Options {
    /// Sets a setting until the end of the transaction.
    pub fn set_local(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Changes the role until the end of the transaction.
    pub fn role(&mut self, name: &str) {
        self.role = Some(name.to_owned());
    }

    /// When the whole must have ended, if it begins at `now`.
    pub fn deadline(&self, now: Instant) -> Option<Deadline> {
        let timeout = self.timeout?;
        // A time that the clock cannot express is none.
        now.checked_add(timeout).map(Deadline::at)
    }

    /// Limits the time for the whole, unless it is limited to less.
    pub fn limit_to(&mut self, limit: Duration) {
        self.timeout = Some(self.timeout.map_or(limit, |own| own.min(limit)));
    }

    /// Whether the commit of a transaction at this depth is confirmed. The end of a savepoint, which
    /// is all there is in a pool for tests, makes nothing permanent.
    pub fn confirms(&self, depth: u32) -> bool {
        self.confirm_commit && depth == 0
    }

    /// The text that begins the transaction: `BEGIN` and its `SET LOCAL`s, which are sent together.
    ///
    /// ```
    /// use pgmonkey_connect::transaction::Options;
    ///
    /// let mut options = Options::default();
    /// assert_eq!(options.begin_text()?, "BEGIN");
    /// options.read_only = Some(true);
    /// options.set_local("app.tenant", "42");
    /// assert_eq!(options.begin_text()?, r#"BEGIN READ ONLY; SET LOCAL "app"."tenant" = '42'"#);
    /// # Ok::<(), pgmonkey_connect::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TransactionOption`] for an invalid name or value.
    pub fn begin_text(&self) -> Result<Cow<'static, str>, Error> {
        let modes = self.modes();
        let settings = self.local_settings()?;
        if modes.is_empty() && settings.is_empty() {
            return Ok("BEGIN".into());
        }
        let mut text = String::from("BEGIN");
        for (at, mode) in modes.iter().enumerate() {
            text.push_str(if at > 0 { ", " } else { " " });
            text.push_str(mode);
        }
        for setting in settings {
            text.push_str("; ");
            text.push_str(&setting);
        }
        Ok(text.into())
    }

    /// The text that begins a transaction at this depth: 0, except in a pool for tests, where it is a
    /// savepoint of the outermost transaction. Such a savepoint has the settings, but not the modes
    /// of the transaction.
    ///
    /// # Errors
    ///
    /// As [`begin_text`](Self::begin_text).
    pub fn text_at(&self, depth: u32) -> Result<Cow<'static, str>, Error> {
        if depth == 0 {
            return self.begin_text();
        }
        let begin = savepoint::begin(depth);
        let settings = self.local_settings()?;
        match settings.is_empty() {
            true => Ok(begin),
            false => Ok(format!("{begin}; {}", settings.join("; ")).into()),
        }
    }

    /// The text that undoes the settings after a transaction at this depth was kept; `None` if the
    /// server does so itself.
    pub fn undo_at(&self, depth: u32) -> Option<String> {
        if depth == 0 {
            return None;
        }
        let settings = self.local_settings().ok()?;
        let undone = settings.iter().map(|setting| setting::undo(setting));
        (!settings.is_empty()).then(|| undone.collect::<Vec<_>>().join("; "))
    }

    /// The `SET LOCAL` statements. The role is last: what may be set depends on it.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionOption`] for an invalid name or value.
    pub fn local_settings(&self) -> Result<Vec<String>, Error> {
        let times = [
            ("statement_timeout", self.statement_timeout),
            ("lock_timeout", self.lock_timeout),
        ];
        let times = times.into_iter().filter_map(|(name, time)| {
            let time = milliseconds(time?);
            Some(Ok(format!("SET LOCAL {name} = {time}")))
        });
        let settings = self.settings.iter();
        let settings = settings.map(|(name, value)| setting::set_local(name, value));
        let role = self.role.iter().map(|name| setting::role(name));
        times.chain(settings).chain(role).collect()
    }

    /// Checks that the options are none that only a transaction has, not a savepoint.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionOption`] with the first one that is.
    pub fn check_savepoint(&self) -> Result<(), Error> {
        let given = [
            ("isolation_level", self.isolation_level.is_some()),
            ("read_only", self.read_only.is_some()),
            ("deferrable", self.deferrable.is_some()),
            ("confirm_commit", self.confirm_commit),
            ("timeout", self.timeout.is_some()),
            ("retry", self.retry.is_some()),
            ("statement_timeout", self.statement_timeout.is_some()),
            ("lock_timeout", self.lock_timeout.is_some()),
            ("set_local", !self.settings.is_empty()),
            ("role", self.role.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(Error::TransactionOption {
                option: (*option).into(),
                reason: "a savepoint cannot have it, only the transaction around it",
            }),
        }
    }

    fn modes(&self) -> Vec<&'static str> {
        let level = self.isolation_level.map(|level| match level {
            IsolationLevel::ReadUncommitted => "ISOLATION LEVEL READ UNCOMMITTED",
            IsolationLevel::ReadCommitted => "ISOLATION LEVEL READ COMMITTED",
            IsolationLevel::RepeatableRead => "ISOLATION LEVEL REPEATABLE READ",
            // The strictest, for one that this version does not know.
            _ => "ISOLATION LEVEL SERIALIZABLE",
        });
        let read_only = self.read_only.map(|on| match on {
            true => "READ ONLY",
            false => "READ WRITE",
        });
        let deferrable = self.deferrable.map(|on| match on {
            true => "DEFERRABLE",
            false => "NOT DEFERRABLE",
        });
        [level, read_only, deferrable]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// The server counts time in whole milliseconds and takes 0 for no limit.
fn milliseconds(time: Duration) -> u128 {
    let rounded_up = time.as_nanos().div_ceil(1_000_000);
    rounded_up.min(i32::MAX as u128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Effects, effects};

    #[test]
    fn all_options_are_in_one_text() {
        let mut options = Options {
            isolation_level: Some(IsolationLevel::Serializable),
            read_only: Some(true),
            deferrable: Some(false),
            statement_timeout: Some(Duration::from_micros(1)),
            lock_timeout: Some(Duration::from_secs(2)),
            ..Options::default()
        };
        options.role("clerk");
        options.set_local("app.tenant", "42");
        assert_eq!(
            options.begin_text().expect("valid"),
            "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, NOT DEFERRABLE; \
             SET LOCAL statement_timeout = 1; SET LOCAL lock_timeout = 2000; \
             SET LOCAL \"app\".\"tenant\" = '42'; SET LOCAL ROLE 'clerk'"
        );
    }

    #[test]
    fn the_shortest_limit_counts() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut options = Options::default();
        assert_eq!(options.deadline(now), None);
        for (limit, left) in [(3, 3), (2, 2), (5, 2)] {
            options.limit_to(limit * second);
            assert_eq!(
                options.deadline(now),
                Some(Deadline::at(now + left * second))
            );
        }
        options.timeout = Some(Duration::MAX);
        assert_eq!(options.deadline(now), None, "the clock cannot express it");
        // The session may have a lower limit of its own, which a text could only replace.
        assert_eq!(options.begin_text().expect("valid"), "BEGIN");
    }

    #[test]
    fn a_savepoint_in_a_test_has_the_settings_and_undoes_them() {
        let mut options = Options {
            isolation_level: Some(IsolationLevel::Serializable),
            lock_timeout: Some(Duration::from_secs(2)),
            ..Options::default()
        };
        options.set_local("app.tenant", "a = b");
        options.role("clerk");
        assert_eq!(
            options.text_at(1).expect("valid"),
            "SAVEPOINT pgmonkey_1; SET LOCAL lock_timeout = 2000; \
             SET LOCAL \"app\".\"tenant\" = 'a = b'; SET LOCAL ROLE 'clerk'"
        );
        assert_eq!(
            options.undo_at(1).as_deref(),
            Some(
                "SET LOCAL lock_timeout TO DEFAULT; \
                 SET LOCAL \"app\".\"tenant\" TO DEFAULT; SET LOCAL ROLE NONE"
            )
        );
        assert_eq!(options.undo_at(0), None);
        assert_eq!(Options::default().undo_at(1), None);
    }

    /// Otherwise each session would be reset after its transaction.
    #[test]
    fn a_beginning_leaves_nothing_behind() {
        let mut options = Options {
            statement_timeout: Some(Duration::MAX),
            ..Options::default()
        };
        options.set_local("search_path", "app, \"$user\"");
        options.set_local("app.tenant", r"a\'; RESET ALL; --");
        options.role("clerk");
        let text = options.begin_text().expect("valid");
        assert_eq!(effects(&text), Effects::EXCLUSIVE, "{text}");
        assert!(text.contains("statement_timeout = 2147483647;"), "{text}");
    }

    #[test]
    fn a_savepoint_has_a_label_only() {
        let labelled = Options {
            label: Some("transfer".into()),
            ..Options::default()
        };
        assert!(labelled.check_savepoint().is_ok());
        let mut others = vec![labelled.clone(), labelled.clone()];
        others[0].set_local("a", "b");
        others[1].role("a");
        others.extend([
            Options {
                isolation_level: Some(IsolationLevel::ReadCommitted),
                ..Options::default()
            },
            Options {
                read_only: Some(false),
                ..Options::default()
            },
            Options {
                deferrable: Some(false),
                ..Options::default()
            },
            Options {
                timeout: Some(Duration::MAX),
                ..Options::default()
            },
            Options {
                retry: Some(Retry::default()),
                ..Options::default()
            },
            Options {
                statement_timeout: Some(Duration::MAX),
                ..Options::default()
            },
            Options {
                lock_timeout: Some(Duration::MAX),
                ..Options::default()
            },
        ]);
        for options in others {
            let error = options
                .check_savepoint()
                .expect_err("only a transaction has it");
            assert!(
                error.to_string().contains("a savepoint cannot have it"),
                "{error}"
            );
        }
    }
}
