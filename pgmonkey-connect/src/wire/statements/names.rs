//! The statements that a session knows by name, and those whose text it has sent before.

use std::collections::HashMap;
use std::sync::Arc;

use super::record::{StatementListener, StatementText};
use crate::sql::trace;
use crate::wire::observer::Observer;

/// How many named statements are known in one session; the others are taken for unknown ones.
const MOST: usize = 10_000;
/// How many texts that were sent without a name are remembered, each in a slot given by its hash.
const REMEMBERED: usize = 64;

/// A text that was sent before. Programs send the same few again and again.
#[derive(Debug, Clone)]
struct Remembered {
    /// Instead of the text: two texts with the same one would only be counted together.
    hash: u64,
    length: usize,
    known: Arc<StatementText>,
}

/// The known statements of a session.
#[derive(Debug, Default)]
pub(super) struct Names {
    named: HashMap<Box<[u8]>, Arc<StatementText>>,
    /// Those that were used last, each in a slot given by its name.
    recent: [Option<(u64, Arc<StatementText>)>; 16],
    unnamed: Option<Arc<StatementText>>,
    remembered: Vec<Option<Remembered>>,
}

impl Names {
    /// The statement whose name is at the front of `bytes`, up to a NUL.
    #[inline]
    pub(super) fn get(&mut self, bytes: &[u8]) -> Option<Arc<StatementText>> {
        let word = bytes.first_chunk::<8>();
        let Some(name) = word.and_then(|word| short(*word)) else {
            return self.find(bytes);
        };
        if name == 0 {
            return self.unnamed.clone();
        }
        let slot = (name.wrapping_mul(FACTOR) >> 60) as usize;
        match &self.recent[slot] {
            Some((known, text)) if *known == name => Some(Arc::clone(text)),
            _ => {
                let text = self.find(bytes)?;
                self.recent[slot] = Some((name, Arc::clone(&text)));
                Some(text)
            }
        }
    }

    #[inline(never)]
    fn find(&self, bytes: &[u8]) -> Option<Arc<StatementText>> {
        match cut(bytes).0 {
            b"" => self.unnamed.clone(),
            name => self.named.get(name).cloned(),
        }
    }

    /// A statement was given this name, which may be empty.
    pub(super) fn parse(
        &mut self,
        observer: &Observer,
        listener: &dyn StatementListener,
        name: &[u8],
        text: &[u8],
    ) -> Arc<StatementText> {
        if name.is_empty() {
            let known = self.unnamed(observer, listener, text);
            self.unnamed = Some(Arc::clone(&known));
            return known;
        }
        let text = listener.describe(trace::without(text), observer.has_standard_strings());
        self.recent = Default::default();
        if self.named.len() < MOST || self.named.contains_key(name) {
            self.named.insert(name.into(), Arc::clone(&text));
        }
        text
    }

    pub(super) fn close(&mut self, name: &[u8]) {
        self.recent = Default::default();
        self.named.remove(name);
    }

    /// A text that is sent without a name.
    #[inline]
    pub(super) fn unnamed(
        &mut self,
        observer: &Observer,
        listener: &dyn StatementListener,
        text: &[u8],
    ) -> Arc<StatementText> {
        let text = trace::without(text);
        let hash = hash_of(text);
        let slot = (hash >> 32) as usize % REMEMBERED;
        if let Some(Some(found)) = self.remembered.get(slot)
            && found.hash == hash
            && found.length == text.len()
        {
            return Arc::clone(&found.known);
        }
        let known = listener.describe(text, observer.has_standard_strings());
        self.remembered.resize(REMEMBERED, None);
        self.remembered[slot] = Some(Remembered {
            hash,
            length: text.len(),
            known: Arc::clone(&known),
        });
        known
    }
}

/// Splits at the first NUL.
#[inline]
pub(super) fn cut(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
        None => (bytes, None),
    }
}

/// Spreads the bits of a word.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// A name of less than eight bytes, as a number, if it ends within the word.
#[inline]
fn short(word: [u8; 8]) -> Option<u64> {
    let word = u64::from_le_bytes(word);
    // The lowest of these bits is that of the first NUL.
    let ends = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
    let bits = ends.trailing_zeros().checked_sub(7)?;
    (ends != 0).then(|| word & ((1 << bits) - 1))
}

/// A hash for texts that the program itself has chosen.
#[inline]
pub(crate) fn hash_of(text: &[u8]) -> u64 {
    let mix = |sum: u64, part: [u8; 8]| {
        (sum.rotate_left(23) ^ u64::from_le_bytes(part)).wrapping_mul(FACTOR)
    };
    let (parts, _) = text.as_chunks::<8>();
    let sum = parts
        .iter()
        .fold(text.len() as u64, |sum, part| mix(sum, *part));
    // Overlaps the part before, unless the text is short.
    let last = match text.last_chunk::<8>() {
        Some(last) => *last,
        None => {
            let mut last = [0; 8];
            last[..text.len()].copy_from_slice(text);
            last
        }
    };
    let sum = mix(sum, last);
    (sum ^ sum >> 32).wrapping_mul(FACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_short_name_ends_at_its_nul(bytes in any::<[u8; 8]>()) {
            let end = bytes.iter().position(|byte| *byte == 0);
            let wanted = end.map(|end| {
                let mut name = [0; 8];
                name[..end].copy_from_slice(&bytes[..end]);
                u64::from_le_bytes(name)
            });
            prop_assert_eq!(short(bytes), wanted);
        }
    }

    #[test]
    fn similar_texts_have_other_hashes() {
        let texts = (0..10_000).map(|n| format!("SELECT * FROM t WHERE a = {n}"));
        let hashes: std::collections::HashSet<_> = texts.map(|t| hash_of(t.as_bytes())).collect();
        assert_eq!(hashes.len(), 10_000);
        assert_ne!(hash_of(b""), hash_of(b"\0"));
    }
}
