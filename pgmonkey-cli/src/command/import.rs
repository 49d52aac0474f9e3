//! `pgmonkey import TABLE FILE`.

mod feed;
mod input;
mod load;
mod plan;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::configuration::ConfigOption;
use crate::csv::charset::Charset;
use crate::csv::dialect;
use crate::csv::settings::{self, Flag, Found};
use crate::error::Error;
use crate::notes;
use crate::output::Output;
use crate::transfer::progress::Progress;
use crate::transfer::relation::{self, Name};
use crate::transfer::{self, Sessions};

use input::Input;
use load::Load;
use plan::{Plan, Wishes};

/// How many sessions may load side by side.
const MOST_JOBS: i64 = 64;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey import users users.csv --config pgmonkey.yaml
  pgmonkey import shop.orders orders.csv.gz -c pgmonkey.yaml --create --infer-types
  pgmonkey import events - -c pgmonkey.yaml --delimiter '\\t' --no-header < events.tsv
  pgmonkey import log big.csv -c pgmonkey.yaml --jobs 4

All rows go in or none. With --jobs every session keeps its transaction open until all rows are
in; then they commit one after the other.")]
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
    /// How the file's characters are written, such as utf-8, latin-1, cp1252 or utf-16.
    #[arg(long, value_name = "NAME", value_parser = charset)]
    encoding: Option<Charset>,
    /// What separates fields: one character, or \t.
    #[arg(long, short = 'd', value_name = "CHAR", value_parser = dialect::parse)]
    delimiter: Option<u8>,
    /// What surrounds fields with special characters; empty for nothing.
    #[arg(long, value_name = "CHAR", value_parser = quote)]
    quote: Option<Quote>,
    /// The first row names the columns.
    #[arg(long, conflicts_with = "no_header")]
    header: bool,
    /// The first row is data; columns are taken in the table's order.
    #[arg(long)]
    no_header: bool,
    /// A field that is this text and not quoted is NULL.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    null: String,
    /// Leave blank lines out also where there is one column, for which they are NULL.
    #[arg(long)]
    skip_blank_lines: bool,
    /// Make the table if it is missing, with columns of type text.
    #[arg(long)]
    create: bool,
    /// Make the table if it is missing, with the types that the first rows speak for.
    #[arg(long)]
    infer_types: bool,
    /// Keep the case of headers in names of new columns.
    #[arg(long)]
    keep_case: bool,
    /// The settings file; the default is the file's name with .yaml, if that is one.
    #[arg(long, value_name = "FILE", conflicts_with = "no_settings")]
    settings: Option<PathBuf>,
    /// Look for no settings file.
    #[arg(long)]
    no_settings: bool,
    /// Write what was decided to the settings file, for the next time.
    #[arg(long)]
    write_settings: bool,
    /// Load with so many sessions.
    #[arg(long, short = 'j', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MOST_JOBS))]
    jobs: u32,
    /// Commit as it goes: rows before an error stay.
    #[arg(long)]
    allow_partial: bool,
    /// Show no progress and no summary.
    #[arg(long, short)]
    quiet: bool,
}

/// A quote, or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quote(pub(crate) Option<u8>);

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
        let found = self.settings_file(&file)?;
        let wishes = self.wishes(found.as_ref().map(|(_, settings)| settings))?;
        let input = Input::open(&file, wishes.charset)?;
        if config.connection_type.is_async() && !self.quiet {
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
        if !self.quiet {
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

    /// The table and the file, as arguments or as options.
    fn arguments(&self) -> Result<(String, PathBuf), Error> {
        let mut positional = self.positional.iter().cloned();
        let table = self.table.clone().or_else(|| positional.next());
        let file = self.import_file.clone().or_else(|| positional.next());
        match (table, file, positional.next()) {
            (Some(table), Some(file), None) => Ok((table, PathBuf::from(file))),
            (_, _, Some(more)) => Err(Error::Usage(format!("{more:?} is one argument too many"))),
            (None, ..) => Err(Error::Usage(
                "which table? pgmonkey import TABLE FILE --config FILE".to_owned(),
            )),
            (_, None, _) => Err(Error::Usage(
                "which file? pgmonkey import TABLE FILE --config FILE".to_owned(),
            )),
        }
    }

    /// The settings file beside the CSV file, or the one that was named.
    fn settings_file(&self, file: &Path) -> Result<Option<(PathBuf, settings::Settings)>, Error> {
        if self.no_settings || (file == Path::new("-") && self.settings.is_none()) {
            return Ok(None);
        }
        let path = self
            .settings
            .clone()
            .unwrap_or_else(|| settings::path(file));
        let found = settings::read(&path, self.config.path());
        let shown = path.display();
        match found.map_err(|error| Error::failed(format!("{shown}: {error}")))? {
            Found::Settings(settings) => {
                self.say(format_args!("{shown}: settings taken from here"));
                Ok(Some((path, settings)))
            }
            Found::Other(why) if self.settings.is_none() => {
                self.say(format_args!("{shown}: not taken for settings, {why}"));
                Ok(None)
            }
            Found::Other(why) => Err(Error::failed(format!("{shown}: no settings file, {why}"))),
            Found::Nothing if self.settings.is_none() => Ok(None),
            Found::Nothing => Err(Error::failed(format!("{shown}: there is no such file"))),
        }
    }

    /// What is asked for: options first, then the settings file, whose missing keys have the
    /// Python tool's defaults.
    fn wishes(&self, file: Option<&settings::Settings>) -> Result<Wishes, Error> {
        let flag = |flag: Option<Flag>| flag.is_none_or(|Flag(on)| on);
        let wrong = |key: &str, error: String| {
            Error::failed(format!("{key} of the settings file: {error}"))
        };
        let mut wishes = Wishes {
            charset: self.encoding,
            delimiter: self.delimiter,
            quote: self.quote.map_or(Some(b'"'), |Quote(quote)| quote),
            header: match (self.header, self.no_header) {
                (false, false) => None,
                (header, _) => Some(header),
            },
            null: self.null.clone(),
            skip_blank_lines: self.skip_blank_lines,
            // The Python tool makes a missing table by itself, and so do its option names.
            create: self.create || self.infer_types || self.import_file.is_some(),
            infer_types: self.infer_types,
            keep_case: self.keep_case,
        };
        let Some(file) = file else {
            return Ok(wishes);
        };
        wishes.create |= flag(file.auto_create_table);
        wishes.create &= self.create || self.infer_types || flag(file.auto_create_table);
        wishes.keep_case |= !flag(file.enforce_lowercase);
        wishes.header = wishes.header.or(Some(flag(file.has_headers)));
        if wishes.delimiter.is_none() {
            let given = file.delimiter.as_deref().unwrap_or(",");
            let delimiter = dialect::parse(given).map_err(|error| wrong("delimiter", error))?;
            wishes.delimiter = Some(delimiter);
        }
        if self.quote.is_none()
            && let Some(given) = &file.quotechar
        {
            let given = given.as_deref().unwrap_or_default();
            wishes.quote = quote(given).map_err(|error| wrong("quotechar", error))?.0;
        }
        if wishes.charset.is_none()
            && let Some(given) = &file.encoding
        {
            wishes.charset = Some(charset(given).map_err(|error| wrong("encoding", error))?);
        }
        Ok(wishes)
    }

    async fn import(
        &self,
        sessions: Sessions,
        name: Name,
        mut input: Input,
        wishes: Wishes,
    ) -> Result<(Plan, u64, Progress), Error> {
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
        let plan = plan::make(&mut input, wishes, name, found, similar)?;
        for line in &plan.notes {
            self.say(line);
        }
        let progress = Progress::new(input.size, self.quiet);
        let shown = progress.shown();
        let load = Load {
            sessions,
            plan: &plan,
            jobs: self.jobs,
            allow_partial: self.allow_partial,
        };
        let rows = load.run(client, input, &progress).await;
        drop(shown);
        let (rows, blank) = rows?;
        if blank > 0 {
            let were = if blank == 1 { "line was" } else { "lines were" };
            self.say(format_args!("{blank} blank {were} left out"));
        }
        Ok((plan, rows, progress))
    }

    fn say(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            notes::note(text);
        }
    }

    fn write(&self, file: &Path, there: bool, plan: &Plan) -> Result<(), Error> {
        let path = self
            .settings
            .clone()
            .unwrap_or_else(|| settings::path(file));
        if there || path.exists() || file == Path::new("-") {
            notes::warning(format_args!(
                "{} was not written: it is there already, or the file has no name",
                path.display()
            ));
            return Ok(());
        }
        let text = plan.settings();
        std::fs::write(&path, text).map_err(|error| Error::file("write", &path, error))?;
        self.say(format_args!("settings written to {}", path.display()));
        Ok(())
    }
}

/// An encoding by its name.
pub(crate) fn charset(name: &str) -> Result<Charset, String> {
    Charset::by_name(name).ok_or_else(|| {
        format!(
            "{name:?} is no encoding known here; utf-8, latin-1, cp1252, utf-16 and many more are"
        )
    })
}

/// A quote: one character, or none.
pub(crate) fn quote(text: &str) -> Result<Quote, String> {
    match text.as_bytes() {
        [] => Ok(Quote(None)),
        [byte] if byte.is_ascii_graphic() && !byte.is_ascii_alphanumeric() => {
            Ok(Quote(Some(*byte)))
        }
        _ => Err(format!("{text:?} is not one ASCII punctuation character")),
    }
}
