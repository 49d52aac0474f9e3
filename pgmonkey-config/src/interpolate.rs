//! `${VAR}`, `${VAR:-default}`, `{ from_env: VAR }` and `{ from_file: path }`.

use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use crate::error::ProblemKind;
use crate::files;
use crate::keys;
use crate::redact::suspicion;
use crate::source::document::reason;

/// What references may use.
pub(crate) struct Scope<'a> {
    pub(crate) lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Where relative paths of `from_file` start.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) allow_sensitive_defaults: bool,
}

/// Replaces the references in a tree, except under the keys that `skip` names: a stronger layer has
/// set those, so that what they refer to need not exist.
pub(crate) fn resolve(
    dict: &mut Dict,
    scope: &Scope<'_>,
    skip: &dyn Fn(&[String]) -> bool,
) -> Vec<(Vec<String>, ProblemKind)> {
    let mut walk = Walk {
        scope,
        skip,
        path: Vec::new(),
        problems: Vec::new(),
    };
    walk.dict(dict);
    walk.problems
}

/// Whether the value is a reference, resolved or not.
pub(crate) fn reference(dict: &Dict) -> Option<&'static str> {
    ["from_env", "from_file"]
        .into_iter()
        .find(|name| dict.contains_key(*name))
}

/// Bounds for texts with references, so that none can take long or fill the stack.
const LONGEST: usize = 4 * 1024;
const DEEPEST: usize = 8;

struct Walk<'a> {
    scope: &'a Scope<'a>,
    skip: &'a dyn Fn(&[String]) -> bool,
    path: Vec<String>,
    problems: Vec<(Vec<String>, ProblemKind)>,
}

impl Walk<'_> {
    fn dict(&mut self, dict: &mut Dict) {
        for (key, value) in dict {
            self.path.push(key.clone());
            if !(self.skip)(&self.path) {
                self.value(value);
            }
            self.path.pop();
        }
    }

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(_, text) => {
                if let Some(resolved) = self.text(text) {
                    *text = resolved;
                }
            }
            Value::Array(_, items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Dict(_, dict) if reference(dict).is_some() => match self.indirect(dict) {
                Ok(text) => *value = Value::from(text),
                Err(kind) => self.problems.push((self.path.clone(), kind)),
            },
            Value::Dict(_, dict) => self.dict(dict),
            _ => {}
        }
    }

    /// The text with its references replaced; `None` after a problem.
    fn text(&mut self, text: &str) -> Option<String> {
        if !text.contains("${") {
            return None;
        }
        let template = Template {
            scope: self.scope,
            sensitive: self.path.iter().any(|key| keys::is_sensitive(key)),
            // Up to the @ of a URL stands the password; after it come host and database.
            secret_until: if self.path.last().is_some_and(|key| key == "url") {
                secret_part_of_url(text)
            } else {
                0
            },
        };
        match template.expand(text, 0, 0) {
            Ok(text) => Some(text),
            Err(kind) => {
                self.problems.push((self.path.clone(), kind));
                None
            }
        }
    }

    fn indirect(&self, dict: &Dict) -> Result<String, ProblemKind> {
        let entries: Vec<_> = dict.iter().collect();
        let [(name, Value::String(_, target))] = entries.as_slice() else {
            return Err(ProblemKind::Reference(
                "expected from_env or from_file alone, with a text as its value".into(),
            ));
        };
        if *name == "from_env" {
            return (self.scope.lookup)(target).ok_or_else(|| not_set(target));
        }
        // Its path is taken as it is, as in Python; only who expects more needs to be told.
        let path = self.scope.path(target);
        let hint = match target.contains("${") {
            true => "; ${…} in the path of from_file is no reference",
            false => "",
        };
        secret_file(&path).map_err(|reason| {
            let path = match suspicion::is_connection_string(target) {
                true => String::new(),
                false => format!(" {}", path.display()),
            };
            ProblemKind::Reference(format!("from_file{path}: {reason}{hint}"))
        })
    }
}

impl Scope<'_> {
    fn path(&self, text: &str) -> PathBuf {
        let path = expand_home(text, self.lookup);
        match &self.folder {
            Some(folder) => folder.join(path),
            None => path,
        }
    }
}

/// `~/` is the home directory.
pub(crate) fn expand_home(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let Some(rest) = text.strip_prefix("~/") else {
        return PathBuf::from(text);
    };
    let home = lookup("HOME").filter(|home| !home.is_empty());
    let home = home
        .map(PathBuf::from)
        .or_else(|| etcetera::home_dir().ok());
    home.map_or_else(|| PathBuf::from(text), |home| home.join(rest))
}

fn secret_file(path: &Path) -> Result<String, String> {
    let bytes = files::read_or_pipe(path, files::OWN_LIMIT).map_err(|error| reason(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| "not a text file in UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = if line.len() < text.len() {
        line.strip_suffix('\r').unwrap_or(line)
    } else {
        line
    };
    Ok(line.to_owned())
}

fn not_set(name: &str) -> ProblemKind {
    // What is no name of a variable may be the secret itself, put where its name belongs.
    let of_name = |c: char| c.is_ascii_alphanumeric() || "_${}".contains(c);
    let name = match name.chars().all(of_name) {
        true => format!(" {name}"),
        false => String::new(),
    };
    ProblemKind::Reference(format!(
        "environment variable{name} is not set, and there is no default"
    ))
}

fn secret_part_of_url(text: &str) -> usize {
    if text.contains("password") {
        return text.len();
    }
    match text.contains("://") {
        true => text.rfind('@').unwrap_or(0),
        false => text.len(),
    }
}

struct Template<'a> {
    scope: &'a Scope<'a>,
    sensitive: bool,
    /// Defaults that begin before this byte of the text are those of a secret.
    secret_until: usize,
}

impl Template<'_> {
    /// `offset` is where `text` begins in the whole value, `depth` how many defaults it is inside.
    fn expand(&self, text: &str, offset: usize, depth: usize) -> Result<String, ProblemKind> {
        if text.len() > LONGEST || depth > DEEPEST {
            return Err(ProblemKind::Reference(format!(
                "a text with references may have {LONGEST} bytes and defaults {DEEPEST} deep"
            )));
        }
        let mut out = String::new();
        let mut at = 0;
        while let Some(dollar) = text[at..].find('$').map(|found| at + found) {
            out.push_str(&text[at..dollar]);
            let rest = &text[dollar..];
            if rest.starts_with("$${") {
                out.push_str("${");
                at = dollar + 3;
            } else if let Some(reference) = Reference::parse(rest) {
                out.push_str(&self.value(&reference, offset + dollar, depth)?);
                at = dollar + reference.length;
            } else {
                out.push('$');
                at = dollar + 1;
            }
        }
        out.push_str(&text[at..]);
        Ok(out)
    }

    fn value(
        &self,
        reference: &Reference<'_>,
        at: usize,
        depth: usize,
    ) -> Result<String, ProblemKind> {
        if let Some(value) = (self.scope.lookup)(reference.name) {
            return Ok(value);
        }
        let Some(default) = reference.default else {
            return Err(not_set(reference.name));
        };
        let sensitive = self.sensitive || at < self.secret_until;
        if sensitive && !self.scope.allow_sensitive_defaults {
            return Err(ProblemKind::Reference(format!(
                "a default is not allowed for a sensitive key; set the environment variable {}",
                reference.name
            )));
        }
        self.expand(default, at + reference.name.len() + 4, depth + 1)
    }
}

/// `${NAME}` or `${NAME:-default}` at the beginning of a text.
struct Reference<'a> {
    name: &'a str,
    default: Option<&'a str>,
    length: usize,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix("${")?;
        let end = inner
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|end| *end > 0)?;
        let name = &inner[..end];
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let rest = &inner[end..];
        if rest.starts_with('}') {
            return Some(Self {
                name,
                default: None,
                length: 2 + end + 1,
            });
        }
        let default = rest.strip_prefix(":-")?;
        let close = closing_brace(default)?;
        Some(Self {
            name,
            default: Some(&default[..close]),
            length: 2 + end + 2 + close + 1,
        })
    }
}

/// The brace that ends a default; references inside it have their own.
fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if index > 0 && bytes[index - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(index),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}
