//! Parses key=value text.

use super::{KEYWORDS, Settings, UrlError, position, unknown};

/// A cursor over key=value text.
pub(super) struct Pairs<'a> {
    text: &'a str,
    chars: std::iter::Peekable<std::str::CharIndices<'a>>,
    settings: Settings,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            chars: text.char_indices().peekable(),
            settings: Settings::default(),
        }
    }

    pub(super) fn parse(mut self) -> Result<Vec<(String, String)>, UrlError> {
        loop {
            self.blanks();
            let start = self.here();
            if start == self.text.len() {
                return Ok(self.settings.0);
            }
            let key = self.keyword(start)?;
            let value = self.value()?;
            self.settings.set(key, value);
        }
    }

    fn keyword(&mut self, start: usize) -> Result<&'a str, UrlError> {
        while self
            .chars
            .next_if(|(_, c)| *c != '=' && !c.is_ascii_whitespace())
            .is_some()
        {}
        let key = &self.text[start..self.here()];
        self.blanks();
        let at = || position(self.text, start);
        if self.chars.next_if(|(_, c)| *c == '=').is_none() {
            return Err(UrlError::Separator { at: at() });
        }
        if KEYWORDS.contains(&key) {
            Ok(key)
        } else {
            Err(unknown(key, at()))
        }
    }

    fn value(&mut self) -> Result<String, UrlError> {
        self.blanks();
        let quote = self.chars.next_if(|(_, c)| *c == '\'');
        let mut value = String::new();
        while let Some((_, c)) = self.chars.next() {
            match c {
                '\\' => value.extend(self.chars.next().map(|(_, escaped)| escaped)),
                '\'' if quote.is_some() => return Ok(value),
                _ if quote.is_none() && c.is_ascii_whitespace() => return Ok(value),
                _ => value.push(c),
            }
        }
        match quote {
            Some((start, _)) => Err(UrlError::Quote {
                at: position(self.text, start),
            }),
            None => Ok(value),
        }
    }

    fn blanks(&mut self) {
        while self
            .chars
            .next_if(|(_, c)| c.is_ascii_whitespace())
            .is_some()
        {}
    }

    fn here(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }
}
