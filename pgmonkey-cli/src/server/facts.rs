//! What a server reports about itself, as far as the role may see. Everything here is read-only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pgmonkey::config::{SessionSettings, SettingsDelivery, SslMode};
use pgmonkey::sync::ClientGuard;
use pgmonkey::{Config, Connection, Error};
use serde::{Deserialize, Serialize};

use super::capacity::Capacity;
use super::hba::{Client, Rule, several_files};
use super::hba_text;

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
    /// Why the lines may not be those that the server uses.
    pub(crate) doubt: Option<String>,
    /// How this session logged in, if that was observed.
    pub(crate) login: Option<String>,
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

/// The text of a file of rules; without a name it is `hba_file`.
const TEXT: &str =
    "SELECT pg_catalog.pg_read_file(coalesce($1::text, current_setting('hba_file')))";

/// Whether that file was changed after the server had read its files. Times of files are in
/// seconds.
const EDITED: &str = "SELECT (pg_catalog.pg_stat_file(coalesce($1::text, \
     current_setting('hba_file')))).modification > pg_catalog.pg_conf_load_time()";

/// The same login for single statements, which `session_settings: transaction` refuses where there
/// are settings. What is asked does not depend on them.
pub(crate) fn questions(config: &Config) -> Result<Config, Error> {
    let mut settings = config.to_settings();
    if settings.connection_settings.session_settings == SettingsDelivery::Transaction {
        settings.sync_settings = SessionSettings::default();
        settings.async_settings = SessionSettings::default();
    }
    Ok(Config::new(settings)?)
}

/// The client's address as the server sees it; `None` over its Unix socket.
pub(crate) fn client_address(config: &Config) -> Result<Option<IpAddr>, Error> {
    let connection = Connection::new(&questions(config)?)?;
    let row = connection.query_one("SELECT host(inet_client_addr())", &[])?;
    let text: Option<String> = row.try_get(0)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Queries the server, one statement at a time, so that a refused one does not affect the others.
pub(crate) fn ask(config: &Config) -> Result<Facts, Error> {
    let connection = Connection::new(&questions(config)?)?;
    let mut client = connection.acquire()?;
    let report = client.ping()?;
    let tls = report.tls.is_some();
    let login = report.auth_method.map(|method| method.to_string());
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
    let settings = look.settings();
    let rules = look.at("the lines of pg_hba.conf (pg_hba_file_rules)", |client| {
        lines::<Rule>(client, RULES)
    });
    let mut rules = rules.map(in_order);
    let doubt = rules.as_mut().and_then(|rules| {
        let edited = read_files(look.client, rules);
        broken(rules).or(edited)
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
        rules,
        doubt,
        login,
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

    fn settings(&mut self) -> BTreeMap<String, Setting> {
        let found = self.at("the server's settings (pg_settings)", |client| {
            lines::<Setting>(client, SETTINGS)
        });
        let found = found.unwrap_or_default().into_iter();
        found
            .map(|setting| (setting.name.clone(), setting))
            .collect()
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

/// Reads the files of the rules, as far as the role may, for the quotes in them; returns why they
/// are not what the server uses.
fn read_files(client: &mut ClientGuard, rules: &mut [Rule]) -> Option<String> {
    let mut files: Vec<Option<String>> = rules.iter().map(|rule| rule.file_name.clone()).collect();
    files.dedup();
    let mut edited = None;
    for file in files {
        let text = client.query_one(TEXT, &[&file]);
        let text: Option<String> = text.ok().and_then(|row| row.try_get(0).ok());
        if let Some(text) = text {
            hba_text::mark_quoted(rules, file.as_deref(), &text);
        }
        let changed = client.query_one(EDITED, &[&file]);
        if changed.is_ok_and(|row| row.try_get(0).unwrap_or(false)) {
            let name = file.unwrap_or_else(|| "pg_hba.conf".to_owned());
            edited = Some(format!(
                "{name} was edited since the server loaded it; SELECT pg_reload_conf() loads it"
            ));
        }
    }
    edited
}

/// Why the server does not use the lines at all.
fn broken(rules: &[Rule]) -> Option<String> {
    let rule = rules.iter().find(|rule| rule.is_broken())?;
    Some(format!(
        "the server cannot read {} of pg_hba.conf, so it keeps the lines that it loaded before",
        rule.place(several_files(rules))
    ))
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
