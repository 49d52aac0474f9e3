//! `pgmonkey export TABLE FILE`.

mod file;
mod statement;

use std::path::{Path, PathBuf};
use std::pin::pin;

use clap::Args;
use futures_util::StreamExt;
use pgmonkey::aio::ClientGuard;
use pgmonkey::sql::{identifier, literal};

use crate::command::configuration::ConfigOption;
use crate::command::form::{Form, Quote};
use crate::csv::charset::Charset;
use crate::error::Error;
use crate::transfer::progress::Progress;
use crate::transfer::relation::{self, Name, Relation, database};
use crate::transfer::{self, Sessions};
use crate::ui::notes;
use crate::ui::output::Output;

use file::Target;

/// How many bytes are handed to the writer at a time.
const BLOCK: usize = 256 << 10;

#[derive(Debug, Args)]
#[command(
    override_usage = "pgmonkey export <TABLE> [FILE] --config <FILE> [OPTIONS]\n       \
                      pgmonkey export --query <SQL> <FILE> --config <FILE> [OPTIONS]",
    after_help = "\
Examples:
  pgmonkey export users users.csv --config pgmonkey.yaml
  pgmonkey export shop.orders orders.csv.zst -c pgmonkey.yaml
  pgmonkey export --query 'SELECT id FROM users' - -c pgmonkey.yaml | head

The file appears under its name only when complete. NULL is an empty field, an empty text is \"\"."
)]
pub(crate) struct Export {
    /// The table or view, as TABLE or SCHEMA.TABLE, unless --query is given, and the file; `-` is
    /// standard output. Without a file the output is the table's name as given plus .csv.
    #[arg(value_names = ["TABLE", "FILE"], num_args = 0..=2)]
    positional: Vec<String>,
    /// The table, as an option.
    #[arg(long, value_name = "TABLE", hide = true, conflicts_with = "query")]
    table: Option<String>,
    /// The file, as an option.
    #[arg(
        long = "export_file",
        alias = "export-file",
        value_name = "FILE",
        hide = true
    )]
    export_file: Option<String>,
    #[command(flatten)]
    config: ConfigOption,
    /// Export the result of this statement.
    #[arg(long, value_name = "SQL")]
    query: Option<String>,
    /// Export only these columns of the table, separated by commas.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        conflicts_with = "query"
    )]
    columns: Vec<String>,
    /// Write no header row.
    #[arg(long)]
    no_header: bool,
    #[command(flatten)]
    form: Form,
}

/// What is exported.
enum Subject {
    Table(Name),
    Query(String),
}

/// The file format.
struct Layout {
    charset: Charset,
    delimiter: u8,
    quote: u8,
}

impl Export {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let (subject, file) = self.arguments()?;
        if self.form.null.len() > 1 {
            return Err(Error::Usage(
                "an export writes NULL in one way: pass --null once".to_owned(),
            ));
        }
        let config = self.config.load()?;
        let layout = self.layout(&file)?;
        let shown = match &subject {
            Subject::Table(name) => name.to_string(),
            Subject::Query(_) => "the query".to_owned(),
        };
        let work = |sessions| self.export(sessions, subject, &file, layout);
        let (rows, progress) = transfer::run(&config, 1, work)?;
        if self.form.quiet {
            return Ok(());
        }
        let lines = [
            progress.summary(rows),
            format!("Data from {shown} exported to {}.", file.display()),
            "Export complete.".to_owned(),
        ];
        if file == Path::new("-") {
            notes::note(&lines[0]);
            return Ok(());
        }
        lines.iter().try_for_each(|line| out.line(line))
    }

    /// What is exported, and where to.
    fn arguments(&self) -> Result<(Subject, PathBuf), Error> {
        let mut positional = self.positional.iter().cloned();
        let table = match &self.query {
            Some(_) => None,
            None => self.table.clone().or_else(|| positional.next()),
        };
        let file = self.export_file.clone().or_else(|| positional.next());
        if let Some(more) = positional.next() {
            return Err(Error::Usage(format!("unexpected argument {more:?}")));
        }
        match (&self.query, table, file) {
            (Some(query), _, Some(file)) => Ok((
                Subject::Query(statement::single(query)?.to_owned()),
                PathBuf::from(file),
            )),
            (Some(_), _, None) => Err(Error::Usage(
                "no file given: pgmonkey export --query SQL FILE --config FILE".to_owned(),
            )),
            (None, Some(table), file) => {
                let name = Name::parse(&table).map_err(Error::Usage)?;
                // The schema stays in the file's name, so that two tables of one name get two
                // files.
                let file =
                    file.unwrap_or_else(|| format!("{}.csv", table.replace(['/', '"'], "_")));
                Ok((Subject::Table(name), PathBuf::from(file)))
            }
            (None, None, _) => Err(Error::Usage(
                "no table given: pgmonkey export TABLE FILE --config FILE".to_owned(),
            )),
        }
    }

    /// Options take precedence over the settings file, which takes precedence over the defaults.
    fn layout(&self, file: &Path) -> Result<Layout, Error> {
        let found = self.form.settings(file, self.config.path())?;
        let found = found.unwrap_or_default();
        let quote = match self.form.quote(&found)? {
            Some(Quote(None)) if self.form.quote.is_some() => {
                return Err(Error::failed(
                    "an export needs a quote character: a field may contain any text".to_owned(),
                ));
            }
            Some(Quote(Some(quote))) => quote,
            _ => b'"',
        };
        Ok(Layout {
            charset: self.form.charset(&found)?.unwrap_or(Charset::Utf8),
            delimiter: self.form.delimiter(&found)?.unwrap_or(b','),
            quote,
        })
    }

    async fn export(
        &self,
        sessions: Sessions,
        subject: Subject,
        file: &Path,
        layout: Layout,
    ) -> Result<(u64, Progress), Error> {
        let (client, _) = sessions.acquire().await?;
        let source = match subject {
            Subject::Query(query) => format!("({query}\n)"),
            Subject::Table(name) => self.source(&client, &name).await?,
        };
        let statement = self.copy(&source, &layout);
        let progress = Progress::new(None, self.form.quiet);
        let shown = progress.shown();
        let rows = self
            .write(&client, &statement, file, &layout, &progress)
            .await;
        drop(shown);
        Ok((rows?, progress))
    }

    /// What `COPY` reads: a table by name, or a query.
    async fn source(&self, client: &ClientGuard, name: &Name) -> Result<String, Error> {
        let Some(relation) = relation::find(client, name).await? else {
            let similar = relation::similar(client, name).await;
            return Err(Error::Failed {
                text: name.missing("table or view"),
                hint: similar.map(|similar| format!("there is a {similar}")),
            });
        };
        let columns = self.selected(&relation)?;
        let table = relation.name.sql();
        Ok(match relation.plain {
            true if columns.is_empty() => table,
            true => format!("{table} ({columns})"),
            false => format!("(SELECT {columns} FROM {table})"),
        })
    }

    /// The requested columns, otherwise those that an import can write.
    fn selected(&self, relation: &Relation) -> Result<String, Error> {
        let all = || relation.columns.iter();
        let unknown = self
            .columns
            .iter()
            .find(|name| !all().any(|column| column.name == **name));
        if let Some(name) = unknown {
            let names: Vec<&str> = all().map(|column| column.name.as_str()).collect();
            return Err(Error::Failed {
                text: format!("{} has no column {name}", relation.name),
                hint: Some(format!("its columns are: {}", names.join(", "))),
            });
        }
        let given = || {
            all()
                .filter(|column| !column.generated)
                .map(|column| identifier(&column.name))
        };
        let columns: Vec<String> = match self.columns.is_empty() {
            true => given().collect(),
            false => self.columns.iter().map(|name| identifier(name)).collect(),
        };
        // `COPY` refuses generated columns by name, so a complete list is left out.
        let computed = self
            .columns
            .iter()
            .any(|name| all().any(|column| column.generated && column.name == *name));
        if computed && relation.plain {
            return Err(Error::failed(
                "a generated column can only be exported with --query".to_owned(),
            ));
        }
        Ok(columns.join(", "))
    }

    fn copy(&self, source: &str, layout: &Layout) -> String {
        format!(
            "COPY {source} TO STDOUT WITH (FORMAT csv, HEADER {}, DELIMITER {}, QUOTE {}, NULL {}, ENCODING {})",
            !self.no_header,
            literal(&char::from(layout.delimiter).to_string()),
            literal(&char::from(layout.quote).to_string()),
            literal(self.form.null.first().map_or("", String::as_str)),
            // As the server stores it: the server converts nothing to SQL_ASCII.
            literal(match layout.charset {
                Charset::Raw => "SQL_ASCII",
                _ => "UTF8",
            }),
        )
    }

    /// Writes the file and returns the number of rows.
    async fn write(
        &self,
        client: &ClientGuard,
        statement: &str,
        file: &Path,
        layout: &Layout,
        progress: &Progress,
    ) -> Result<u64, Error> {
        // An error of the statement is found before the file is created.
        let mut rows = pin!(client.copy_out(statement).await.map_err(database)?);
        let mut target = Target::create(file, layout.charset)?;
        let mut block = Vec::with_capacity(BLOCK + 4096);
        // Each message is a row; the first one is the header, which counts if it is written.
        let header = u64::from(!self.no_header);
        let (mut count, mut bytes, mut shown) = (0_u64, 0_u64, header);
        while let Some(row) = rows.next().await {
            block.extend_from_slice(&row.map_err(database)?);
            count += 1;
            if block.len() >= BLOCK {
                bytes += block.len() as u64;
                progress.set(bytes, count - shown);
                shown = count;
                block = target.write(block).await?;
            }
        }
        bytes += block.len() as u64;
        target.write(block).await?;
        target.finish().await?;
        progress.set(bytes, count.saturating_sub(shown));
        Ok(count.saturating_sub(header))
    }
}
