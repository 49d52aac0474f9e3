//! Where a value came from, as it is displayed.

use std::path::{Path, PathBuf};

use pgmonkey::config::Place;
use serde::Serialize;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Origin {
    /// A built-in default, or a default of the machine.
    Default,
    /// A line of a file.
    File {
        file: PathBuf,
        line: Option<u64>,
        column: Option<u64>,
    },
    /// A line of standard input.
    StandardInput {
        line: Option<u64>,
        column: Option<u64>,
    },
    /// A connection URL.
    Url,
    /// An environment variable.
    Variable { name: String },
    /// A service of a service file.
    Service { file: PathBuf, name: String },
    /// Another section, which stands for one that is absent.
    Section { name: String, of: Box<Self> },
    /// The passfile.
    Passfile { file: PathBuf },
    /// An option of the command.
    Option,
}

impl Origin {
    /// The origin of a value, which no source may have set.
    pub(crate) fn of(place: Option<&Place>) -> Self {
        let Some(place) = place else {
            return Self::Default;
        };
        match place {
            Place::File { path, position } => Self::File {
                file: path.clone(),
                line: position.map(|(line, _)| line),
                column: position.map(|(_, column)| column),
            },
            Place::Text { position } => Self::StandardInput {
                line: position.map(|(line, _)| line),
                column: position.map(|(_, column)| column),
            },
            Place::Url => Self::Url,
            Place::Service { path, name } => Self::Service {
                file: path.clone(),
                name: name.clone(),
            },
            Place::Section { name, place } => Self::Section {
                name: (*name).to_owned(),
                of: Box::new(Self::of(Some(place))),
            },
            Place::Variable(name) => Self::Variable { name: name.clone() },
            // Set by the CLI itself.
            _ => Self::Option,
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |path: &Path, line: Option<u64>| match line {
            Some(line) => format!("{}:{line}", path.display()),
            None => path.display().to_string(),
        };
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line, .. } => f.write_str(&at(file, *line)),
            Self::StandardInput { line, .. } => f.write_str(&at(Path::new("stdin"), *line)),
            Self::Url => f.write_str("the URL"),
            Self::Variable { name } => f.write_str(name),
            Self::Service { file, name } => write!(f, "service {name} of {}", file.display()),
            Self::Section { name, of } => write!(f, "{name} ({of})"),
            Self::Passfile { file } => write!(f, "passfile {}", file.display()),
            Self::Option => f.write_str("option"),
        }
    }
}
