//! Which statements may run on a session that others use at the same time.

/// What a statement that may share must begin with.
const BEGINNINGS: [&str; 8] = [
    "select", "insert", "update", "delete", "merge", "with", "values", "table",
];

/// Names of what changes the session, or ends what others run on it.
const STATEFUL: [&str; 8] = [
    "set_config",
    "set_limit",
    "setseed",
    "temp",
    "temporary",
    "pg_cancel_backend",
    "pg_terminate_backend",
    "pg_export_snapshot",
];

/// How such names begin: advisory locks, temporary schemas, sessions to other servers,
/// replication, and functions that run a text.
const STATEFUL_PREFIXES: [&str; 9] = [
    "pg_advisory_",
    "pg_try_advisory_",
    "pg_temp",
    "pg_logical_",
    "pg_replication_",
    "pg_create_",
    "dblink",
    "query_to_xml",
    "cursor_to_xml",
];

/// Whether a statement may be sent down a session while others wait for their answers there: it
/// neither begins nor ends a transaction, and leaves nothing behind in the session.
///
/// Decided by the text alone, and with caution: it must begin with one of the words of a query
/// or a change of rows, and may nowhere, not even in a comment or a literal, name a function that
/// is known to change its session. What a function of the database's own does is not seen.
///
/// ```
/// use pgmonkey_connect::sharing::may_share;
///
/// assert!(may_share("/* by id */ SELECT name FROM users WHERE id = $1"));
/// assert!(!may_share("SET search_path = audit"));
/// assert!(!may_share("SELECT pg_advisory_lock(1)"));
/// ```
pub fn may_share(text: &str) -> bool {
    let start = beginning(text.as_bytes());
    let length = start.iter().take_while(|byte| in_word(**byte)).count();
    is_one_of(&start[..length], &BEGINNINGS) && !names_state(text.as_bytes())
}

/// What follows on spaces, comments and opening brackets.
fn beginning(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match rest {
            [
                b' ' | b'\t' | b'\n' | b'\r' | b'\x0b' | b'\x0c' | b'(',
                after @ ..,
            ] => after,
            [b'-', b'-', after @ ..] => match after.iter().position(|byte| *byte == b'\n') {
                Some(end) => &after[end..],
                None => &[],
            },
            [b'/', b'*', after @ ..] => behind_comment(after),
            _ => return rest,
        };
    }
}

/// What follows on a comment, which may hold others.
fn behind_comment(mut rest: &[u8]) -> &[u8] {
    let mut depth = 1;
    while depth > 0 {
        rest = match rest {
            [b'*', b'/', after @ ..] => {
                depth -= 1;
                after
            }
            [b'/', b'*', after @ ..] => {
                depth += 1;
                after
            }
            [_, after @ ..] => after,
            [] => return rest,
        };
    }
    rest
}

/// Whether any word of the text is a name that changes the session. A name written with escapes
/// (`U&"..."`) could be any.
fn names_state(text: &[u8]) -> bool {
    let mut at = 0;
    while at < text.len() {
        if !in_word(text[at]) {
            at += 1;
            continue;
        }
        let length = text[at..].iter().take_while(|byte| in_word(**byte)).count();
        let word = &text[at..at + length];
        at += length;
        let escaped = word.eq_ignore_ascii_case(b"u") && text.get(at) == Some(&b'&');
        if escaped || is_stateful(word) {
            return true;
        }
    }
    false
}

fn is_stateful(word: &[u8]) -> bool {
    // Most words end here.
    if !matches!(word[0] | 0x20, b's' | b't' | b'p' | b'd' | b'q' | b'c') || word.len() < 4 {
        return false;
    }
    is_one_of(word, &STATEFUL)
        || STATEFUL_PREFIXES.iter().any(|prefix| {
            word.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        })
}

fn is_one_of(word: &[u8], names: &[&str]) -> bool {
    names
        .iter()
        .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
}

/// Whether the byte can be part of an identifier; letters beyond ASCII can.
fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    const EXCLUSIVE: [&str; 46] = [
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
    ];

    /// What the server takes for nothing, where it takes anything for nothing.
    fn nothing() -> impl Strategy<Value = String> {
        let one = prop_oneof![
            "[ \t\r\n]{1,4}",
            "--[^\n]{0,12}\n",
            "/\\*[a-z ';\"-]{0,12}\\*/",
            "/\\*[a-z ]{0,4}/\\*[a-z ]{0,4}\\*/[a-z ]{0,4}\\*/",
        ];
        proptest::collection::vec(one, 0..4).prop_map(|parts| parts.concat())
    }

    /// The same text with its letters in other cases; ASCII names mean the same then.
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
            // A comment that names something is taken at its word.
            prop_assume!(!names_state(before.as_bytes()) && !names_state(between.as_bytes()));
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
            // What is nothing but a comment may have been continued by a statement.
            prop_assume!(BEGINNINGS.iter().all(|word| !after.to_ascii_lowercase().contains(word)));
            prop_assert!(!may_share(&text), "{}", text);
        }

        #[test]
        fn a_stateful_name_counts_wherever_it_stands(
            name in prop::sample::select(&STATEFUL[..]),
            before in "[ (.,\"'/*]{1,3}",
            after in "[ ().,\"'/*]{1,3}",
            seed in any::<u64>(),
        ) {
            let text = format!("SELECT 1{before}{}{after}FROM t", recased(name, seed));
            prop_assert!(!may_share(&text), "{}", text);
        }

        #[test]
        fn any_text_gets_an_answer(text in any::<String>()) {
            let begins = |word: &&str| text.to_ascii_lowercase().contains(*word);
            prop_assert!(!may_share(&text) || BEGINNINGS.iter().any(begins));
        }
    }
}
