//! Checks the hosts, their addresses and their ports.

use super::Found;
use crate::model::connection::{ConnectionSettings, Host};
use crate::redact::suspicion;
use crate::schema::keys::{Kind, MOST_HOSTS};

pub(super) fn hosts(found: &mut Found<'_>, settings: &ConnectionSettings) {
    for (key, count, kind) in [
        ("host", settings.host.len(), Kind::Hosts),
        ("hostaddr", settings.hostaddr.len(), Kind::Addresses),
    ] {
        if count > MOST_HOSTS {
            let key = format!("connection_settings.{key}");
            found.invalid(&key, Some(format!("{count} entries")), kind.expected());
        }
    }
    for host in settings.host.iter().take(MOST_HOSTS) {
        if let Some(reason) = host_problem(host) {
            found.conflict("connection_settings.host", reason);
        }
    }
    let (hosts, addresses) = (settings.host.len(), settings.hostaddr.len());
    if hosts > 0 && addresses > 0 && hosts != addresses {
        found.conflict(
            "connection_settings.hostaddr",
            format!(
                "the number of addresses ({addresses}) differs from the number of hosts ({hosts}); \
                 give one address for each host"
            ),
        );
    }
    let servers = hosts.max(addresses).max(1);
    let ports = settings.port.len();
    if ports > 1 && ports != servers {
        found.conflict(
            "connection_settings.port",
            format!(
                "the number of ports ({ports}) differs from the number of hosts ({servers}); \
                 give one port, or one for each host"
            ),
        );
    }
    for port in settings.port.iter().filter(|port| **port == 0) {
        found.invalid(
            "connection_settings.port",
            Some(port.to_string()),
            Kind::Ports.expected(),
        );
    }
}

fn host_problem(host: &Host) -> Option<&'static str> {
    match host {
        Host::Ip(_) => None,
        Host::Unix(path) if path.as_os_str().as_encoded_bytes().contains(&0) => {
            Some("expected text without zero bytes")
        }
        Host::Unix(path) => {
            suspicion::is_connection_string(&path.to_string_lossy()).then_some(suspicion::ADVICE)
        }
        Host::Name(name) if name.is_empty() => Some("a host in the list is empty; remove it"),
        Host::Name(name) if name.contains("://") => Some("a URL is not a host; use `url` for it"),
        Host::Name(name) if name.starts_with('@') => {
            Some("abstract Unix sockets (@) are not supported; use a socket directory")
        }
        Host::Name(name) if name.starts_with('[') => {
            Some("write an IPv6 address without brackets here")
        }
        Host::Name(name) if has_zone(name) => None,
        Host::Name(name) if name.contains(':') => {
            Some("a host must not contain a port; use `port` for it")
        }
        Host::Name(name) => name
            .chars()
            .any(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && !"-._".contains(c))
            .then_some("expected a name, an address or a /directory"),
    }
}

/// Whether it is an address with a zone, as in `fe80::1%eth0`.
fn has_zone(name: &str) -> bool {
    let parts = name.split_once('%');
    parts.is_some_and(|(address, zone)| {
        let word = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        address.parse::<std::net::Ipv6Addr>().is_ok() && zone.chars().all(word)
    })
}
