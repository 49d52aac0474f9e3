//! What a server reports about itself, as far as the role may see. Everything here is read-only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pgmonkey::config::SslMode;
use pgmonkey::sync::ClientGuard;
use pgmonkey::{Config, Connection, Error};
use serde::{Deserialize, Serialize};

use super::capacity::Capacity;
use super::hba::{Client, Rule};

/// One server parameter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) setting: Option<String>,
    /// `default`, `configuration file`, `command line`, …
    pub(crate) source: Option<String>,
    /// Visible only to roles that may read the server's settings files.
    pub(crate) sourcefile: Option<String>,
    pub(crate) sourceline: Option<u32>,
    /// Whether the file already has another value.
    pub(crate) pending_restart: bool,
}

/// Everything that was found.
pub(crate) struct Facts {
    pub(crate) version: String,
    pub(crate) client: Client,
    pub(crate) superuser: bool,
    pub(crate) settings: BTreeMap<String, Setting>,
    pub(crate) capacity: Option<Capacity>,
    /// Sessions of others at this moment.
    pub(crate) others: Option<i64>,
    /// The lines of `pg_hba.conf`, in the order in which they are tried.
    pub(crate) rules: Option<Vec<Rule>>,
    /// Roles that log in with an MD5 password.
    pub(crate) md5_roles: Option<i64>,
    /// What the role may not see, with the server's reason.
    pub(crate) unseen: Vec<Unseen>,
}

/// A fact that the role may not see.
#[derive(Debug, Serialize)]
pub(crate) struct Unseen {
    pub(crate) what: &'static str,
    pub(crate) reason: String,
}

const SETTINGS: &str = "SELECT row_to_json(s)::text FROM (SELECT name, setting, source, \
     sourcefile, sourceline, pending_restart FROM pg_catalog.pg_settings WHERE name IN ( \
     'max_connections', 'superuser_reserved_connections', 'reserved_connections', 'ssl', \
     'ssl_cert_file', 'ssl_key_file', 'ssl_ca_file', 'ssl_min_protocol_version', \
     'password_encryption', 'listen_addresses')) AS s";

const WHO: &str = "SELECT current_setting('server_version'), host(inet_client_addr()), \
     host(inet_server_addr()), session_user::text, current_database()::text, \
     current_setting('is_superuser') = 'on'";

/// `pg_has_role` is true for every role of a superuser; pg_hba.conf uses actual memberships.
const ROLES: &str = "WITH RECURSIVE own (oid) AS ( \
     SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user UNION \
     SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN own ON m.member = own.oid) \
     SELECT rolname::text FROM pg_catalog.pg_roles JOIN own USING (oid)";

const RULES: &str = "SELECT row_to_json(r)::text FROM pg_catalog.pg_hba_file_rules AS r";

const OTHERS: &str = "SELECT count(*) FROM pg_catalog.pg_stat_activity \
     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

const MD5: &str = "SELECT count(*) FROM pg_catalog.pg_authid \
     WHERE rolcanlogin AND rolpassword LIKE 'md5%'";

/// The client's address as the server sees it; `None` over its Unix socket.
pub(crate) fn client_address(config: &Config) -> Result<Option<IpAddr>, Error> {
    let connection = Connection::new(config)?;
    let row = connection.query_one("SELECT host(inet_client_addr())", &[])?;
    let text: Option<String> = row.try_get(0)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Queries the server, one statement at a time, so that a refused one does not affect the others.
pub(crate) fn ask(config: &Config) -> Result<Facts, Error> {
    let connection = Connection::new(config)?;
    let mut client = connection.acquire()?;
    let tls = client.ping()?.tls.is_some();
    let row = client.query_one(WHO, &[])?;
    let address = |index: usize| -> Result<Option<IpAddr>, Error> {
        let text: Option<String> = row.try_get(index)?;
        Ok(text.and_then(|text| text.parse().ok()))
    };
    let mut unseen = Vec::new();
    let mut look = Look {
        client: &mut client,
        unseen: &mut unseen,
    };
    let roles = look.at("the role's memberships (pg_auth_members)", |client| {
        let rows = client.query(ROLES, &[])?;
        let names = rows.iter().map(|row| row.try_get(0));
        Ok(names.collect::<Result<_, _>>()?)
    });
    let user: String = row.try_get(3)?;
    let who = Client {
        address: address(1)?,
        server: address(2)?,
        database: row.try_get(4)?,
        roles: roles.unwrap_or_else(|| BTreeSet::from([user.clone()])),
        user,
        tls,
    };
    let settings = look.at("the server's settings (pg_settings)", |client| {
        lines::<Setting>(client, SETTINGS)
    });
    let settings = settings.unwrap_or_default().into_iter();
    let settings = settings
        .map(|setting| (setting.name.clone(), setting))
        .collect();
    let rules = look.at("the lines of pg_hba.conf (pg_hba_file_rules)", |client| {
        lines::<Rule>(client, RULES)
    });
    let capacity = look.capacity();
    let one = |sql: &'static str| {
        move |client: &mut ClientGuard| Ok(client.query_one(sql, &[])?.try_get(0)?)
    };
    let others = look.at("the sessions of others (pg_stat_activity)", one(OTHERS));
    let md5_roles = look.at("how the roles' passwords are kept (pg_authid)", one(MD5));
    Ok(Facts {
        version: row.try_get(0)?,
        superuser: row.try_get(5)?,
        client: who,
        settings,
        capacity,
        others,
        rules: rules.map(in_order),
        md5_roles,
        unseen,
    })
}

/// Runs one query, and records a refusal.
struct Look<'a> {
    client: &'a mut ClientGuard,
    unseen: &'a mut Vec<Unseen>,
}

impl Look<'_> {
    fn at<T>(
        &mut self,
        what: &'static str,
        ask: impl FnOnce(&mut ClientGuard) -> Result<T, Error>,
    ) -> Option<T> {
        let found = ask(self.client);
        self.kept(what, found)
    }

    fn capacity(&mut self) -> Option<Capacity> {
        let found = Capacity::ask(self.client);
        self.kept("the limits for sessions", found)
    }

    fn kept<T>(&mut self, what: &'static str, found: Result<T, Error>) -> Option<T> {
        found
            .map_err(|error| {
                let reason = error.to_string();
                self.unseen.push(Unseen { what, reason });
            })
            .ok()
    }
}

/// Rows as JSON: columns that an older server lacks are absent, which is not an error.
fn lines<T: for<'de> Deserialize<'de>>(
    client: &mut ClientGuard,
    sql: &str,
) -> Result<Vec<T>, Error> {
    let rows = client.query(sql, &[])?;
    let mut found = Vec::new();
    for row in rows {
        let text: String = row.try_get(0)?;
        found.extend(serde_json::from_str(&text).ok());
    }
    Ok(found)
}

fn in_order(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.sort_by_key(|rule| (rule.rule_number.unwrap_or(u32::MAX), rule.line_number));
    rules
}

impl Facts {
    /// The value of a parameter, if the role may see it.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.settings.get(name)?.setting.as_deref()
    }

    /// Whether the server accepts TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.value("ssl") == Some("on") || self.client.tls
    }
}

/// Whether a mode fails without TLS.
pub(crate) fn demands_tls(mode: SslMode) -> bool {
    matches!(
        mode,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull
    )
}
