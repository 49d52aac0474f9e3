//! Free TCP ports.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::Range;

use anyhow::bail;

/// Below the kernel's range for outgoing connections (32768 and up on Linux), so that no client's
/// local port blocks a server that restarts on its old port.
const RANGE: Range<u16> = 20_000..32_000;
const TRIES: usize = 200;

/// Finds a port that is free on 127.0.0.1, and on ::1 if there is IPv6.
///
/// The port is not reserved, so another process may take it first: be ready to retry with another
/// one.
///
/// # Errors
///
/// When every port tried is taken.
///
/// # Examples
///
/// ```
/// let port = pgmonkey_testserver::free_port()?;
/// std::net::TcpListener::bind(("127.0.0.1", port))?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn free_port() -> anyhow::Result<u16> {
    let ipv6 = has_ipv6();
    for _ in 0..TRIES {
        let port = candidate();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && (!ipv6 || TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok());
        if free {
            return Ok(port);
        }
    }
    bail!("no free TCP port found in {RANGE:?} after {TRIES} tries")
}

/// Whether a socket can listen on ::1.
pub(crate) fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// An unpredictable number: the standard library seeds its hashers from the system's source.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn candidate() -> u16 {
    let offset = random() % u64::from(RANGE.end - RANGE.start);
    RANGE.start + u16::try_from(offset).expect("the remainder is smaller than the range of ports")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_lies_below_the_outgoing_ones() {
        assert!(RANGE.contains(&free_port().unwrap()));
    }

    #[test]
    fn random_numbers_differ() {
        assert_ne!(random(), random());
    }
}
