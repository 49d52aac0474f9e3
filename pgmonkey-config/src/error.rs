use std::fmt;
use std::path::{Path, PathBuf};

/// All problems of a configuration, in one error.
///
/// `Display` prints one line for each problem: the place, the key, and what was expected. No line
/// contains a secret.
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
    /// Returns the problems, at least one; those of a file are in the order of its lines.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Returns `Err` with the problems if there are any.
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

/// One problem of a configuration.
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

/// The kind of a problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A file could not be read.
    #[error("{0}")]
    Unreadable(String),
    /// A text is not valid in its format.
    #[error("{0}")]
    Syntax(String),
    /// A key or section that does not exist.
    #[error("unknown key{}", suggestion_text(.suggestion.as_deref(), *.note))]
    UnknownKey {
        /// The key that was probably meant: one with a similar name, or that of another library's.
        suggestion: Option<String>,
        /// How the meaning differs from that in the other library.
        note: Option<&'static str>,
    },
    /// A setting of libpq that is not supported.
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
        /// What is expected.
        expected: String,
    },
    /// Values that contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// A reference to a variable or a file that cannot be resolved.
    #[error("{0}")]
    Reference(String),
    /// A `from_command` in a configuration that may not run programs.
    #[error(
        "from_command runs {}, which is not allowed: whatever can change the configuration could run \
         any program with the rights of this process; allow it with Loader::allow_commands(true) or \
         --allow-commands",
        program_text(.program.as_deref())
    )]
    CommandNotAllowed {
        /// The program, without its arguments; `None` if it came from a reference.
        program: Option<String>,
    },
}

/// Returns the part of a text that can be a key. If a colon is missing, as in
/// `{ password S3cret }`, the rest is a value.
pub(crate) fn shown(key: String) -> String {
    let of_key = |c: char| c.is_alphanumeric() || "._-$".contains(c);
    match key.find(|c| !of_key(c)) {
        Some(end) => format!("{}…", &key[..end]),
        None => key,
    }
}

fn program_text(program: Option<&str>) -> String {
    program.map_or_else(|| "a program".to_owned(), |program| format!("`{program}`"))
}

fn suggestion_text(suggestion: Option<&str>, note: Option<&str>) -> String {
    match (suggestion, note) {
        (None, _) => String::new(),
        (Some(name), None) => format!("; did you mean `{name}`?"),
        (Some(name), Some(note)) => format!("; did you mean `{name}`? ({note})"),
    }
}

fn value_text(value: Option<&str>) -> String {
    value.map_or_else(String::new, |value| format!("{value}: "))
}

/// Something that is allowed but probably not intended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// Where the value came from.
    pub place: Place,
    /// The key, with its section.
    pub key: Option<String>,
    /// The kind of warning.
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

/// The kind of a warning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WarningKind {
    /// The wrapper of pgmonkey 2.
    #[error("the `postgresql` wrapper is deprecated; move its sections to the top level")]
    LegacyWrapper,
    /// A key outside the wrapper, which is ignored.
    #[error(
        "ignored, because it is outside the deprecated `postgresql` wrapper; move the wrapper's sections to the top level"
    )]
    BesideWrapper,
    /// A key that is ignored because the caller allows unknown keys.
    #[error("unknown key, ignored{}", suggestion_text(.suggestion.as_deref(), *.note))]
    UnknownKey {
        /// The key that was probably meant: one with a similar name, or that of another library's.
        suggestion: Option<String>,
        /// How the meaning differs from that in the other library.
        note: Option<&'static str>,
    },
    /// A file with a secret that other users can read.
    #[error("contains a secret and can be read by other users; restrict it with chmod 600")]
    ReadableByOthers,
    /// An unquoted secret in YAML, followed by a comment.
    #[error(
        "the secret ends before ` #`, which begins a comment in YAML; put it in quotes, with the rest \
         if that belongs to it"
    )]
    CutByComment,
    /// A secret file that is open to its group or to others.
    #[error(
        "the secret file {path} is open to its group or others (mode {mode:04o}); restrict it with \
         chmod 600",
        path = path.display()
    )]
    SecretFileReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A password file that is ignored, as libpq does, because it is open to its group or to others.
    #[error(
        "the password file {path} is ignored, because its group or others have access to it (mode \
         {mode:04o}); restrict it with chmod 600",
        path = path.display()
    )]
    PassFileIgnored {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A file; line and column, both from 1, are set if they are known.
    File {
        /// The file, as the caller named it.
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
    /// Another section of the same file, which stands for one that is absent.
    Section {
        /// The section.
        name: &'static str,
        /// Where the value is set there.
        place: Box<Self>,
    },
    /// The program, such as [`Loader::set`](crate::Loader::set).
    Code,
}

impl Place {
    /// The sort key of problems: grouped by file, from top to bottom.
    pub(crate) fn order(&self) -> (Option<&Path>, Option<(u64, u64)>) {
        match self {
            Self::File { path, position } => (Some(path), *position),
            Self::Text { position } => (None, *position),
            Self::Section { place, .. } => place.order(),
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
            Self::Section { name, place } => write!(f, "{name} ({place})"),
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
