//! Parameters and dialects of other programs' connection strings, with what to do about them.

use super::KEYWORDS;

/// A parameter that libpq does not know: the name, whose it is, and what to write.
#[rustfmt::skip]
const PARAMETERS: &[(&str, &str, &str)] = &[
    ("pgbouncer", "Prisma's", "set `pooler: transaction` in connection_settings, and remove it"),
    ("schema", "Prisma's", "set `search_path` in sync_settings and async_settings"),
    ("connection_limit", "Prisma's", "set `max_size` in pool_settings"),
    ("pool_timeout", "Prisma's", "set `timeout` in pool_settings"),
    ("sslaccept", "Prisma's", "write sslmode=verify-full for `strict`, sslmode=require for `accept_invalid_certs`"),
    ("sslidentity", "Prisma's", "write sslcert and sslkey, with PEM files"),
    ("socket_timeout", "Prisma's", "set `statement_timeout` in sync_settings and async_settings"),
    ("search_path", "a server parameter", "set `search_path` in sync_settings and async_settings"),
    ("currentSchema", "JDBC's", "set `search_path` in sync_settings and async_settings"),
    ("TimeZone", "a server parameter", "set `TimeZone` in sync_settings and async_settings"),
    ("statement_timeout", "a server parameter", "set `statement_timeout` in sync_settings and async_settings"),
    ("lock_timeout", "a server parameter", "set `lock_timeout` in sync_settings and async_settings"),
    ("supa", "Supabase's", "remove it; it changes nothing"),
    ("sslca", "another program's", "write sslrootcert"),
    ("ssl_ca", "another program's", "write sslrootcert"),
    ("ssl", "node-postgres' and JDBC's", "write sslmode=require, or stronger"),
    ("ssl_mode", "another program's", "write sslmode"),
    ("sslfactory", "JDBC's", "write sslmode"),
    ("uselibpqcompat", "node-postgres'", "remove it; sslmode has libpq's meaning here"),
    ("pool_max_conns", "pgx's", "set `max_size` in pool_settings"),
    ("pool_min_conns", "pgx's", "set `min_size` in pool_settings"),
    ("pool_max_conn_lifetime", "pgx's", "set `max_lifetime` in pool_settings"),
    ("pool_max_conn_idle_time", "pgx's", "set `max_idle` in pool_settings"),
    ("pool_size", "another program's", "set `max_size` in pool_settings"),
    ("max_connections", "another program's", "set `max_size` in pool_settings"),
    ("default_query_exec_mode", "pgx's", "set `statement_cache: 0` in pool_settings for no prepared statements"),
    ("statement_cache_size", "another program's", "set `statement_cache` in pool_settings"),
    ("statement_cache_capacity", "another program's", "set `statement_cache` in pool_settings"),
    ("prepareThreshold", "JDBC's", "set `statement_cache` in pool_settings"),
    ("loginTimeout", "JDBC's", "write connect_timeout"),
    ("connectTimeout", "JDBC's", "write connect_timeout"),
    ("socketTimeout", "JDBC's", "set `statement_timeout` in sync_settings and async_settings"),
    ("ApplicationName", "JDBC's", "write application_name"),
    ("targetServerType", "JDBC's", "write target_session_attrs"),
    ("charset", "another program's", "remove it; the drivers use UTF-8"),
    ("encoding", "another program's", "remove it; the drivers use UTF-8"),
    ("serverVersion", "Doctrine's", "remove it"),
    ("endpoint", "Neon's", "write options=endpoint%3DNAME"),
];

/// The name, whose it is, and what to do, of a parameter in any case.
pub(super) fn parameter(name: &str) -> Option<(&'static str, &'static str, &'static str)> {
    let known = |row: &&(&str, &str, &str)| row.0.eq_ignore_ascii_case(name);
    PARAMETERS.iter().find(known).copied()
}

const WRITE: &str = "write postgres://user:password@host:port/database";

/// What a text is if it is another program's connection string, and what to do.
pub(super) fn dialect(text: &str) -> Option<(&'static str, &'static str)> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let url = |text: &str| text.starts_with("postgres://") || text.starts_with("postgresql://");
    if lower.starts_with("jdbc:") {
        return Some((
            "a JDBC URL",
            "remove `jdbc:`; user and password go before the host: postgres://user:password@host:port/database",
        ));
    }
    if let Some((scheme, _)) = lower.split_once("://")
        && let Some((name, _)) = scheme.split_once('+')
        && ["postgres", "postgresql"].contains(&name)
    {
        return Some((
            "an SQLAlchemy URL",
            "remove the + and the driver's name after postgresql",
        ));
    }
    if lower.starts_with("pgsql:") {
        return Some(("a DSN of PHP", WRITE));
    }
    if lower.starts_with("psql ") {
        return Some(("a command line of psql", "use only the URL in it"));
    }
    let quoted = text.strip_prefix(['"', '\'', '`']);
    if quoted.is_some_and(url) {
        return Some(("in quotes", "remove the quotes around it"));
    }
    if let Some((name, value)) = text.split_once('=') {
        let name = name.strip_prefix("export ").unwrap_or(name);
        let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let value = value.strip_prefix(['"', '\'']).unwrap_or(value);
        if word && !name.is_empty() && !KEYWORDS.contains(&name) && url(value) {
            return Some((
                "an assignment to a variable",
                "remove everything before postgres",
            ));
        }
    }
    is_ado(&lower).then_some(("a connection string of ADO.NET or ODBC", WRITE))
}

/// Whether it is `Server=…;Database=…;`.
fn is_ado(lower: &str) -> bool {
    const FIRST: [&str; 10] = [
        "server",
        "host",
        "data source",
        "user id",
        "userid",
        "username",
        "uid",
        "database",
        "port",
        "driver",
    ];
    let Some((first, rest)) = lower.split_once('=') else {
        return false;
    };
    let end = rest.find([';', ' ', '\'']);
    FIRST.contains(&first.trim())
        && end.is_some_and(|at| rest[at..].starts_with(';'))
        && (rest.trim_end().ends_with(';') || rest.contains('='))
}
