//! How many sessions a server can serve, and how many a file asks for.

use pgmonkey::sync::ClientGuard;
use pgmonkey::{Config, ConnectionType, Error};
use serde::Serialize;

/// How many sessions the server allows this role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Capacity {
    pub(crate) max_connections: u32,
    /// Reserved for superusers.
    pub(crate) superuser_reserved_connections: u32,
    /// Reserved for roles with `pg_use_reserved_connections`, PostgreSQL 16 and later.
    pub(crate) reserved_connections: u32,
    /// The role's own limit.
    pub(crate) role_limit: Option<u32>,
    /// The database's own limit.
    pub(crate) database_limit: Option<u32>,
}

/// The query, which every role may run.
const ASK: &str = "SELECT current_setting('max_connections')::int, \
     current_setting('superuser_reserved_connections')::int, \
     coalesce(current_setting('reserved_connections', true)::int, 0), \
     (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user), \
     (SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = current_database())";

impl Capacity {
    /// Queries the server.
    pub(crate) fn ask(client: &mut ClientGuard) -> Result<Self, Error> {
        let row = client.query_one(ASK, &[])?;
        let number = |index: usize| -> Result<u32, Error> {
            let number: i32 = row.try_get(index)?;
            Ok(u32::try_from(number).unwrap_or(0))
        };
        // -1 is no limit.
        let limit = |index: usize| -> Result<Option<u32>, Error> {
            let limit: Option<i32> = row.try_get(index)?;
            Ok(limit.and_then(|limit| u32::try_from(limit).ok()))
        };
        Ok(Self {
            max_connections: number(0)?,
            superuser_reserved_connections: number(1)?,
            reserved_connections: number(2)?,
            role_limit: limit(3)?,
            database_limit: limit(4)?,
        })
    }

    /// The most sessions that an ordinary role can have if there are no others.
    pub(crate) fn usable(&self) -> u32 {
        let reserved = self.superuser_reserved_connections + self.reserved_connections;
        let limits = [self.role_limit, self.database_limit];
        let limits = limits.into_iter().flatten();
        limits.fold(self.max_connections.saturating_sub(reserved), u32::min)
    }
}

/// How many sessions the file asks for: both pools may be open at once, in one program or two.
pub(crate) fn wanted(config: &Config) -> u32 {
    let of = |kind| config.pool_settings_for(kind).max_size;
    of(ConnectionType::Pool).saturating_add(of(ConnectionType::AsyncPool))
}

/// A message if the file asks for more sessions than the server can serve.
pub(crate) fn shortage(wanted: u32, capacity: &Capacity) -> Option<String> {
    let usable = capacity.usable();
    (wanted > usable).then(|| {
        format!(
            "both pools together may open {wanted} sessions and the server can serve {usable} \
             (max_connections {}, {} of them reserved)",
            capacity.max_connections,
            capacity.superuser_reserved_connections + capacity.reserved_connections
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity() -> Capacity {
        Capacity {
            max_connections: 100,
            superuser_reserved_connections: 3,
            reserved_connections: 2,
            role_limit: None,
            database_limit: None,
        }
    }

    #[test]
    fn what_is_reserved_is_not_to_be_had() {
        assert_eq!(capacity().usable(), 95);
        assert_eq!(shortage(95, &capacity()), None);
        let text = shortage(96, &capacity()).expect("over capacity");
        assert!(text.contains("96") && text.contains("95"), "{text}");
    }

    #[test]
    fn the_narrowest_limit_counts() {
        let mut capacity = capacity();
        capacity.role_limit = Some(20);
        capacity.database_limit = Some(10);
        assert_eq!(capacity.usable(), 10);
        capacity.database_limit = Some(0);
        assert_eq!(capacity.usable(), 0);
    }
}
