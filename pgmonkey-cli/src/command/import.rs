//! `pgmonkey import TABLE FILE`.

mod feed;
mod input;
mod load;
mod plan;
mod sequences;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::command::configuration::ConfigOption;
use crate::command::form::{Form, Quote};
use crate::csv::charset::Charset;
use crate::csv::dialect;
use crate::csv::settings::{Flag, Settings};
use crate::error::Error;
use crate::transfer::progress::Progress;
use crate::transfer::relation::{self, Name};
use crate::transfer::{self, Sessions};
use crate::ui::notes;
use crate::ui::output::Output;

use input::Input;
use load::Load;
use plan::{Plan, Wishes};

/// How many sessions may load concurrently.
const MOST_JOBS: i64 = 64;

#[derive(Debug, Args)]
#[command(
    override_usage = "pgmonkey import <TABLE> <FILE> --config <FILE> [OPTIONS]",
    after_help = "\
Examples:
  pgmonkey import users users.csv --config pgmonkey.yaml
  pgmonkey import shop.orders orders.csv.gz -c pgmonkey.yaml --infer-types
  pgmonkey import events - -c pgmonkey.yaml -d '\\t' --no-header < events.tsv
  pgmonkey import log big.csv -c pgmonkey.yaml --jobs 4

All rows are loaded, or none. With --jobs the sessions keep their transactions open until all \
rows are in; then they commit one after the other."
)]
pub(crate) struct Import {
    /// The table, as TABLE or SCHEMA.TABLE, and the file; `-` is standard input.
    #[arg(value_names = ["TABLE", "FILE"], num_args = 0..=2)]
    positional: Vec<String>,
    /// The table, as an option.
    #[arg(long, value_name = "TABLE", hide = true)]
    table: Option<String>,
    /// The file, as an option.
    #[arg(
        long = "import_file",
        alias = "import-file",
        value_name = "FILE",
        hide = true
    )]
    import_file: Option<String>,
    #[command(flatten)]
    config: ConfigOption,
    #[command(flatten)]
    form: Form,
    /// The first row contains the column names.
    #[arg(long, conflicts_with = "no_header")]
    header: bool,
    /// The first row is data; columns are taken in the table's order.
    #[arg(long)]
    no_header: bool,
    /// Leave out this many lines at the begin of the file.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    skip: u64,
    /// Leave out lines that begin with this character.
    #[arg(long, value_name = "CHAR", value_parser = dialect::mark)]
    comment: Option<u8>,
    /// The character that makes a quote, a delimiter or a line end after it text, such as \.
    #[arg(long, value_name = "CHAR", value_parser = dialect::mark)]
    escape: Option<u8>,
    /// Ignore blanks around fields and their quotes.
    #[arg(long)]
    trim: bool,
    /// Each line is one value, whatever it contains.
    #[arg(long, conflicts_with = "delimiter")]
    single_column: bool,
    /// Ignore blank lines in a one-column file too, where they otherwise mean NULL.
    #[arg(long)]
    skip_blank_lines: bool,
    /// Create the table if it is missing, with columns of type text.
    #[arg(long)]
    create: bool,
    /// Create the table if it is missing, with types inferred from the first rows and checked in all.
    #[arg(long)]
    infer_types: bool,
    /// Set the sequences of identity and serial columns that are behind the imported values.
    #[arg(long)]
    reset_sequences: bool,
    /// Keep the case of the headers in the names of new columns.
    #[arg(long)]
    keep_case: bool,
    /// Write the detected format to the settings file.
    #[arg(long)]
    write_settings: bool,
    /// Load with this many concurrent sessions.
    #[arg(long, short = 'j', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MOST_JOBS))]
    jobs: u32,
    /// Commit during the import: rows before an error are kept.
    #[arg(long)]
    allow_partial: bool,
}

impl Import {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let (table, file) = self.arguments()?;
        let name = Name::parse(&table).map_err(Error::Usage)?;
        if file == Path::new("-") && self.config.path() == Path::new("-") {
            return Err(Error::Usage(
                "only one of the file and the configuration can be standard input".to_owned(),
            ));
        }
        let config = self.config.load()?;
        let found = self.form.settings(&file, self.config.path())?;
        let wishes = self.wishes(found.as_ref())?;
        let input = Input::open(&file, wishes.charset)?;
        if config.connection_type.is_async() && !self.form.quiet {
            notes::note(format_args!(
                "Detected connection type: {}.",
                config.connection_type
            ));
            notes::note(
                "For import operations, switching to 'normal' connection for better performance.",
            );
        }
        let sessions = if self.jobs == 1 { 1 } else { self.jobs + 1 };
        let (plan, rows, progress) = transfer::run(&config, sessions, |sessions| {
            self.import(sessions, name, input, wishes)
        })?;
        if self.write_settings {
            self.write(&file, found.is_some(), &plan)?;
        }
        if !self.form.quiet {
            out.line(progress.summary(rows))?;
            out.line(format_args!(
                "Data from {} copied to {}.",
                input::name(&file),
                plan.table
            ))?;
            out.line("Import complete.")?;
        }
        Ok(())
    }

    /// The table and the file, given as arguments or as options.
    fn arguments(&self) -> Result<(String, PathBuf), Error> {
        let mut positional = self.positional.iter().cloned();
        let table = self.table.clone().or_else(|| positional.next());
        let file = self.import_file.clone().or_else(|| positional.next());
        match (table, file, positional.next()) {
            (Some(table), Some(file), None) => Ok((table, PathBuf::from(file))),
            (_, _, Some(more)) => Err(Error::Usage(format!("unexpected argument {more:?}"))),
            (None, ..) => Err(Error::Usage(
                "no table given: pgmonkey import TABLE FILE --config FILE".to_owned(),
            )),
            (_, None, _) => Err(Error::Usage(
                "no file given: pgmonkey import TABLE FILE --config FILE".to_owned(),
            )),
        }
    }

    /// What was requested: options first, then the settings file, whose missing keys have the
    /// Python tool's defaults.
    fn wishes(&self, file: Option<&Settings>) -> Result<Wishes, Error> {
        let flag = |flag: Option<Flag>| flag.is_none_or(|Flag(on)| on);
        let empty = Settings::default();
        let found = file.unwrap_or(&empty);
        let quote = self.form.quote(found)?;
        let charset = self.form.charset(found)?;
        if charset == Some(Charset::Raw) {
            return Err(Error::Usage(
                "--encoding raw is for exports; an import needs the encoding of its file"
                    .to_owned(),
            ));
        }
        let mut wishes = Wishes {
            charset,
            delimiter: self.form.delimiter(found)?,
            single_column: self.single_column,
            quote: quote.map(|Quote(quote)| quote),
            escape: self.escape,
            comment: self.comment,
            trim: self.trim,
            skip: self.skip,
            header: match (self.header, self.no_header) {
                (false, false) => None,
                (header, _) => Some(header),
            },
            nulls: self.nulls(),
            skip_blank_lines: self.skip_blank_lines,
            // The Python tool creates a missing table without being asked, and so do its option
            // names.
            create: self.create || self.infer_types || self.import_file.is_some(),
            infer_types: self.infer_types,
            keep_case: self.keep_case,
        };
        if let Some(file) = file {
            wishes.create |= flag(file.auto_create_table);
            wishes.create &= self.create || self.infer_types || flag(file.auto_create_table);
            wishes.keep_case |= !flag(file.enforce_lowercase);
            wishes.header = wishes.header.or(Some(flag(file.has_headers)));
            if !wishes.single_column {
                wishes.delimiter = wishes.delimiter.or(Some(b','));
            }
            wishes.quote = wishes.quote.or(Some(Some(b'"')));
        }
        Ok(wishes)
    }

    /// The words for NULL. The programs that write escapes write `\N`.
    fn nulls(&self) -> Vec<String> {
        match (self.form.null.as_slice(), self.escape) {
            ([], Some(b'\\')) => vec![String::new(), "\\N".to_owned()],
            ([], _) => vec![String::new()],
            (given, _) => given.to_vec(),
        }
    }

    async fn import(
        &self,
        sessions: Sessions,
        name: Name,
        mut input: Input,
        wishes: Wishes,
    ) -> Result<(Arc<Plan>, u64, Progress), Error> {
        let (client, _) = sessions.acquire().await?;
        let found = relation::find(&client, &name).await?;
        let similar = match &found {
            None if !wishes.create => relation::similar(&client, &name).await,
            _ => None,
        };
        let name = match &found {
            None if name.schema.is_none() => Name {
                schema: relation::current_schema(&client).await?,
                ..name
            },
            _ => name,
        };
        let plan = Arc::new(plan::make(&mut input, wishes, name, found, similar)?);
        for line in &plan.notes {
            self.form.say(line);
        }
        let progress = Progress::new(input.size, self.form.quiet);
        let shown = progress.shown();
        let load = Load {
            sessions: sessions.clone(),
            plan: &plan,
            jobs: self.jobs,
            allow_partial: self.allow_partial,
        };
        let rows = load.run(client, input, &progress).await;
        drop(shown);
        let (rows, left_out) = rows?;
        for (count, what) in [(left_out.blank, "blank"), (left_out.comments, "comment")] {
            let lines = if count == 1 { "line" } else { "lines" };
            if count > 0 {
                self.form
                    .say(format_args!("{count} {what} {lines} ignored"));
            }
        }
        if !plan.created {
            let (client, _) = sessions.acquire().await?;
            sequences::check(&client, &plan.table, &plan.columns, self.reset_sequences).await?;
        }
        Ok((plan, rows, progress))
    }

    fn write(&self, file: &Path, there: bool, plan: &Plan) -> Result<(), Error> {
        let path = self.form.settings_path(file);
        if there || path.exists() || file == Path::new("-") {
            notes::warning(format_args!(
                "{} was not written: it already exists, or the input is standard input",
                path.display()
            ));
            return Ok(());
        }
        let text = plan.settings();
        std::fs::write(&path, text).map_err(|error| Error::file("write", &path, error))?;
        self.form
            .say(format_args!("settings written to {}", path.display()));
        Ok(())
    }
}
