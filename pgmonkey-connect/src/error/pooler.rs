//! What the errors mean that connection poolers write themselves, instead of passing one on from
//! PostgreSQL.
//!
//! A pooler has one SQLSTATE for most of its errors, whatever their cause: PgBouncer 08P01, pgcat
//! 58000, Pgpool-II and Supavisor XX000. PostgreSQL uses the same ones for faults that no retry
//! helps. They are told apart by the routine that raised the error, which PostgreSQL always names
//! and no pooler does; then stage and text decide.
//!
//! Sources: PgBouncer 1.18 and 1.25 (`client.c`, `objects.c`, `janitor.c`, `server.c`,
//! `prepare.c`, `proto.c`), Pgpool-II 4.3 and 4.7 (`child.c`, `pool_connection_pool.c`,
//! `pool_stream.c`, `elog.c`), Odyssey (`frontend.c`, `auth.c`), pgcat (`client.rs`,
//! `messages.rs`), Supavisor 1 and 2 (`error.ex`, `errors/`), and Amazon's page "Troubleshooting
//! for RDS Proxy".

use super::{ErrorKind, driver};
use crate::wire::{ServerFailure, Stage};

/// The fields of an error that say where it comes from and what it means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report<'a> {
    /// Whether the severity says that the session ends.
    pub(crate) is_fatal: bool,
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    /// Whether the error names the routine that raised it.
    pub(crate) has_routine: bool,
}

impl<'a> Report<'a> {
    pub(crate) fn of(error: &'a tokio_postgres::error::DbError) -> Self {
        Self {
            is_fatal: driver::is_fatal(error),
            code: error.code().code(),
            message: error.message(),
            has_routine: error.routine().is_some(),
        }
    }

    /// For the error that ended a session.
    pub(crate) fn of_end(failure: &'a ServerFailure) -> Self {
        Self {
            is_fatal: true,
            code: &failure.code,
            message: &failure.message,
            has_routine: failure.has_routine,
        }
    }
}

/// The kind of failure of a pooler's own error; `None` if its SQLSTATE says what it means, or if it
/// does not come from a pooler.
pub(crate) fn kind(report: Report<'_>, stage: Stage) -> Option<ErrorKind> {
    if !is_of_pooler(report) {
        return None;
    }
    let row = row_of(report, stage);
    if stage == Stage::Session && !report.is_fatal {
        // The session goes on; only what the table says of every stage counts.
        return row.filter(|row| row.when == Always).map(|row| row.kind);
    }
    let unknown = || match (report.code, stage) {
        // These have an own code for each error; the ones that may pass are in the table.
        _ if report.message.starts_with("(E") => None,
        ("0A000", _) => None,
        // PgBouncer before 1.20 passes on the server's text under its own SQLSTATE.
        ("08P01", _) => Some(ErrorKind::Transient),
        // The credentials were right, so what is missing is a session of the server.
        (_, Stage::Accepted) => Some(ErrorKind::Transient),
        _ => None,
    };
    row.map(|row| row.kind).or_else(unknown)
}

/// Whether a pooler refused the startup packet because of its `options`: PgBouncer says
/// "unsupported startup parameter" or "unsupported options startup parameter" (08P01), RDS Proxy
/// that it supports no "command-line options" (0A000). PostgreSQL itself names the setting instead.
pub(crate) fn refuses_options(report: Report<'_>) -> bool {
    is_of_pooler(report)
        && ["option", "startup param"]
            .iter()
            .any(|word| report.message.contains(word))
}

/// Whether a pooler refused a request that it had not passed on, because there was no session of the
/// server for it.
pub(crate) fn has_kept_back(report: Report<'_>) -> bool {
    is_of_pooler(report) && row_of(report, Stage::Session).is_some_and(|row| row.is_kept_back)
}

/// Whether the error of a pooler leaves open if the server has executed the request. A pooler that
/// loses the server says so in an error, which need not end the session.
pub(crate) fn leaves_in_doubt(report: Report<'_>) -> bool {
    is_of_pooler(report)
        && report.code != "0A000"
        && row_of(report, Stage::Session)
            .is_none_or(|row| row.kind == Transient && !row.is_kept_back)
}

/// Whether the error is a pooler's own, with a SQLSTATE that does not say what it means.
fn is_of_pooler(report: Report<'_>) -> bool {
    !report.has_routine && ["08P01", "58000", "XX000", "0A000"].contains(&report.code)
}

/// A text of a pooler. One `*` stands for any text; the end is open.
struct Row {
    text: &'static str,
    when: When,
    kind: ErrorKind,
    /// Whether the request was not passed on to a server.
    is_kept_back: bool,
}

#[derive(PartialEq, Eq)]
enum When {
    /// In any stage.
    Always,
    /// Before the first ReadyForQuery.
    Opening,
    /// As the end of a session.
    Ending,
}

impl Row {
    fn fits(&self, message: &str, stage: Stage) -> bool {
        let in_session = stage == Stage::Session;
        let now = match self.when {
            When::Always => true,
            When::Opening => !in_session,
            When::Ending => in_session,
        };
        now && match self.text.split_once('*') {
            Some((start, rest)) => message
                .strip_prefix(start)
                .is_some_and(|after| after.contains(rest)),
            None => message.starts_with(self.text),
        }
    }
}

const fn row(text: &'static str, when: When, kind: ErrorKind) -> Row {
    Row {
        text,
        when,
        kind,
        is_kept_back: false,
    }
}

/// For want of a session of the server, which may pass.
const fn kept_back(text: &'static str) -> Row {
    Row {
        is_kept_back: true,
        ..row(text, Always, Transient)
    }
}

fn row_of(report: Report<'_>, stage: Stage) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.fits(report.message, stage))
}

use ErrorKind::{Authentication, Configuration, Other, Transient};
use When::{Always, Ending, Opening};

/// What is not listed under 08P01 may pass: an outage has many texts, a refusal few.
const ROWS: &[Row] = &[
    // PgBouncer refuses the credentials.
    row("password authentication failed", Opening, Authentication),
    row("SASL authentication failed", Opening, Authentication),
    row("\"trust\" authentication failed", Opening, Authentication),
    row("certificate authentication failed", Opening, Authentication),
    row("LDAP authentication failed", Opening, Authentication),
    row("PAM authentication failed", Opening, Authentication),
    row("unix socket login rejected", Opening, Authentication),
    row("login rejected", Opening, Authentication),
    row("no such user", Opening, Authentication),
    row("empty password returned by client", Opening, Authentication),
    row(
        "client selected an invalid SASL authentication mechanism",
        Opening,
        Authentication,
    ),
    row("no authentication method is found", Opening, Authentication),
    row("not allowed", Opening, Authentication),
    // PgBouncer refuses what the settings ask for.
    row("no such database", Opening, Configuration),
    row("unsupported startup parameter", Opening, Configuration),
    row(
        "unsupported options startup parameter",
        Opening,
        Configuration,
    ),
    row("SSL required", Opening, Configuration),
    row("no username supplied", Opening, Configuration),
    row("username too long", Opening, Configuration),
    row("password too long", Opening, Configuration),
    row("old V2 protocol not supported", Opening, Other),
    row("invalid startup packet layout", Opening, Other),
    row("client re-sent startup pkt", Opening, Other),
    row("client password pkt before startup packet", Opening, Other),
    // The server's refusals, passed on by PgBouncer before 1.20.
    row("database \"*\" does not exist", Opening, Configuration),
    row("role \"*\" does not exist", Opening, Authentication),
    row("no pg_hba.conf entry", Opening, Authentication),
    // PgBouncer has no session of the server.
    kept_back("no more connections allowed"),
    kept_back("client connections exceeded"),
    kept_back("server login has been failing"),
    kept_back("pgbouncer cannot connect to server"),
    kept_back("query_wait_timeout"),
    kept_back("client_idle_timeout"),
    // PgBouncer ends a session for what it did, and it would do the same again.
    row("query_timeout", Ending, Other),
    row("query timeout", Ending, Other),
    row("idle transaction timeout", Ending, Other),
    row("idle_transaction_timeout", Ending, Other),
    row("transaction timeout", Ending, Other),
    row("transaction_timeout", Ending, Other),
    row(
        "transaction blocks not allowed in statement pooling mode",
        Ending,
        Other,
    ),
    row("prepared statement", Ending, Other),
    row("broken ", Ending, Other),
    row("unknown pkt", Ending, Other),
    row("failed to parse packet", Ending, Other),
    row("bad packet", Always, Other),
    row("PQexec disallowed", Ending, Other),
    // pgcat, 58000.
    kept_back("could not get connection from the pool"),
    kept_back("Pool down for database"),
    kept_back("checkout failure limit reached"),
    row("error receiving data from server", Always, Transient),
    row(
        "terminating connection due to administrator command",
        Always,
        Transient,
    ),
    row("No pool configured for database", Opening, Configuration),
    row("Invalid pool name", Opening, Configuration),
    // Pgpool-II, XX000.
    kept_back("failed to create a backend"),
    kept_back("all backend nodes are down"),
    kept_back("unable to connect to backend"),
    // It lost the server's session in the middle, by what it was doing.
    row("unable to read data from DB node", Always, Transient),
    row("unable to read data from backend", Always, Transient),
    row("unable to read from backend socket", Always, Transient),
    row("unable to read message ", Always, Transient),
    row("unable to write data to backend", Always, Transient),
    row("unable to flush data to backend", Always, Transient),
    row("failed to read data of length", Always, Transient),
    row("failed to read kind from backend", Always, Transient),
    row("backend error occurred while waiting", Always, Transient),
    kept_back("failed to make persistent db connection"),
    kept_back("pgpool is not accepting any new connections"),
    // Supavisor, XX000: since version 2 with a code of its own, before without.
    kept_back("(EMAXCONN"),
    kept_back("(EMAXPOOLSREACHED)"),
    kept_back("(ECHECKOUT"),
    kept_back("(EPOOLCHECKOUT)"),
    row("(EPOOLTERMINATING)", Always, Transient),
    row("(ECIRCUITBREAKER)", Always, Transient),
    row("(EDBHANDLEREXITED)", Always, Transient),
    row("(EWORKERNOTFOUND)", Always, Transient),
    row("(EPROXYSUPERVISORUNAVAILABLE)", Always, Transient),
    row("(EPROXYSTARTFAILED)", Always, Transient),
    row("(ESUBSCRIBERETRIES)", Always, Transient),
    row(
        "(EAUTHQUERY) auth_query connection failed",
        Always,
        Transient,
    ),
    row(
        "(EAUTHQUERY) auth_query secret check timed out",
        Always,
        Transient,
    ),
    row("(EAUTHQUERY) connection to database", Always, Transient),
    row("(ENOTFOUND)", Opening, Authentication),
    row("(EWRONGPASSWORD)", Opening, Authentication),
    row("(ESSLREQUIRED)", Opening, Configuration),
    kept_back("Max client connections reached"),
    kept_back("MaxClientsInSessionMode"),
    kept_back("Unable to check out"),
    row("Tenant or user not found", Opening, Authentication),
    // RDS Proxy.
    kept_back("Timed-out waiting to acquire database connection"),
    row("Feature not supported: RDS Proxy", Opening, Configuration),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str, message: &str, stage: Stage) -> Option<ErrorKind> {
        let report = Report {
            is_fatal: true,
            code,
            message,
            has_routine: false,
        };
        kind(report, stage)
    }

    #[test]
    fn an_outage_behind_a_pooler_may_pass() {
        let texts = [
            ("08P01", "no more connections allowed (max_client_conn)"),
            (
                "08P01",
                "client connections exceeded (max_db_client_connections)",
            ),
            ("08P01", "query_wait_timeout"),
            ("08P01", "client_login_timeout (server down)"),
            (
                "08P01",
                "server login has been failing, try again later (server_login_retry)",
            ),
            (
                "08P01",
                "server login has been failing, cached error: connect failed (server_login_retry)",
            ),
            ("08P01", "pgbouncer cannot connect to server"),
            ("08P01", "the database system is shutting down"),
            ("08P01", "bouncer config error"),
            ("08P01", "pause failed"),
            ("08P01", "pooler is shutting down"),
            ("08P01", "database \"shop\" is disabled"),
            (
                "58000",
                "could not get connection from the pool - AllServersDown",
            ),
            ("XX000", "failed to create a backend 0 connection"),
            (
                "XX000",
                "(EMAXCONNSESSION) max clients reached in session mode - max clients are limited to pool_size: 15",
            ),
            ("XX000", "Max client connections reached"),
            ("0A000", "Timed-out waiting to acquire database connection"),
        ];
        for (code, text) in texts {
            for stage in [Stage::Login, Stage::Accepted] {
                assert_eq!(of(code, text, stage), Some(ErrorKind::Transient), "{text}");
            }
        }
    }

    #[test]
    fn a_refusal_does_not_pass() {
        let texts = [
            ("08P01", "no such user: app", ErrorKind::Authentication),
            (
                "08P01",
                "SASL authentication failed",
                ErrorKind::Authentication,
            ),
            (
                "08P01",
                "password authentication failed",
                ErrorKind::Authentication,
            ),
            ("08P01", "no such database: shop", ErrorKind::Configuration),
            (
                "08P01",
                "database \"shop\" does not exist",
                ErrorKind::Configuration,
            ),
            (
                "08P01",
                "unsupported startup parameter: options",
                ErrorKind::Configuration,
            ),
            (
                "XX000",
                "(ENOTFOUND) tenant/user a.b not found",
                ErrorKind::Authentication,
            ),
            (
                "0A000",
                "Feature not supported: RDS Proxy currently doesn't support command-line options.",
                ErrorKind::Configuration,
            ),
        ];
        for (code, text, kind) in texts {
            assert_eq!(of(code, text, Stage::Login), Some(kind), "{text}");
        }
    }

    #[test]
    fn what_a_pooler_has_kept_back_is_not_in_doubt() {
        let kept_back = |code, message, has_routine| {
            let report = || Report {
                is_fatal: true,
                code,
                message,
                has_routine,
            };
            assert!(!(has_kept_back(report()) && leaves_in_doubt(report())));
            has_kept_back(report())
        };
        let words = "server login has been failing, try again later (server_login_retry)";
        assert!(kept_back("08P01", words, false));
        assert!(kept_back(
            "XX000",
            "(ECHECKOUTTIMEOUT) unable to check out",
            false
        ));
        assert!(!kept_back("08P01", words, true), "PostgreSQL's own");
        for text in [
            "server conn crashed?",
            "query_timeout",
            "admin forced disconnect",
        ] {
            assert!(!kept_back("08P01", text, false), "{text}");
        }
    }

    #[test]
    fn a_session_that_a_pooler_ended_for_an_outage_may_pass() {
        for text in [
            "server conn crashed?",
            "admin forced disconnect",
            "query_wait_timeout",
            "client_idle_timeout",
        ] {
            assert_eq!(
                of("08P01", text, Stage::Session),
                Some(ErrorKind::Transient),
                "{text}"
            );
        }
        for text in [
            "query_timeout",
            "idle transaction timeout",
            "transaction blocks not allowed in statement pooling mode",
            "prepared statement did not exist",
        ] {
            assert_eq!(
                of("08P01", text, Stage::Session),
                Some(ErrorKind::Other),
                "{text}"
            );
        }
    }

    #[test]
    fn postgresql_s_own_errors_and_other_codes_are_left_to_the_sqlstate() {
        let server = Report {
            is_fatal: true,
            code: "08P01",
            message: "invalid startup packet layout: expected terminator as last byte",
            has_routine: true,
        };
        for stage in [Stage::Login, Stage::Accepted, Stage::Session] {
            assert_eq!(kind(server, stage), None);
            assert_eq!(of("28P01", "password authentication failed", stage), None);
            assert_eq!(of("53300", "Sorry, too many clients already", stage), None);
        }
        let statement = Report {
            is_fatal: false,
            has_routine: false,
            ..server
        };
        assert_eq!(kind(statement, Stage::Session), None);
        assert_eq!(of("XX000", "cache lookup failed", Stage::Session), None);
        assert_eq!(of("XX000", "(EJITUNAUTHORIZED) no", Stage::Accepted), None);
    }

    #[test]
    fn a_pgpool_that_lost_the_server_says_so_in_many_words() {
        for message in [
            "unable to read data from DB node 0",
            "unable to read data from backend",
            "unable to read from backend socket",
            "unable to read message kind",
            "unable to read message length",
            "unable to write data to backend",
            "unable to flush data to backend",
            "failed to read data of length 4 from DB node: 0",
            "failed to read kind from backend",
            "backend error occurred while waiting for backend response",
        ] {
            let lost = || Report {
                // Its own session with the client goes on.
                is_fatal: false,
                code: "XX000",
                message,
                has_routine: false,
            };
            let kind = kind(lost(), Stage::Session);
            assert_eq!(kind, Some(ErrorKind::Transient), "{message}");
            assert!(leaves_in_doubt(lost()), "{message}");
        }
    }

    #[test]
    fn options_are_refused_in_many_words() {
        let refuses = |code, message, has_routine| {
            refuses_options(Report {
                is_fatal: true,
                code,
                message,
                has_routine,
            })
        };
        assert!(refuses(
            "08P01",
            "unsupported startup parameter: options",
            false
        ));
        assert!(refuses(
            "08P01",
            "unsupported startup parameter in options: geqo",
            false
        ));
        let rds =
            "Feature not supported: RDS Proxy currently doesn't support command-line options.";
        assert!(refuses("0A000", rds, false));
        assert!(!refuses(
            "08P01",
            "no more connections allowed (max_client_conn)",
            false
        ));
        assert!(!refuses(
            "42601",
            "invalid command-line argument: option",
            true
        ));
    }

    #[test]
    fn an_unknown_fault_after_the_login_was_accepted_may_pass() {
        assert_eq!(
            of("XX000", "something new", Stage::Accepted),
            Some(ErrorKind::Transient)
        );
        assert_eq!(of("XX000", "something new", Stage::Login), None);
    }
}
