//! "Did you mean …": finds the key for a name that other libraries use, or the nearest known word,
//! if one is near enough.

use crate::schema::keys;

/// A name that another library uses for one of the keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Synonym {
    /// The name in lower case, without the marks between its words.
    name: &'static str,
    /// The key, with its section.
    pub(crate) key: &'static str,
    /// How the meaning differs.
    pub(crate) note: Option<&'static str>,
}

const fn same(name: &'static str, key: &'static str) -> Synonym {
    Synonym {
        name,
        key,
        note: None,
    }
}

const fn but(name: &'static str, key: &'static str, note: &'static str) -> Synonym {
    Synonym {
        name,
        key,
        note: Some(note),
    }
}

/// Returns what a name stands for in other libraries; spelling and case of its words do not matter.
pub(crate) fn synonym(section: &str, name: &str) -> Option<&'static Synonym> {
    let plain = |c: &char| c.is_ascii_alphanumeric();
    let name: String = name
        .chars()
        .filter(plain)
        .collect::<String>()
        .to_ascii_lowercase();
    let find = |rows: &'static [Synonym]| rows.iter().find(|row| row.name == name);
    let top = ["", keys::READERS].contains(&section);
    let at_top = top.then(|| find(SECTIONS)).flatten();
    let at_top = at_top.filter(|row| keys::find(section, row.key).is_some());
    at_top.or_else(|| find(SYNONYMS))
}

const MIN_SIZE: &str = "pool_settings.min_size";
const MAX_SIZE: &str = "pool_settings.max_size";
const TIMEOUT: &str = "pool_settings.timeout";
const MAX_IDLE: &str = "pool_settings.max_idle";
const MAX_LIFETIME: &str = "pool_settings.max_lifetime";
const CHECK: &str = "pool_settings.check_on_checkout";
const STATEMENT_CACHE: &str = "pool_settings.statement_cache";
const SEARCH_PATH: &str = "sync_settings.search_path";
const STATEMENT_TIMEOUT: &str = "sync_settings.statement_timeout";

const ALL_SESSIONS: &str = "it counts all sessions, in use or idle";
const SURPLUS: &str = "it counts for sessions above min_size";
const THE_WAIT: &str =
    "the wait for a session; connection_settings.connect_timeout limits its login";
const IN_SECONDS: &str = "in seconds; write ms after a number of milliseconds";
const WITH_JITTER: &str = "the age, plus or minus a tenth, at which a session is closed";

/// Names of sections.
#[rustfmt::skip]
const SECTIONS: &[Synonym] = &[
    same("pool", "pool_settings"),
    same("pooloptions", "pool_settings"),
    same("asyncpool", "async_pool_settings"),
    same("connection", "connection_settings"),
    same("connect", "connection_settings"),
    same("database", "connection_settings"),
    same("db", "connection_settings"),
    same("server", "connection_settings"),
    same("postgres", "connection_settings"),
    same("type", "connection_type"),
    same("reader", "readers"),
    same("replicas", "readers"),
    same("replica", "readers"),
    same("standbys", "readers"),
    same("slaves", "readers"),
    same("environments", "profiles"),
    same("environment", "profiles"),
];

/// Names of keys: libpq's in other spellings, and those of deadpool, bb8, r2d2, mobc, sqlx,
/// HikariCP, SQLAlchemy, psycopg, asyncpg, node-postgres, pgx, database/sql, Npgsql and Rails.
#[rustfmt::skip]
const SYNONYMS: &[Synonym] = &[
    same("hostname", "connection_settings.host"),
    same("hosts", "connection_settings.host"),
    same("server", "connection_settings.host"),
    same("address", "connection_settings.host"),
    same("addr", "connection_settings.host"),
    but("socket", "connection_settings.host", "the directory of the socket"),
    but("socketdir", "connection_settings.host", "the directory of the socket"),
    but("unixsocket", "connection_settings.host", "the directory of the socket"),
    same("ports", "connection_settings.port"),
    same("portnumber", "connection_settings.port"),
    same("db", "connection_settings.dbname"),
    same("databasename", "connection_settings.dbname"),
    same("name", "connection_settings.dbname"),
    same("username", "connection_settings.user"),
    same("userid", "connection_settings.user"),
    same("uid", "connection_settings.user"),
    same("login", "connection_settings.user"),
    same("role", "connection_settings.user"),
    same("pass", "connection_settings.password"),
    same("passwd", "connection_settings.password"),
    same("pwd", "connection_settings.password"),
    same("passwordfile", "connection_settings.password_file"),
    same("passwordcommand", "connection_settings.password"),
    same("pgpass", "connection_settings.passfile"),
    same("dsn", "connection_settings.url"),
    same("uri", "connection_settings.url"),
    same("conninfo", "connection_settings.url"),
    same("connectionstring", "connection_settings.url"),
    same("databaseurl", "connection_settings.url"),
    but("jdbcurl", "connection_settings.url", "postgres://user@host/database, without `jdbc:`"),
    same("appname", "connection_settings.application_name"),
    same("poolname", "connection_settings.application_name"),
    same("encoding", "connection_settings.client_encoding"),
    same("charset", "connection_settings.client_encoding"),
    same("ssl", "connection_settings.sslmode"),
    same("tls", "connection_settings.sslmode"),
    same("ca", "connection_settings.sslrootcert"),
    same("cafile", "connection_settings.sslrootcert"),
    same("cacert", "connection_settings.sslrootcert"),
    same("sslca", "connection_settings.sslrootcert"),
    same("rootcert", "connection_settings.sslrootcert"),
    same("rootcertificate", "connection_settings.sslrootcert"),
    same("cert", "connection_settings.sslcert"),
    same("clientcert", "connection_settings.sslcert"),
    same("sslclientcert", "connection_settings.sslcert"),
    same("key", "connection_settings.sslkey"),
    same("clientkey", "connection_settings.sslkey"),
    same("sslclientkey", "connection_settings.sslkey"),
    same("createtimeout", "connection_settings.connect_timeout"),
    same("connectiontimeoutms", "connection_settings.connect_timeout"),
    same("keepalive", "connection_settings.keepalives"),
    but("keepaliveinitialdelaymillis", "connection_settings.keepalives_idle", IN_SECONDS),

    same("poolmaxsize", MAX_SIZE),
    same("maxpoolsize", MAX_SIZE),
    same("maximumpoolsize", MAX_SIZE),
    same("maxconnections", MAX_SIZE),
    same("maxconns", MAX_SIZE),
    same("maxopen", MAX_SIZE),
    same("maxopenconns", MAX_SIZE),
    same("max", MAX_SIZE),
    same("pool", MAX_SIZE),
    but("poolsize", MAX_SIZE, "the limit, also at peaks; SQLAlchemy adds max_overflow to its pool_size"),
    but("maxoverflow", MAX_SIZE, "the limit: SQLAlchemy's pool_size and max_overflow together"),
    same("minpoolsize", MIN_SIZE),
    same("minimumpoolsize", MIN_SIZE),
    same("minconnections", MIN_SIZE),
    same("minconns", MIN_SIZE),
    same("min", MIN_SIZE),
    but("minidle", MIN_SIZE, ALL_SESSIONS),
    but("minimumidle", MIN_SIZE, ALL_SESSIONS),
    but("minidleconns", MIN_SIZE, ALL_SESSIONS),
    but("maxidleconns", MIN_SIZE, "as many stay open; sessions above them are closed after max_idle"),
    but("connectiontimeout", TIMEOUT, THE_WAIT),
    but("connectiontimeoutmillis", TIMEOUT, THE_WAIT),
    same("acquiretimeout", TIMEOUT),
    same("acquiretimeoutmillis", TIMEOUT),
    same("waittimeout", TIMEOUT),
    same("gettimeout", TIMEOUT),
    same("checkouttimeout", TIMEOUT),
    same("pooltimeout", TIMEOUT),
    but("idletimeout", MAX_IDLE, SURPLUS),
    but("idletimeoutmillis", MAX_IDLE, IN_SECONDS),
    but("maxidletime", MAX_IDLE, SURPLUS),
    but("maxidlelifetime", MAX_IDLE, SURPLUS),
    but("connmaxidletime", MAX_IDLE, SURPLUS),
    but("maxconnidletime", MAX_IDLE, SURPLUS),
    but("connectionidlelifetime", MAX_IDLE, SURPLUS),
    but("maxinactiveconnectionlifetime", MAX_IDLE, SURPLUS),
    same("connectionlifetime", MAX_LIFETIME),
    same("connmaxlifetime", MAX_LIFETIME),
    same("maxconnlifetime", MAX_LIFETIME),
    same("connmaxage", MAX_LIFETIME),
    but("poolrecycle", MAX_LIFETIME, WITH_JITTER),
    but("maxlifetimeseconds", MAX_LIFETIME, WITH_JITTER),
    but("maxuses", MAX_LIFETIME, "there is no limit by the number of uses"),
    same("testoncheckout", CHECK),
    same("testbeforeacquire", CHECK),
    same("poolpreping", CHECK),
    same("healthcheck", CHECK),
    but("connectiontestquery", CHECK, "true or false; the query is chosen"),
    but("recyclingmethod", "pool_settings.reset", "what is undone; check_on_checkout is the check"),
    same("poolresetonreturn", "pool_settings.reset"),
    same("maxwaitqueue", "pool_settings.max_waiting"),
    same("queuelimit", "pool_settings.max_waiting"),
    but("leakdetectionthreshold", "pool_settings.leak_warning", IN_SECONDS),
    same("statementcachesize", STATEMENT_CACHE),
    same("statementcachecapacity", STATEMENT_CACHE),
    same("preparedstatementcachesize", STATEMENT_CACHE),
    same("statementlimit", STATEMENT_CACHE),
    same("maxautoprepare", STATEMENT_CACHE),

    same("schema", SEARCH_PATH),
    same("searchpath", SEARCH_PATH),
    same("currentschema", SEARCH_PATH),
    same("schemasearchpath", SEARCH_PATH),
    same("timezone", "sync_settings.TimeZone"),
    same("statementtimeout", STATEMENT_TIMEOUT),
    same("querytimeout", STATEMENT_TIMEOUT),
    same("commandtimeout", STATEMENT_TIMEOUT),
    same("locktimeout", "sync_settings.lock_timeout"),
    same("idleintransactionsessiontimeout", "sync_settings.idle_in_transaction_session_timeout"),
    same("serversettings", "sync_settings"),
    same("connectioninitsql", "sync_settings"),
    same("variables", "sync_settings"),
];

/// Returns the candidate that differs from `word` by the fewest typing errors, if they are few for
/// its length.
///
/// An error is an extra, missing or wrong letter, or two neighbours swapped; case is ignored. One
/// is allowed from three letters on, two from six, three from nine. Of equals the first wins.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = letters(word);
    let allowed = allowed_slips(word.len());
    candidates
        .into_iter()
        .filter_map(|candidate| Some((slips(&word, &letters(candidate), allowed)?, candidate)))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

fn letters(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).collect()
}

fn allowed_slips(length: usize) -> usize {
    (length / 3).min(3)
}

/// Returns the Damerau-Levenshtein distance (neighbours swapped at most once), or `None` above
/// `allowed`.
fn slips(a: &[char], b: &[char], allowed: usize) -> Option<usize> {
    // The difference in length is a lower bound; this also returns early for a huge word.
    if a.len().abs_diff(b.len()) > allowed {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            let mut best = (last[j] + 1)
                .min(row[j - 1] + 1)
                .min(last[j - 1] + usize::from(!same));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    Some(last[b.len()]).filter(|distance| *distance <= allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> impl Iterator<Item = &'static Synonym> {
        SECTIONS.iter().chain(SYNONYMS)
    }

    #[test]
    fn every_synonym_stands_for_a_key() {
        for row in rows() {
            match row.key.split_once('.') {
                Some(("sync_settings", _)) => {}
                Some((section, key)) => assert!(keys::find(section, key).is_some(), "{row:?}"),
                None => assert!(keys::find("", row.key).is_some(), "{row:?}"),
            }
        }
    }

    #[test]
    fn every_row_can_be_found() {
        for (section, rows) in [("", SECTIONS), ("pool_settings", SYNONYMS)] {
            for row in rows {
                let found = synonym(section, row.name).expect("it is found");
                assert_eq!((found.name, found.key), (row.name, row.key), "a second row");
                let plain = |c: char| c.is_ascii_lowercase();
                assert!(row.name.chars().all(plain), "{row:?}");
            }
        }
    }

    #[test]
    fn spelling_and_case_do_not_matter() {
        for name in [
            "max_connections",
            "maxConnections",
            "MAX-CONNECTIONS",
            "Max Connections",
        ] {
            assert_eq!(synonym("pool_settings", name).expect(name).key, MAX_SIZE);
        }
        assert!(synonym("pool_settings", "kangaroo").is_none());
        assert!(synonym("pool_settings", "").is_none());
        assert_eq!(synonym("", "pool").expect("a section").key, "pool_settings");
    }

    const KEYS: [&str; 8] = [
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "sslmode",
        "connect_timeout",
    ];

    fn near(word: &str) -> Option<&'static str> {
        nearest(word, KEYS)
    }

    #[test]
    fn finds_each_kind_of_slip() {
        assert_eq!(near("hosst"), Some("host"), "one too many");
        assert_eq!(near("hst"), Some("host"), "one missing");
        assert_eq!(near("pirt"), Some("port"), "one wrong");
        assert_eq!(near("prot"), Some("port"), "swapped");
        assert_eq!(near("SSLMODE"), Some("sslmode"), "case");
        assert_eq!(near("connect-timout"), Some("connect_timeout"), "two");
        assert_eq!(near("pasword"), Some("password"));
    }

    #[test]
    fn says_nothing_when_nothing_is_near() {
        for word in [
            "",
            "x",
            "hs",
            "kangaroo",
            "timeout",
            "ssl",
            "usr_name_of_the_owner",
        ] {
            assert_eq!(near(word), None, "{word}");
        }
        assert_eq!(nearest("host", []), None);
    }

    #[test]
    fn prefers_the_nearest_then_the_first() {
        assert_eq!(nearest("hosts", ["hostaa", "host"]), Some("host"));
        assert_eq!(nearest("bat", ["cat", "hat"]), Some("cat"));
    }

    #[test]
    fn a_huge_word_costs_nothing() {
        let word = "h".repeat(10_000_000);
        assert_eq!(near(&word), None);
    }

    #[test]
    fn counts_characters_not_bytes() {
        assert_eq!(nearest("größe", ["grösse", "größer"]), Some("größer"));
    }
}
