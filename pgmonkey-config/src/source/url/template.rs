//! A connection string with references whose values are filled in after it was split, so that a
//! password with an `@` or a `/` cannot change the host.

use std::ops::RangeInclusive;

use super::UrlError;
use crate::error::ProblemKind;
use crate::schema::keys;

/// Each of these characters may stand for a value that is filled in later, also for a port.
pub(super) const PLACEHOLDERS: RangeInclusive<char> = '\u{100000}'..='\u{10fffd}';

/// A connection string in which placeholders stand for the references.
// No `Debug`: it contains values of variables.
#[derive(Clone, Default)]
pub(crate) struct UrlTemplate {
    text: String,
    fillings: Vec<Filling>,
    /// Whether the text begins with the value of a reference.
    led: bool,
}

/// The value of one reference.
#[derive(Clone)]
pub(crate) struct Filling {
    /// Characters of the reference as written.
    pub(crate) length: usize,
    /// The value in a key that is not sensitive.
    pub(crate) open: Result<String, ProblemKind>,
    /// The value in a sensitive key, which may have no default.
    pub(crate) sensitive: Result<String, ProblemKind>,
}

impl UrlTemplate {
    /// Appends text that stands for itself.
    pub(crate) fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Begins with the value of a reference.
    pub(crate) fn lead(&mut self, value: String) {
        self.text = value;
        self.led = true;
    }

    /// Appends a reference; false if there are too many.
    pub(crate) fn reference(&mut self, filling: Filling) -> bool {
        let code = u32::try_from(self.fillings.len())
            .ok()
            .and_then(|index| u32::from(*PLACEHOLDERS.start()).checked_add(index));
        let letter = code.and_then(char::from_u32);
        let Some(letter) = letter.filter(|letter| PLACEHOLDERS.contains(letter)) else {
            return false;
        };
        self.text.push(letter);
        self.fillings.push(filling);
        true
    }

    /// Whether every placeholder stands for a reference; the text itself may contain the same
    /// characters.
    pub(crate) fn is_unambiguous(&self) -> bool {
        let placeholders = self.text.chars().filter(|c| PLACEHOLDERS.contains(c));
        // The first byte of an encoded placeholder.
        let encoded = self.text.to_ascii_lowercase().contains("%f4");
        self.fillings.is_empty() || (!encoded && placeholders.count() == self.fillings.len())
    }

    /// Splits the connection string; the parts still have placeholders.
    pub(crate) fn parts(&self) -> Result<Vec<(String, String)>, UrlError> {
        super::parse(&self.text).map_err(|error| match self.led {
            true => error,
            false => error.moved(|at| self.written(at)),
        })
    }

    /// Whether the value of a part comes from a reference.
    pub(crate) fn refers(&self, part: &str) -> bool {
        self.led || part.contains(|c| self.filling(c).is_some())
    }

    /// Returns the value of a part, with the values of its references as they stand.
    pub(crate) fn fill(&self, name: &str, part: &str) -> Result<String, ProblemKind> {
        let sensitive = keys::is_sensitive(name);
        let mut filled = String::new();
        for letter in part.chars() {
            match self.filling(letter) {
                None => filled.push(letter),
                Some(filling) => {
                    let value = match sensitive {
                        true => &filling.sensitive,
                        false => &filling.open,
                    };
                    filled.push_str(value.as_ref().map_err(Clone::clone)?);
                }
            }
        }
        Ok(filled)
    }

    fn filling(&self, letter: char) -> Option<&Filling> {
        let index = u32::from(letter).checked_sub(u32::from(*PLACEHOLDERS.start()))?;
        self.fillings.get(usize::try_from(index).ok()?)
    }

    /// Returns the position in the written text of a position in this one, both from 1.
    fn written(&self, at: usize) -> usize {
        let before = self.text.chars().take(at.saturating_sub(1));
        let lengths = before.map(|letter| self.filling(letter).map_or(1, |filling| filling.length));
        1 + lengths.sum::<usize>()
    }
}
