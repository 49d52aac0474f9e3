use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that is wrong with a configuration, in one error.
///
/// `Display` has one line for each problem: where, which key, what was expected. No line ever holds
/// a secret.
///
/// ```
/// use pgmonkey_config::Config;
///
/// let error = Config::from_yaml("connection_settings:\n  hots: db\n  port: 70000\n").unwrap_err();
/// assert_eq!(error.problems().len(), 2);
/// assert!(error.to_string().contains("did you mean `host`?"));
/// assert!(error.to_string().contains("line 3"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    // Never empty.
    problems: Vec<Problem>,
}

impl Error {
    /// The problems, at least one; those of a file in the order of its lines.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// `Err` with the problems if there are any.
    pub(crate) fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self { problems })
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where the value came from.
    pub place: Place,
    /// The key, with its section: `connection_settings.port`.
    pub key: Option<String>,
    /// What is wrong.
    pub kind: ProblemKind,
}

impl Problem {
    pub(crate) fn new(place: Place, key: impl Into<Option<String>>, kind: ProblemKind) -> Self {
        Self {
            place,
            key: key.into().map(shown),
            kind,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_line(f, &self.place, self.key.as_deref(), &self.kind)
    }
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A file could not be read.
    #[error("{0}")]
    Unreadable(String),
    /// A text is not what its format asks for.
    #[error("{0}")]
    Syntax(String),
    /// A key or section that does not exist.
    #[error("unknown key{}", suggestion_text(.suggestion.as_deref()))]
    UnknownKey {
        /// A key with a similar name.
        suggestion: Option<String>,
    },
    /// A setting of libpq that has no counterpart here.
    #[error("not supported by the Rust drivers; {advice}")]
    Unsupported {
        /// What to do instead.
        advice: String,
    },
    /// A value of the wrong type or out of range.
    #[error("{}expected {expected}", value_text(.value.as_deref()))]
    Invalid {
        /// The value, unless it may be secret.
        value: Option<String>,
        /// What would be right.
        expected: String,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Conflict(String),
    /// A reference to a variable or a file that leads nowhere.
    #[error("{0}")]
    Reference(String),
}

/// The part of a key that can be one. Where a colon was forgotten, as in `{ password S3cret }`, what
/// follows is a value.
pub(crate) fn shown(key: String) -> String {
    let of_key = |c: char| c.is_alphanumeric() || "._-$".contains(c);
    match key.find(|c| !of_key(c)) {
        Some(end) => format!("{}…", &key[..end]),
        None => key,
    }
}

fn suggestion_text(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

fn value_text(value: Option<&str>) -> String {
    value.map_or_else(String::new, |value| format!("{value}: "))
}

/// Something that is allowed but deserves a look.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// Where the value came from.
    pub place: Place,
    /// The key, with its section.
    pub key: Option<String>,
    /// What is odd.
    pub kind: WarningKind,
}

impl Warning {
    pub(crate) fn new(place: Place, key: impl Into<Option<String>>, kind: WarningKind) -> Self {
        Self {
            place,
            key: key.into().map(shown),
            kind,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_line(f, &self.place, self.key.as_deref(), &self.kind)
    }
}

/// What can be odd.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WarningKind {
    /// The wrapper of pgmonkey 2.
    #[error("the `postgresql` wrapper is deprecated; move its sections to the top level")]
    LegacyWrapper,
    /// A key that is ignored because it stands beside the wrapper.
    #[error("ignored, because it stands beside the deprecated `postgresql` wrapper")]
    BesideWrapper,
    /// A key that is ignored because the caller allows unknown keys.
    #[error("unknown key, ignored{}", suggestion_text(.suggestion.as_deref()))]
    UnknownKey {
        /// A key with a similar name.
        suggestion: Option<String>,
    },
    /// A file with a secret that other users can read.
    #[error("holds a secret and can be read by other users; chmod 600 it")]
    ReadableByOthers,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A file; the line and column are there where they are known, both from 1.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Line and column.
        position: Option<(u64, u64)>,
    },
    /// A text that was given to the loader; line and column as above.
    Text {
        /// Line and column.
        position: Option<(u64, u64)>,
    },
    /// A connection URL that was given to the loader.
    Url,
    /// A service in a service file.
    Service {
        /// The file.
        path: PathBuf,
        /// The service.
        name: String,
    },
    /// An environment variable.
    Variable(String),
    /// The program.
    Code,
}

impl Place {
    /// What problems are sorted by: all of one file together, from top to bottom.
    pub(crate) fn order(&self) -> (Option<&Path>, Option<(u64, u64)>) {
        match self {
            Self::File { path, position } => (Some(path), *position),
            Self::Text { position } => (None, *position),
            _ => (None, None),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, position } => {
                write!(f, "{}", path.display())?;
                match position {
                    Some((line, column)) => write!(f, ":{line}:{column}"),
                    None => Ok(()),
                }
            }
            Self::Text {
                position: Some((line, column)),
            } => write!(f, "line {line}, column {column}"),
            Self::Text { position: None } => f.write_str("the given text"),
            Self::Url => f.write_str("the given URL"),
            Self::Service { path, name } => {
                write!(f, "{}: service {name}", path.display())
            }
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Code => f.write_str("set in code"),
        }
    }
}

fn write_line(
    f: &mut fmt::Formatter<'_>,
    place: &Place,
    key: Option<&str>,
    what: &dyn fmt::Display,
) -> fmt::Result {
    match key {
        Some(key) => write!(f, "{place}: {key}: {what}"),
        None => write!(f, "{place}: {what}"),
    }
}
