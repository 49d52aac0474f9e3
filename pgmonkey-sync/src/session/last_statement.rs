//! The last statement of a transaction, sent together with its `COMMIT` where the driver can.

use std::panic::Location;

use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::savepoint::{self, Found, Mark};
use pgmonkey_connect::{AsStatement, Error, sql};
use postgres::SimpleQueryMessage;

use super::Session;
use super::answer::{Count, Params};

impl Session {
    /// Runs the last statement of a transaction or savepoint and commits. A text without parameters
    /// shares a round trip with the `COMMIT`.
    pub(crate) fn execute_and_commit<S: ?Sized + AsStatement>(
        &mut self,
        place: &'static Location<'static>,
        mark: Mark,
        statement: &S,
        params: Params<'_>,
    ) -> Result<u64, Error> {
        let is_single = |text: &&str| {
            let statements = sql::statements(text);
            statements.is_some_and(|found| found.len() == 1) && !sql::takes_data(text)
        };
        match statement
            .text()
            .filter(|_| params.is_empty())
            .filter(is_single)
        {
            Some(text) => {
                let _place = self.calling_from(place);
                self.execute_with_commit(mark, text)
            }
            None => {
                let changed = self.run_statement::<Count, S>(place, statement, params)?;
                self.commit(mark)?;
                Ok(changed)
            }
        }
    }

    /// Undoes the settings of a transaction that was kept, if the server does not.
    pub(crate) fn run_undo(&mut self, undo: Option<&str>) -> Result<(), Error> {
        match undo {
            Some(text) => self.run(text),
            None => Ok(()),
        }
    }

    fn execute_with_commit(&mut self, mark: Mark, text: &str) -> Result<u64, Error> {
        self.make_ready()?;
        if self.look(mark)? != Found::Open {
            let ended = self.commit(mark);
            return Err(ended.err().unwrap_or(Error::RolledBack));
        }
        if let Some(observer) = self.observer() {
            observer.look_before_write();
        }
        let sending = self.sending();
        // A comment may end the text.
        let both = format!("{text}\n; {}", savepoint::commit(mark.depth));
        let (mut answer, mut done) = (Vec::new(), Ok(()));
        let sent = self.label().text_to_send(&both);
        match self.client_mut().simple_query(&sent) {
            Ok(messages) => answer = messages,
            Err(error) => done = Err(self.explain_answer(error, Takes::Rows)),
        }
        if done.is_ok() {
            self.note_ended(mark.depth);
            self.has_begun &= mark.depth > 0;
        }
        sending.committed(mark, done, self.observer().map(|observer| &**observer))?;
        let count = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::CommandComplete(count) => Some(*count),
            _ => None,
        });
        Ok(count.unwrap_or(0))
    }
}
