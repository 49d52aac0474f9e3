//! How a CSV file is written: the options that import and export share, and the settings file
//! beside it, which is weaker.

use std::path::{Path, PathBuf};

use crate::csv::charset::Charset;
use crate::csv::dialect;
use crate::csv::settings::{self, Found, Settings};
use crate::error::Error;
use crate::notes;

#[derive(Debug, clap::Args)]
pub(crate) struct Form {
    /// How characters are written, such as utf-8, latin-1, cp1252 or utf-16.
    #[arg(long, value_name = "NAME", value_parser = charset)]
    pub(crate) encoding: Option<Charset>,
    /// What separates fields: one character, or \t.
    #[arg(long, short = 'd', value_name = "CHAR", value_parser = dialect::parse)]
    pub(crate) delimiter: Option<u8>,
    /// What surrounds fields with special characters; for an import, empty for nothing.
    #[arg(long, value_name = "CHAR", value_parser = quote)]
    pub(crate) quote: Option<Quote>,
    /// What stands for NULL: a field that is this text and not quoted.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) null: String,
    /// The settings file; the default is the file's name with .yaml, if that is one.
    #[arg(long, value_name = "FILE", conflicts_with = "no_settings")]
    settings: Option<PathBuf>,
    /// Look for no settings file.
    #[arg(long)]
    no_settings: bool,
    /// Show no progress and no summary.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// A quote, or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quote(pub(crate) Option<u8>);

impl Form {
    /// Where the settings of this file are, if there are any.
    pub(crate) fn settings_path(&self, file: &Path) -> PathBuf {
        let given = self.settings.clone();
        given.unwrap_or_else(|| settings::path(file))
    }

    /// The settings file beside the CSV file, or the one that was named; `connection` is none.
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
                self.say(format_args!("{shown}: settings taken from here"));
                Ok(Some(settings))
            }
            Found::Other(why) if self.settings.is_none() => {
                self.say(format_args!("{shown}: not taken for settings, {why}"));
                Ok(None)
            }
            Found::Nothing if self.settings.is_none() => Ok(None),
            Found::Other(why) => Err(Error::failed(format!("{shown}: no settings file, {why}"))),
            Found::Nothing => Err(Error::failed(format!("{shown}: there is no such file"))),
        }
    }

    /// The encoding that was asked for.
    pub(crate) fn charset(&self, file: &Settings) -> Result<Option<Charset>, Error> {
        first(self.encoding, "encoding", file.encoding.as_deref(), charset)
    }

    /// The delimiter that was asked for.
    pub(crate) fn delimiter(&self, file: &Settings) -> Result<Option<u8>, Error> {
        let given = file.delimiter.as_deref();
        first(self.delimiter, "delimiter", given, dialect::parse)
    }

    /// The quote that was asked for.
    pub(crate) fn quote(&self, file: &Settings) -> Result<Option<Quote>, Error> {
        // Null is no quote, like an empty text.
        let given = file.quotechar.as_ref();
        let given = given.map(|text| text.as_deref().unwrap_or_default());
        first(self.quote, "quotechar", given, quote)
    }

    /// Says something beside the result, unless nothing is to be said.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            notes::note(text);
        }
    }
}

/// What the option says, else what the settings file does.
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
    parsed.map_err(|error| Error::failed(format!("{key} of the settings file: {error}")))
}

/// An encoding by its name.
fn charset(name: &str) -> Result<Charset, String> {
    Charset::by_name(name).ok_or_else(|| {
        format!(
            "{name:?} is no encoding known here; utf-8, latin-1, cp1252, utf-16 and many more are"
        )
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
