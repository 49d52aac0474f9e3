//! The format of a CSV file: the options that import and export share, and the settings file beside
//! it. Options override the file.

use std::path::{Path, PathBuf};

use crate::csv::charset::Charset;
use crate::csv::dialect;
use crate::csv::settings::{self, Found, Settings};
use crate::error::Error;
use crate::ui::notes;

#[derive(Debug, clap::Args)]
pub(crate) struct Form {
    /// The character encoding, such as utf-8, latin-1, cp1252 or utf-16; for an export, raw for the
    /// bytes as the server stores them.
    #[arg(long, value_name = "NAME", value_parser = charset)]
    pub(crate) encoding: Option<Charset>,
    /// The field separator: one character, or \t.
    #[arg(long, short = 'd', value_name = "CHAR", value_parser = dialect::parse)]
    pub(crate) delimiter: Option<u8>,
    /// The quote character; for an import, empty for none.
    #[arg(long, value_name = "CHAR", value_parser = quote)]
    pub(crate) quote: Option<Quote>,
    /// The text that means NULL in a field without quotes; for an import, several times for several.
    #[arg(long, value_name = "TEXT")]
    pub(crate) null: Vec<String>,
    /// The settings file; the default is the CSV file's name with .yaml, if it is a settings file.
    #[arg(long, value_name = "FILE", conflicts_with = "no_settings")]
    settings: Option<PathBuf>,
    /// Do not use a settings file.
    #[arg(long)]
    no_settings: bool,
    /// Show no progress and no summary.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// A quote character, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quote(pub(crate) Option<u8>);

impl Form {
    /// The path of this file's settings file, if there is one.
    pub(crate) fn settings_path(&self, file: &Path) -> PathBuf {
        let given = self.settings.clone();
        given.unwrap_or_else(|| settings::path(file))
    }

    /// The settings file beside the CSV file, or the one that was named; never `connection`.
    pub(crate) fn settings(
        &self,
        file: &Path,
        connection: &Path,
    ) -> Result<Option<Settings>, Error> {
        if self.no_settings || (file == Path::new("-") && self.settings.is_none()) {
            return Ok(None);
        }
        let path = self.settings_path(file);
        let shown = path.display();
        let found = settings::read(&path, connection);
        match found.map_err(|error| Error::failed(format!("{shown}: {error}")))? {
            Found::Settings(settings) => {
                self.say(format_args!("{shown}: used as the settings file"));
                Ok(Some(settings))
            }
            Found::Other(why) if self.settings.is_none() => {
                self.say(format_args!("{shown}: not used as a settings file, {why}"));
                Ok(None)
            }
            Found::Nothing if self.settings.is_none() => Ok(None),
            Found::Other(why) => Err(Error::failed(format!(
                "{shown}: not a settings file, {why}"
            ))),
            Found::Nothing => Err(Error::failed(format!("{shown}: no such file"))),
        }
    }

    /// The requested encoding.
    pub(crate) fn charset(&self, file: &Settings) -> Result<Option<Charset>, Error> {
        first(self.encoding, "encoding", file.encoding.as_deref(), charset)
    }

    /// The requested delimiter.
    pub(crate) fn delimiter(&self, file: &Settings) -> Result<Option<u8>, Error> {
        let given = file.delimiter.as_deref();
        first(self.delimiter, "delimiter", given, dialect::parse)
    }

    /// The requested quote.
    pub(crate) fn quote(&self, file: &Settings) -> Result<Option<Quote>, Error> {
        // Null means no quote, like an empty text.
        let given = file.quotechar.as_ref();
        let given = given.map(|text| text.as_deref().unwrap_or_default());
        first(self.quote, "quotechar", given, quote)
    }

    /// Prints a note on stderr, unless `--quiet` is given.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            notes::note(text);
        }
    }
}

/// The option's value, otherwise the settings file's.
fn first<T>(
    option: Option<T>,
    key: &str,
    given: Option<&str>,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Error> {
    if option.is_some() {
        return Ok(option);
    }
    let parsed = given.map(parse).transpose();
    parsed.map_err(|error| Error::failed(format!("{key} in the settings file: {error}")))
}

/// Finds an encoding by its name.
fn charset(name: &str) -> Result<Charset, String> {
    Charset::by_name(name).ok_or_else(|| {
        format!("unknown encoding {name:?}; utf-8, latin-1, cp1252, utf-16 and many more are known")
    })
}

/// A quote: one character, or none.
fn quote(text: &str) -> Result<Quote, String> {
    match text.as_bytes() {
        [] => Ok(Quote(None)),
        [byte] if byte.is_ascii_graphic() && !byte.is_ascii_alphanumeric() => {
            Ok(Quote(Some(*byte)))
        }
        _ => Err(format!("{text:?} is not one ASCII punctuation character")),
    }
}
