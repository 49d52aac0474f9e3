//! What the fuzz targets call. Not part of the API.

use pgmonkey_config::RequireAuth;

use crate::wire::exercise;

/// What a server and a client send, cut into pieces in two ways, leaves a session in one state.
///
/// The first byte says how the second way cuts; then come pieces: who sends, how many bytes in
/// two, the bytes.
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
