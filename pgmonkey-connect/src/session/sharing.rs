//! Which statements may run on a session that other callers use at the same time.

use crate::sql::{Effects, effects};

/// Whether a statement may be sent on a session while other callers wait for answers there: it
/// neither begins nor ends a transaction, and leaves nothing behind in the session.
///
/// Decided by the text alone, from its possible [`effects`]; a statement that cannot be classified
/// with certainty may not share. Effects of user-defined functions are not detected.
///
/// ```
/// use pgmonkey_connect::sharing::may_share;
///
/// assert!(may_share("/* by id */ SELECT name FROM users WHERE id = $1"));
/// assert!(!may_share("SET search_path = audit"));
/// assert!(!may_share("SELECT pg_advisory_lock(1)"));
/// ```
pub fn may_share(text: &str) -> bool {
    effects(text) == Effects::NONE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BEGINNINGS: [&str; 8] = [
        "select", "insert", "update", "delete", "merge", "with", "values", "table",
    ];

    /// Calls that change the session, or end statements of other callers on it.
    const STATEFUL: [&str; 12] = [
        "set_config",
        "set_limit",
        "setseed",
        "pg_cancel_backend",
        "pg_terminate_backend",
        "pg_export_snapshot",
        "pg_backup_start",
        "ts_stat",
        "ts_rewrite",
        "pg_try_advisory_xact_lock",
        "dblink_exec",
        "query_to_xml",
    ];

    const HARMLESS: [&str; 12] = [
        "SELECT 1",
        "select * from users where id = $1 for update",
        "INSERT INTO t VALUES ($1) ON CONFLICT DO NOTHING RETURNING id",
        "UPDATE t SET template = $1, settings = 'x' WHERE id = 2",
        "DELETE FROM t USING u WHERE t.id = u.id",
        "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
        "WITH moved AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM moved",
        "VALUES (1), (2)",
        "TABLE t",
        "(SELECT 1) UNION (SELECT 2)",
        "SELECT pg_notify('channel', $1), nextval('s')",
        "SELECT 'Grüße', u & 1 FROM t",
    ];

    const EXCLUSIVE: [&str; 50] = [
        "",
        "BEGIN",
        "START TRANSACTION",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "SAVEPOINT s",
        "RELEASE s",
        "PREPARE TRANSACTION 'x'",
        "SET search_path = x",
        "SET ROLE other",
        "RESET ALL",
        "LISTEN c",
        "UNLISTEN *",
        "NOTIFY c",
        "LOCK t",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE ALL",
        "DISCARD ALL",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "FETCH ALL FROM c",
        "COPY t FROM STDIN",
        "CREATE TEMP TABLE t (n int)",
        "DO $$ BEGIN END $$",
        "CALL p()",
        "LOAD 'x'",
        "VACUUM",
        "EXPLAIN ANALYZE DELETE FROM t",
        "SELECTED",
        "SELECT set_config('role', 'x', false)",
        "SELECT pg_catalog.\"set_config\"('role', 'x', false)",
        "SELECT U&\"set\\005fconfig\"('role', 'x', false)",
        "SELECT setseed(0.5)",
        "SELECT set_limit(0.5)",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock_shared(1)",
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SELECT * INTO TEMP t FROM u",
        "SELECT * INTO TEMPORARY t FROM u",
        "SELECT * INTO pg_temp.t FROM u",
        "SELECT dblink_connect('x')",
        "SELECT query_to_xml('SELECT set_config', true, true, '')",
        "WITH a AS (SELECT pg_advisory_lock(1)) SELECT 1",
        "/* SELECT 1 */",
        "UPDATE pg_settings SET setting = '1234' WHERE name = 'work_mem'",
        "SELECT pg_backup_start('x')",
        "SELECT ts_stat('SELECT set_config()')",
        "SELECT ts_rewrite('a', 'SELECT 1')",
    ];

    /// Text that the server ignores: whitespace and comments.
    fn nothing() -> impl Strategy<Value = String> {
        let one = prop_oneof![
            "[ \t\r\n]{1,4}",
            "--[^\n]{0,12}\n",
            "/\\*[a-z ';\"-]{0,12}\\*/",
            "/\\*[a-z ]{0,4}/\\*[a-z ]{0,4}\\*/[a-z ]{0,4}\\*/",
        ];
        proptest::collection::vec(one, 0..4).prop_map(|parts| parts.concat())
    }

    /// The same text with the case of letters changed, which does not matter for ASCII names.
    fn recased(text: &str, seed: u64) -> String {
        let flip = |(at, letter): (usize, char)| match seed.rotate_left(at as u32) & 1 {
            0 => letter.to_ascii_lowercase(),
            _ => letter.to_ascii_uppercase(),
        };
        text.chars().enumerate().map(flip).collect()
    }

    #[test]
    fn only_queries_and_changes_of_rows_may_share() {
        for text in HARMLESS {
            assert!(may_share(text), "{text}");
        }
        for text in EXCLUSIVE {
            assert!(!may_share(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn comments_spaces_and_cases_change_nothing(
            before in nothing(),
            brackets in "\\(?",
            between in nothing(),
            text in prop::sample::select(&HARMLESS[..]),
            seed in any::<u64>(),
        ) {
            let text = format!("{before}{brackets}{between}{}", recased(text, seed));
            prop_assert!(may_share(&text), "{}", text);
        }

        #[test]
        fn nothing_hides_what_must_not_share(
            before in nothing(),
            text in prop::sample::select(&EXCLUSIVE[..]),
            after in "[ -~\n]{0,40}",
            seed in any::<u64>(),
        ) {
            let text = format!("{before}{} {after}", recased(text, seed));
            // The suffix may turn a text that is only a comment into a statement.
            prop_assume!(BEGINNINGS.iter().all(|word| !after.to_ascii_lowercase().contains(word)));
            prop_assert!(!may_share(&text), "{}", text);
        }

        #[test]
        fn a_stateful_call_counts_wherever_it_stands(
            name in prop::sample::select(&STATEFUL[..]),
            before in "[ (.,]{1,3}",
            quote in "\"?",
            after in "[ ().,]{1,3}",
            seed in any::<u64>(),
        ) {
            let text = format!("SELECT 1{before}{quote}{}{quote}{after}FROM t", recased(name, seed));
            prop_assert!(!may_share(&text), "{}", text);
        }

        #[test]
        fn a_name_in_a_literal_or_a_comment_is_no_call(
            name in prop::sample::select(&STATEFUL[..]),
            (open, close) in prop::sample::select(&[("'", "'"), ("$x$", "$x$"), ("/*", "*/"), ("--", "\n")][..]),
        ) {
            let text = format!("SELECT 1 {open} {name} {close}");
            prop_assert!(may_share(&text), "{}", text);
        }

        #[test]
        fn any_text_gets_an_answer(text in any::<String>()) {
            let begins = |word: &&str| text.to_ascii_lowercase().contains(*word);
            prop_assert!(!may_share(&text) || BEGINNINGS.iter().any(begins));
        }
    }
}
