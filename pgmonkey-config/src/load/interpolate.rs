//! Resolves the references `${VAR}`, `${VAR:-default}`, `{ from_env: VAR }` and
//! `{ from_file: path }`.

use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use crate::error::ProblemKind;
use crate::redact::suspicion;
use crate::schema::keys;
use crate::source::document::reason;
use crate::source::files;
use crate::source::user_files::expand_home;

/// The context in which references are resolved.
pub(crate) struct Scope<'a> {
    pub(crate) lookup: &'a dyn Fn(&str) -> Option<String>,
    /// The folder from which relative paths of `from_file` are resolved.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) allow_sensitive_defaults: bool,
}

/// Replaces the references in a tree, except under the keys for which `skip` returns true: a
/// stronger layer has set those, so the targets of their references need not exist.
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

/// Returns the key that makes the value a reference, resolved or not.
pub(crate) fn reference(dict: &Dict) -> Option<&'static str> {
    ["from_env", "from_file"]
        .into_iter()
        .find(|name| dict.contains_key(*name))
}

/// Limits for texts with references: they bound the time and the recursion depth.
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

    /// Returns the text with its references replaced; `None` if it has none, or after a problem.
    fn text(&mut self, text: &str) -> Option<String> {
        if !text.contains("${") {
            return None;
        }
        let template = Template {
            scope: self.scope,
            sensitive: self.path.iter().any(|key| keys::is_sensitive(key)),
            // In a URL the password ends at the `@`; host and database follow.
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
                "expected from_env or from_file as the only key, with text as its value".into(),
            ));
        };
        if *name == "from_env" {
            return (self.scope.lookup)(target).ok_or_else(|| not_set(target));
        }
        // The path is literal, as in Python; if it looks like a reference, the error says so.
        let path = self.scope.path(target);
        let hint = match target.contains("${") {
            true => "; ${…} is not resolved in the path of from_file",
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

fn secret_file(path: &Path) -> Result<String, String> {
    let bytes = files::read_or_pipe(path, files::OWN_LIMIT).map_err(|error| reason(&error))?;
    files::line_of(bytes).map_err(str::to_owned)
}

fn not_set(name: &str) -> ProblemKind {
    // A text that cannot be a variable's name may be the secret itself.
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
    /// Defaults that start before this byte of the text belong to a secret.
    secret_until: usize,
}

impl Template<'_> {
    /// `offset` is the position of `text` in the whole value, `depth` the number of defaults that
    /// enclose it.
    fn expand(&self, text: &str, offset: usize, depth: usize) -> Result<String, ProblemKind> {
        if text.len() > LONGEST || depth > DEEPEST {
            return Err(ProblemKind::Reference(format!(
                "a text with references is limited to {LONGEST} bytes and {DEEPEST} nested defaults"
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

/// Returns the index of the brace that ends a default; nested references are skipped.
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
