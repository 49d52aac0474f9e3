//! The methods of the builders of transactions, the same in both driver crates.

/// Generates the methods that set the options of a builder with a field `options`.
#[doc(hidden)]
#[macro_export]
macro_rules! transaction_options {
    ($kind:ty) => {
        impl $kind {
            /// Sets the isolation level. Defaults to the server's
            /// `default_transaction_isolation`, which is `READ COMMITTED` unless changed.
            ///
            /// Under `SERIALIZABLE` and `REPEATABLE READ` the server may refuse a transaction that
            /// conflicts with another one (SQLSTATE 40001): the whole has to run again.
            pub fn isolation_level(mut self, level: $crate::transaction::IsolationLevel) -> Self {
                self.options.isolation_level = Some(level);
                self
            }

            /// Sets whether the server refuses to change tables. Defaults to the server's
            /// `default_transaction_read_only`, which is off unless changed.
            pub fn read_only(mut self, read_only: bool) -> Self {
                self.options.read_only = Some(read_only);
                self
            }

            /// Sets whether the first statement waits until no conflict can abort the transaction.
            /// Has an effect only on one that is read-only and `SERIALIZABLE`, such as a long
            /// report. Defaults to the server's `default_transaction_deferrable`, which is off
            /// unless changed.
            pub fn deferrable(mut self, deferrable: bool) -> Self {
                self.options.deferrable = Some(deferrable);
                self
            }

            /// Sets the time for the whole: waiting for a session, all attempts and the pauses
            /// between them, and looking for the outcome of a `COMMIT`. Defaults to no limit.
            ///
            /// It is a deadline of the transaction's calls: a statement that still runs when the
            /// time is over is cancelled, and a session whose server does not react is closed a
            /// second later. The session's own limits, such as its `statement_timeout`, stay in
            /// force. The methods of the driver's client have no deadline.
            pub fn timeout(mut self, timeout: ::std::time::Duration) -> Self {
                self.options.timeout = Some(timeout);
                self
            }

            /// Sets the server's limit on the time of each statement, rounded up to whole
            /// milliseconds; zero means no limit. Defaults to the session's `statement_timeout`.
            pub fn statement_timeout(mut self, limit: ::std::time::Duration) -> Self {
                self.options.statement_timeout = Some(limit);
                self
            }

            /// Sets the server's limit on the time in which a statement waits for each lock,
            /// rounded up to whole milliseconds; zero means no limit. Defaults to the session's
            /// `lock_timeout`.
            pub fn lock_timeout(mut self, limit: ::std::time::Duration) -> Self {
                self.options.lock_timeout = Some(limit);
                self
            }

            /// Sets a setting until the end of the transaction, as `SET LOCAL` does; `value` is
            /// written as in a config file. Name and value are quoted: they may come from outside.
            /// May be called several times.
            ///
            /// A row-level-security policy can read it:
            /// `USING (tenant = current_setting('app.tenant')::int)`.
            pub fn set_local(mut self, name: &str, value: &str) -> Self {
                self.options.set_local(name, value);
                self
            }

            /// Changes the role until the end of the transaction, as `SET LOCAL ROLE` does, after
            /// everything else is set. The name is quoted: it may come from outside.
            pub fn role(mut self, name: &str) -> Self {
                self.options.role(name);
                self
            }

            /// Has `run` make several attempts, if one fails by a conflict with another transaction.
            /// Defaults to a single attempt.
            pub fn retry(mut self, retry: $crate::transaction::Retry) -> Self {
                self.options.retry = Some(retry);
                self
            }

            /// Sets whether the outcome of a `COMMIT` is looked for if its answer is lost. Defaults to
            /// `false`: the error is then
            /// [`Error::CommitUnknown`](::pgmonkey_connect::Error::CommitUnknown).
            ///
            /// Costs one round trip before the `COMMIT`, which asks for the transaction's id. If the
            /// answer is lost, another session of the pool asks what became of it: `commit` returns
            /// `Ok` if it was committed, and the transient
            /// [`Error::NotCommitted`](::pgmonkey_connect::Error::NotCommitted) if it was not. While
            /// it is still in progress, or no server can be asked, the search goes on until the
            /// transaction's time limit, or for the pool's `timeout`. A transaction that has only
            /// sent `NOTIFY` counts as one that wrote nothing.
            pub fn confirm_commit(mut self, confirm: bool) -> Self {
                self.options.confirm_commit = confirm;
                self
            }

            /// Sets the name of the transaction in events and errors.
            pub fn label(mut self, label: impl Into<::std::sync::Arc<str>>) -> Self {
                self.options.label = Some(label.into());
                self
            }
        }
    };
}
