//! Loads rows with one or more sessions: all of them or none.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::future::try_join_all;
use pgmonkey::aio::ClientGuard;
use pgmonkey::printable;
use pgmonkey::sql::identifier;
use tokio::sync::Mutex;
use tokio::sync::mpsc::Receiver;

use crate::csv::scan::{LeftOut, Rows};
use crate::error::Error;
use crate::transfer::Sessions;
use crate::transfer::progress::Progress;
use crate::transfer::relation::{Name, database};

use super::feed::{self, Part};
use super::input::Input;
use super::plan::Plan;

/// The driver reports a row that the server refused only when a `COPY` ends, so this is the most
/// that is sent before such a row is reported.
const COPY_BYTES: usize = 32 << 20;
/// How often to check whether the sessions wait for each other.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// The idle timeout must not end sessions that wait for their turn to commit.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0";

/// One import.
pub(crate) struct Load<'a> {
    pub(crate) sessions: Sessions,
    pub(crate) plan: &'a Arc<Plan>,
    pub(crate) jobs: u32,
    pub(crate) allow_partial: bool,
}

/// State shared by the sessions.
struct Shared<'a> {
    parts: Mutex<Receiver<Result<Part, Error>>>,
    plan: &'a Plan,
    copy: String,
    /// The table's name as the server writes it.
    target: String,
    file: String,
    allow_partial: bool,
    /// Rows committed before the end, with `--allow-partial`.
    kept: AtomicU64,
    left_out: Mutex<LeftOut>,
    /// Whether any session has seen the end of the file.
    ended: AtomicBool,
}

impl Load<'_> {
    /// Returns how many rows were loaded and how many lines were left out.
    pub(crate) async fn run(
        &self,
        client: ClientGuard,
        input: Input,
        progress: &Progress,
    ) -> Result<(u64, LeftOut), Error> {
        let target = self.plan.table.sql();
        let file = input.name.clone();
        let ahead = self.jobs as usize * 2;
        let parts = feed::start(input, Arc::clone(self.plan), progress.clone(), ahead);
        let mut shared = Shared {
            parts: Mutex::new(parts),
            plan: self.plan,
            copy: self.plan.copy(&target),
            target: self.plan.table.table.clone(),
            file,
            allow_partial: self.allow_partial,
            kept: 0.into(),
            left_out: Mutex::default(),
            ended: false.into(),
        };
        let rows = match self.plan.create(&target) {
            _ if self.jobs == 1 => self.alone(client, &target, &shared).await,
            None => self.together(&client, &shared, None).await,
            Some(create) if self.allow_partial => {
                client.batch_execute(&create).await.map_err(database)?;
                self.together(&client, &shared, None).await
            }
            Some(_) => {
                let hidden = self.hidden_name();
                shared.copy = self.plan.copy(&hidden.sql());
                shared.target = hidden.table.clone();
                self.hidden(&client, &hidden, &shared).await
            }
        };
        let kept = shared.kept.into_inner();
        let rows = rows.map_err(|error| match error {
            Error::Failed { text, hint } if kept > 0 => Error::Failed {
                text: format!(
                    "{text}\n{kept} rows committed before the error are kept (--allow-partial)"
                ),
                hint,
            },
            error => error,
        })?;
        Ok((rows, shared.left_out.into_inner()))
    }

    /// Loads with one session in one transaction, which also creates the table.
    async fn alone(
        &self,
        client: ClientGuard,
        target: &str,
        shared: &Shared<'_>,
    ) -> Result<u64, Error> {
        client.batch_execute(BEGIN).await.map_err(database)?;
        if let Some(create) = self.plan.create(target) {
            client.batch_execute(&create).await.map_err(database)?;
        }
        let rows = shared.load(&client).await?;
        client.batch_execute("COMMIT").await.map_err(database)?;
        Ok(rows)
    }

    /// Fills a new table under a temporary name, because an uncommitted table is visible to one
    /// session only; the table is renamed when it is full.
    async fn hidden(
        &self,
        client: &ClientGuard,
        hidden: &Name,
        shared: &Shared<'_>,
    ) -> Result<u64, Error> {
        let name = hidden.sql();
        let create = self.plan.create(&name).expect("the table is to be created");
        self.sessions
            .undo_by(format!("DROP TABLE IF EXISTS {name}"));
        client.batch_execute(&create).await.map_err(database)?;
        let own = identifier(&self.plan.table.table);
        let last = Some(format!("ALTER TABLE {name} RENAME TO {own}"));
        let rows = self.together(client, shared, last).await?;
        self.sessions.nothing_to_undo();
        Ok(rows)
    }

    fn hidden_name(&self) -> Name {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_nanos());
        Name {
            schema: self.plan.table.schema.clone(),
            table: format!("pgmonkey_import_{}_{now:x}", std::process::id()),
        }
    }

    /// Loads with several sessions, whose transactions stay open until all rows are in.
    async fn together(
        &self,
        watcher: &ClientGuard,
        shared: &Shared<'_>,
        last: Option<String>,
    ) -> Result<u64, Error> {
        let mut clients = Vec::new();
        let mut pids = Vec::new();
        for _ in 0..self.jobs {
            let (client, process) = self.sessions.acquire().await?;
            client.batch_execute(BEGIN).await.map_err(database)?;
            pids.push(process);
            clients.push(client);
        }
        let loads = try_join_all(clients.iter().map(|client| shared.load(client)));
        let counts = tokio::select! {
            counts = loads => counts?,
            error = watch(watcher, &pids) => return Err(error),
        };
        // Anything that can still be refused is refused before the first commit.
        for client in &clients {
            client
                .batch_execute("SET CONSTRAINTS ALL IMMEDIATE")
                .await
                .map_err(database)?;
        }
        for (index, client) in clients.iter().enumerate() {
            let committed = client.batch_execute("COMMIT").await.map_err(database);
            committed.map_err(|error| torn(error, index, clients.len()))?;
        }
        if let Some(statement) = last {
            watcher.batch_execute(&statement).await.map_err(database)?;
        }
        Ok(counts.iter().sum())
    }
}

/// Returns only when the sessions wait for each other. The server cannot detect this as a deadlock,
/// because one of them waits for this program.
async fn watch(client: &ClientGuard, pids: &[i32]) -> Error {
    // Only locks that are kept to the end of a transaction count. The relation extension lock is
    // released immediately, and sessions that load into one table wait for it all the time.
    const BLOCKED: &str = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1) \
        AND wait_event_type = 'Lock' AND pg_blocking_pids(pid) && $1 \
        AND wait_event IN ('transactionid', 'tuple', 'relation', 'spectoken', 'advisory')";
    let mut before = false;
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        let blocked = match client.query_one(BLOCKED, &[&pids]).await {
            Ok(row) => row.get::<_, i64>(0) > 0,
            Err(error) => return database(error),
        };
        if blocked && before {
            return Error::Failed {
                text: "two sessions wait for each other: the file contains the same value of a unique column more than once".to_owned(),
                hint: Some("--jobs 1 reports the line".to_owned()),
            };
        }
        before = blocked;
    }
}

/// The error of a commit that failed after others had succeeded.
fn torn(error: Error, committed: usize, all: usize) -> Error {
    match committed {
        0 => error,
        _ => Error::failed(format!(
            "{error:#}\n{committed} of {all} sessions had already committed: their rows are in the table"
        )),
    }
}

impl Shared<'_> {
    /// Loads the rest of the file, or the part of it that the other sessions do not take.
    async fn load(&self, client: &ClientGuard) -> Result<u64, Error> {
        let prepared = client.prepare_cached(&self.copy).await;
        let statement = prepared.map_err(database)?;
        let mut total = 0;
        while let Some(first) = self.next().await? {
            let rows = self.copy(client, &statement, first).await?;
            total += rows;
            if self.allow_partial {
                client.batch_execute("COMMIT").await.map_err(database)?;
                client.batch_execute(BEGIN).await.map_err(database)?;
                self.kept.fetch_add(rows, Ordering::Relaxed);
            }
        }
        Ok(total)
    }

    /// The next rows; `None` at the end of the file.
    async fn next(&self) -> Result<Option<Rows>, Error> {
        match self.parts.lock().await.recv().await {
            Some(Ok(Part::Rows(rows))) => Ok(Some(rows)),
            Some(Ok(Part::End(left_out))) => {
                *self.left_out.lock().await = left_out;
                self.ended.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            None if self.ended.load(Ordering::Relaxed) => Ok(None),
            None => Err(Error::failed(format!(
                "{}: the reading thread ended unexpectedly",
                self.file
            ))),
        }
    }

    /// Runs one `COPY`.
    async fn copy(
        &self,
        client: &ClientGuard,
        statement: &pgmonkey::tokio_postgres::Statement,
        first: Rows,
    ) -> Result<u64, Error> {
        let mut sink = pin!(
            client
                .copy_in::<_, Bytes>(statement)
                .await
                .map_err(database)?
        );
        let mut next = Some(first);
        let mut places: Vec<(u64, u64)> = Vec::new();
        let (mut sent, mut lines) = (0, 0);
        // A header of our own, which the server skips. It ends like the rows, so that the server
        // counts lines correctly from the first row on.
        let header = sink.feed(Bytes::from_static(b"header\n")).await;
        let mut gone = header.is_err();
        while let Some(rows) = next.take().filter(|_| !gone) {
            places.extend(rows.places.iter().map(|(at, line)| (lines + at, *line)));
            lines += rows.lines;
            sent += rows.bytes.len();
            // The reason follows at the end of the `COPY`.
            gone = sink.feed(Bytes::from(rows.bytes)).await.is_err();
            if sent < COPY_BYTES && !gone {
                next = self.next().await?;
            }
        }
        sink.finish()
            .await
            .map_err(|error| self.wrong(error, &places))
    }

    /// Adds the place in the file to an error of the server.
    fn wrong(&self, error: impl Into<pgmonkey::Error>, places: &[(u64, u64)]) -> Error {
        let error = error.into();
        let context = error
            .as_db_error()
            .and_then(|error| error.where_())
            .and_then(|context| place(context, &self.target, &self.plan.columns));
        let error = database(error);
        let Some((line, column)) = context else {
            return error;
        };
        // The first line is our header.
        let line = line.saturating_sub(2);
        let known = places.iter().rev().find(|(at, _)| *at <= line);
        let line = known.map_or(line, |(at, first)| first + (line - at));
        let column =
            column.map(
                |name| match self.plan.columns.iter().position(|known| *known == name) {
                    Some(index) => format!("column {} ({name}): ", index + 1),
                    None => format!("{}: ", printable::line(&name)),
                },
            );
        Error::Failed {
            text: format!(
                "{}:{line}: {}{}",
                self.file,
                column.unwrap_or_default(),
                error.message()
            ),
            hint: error.hint(),
        }
    }
}

/// Parses the line and the column of `COPY t, line 3, column a: "x"`, in any language. The names of
/// the table and the columns may contain what separates the parts.
fn place(context: &str, table: &str, columns: &[String]) -> Option<(u64, Option<String>)> {
    let known = format!("COPY {table}, ");
    let line = match context.find(&known) {
        Some(at) => &context[at + known.len()..],
        None => {
            let line = context
                .lines()
                .find_map(|line| line.strip_prefix("COPY "))?;
            line.split_once(", ")?.1
        }
    };
    let begin = line.find(|c: char| c.is_ascii_digit())?;
    let digits = line[begin..].find(|c: char| !c.is_ascii_digit());
    let (number, rest) = line[begin..].split_at(digits.unwrap_or(line.len() - begin));
    let column = rest.strip_prefix(", ").and_then(|rest| {
        let rest = rest.split_once(' ')?.1;
        let named = columns
            .iter()
            .filter(|name| rest.starts_with(name.as_str()));
        let known = named.max_by_key(|name| name.len()).cloned();
        known.or_else(|| {
            let name = rest.split_once(": ").map_or(rest, |(name, _)| name);
            Some(name.to_owned())
        })
    });
    Some((number.parse().ok()?, column))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_servers_context_names_the_place() {
        let column = |name: &str| Some(name.to_owned());
        let columns = ["age", "a b", "c", "c: d", "new\nline"].map(str::to_owned);
        let place = |context: &str| super::place(context, "plan, 2024", &columns);
        assert_eq!(
            place("COPY plan, 2024, line 3, column c: d: \"x\""),
            Some((3, column("c: d")))
        );
        assert_eq!(
            place("COPY plan, 2024, line 3, column new\nline: \"x\""),
            Some((3, column("new\nline")))
        );
        assert_eq!(
            place("COPY plan, 2024, line 3, column c: null input"),
            Some((3, column("c")))
        );
        assert_eq!(
            place("COPY t1, line 3, column age: \"x\""),
            Some((3, column("age")))
        );
        assert_eq!(
            place("COPY t1, Zeile 12, Spalte a b: \u{bb}x\u{ab}"),
            Some((12, column("a b")))
        );
        assert_eq!(place("COPY t1, line 7: \"1,2\""), Some((7, None)));
        assert_eq!(
            place("SQL statement \"x\"\nCOPY t, line 7"),
            Some((7, None))
        );
        assert_eq!(place("PL/pgSQL function f() line 3 at RAISE"), None);
    }
}
