//! Entry points of the fuzz targets. Not part of the API.

use pgmonkey_config::RequireAuth;

use crate::wire::exercise;

/// Checks that the same traffic, cut into pieces in two ways, leaves a session in the same state.
///
/// The first byte sets the piece size of the second way. Pieces follow: one byte for the sender,
/// two for the length, then the bytes.
pub fn wire(data: &[u8]) {
    let Some((cut, mut rest)) = data.split_first() else {
        return;
    };
    let mut pieces = Vec::new();
    while let [who, high, low, more @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(more.len());
        let (piece, next) = more.split_at(length);
        pieces.push((who % 2 == 0, piece));
        rest = next;
    }
    for required in ["", "scram-sha-256", "!password"] {
        let required: RequireAuth = required.parse().expect("a list of methods");
        exercise(&pieces, usize::from(*cut) + 1, &required);
    }
}
