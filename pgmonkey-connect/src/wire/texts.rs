//! Tracks what statement texts can do to the session, including the prepared statements made from
//! them.

use std::collections::HashMap;

use super::observer::Observer;
use crate::sql::{self, Effects};

/// How many statements with effects are tracked individually in one session; the others count as
/// having all of their effects together.
const MOST: usize = 1000;
/// A simple query up to this length is remembered if it has no effects: programs send the same few
/// again and again.
const SHORT: usize = 512;
/// How many of them are remembered, each in a slot given by its hash.
const REMEMBERED: usize = 64;

/// Named statements with effects, and texts without effects.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// Only statements with effects, which are few.
    named: HashMap<Box<[u8]>, Effects>,
    /// The combined effects of statements beyond [`MOST`].
    crowd: Effects,
    harmless: Vec<Box<[u8]>>,
}

impl Texts {
    /// A simple query: its text and a NUL.
    pub(super) fn query(&mut self, observer: &Observer, body: &[u8]) -> Effects {
        let place = place_of(body);
        if self
            .harmless
            .get(place)
            .is_some_and(|known| **known == *body)
        {
            return Effects::NONE;
        }
        let (text, _) = cut(body);
        let effects = sql::of(text, observer.has_standard_strings());
        if effects == Effects::NONE && body.len() <= SHORT {
            self.harmless.resize_with(REMEMBERED, Box::default);
            self.harmless[place] = body.into();
        }
        effects
    }

    /// `Parse`: a name, NUL, the text, NUL, types; the end of the text may be missing. Returns
    /// whether the statement has a name.
    pub(super) fn parse(&mut self, observer: &Observer, body: &[u8], whole: bool) -> bool {
        let (name, rest) = cut(body);
        let effects = match rest {
            Some(rest) if whole => sql::of(cut(rest).0, observer.has_standard_strings()),
            _ => Effects::UNKNOWN,
        };
        if effects.has_any(Effects::CHANGES | Effects::LASTS | Effects::ENDS) {
            if self.named.len() < MOST {
                self.named.insert(name.into(), effects);
            } else {
                self.crowd |= effects;
            }
        } else if !self.named.is_empty() {
            self.named.remove(name);
        }
        !name.is_empty()
    }

    /// `Bind`: a portal's name, NUL, the statement's name, NUL, and more.
    #[inline]
    pub(super) fn bind(&self, body: &[u8]) -> Effects {
        if self.named.is_empty() {
            return Effects::NONE;
        }
        let Some(statement) = cut(body).1.map(|rest| cut(rest).0) else {
            return Effects::UNKNOWN;
        };
        let known = self.named.get(statement).copied();
        known.unwrap_or_default() | self.crowd
    }

    /// `Close`: `S` and a statement's name, or `P` and a portal's. Returns whether a named
    /// statement is closed.
    pub(super) fn close(&mut self, body: &[u8]) -> bool {
        let Some((b'S', name)) = body.split_first() else {
            return false;
        };
        let name = cut(name).0;
        if !self.named.is_empty() {
            self.named.remove(name);
        }
        !name.is_empty()
    }

    /// A message that arrived in pieces. Returns its own effects, and how many named statements it
    /// prepares, minus those that it closes.
    pub(super) fn late(
        &mut self,
        observer: &Observer,
        kind: u8,
        body: &[u8],
        whole: bool,
    ) -> (Effects, i32) {
        match kind {
            b'Q' if whole => (self.query(observer, body), 0),
            b'Q' => (Effects::UNKNOWN, 0),
            b'B' => (self.bind(body), 0),
            b'P' => {
                let named = self.parse(observer, body, whole);
                (Effects::NONE, i32::from(named))
            }
            _ => (Effects::NONE, -i32::from(self.close(body))),
        }
    }
}

/// The slot of a text. A collision only costs reading the text again.
#[inline]
fn place_of(body: &[u8]) -> usize {
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |sum: u64, part: &[u8; 8]| {
        (sum.rotate_left(23) ^ u64::from_le_bytes(*part)).wrapping_mul(MIX)
    };
    let (parts, _) = body.as_chunks::<8>();
    let sum = parts.iter().fold(body.len() as u64, mix);
    let sum = body.last_chunk().map_or(sum, |last| mix(sum, last));
    (sum >> 32) as usize % REMEMBERED
}

/// Splits at the first NUL.
fn cut(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
        None => (bytes, None),
    }
}
