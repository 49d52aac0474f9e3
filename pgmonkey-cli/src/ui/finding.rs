//! An error, warning or note about a file, with the line it refers to.

use std::io::{self, IsTerminal};

use pgmonkey::config::{Excerpt, Place, Problem, Warning};
use serde::{Serialize, Serializer};

use crate::error::Error;

use super::notes;
use super::origin::Origin;
use super::style::{colour, styled};

/// How severe a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used but should be checked.
    Warning,
    /// Information; nothing is wrong.
    Note,
}

/// One finding about a file.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// `connection_settings.sslmode`.
    pub(crate) key: Option<String>,
    /// What is wrong, in one sentence.
    pub(crate) message: String,
    #[serde(serialize_with = "as_origin")]
    pub(crate) place: Option<Place>,
    /// What to do about it, if that is not in the message.
    pub(crate) hint: Option<String>,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

fn as_origin<S: Serializer>(place: &Option<Place>, serializer: S) -> Result<S::Ok, S::Error> {
    let origin = place.as_ref().map(|place| Origin::of(Some(place)));
    origin.serialize(serializer)
}

impl Finding {
    /// A problem that prevents the use of the file; `text` is the file's.
    pub(crate) fn error(problem: &Problem, text: &str) -> Self {
        Self {
            severity: Severity::Error,
            key: problem.key.clone(),
            message: problem.kind.to_string(),
            place: Some(problem.place.clone()),
            hint: None,
            excerpt: problem.excerpt(text),
        }
    }

    /// A warning of the loader.
    pub(crate) fn warning(warning: &Warning, text: &str) -> Self {
        Self {
            severity: Severity::Warning,
            key: warning.key.clone(),
            message: warning.kind.to_string(),
            place: Some(warning.place.clone()),
            hint: None,
            excerpt: warning.excerpt(text),
        }
    }

    /// A warning of the CLI about a key.
    pub(crate) fn advice(key: &str, place: Option<&Place>, message: String, text: &str) -> Self {
        Self {
            severity: Severity::Warning,
            key: Some(key.to_owned()),
            message,
            place: place.cloned(),
            hint: None,
            excerpt: place.and_then(|place| place.excerpt(text, key)),
        }
    }

    /// Information about a key.
    pub(crate) fn note(key: &str, place: Option<&Place>, message: String) -> Self {
        Self {
            severity: Severity::Note,
            key: Some(key.to_owned()),
            message,
            place: place.cloned(),
            hint: None,
            excerpt: None,
        }
    }

    /// A failure of the command, which is not in the file.
    pub(crate) fn failure(error: &Error) -> Self {
        Self {
            severity: Severity::Error,
            key: None,
            message: error.message(),
            place: None,
            hint: error.hint(),
            excerpt: None,
        }
    }

    /// Prints it on stderr, with the line and a mark under the place.
    pub(crate) fn tell(&self) {
        let (style, kind) = match self.severity {
            Severity::Error => (notes::ERROR, "error"),
            Severity::Warning => (notes::WARNING, "warning"),
            Severity::Note => (notes::HINT, "note"),
        };
        let place = self.place.as_ref().map(|place| format!("{place}: "));
        let key = self.key.as_ref().map(|key| format!("{key}: "));
        let (place, key) = (place.unwrap_or_default(), key.unwrap_or_default());
        notes::marked(style, kind, format_args!("{place}{key}{}", self.message));
        if let Some(excerpt) = &self.excerpt {
            let number = excerpt.line.to_string();
            let gutter = " ".repeat(number.len());
            let marks = "^".repeat(excerpt.length);
            let colour = colour(io::stderr().is_terminal());
            notes::note(format_args!("{number} | {}", excerpt.text));
            let marks = styled(colour, style, &marks);
            let start = " ".repeat(excerpt.start);
            notes::painted(&format!("{gutter} | {start}{marks}"));
        }
        if let Some(hint) = &self.hint {
            notes::marked(notes::HINT, "hint", hint);
        }
    }
}
