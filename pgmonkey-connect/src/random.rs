//! Random numbers.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// A random number in 0..1, good enough to spread the ages of sessions and the load on servers.
pub fn draw() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ() {
        let drawn: Vec<f64> = (0..32).map(|_| draw()).collect();
        assert!(drawn.iter().all(|unit| (0.0..1.0).contains(unit)));
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
