//! The line of a file that an error refers to, without its secrets.

use crate::error::{Place, Problem, ProblemKind, Warning};
use crate::redact::suspicion;
use crate::schema::keys::{self, Key};

/// A line of a file, with the part that an error refers to marked. It contains no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Excerpt {
    /// The line's number, from 1.
    pub line: u64,
    /// The line, without possible secrets.
    pub text: String,
    /// The start of the marked part, in characters.
    pub start: usize,
    /// The length of the marked part in characters.
    pub length: usize,
}

impl Problem {
    /// Returns the line of the problem, from the text of the file that [`place`](Self::place)
    /// names.
    ///
    /// A value is included only if the key is known and not a secret: a misspelt key may be that of
    /// a password, and a misplaced value may be one.
    pub fn excerpt(&self, text: &str) -> Option<Excerpt> {
        match (&self.key, &self.kind) {
            (Some(key), _) => self.place.excerpt(text, key),
            (None, ProblemKind::Syntax(_)) => of_line(text, position(&self.place)?),
            (None, _) => None,
        }
    }
}

impl Warning {
    /// Like [`Problem::excerpt`].
    pub fn excerpt(&self, text: &str) -> Option<Excerpt> {
        self.place.excerpt(text, self.key.as_deref()?)
    }
}

impl Place {
    /// Like [`Problem::excerpt`], for a key at this place.
    pub fn excerpt(&self, text: &str, key: &str) -> Option<Excerpt> {
        of_key(text, position(self)?, key)
    }
}

fn position(place: &Place) -> Option<(u64, u64)> {
    match place {
        Place::File { position, .. } | Place::Text { position } => *position,
        Place::Section { place, .. } => self::position(place),
        _ => None,
    }
}

/// Returns the key at this position, if it has the name that the problem reports.
fn of_key(text: &str, (number, column): (u64, u64), key: &str) -> Option<Excerpt> {
    let line = line(text, number)?;
    let at = usize::try_from(column).ok()?.checked_sub(1)?;
    let (start, name) = name_at(line, at)?;
    if !key.split('.').any(|part| part == name) {
        return None;
    }
    Some(match shows_value(line, start, &name) {
        true => excerpt(number, line.trim_end().to_owned(), start, &name),
        false => beginning(number, line, start, &name),
    })
}

/// Returns the line of a text that cannot be parsed: only a known key at its start.
fn of_line(text: &str, (number, _): (u64, u64)) -> Option<Excerpt> {
    let line = line(text, number)?;
    let (start, name) = name_at(line, line.chars().take_while(|c| c.is_whitespace()).count())?;
    let known = keys::KEYS.iter().any(|key| key.name == name);
    known.then(|| beginning(number, line, start, &name))
}

fn line(text: &str, number: u64) -> Option<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let before = usize::try_from(number).ok()?.checked_sub(1)?;
    text.lines().nth(before)
}

/// Returns the key at this position with its start; a key is followed by a colon or, in TOML, an
/// equals sign or a bracket.
fn name_at(line: &str, at: usize) -> Option<(usize, String)> {
    let quoted = line.chars().nth(at).is_some_and(|c| "\"'".contains(c));
    let start = at + usize::from(quoted);
    let of_name = |c: &char| c.is_alphanumeric() || "_-.$".contains(*c);
    let name: String = line.chars().skip(start).take_while(of_name).collect();
    let rest: String = line.chars().skip(start + name.chars().count()).collect();
    let after = rest.trim_start_matches(['"', '\'']).trim_start();
    let is_key = after.starts_with([':', '=', ']']);
    (!name.is_empty() && is_key).then_some((start, name))
}

/// Whether the whole line may be shown: it has only this key, which is known and not a secret, its
/// value resembles a valid one, and nothing in it looks like a secret.
fn shows_value(line: &str, start: usize, name: &str) -> bool {
    let before: String = line.chars().take(start).collect();
    let alone = before
        .chars()
        .all(|c| c.is_whitespace() || "\"'".contains(c));
    let known = keys::KEYS.iter().find(|key| key.name == name);
    let plain = !line.contains(['{', '[', '&', '*', '|', '>', '\\']) && !line.contains("://");
    alone && known.is_some_and(|key| may_be_told(line, key)) && plain && !keys::is_secret(line)
}

/// Whether the value after the key may be shown: it resembles a valid one.
fn may_be_told(line: &str, key: &Key) -> bool {
    let value = line.split_once([':', '=']).map_or("", |(_, value)| value);
    let value = value.split(" #").next().unwrap_or_default();
    let value = value.trim().trim_matches(['"', '\'']);
    value.is_empty() || suspicion::may_be_told(key.name, key.kind, value)
}

fn beginning(number: u64, line: &str, start: usize, name: &str) -> Excerpt {
    let before: String = line.chars().take(start).collect();
    if before.trim().is_empty() {
        return excerpt(number, format!("{before}{name}: …"), start, name);
    }
    excerpt(number, format!("… {name}: …"), 2, name)
}

fn excerpt(line: u64, text: String, start: usize, name: &str) -> Excerpt {
    // A tab is displayed wider than the mark below it.
    let text = text.replace('\t', " ");
    Excerpt {
        line,
        text,
        start,
        length: name.chars().count(),
    }
}

#[cfg(test)]
mod tests {
    use crate::Loader;

    /// Each excerpt with what it marks.
    fn shown(yaml: &str) -> Vec<Option<(String, String)>> {
        let loader = Loader::new().libpq_sources(false).yaml(yaml);
        let error = loader.load().expect_err("it is wrong");
        let problems = error.problems().iter();
        problems
            .map(|problem| {
                let excerpt = problem.excerpt(yaml)?;
                let marks = " ".repeat(excerpt.start) + &"^".repeat(excerpt.length);
                Some((excerpt.text, marks))
            })
            .collect()
    }

    fn one(yaml: &str) -> Option<(String, String)> {
        let mut shown = shown(yaml);
        assert_eq!(shown.len(), 1, "{shown:?}");
        shown.pop().flatten()
    }

    fn lines(text: &str, marks: &str) -> Option<(String, String)> {
        Some((text.to_owned(), marks.to_owned()))
    }

    #[test]
    fn a_known_key_is_shown_with_its_value() {
        let found = one("connection_settings:\n  port: 70000 # why?\n");
        assert_eq!(found, lines("  port: 70000 # why?", "  ^^^^"));
    }

    #[test]
    fn a_misspelt_key_may_be_a_passwords() {
        let found = one("connection_settings:\n  pasword: S3cret\n");
        assert_eq!(found, lines("  pasword: …", "  ^^^^^^^"));
    }

    #[test]
    fn what_stands_beside_is_not_shown() {
        let found = one("connection_settings: { user: a, password: S3cret, port: 70000 }\n");
        assert_eq!(found, lines("… port: …", "  ^^^^"));
        let found = one("pool_settings:\n  timeout: soon # password S3cret\n");
        assert_eq!(found, lines("  timeout: …", "  ^^^^^^^"));
    }

    #[test]
    fn what_is_no_text_of_ours_is_shown_as_far_as_it_is_sure() {
        let found = one("connection_settings:\n  password: *S3cret\n");
        assert_eq!(found, lines("  password: …", "  ^^^^^^^^"));
        assert_eq!(
            one("connection_settings:\n  password:\n    *S3cret\n"),
            None
        );
        assert_eq!(one("connection_settings:\n  pw: *S3cret\n"), None);
    }

    #[test]
    fn no_secret_is_ever_shown() {
        for yaml in [
            "connection_settings: { password: two,S3cret }\n",
            "connection_settings: { password S3cret }\n",
            "connection_settings:\n  url: postgres://a:S3cret@h:x/d\n",
            "connection_settings:\n  host: [S3cret\n",
            "connection_settings:\n  password: \"a\n   S3cret: b\n   \"\n  hots: x\n",
            "connection_settings:\n  password: >\n   S3cret: b\n  port: x\n  hots: S3cret\n",
            "connection_settings:\n  password: {S3cret: 1}\n",
            "pool_settings: S3cret\n",
            "S3cret\n",
            "S3cret: 1\npassword: !S3cret x\n",
        ] {
            for shown in shown(yaml).into_iter().flatten() {
                let own_key = yaml.starts_with("S3cret: 1");
                assert!(own_key || !shown.0.contains("S3cret"), "{yaml}: {shown:?}");
            }
        }
    }
}
