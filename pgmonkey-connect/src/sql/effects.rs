//! What SQL text can do to its session.

use std::ops::{BitOr, BitOrAssign};

use super::lexer::{Lexer, Token};

/// What SQL text can do to its session, beyond the transaction in which it runs.
///
/// Decided by the text alone, before it is sent. Text that cannot be classified with certainty
/// counts as able to do anything. Effects of user-defined functions are not detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effects(u8);

impl Effects {
    /// No effect; may run between other callers' statements.
    pub const NONE: Self = Self(0);
    /// Must not run between other callers' statements: it may begin or end a transaction, or have
    /// one of the other effects.
    pub const EXCLUSIVE: Self = Self(1);
    /// May leave changes that a reset undoes: a setting, a role, a `LISTEN`, a temporary object, a
    /// cursor, an advisory lock.
    pub const CHANGES: Self = Self(2);
    /// May leave changes that a reset does not undo: a prepared statement, a library, a `dblink`
    /// connection.
    pub const LASTS: Self = Self(4);
    /// May end the whole transaction, rather than roll back to a savepoint.
    pub const ENDS: Self = Self(8);
    /// Permanently removes statements that the driver has prepared for itself.
    pub const FORGETS: Self = Self(16);
    /// The possible effects of text that cannot be classified.
    pub const UNKNOWN: Self = Self(15);

    /// Whether all effects in `other` are set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any effect in `other` is set.
    #[inline]
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Effects {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Effects {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

const EXCLUSIVE: Effects = Effects::EXCLUSIVE;
const CHANGES: Effects = Effects(Effects::EXCLUSIVE.0 | Effects::CHANGES.0);
const LASTS: Effects = Effects(Effects::EXCLUSIVE.0 | Effects::CHANGES.0 | Effects::LASTS.0);
const FORGETS: Effects = Effects(LASTS.0 | Effects::FORGETS.0);
const ENDS: Effects = Effects(Effects::EXCLUSIVE.0 | Effects::ENDS.0);

/// The longest word to recognize: longer words are user-defined names.
const LONGEST: usize = 40;

/// The combined effects of all statements in a text.
///
/// ```
/// use pgmonkey_connect::sql::{Effects, effects};
///
/// assert_eq!(effects("SELECT name FROM users WHERE id = $1"), Effects::NONE);
/// assert!(effects("SET search_path = audit").has(Effects::CHANGES));
/// assert!(!effects("SET LOCAL search_path = audit").has(Effects::CHANGES));
/// assert!(effects("SELECT pg_advisory_lock(1)").has(Effects::CHANGES));
/// assert!(effects("PREPARE p AS SELECT 1").has(Effects::LASTS));
/// ```
pub fn effects(text: &str) -> Effects {
    of(text.as_bytes(), false)
}

/// Like [`effects`], for text from a protocol message; `standard` says whether
/// `standard_conforming_strings` is known to be on.
pub(crate) fn of(text: &[u8], standard: bool) -> Effects {
    let mut found = Effects::NONE;
    let mut lexer = Lexer::new(text, standard);
    let mut begins = true;
    let mut statements = 0;
    // Both words are needed to change a setting through the view `pg_settings`.
    let (mut updates, mut names_settings) = (false, false);
    let mut before: &[u8] = b"";
    while let Some(token) = lexer.next() {
        match token {
            Token::Word(word) if begins => {
                begins = false;
                statements += 1;
                found |= of_verb(word, &lexer);
                updates |= word.eq_ignore_ascii_case(b"update");
                before = word;
            }
            Token::Word(word) => {
                if is_suspect(word) {
                    let lower = Lower::new(word);
                    match lower.as_bytes() {
                        b"update" => updates = true,
                        b"pg_settings" => names_settings = true,
                        name => found |= of_name(name, before, &lexer),
                    }
                }
                before = word;
            }
            Token::Symbol(b';') => {
                begins = true;
                before = b"";
            }
            // Parentheses may precede the verb of a query.
            Token::Symbol(b'(') if begins => {}
            Token::Symbol(_) | Token::Literal => {
                if begins {
                    found |= Effects::UNKNOWN;
                }
                begins = false;
                before = b"";
            }
            Token::Unsure => return Effects::UNKNOWN,
        }
    }
    if updates && names_settings {
        found |= CHANGES;
    }
    // Empty text, or several statements, which share an implicit transaction.
    if statements != 1 {
        found |= EXCLUSIVE;
    }
    found
}

/// The effects of a statement's first word, depending on the words after it.
fn of_verb(word: &[u8], after: &Lexer<'_>) -> Effects {
    // Fast path for nearly every statement.
    if [&b"select"[..], b"insert", b"update", b"delete"]
        .iter()
        .any(|verb| word.eq_ignore_ascii_case(verb))
    {
        return Effects::NONE;
    }
    let lower = Lower::new(word);
    match lower.as_bytes() {
        b"merge" | b"with" | b"values" | b"table" => Effects::NONE,
        b"commit" | b"end" => ENDS,
        b"rollback" | b"abort" => of_rollback(after.clone()),
        b"set" => of_set(after.clone()),
        b"prepare" => match Lower::next(after.clone()).as_bytes() {
            b"transaction" => ENDS,
            _ => LASTS,
        },
        // An extension's script may do anything.
        b"create" => match Lower::next(after.clone()).as_bytes() {
            b"extension" => CHANGES,
            _ => EXCLUSIVE,
        },
        b"deallocate" => FORGETS,
        b"discard" => match Lower::next(after.clone()).as_bytes() {
            b"plans" | b"sequences" | b"temp" | b"temporary" => EXCLUSIVE,
            _ => FORGETS,
        },
        b"load" => LASTS,
        b"begin" | b"start" | b"savepoint" | b"release" | b"show" | b"explain" | b"copy"
        | b"declare" | b"fetch" | b"move" | b"close" | b"lock" | b"notify" | b"alter" | b"drop"
        | b"truncate" | b"grant" | b"revoke" | b"comment" | b"vacuum" | b"analyze" | b"analyse"
        | b"reindex" | b"cluster" | b"refresh" | b"checkpoint" | b"reassign" => EXCLUSIVE,
        // `RESET`, `LISTEN`, `DO`, `CALL`, `EXECUTE`, and unknown verbs.
        _ => CHANGES,
    }
}

fn of_rollback(mut after: Lexer<'_>) -> Effects {
    let mut next = Lower::next_of(&mut after);
    if matches!(next.as_bytes(), b"work" | b"transaction") {
        next = Lower::next_of(&mut after);
    }
    match next.as_bytes() {
        b"to" => EXCLUSIVE,
        _ => ENDS,
    }
}

fn of_set(after: Lexer<'_>) -> Effects {
    match Lower::next(after).as_bytes() {
        b"local" | b"transaction" | b"constraints" => EXCLUSIVE,
        _ => CHANGES,
    }
}

/// Cheap filter for words worth comparing; most are not.
#[inline]
fn is_suspect(word: &[u8]) -> bool {
    word.len() >= 4
        && matches!(
            word[0] | 0x20,
            b's' | b't' | b'p' | b'd' | b'q' | b'c' | b'h' | b'u' | b'x'
        )
}

/// The effects of a name or keyword after the first word. `before` is the word directly before it.
fn of_name(name: &[u8], before: &[u8], after: &Lexer<'_>) -> Effects {
    match name {
        b"set_config" => match is_local(after.clone()) {
            true => EXCLUSIVE,
            false => CHANGES,
        },
        b"setseed" | b"set_limit" => CHANGES,
        b"pg_advisory_lock"
        | b"pg_advisory_lock_shared"
        | b"pg_try_advisory_lock"
        | b"pg_try_advisory_lock_shared" => CHANGES,
        // These execute SQL text from an argument or a table.
        b"ts_stat" | b"ts_rewrite" | b"connectby" | b"xpath_table" => CHANGES,
        b"temp" | b"temporary" if makes_object(before) => CHANGES,
        b"hold" if before.eq_ignore_ascii_case(b"with") => CHANGES,
        b"pg_cancel_backend" | b"pg_terminate_backend" | b"pg_export_snapshot" => EXCLUSIVE,
        b"pg_backup_start" | b"pg_start_backup" | b"pg_backup_stop" | b"pg_stop_backup" => LASTS,
        _ => of_family(name),
    }
}

/// The effects of names with a common prefix.
fn of_family(name: &[u8]) -> Effects {
    const FAMILIES: [(&[u8], Effects); 12] = [
        // Transaction-level locks, and unlocking.
        (b"pg_advisory_", EXCLUSIVE),
        (b"pg_try_advisory_", EXCLUSIVE),
        (b"pg_temp", CHANGES),
        // These execute SQL text.
        (b"query_to_xml", CHANGES),
        (b"cursor_to_xml", CHANGES),
        (b"crosstab", CHANGES),
        // Sessions to other servers.
        (b"dblink", LASTS),
        // Temporary slots and replication origins belong to the session.
        (b"pg_create_", LASTS),
        (b"pg_copy_", LASTS),
        (b"pg_replication_", LASTS),
        (b"pg_logical_", EXCLUSIVE),
        (b"pg_drop_replication_", EXCLUSIVE),
    ];
    let family = FAMILIES.iter().find(|(start, _)| name.starts_with(start));
    family.map_or(Effects::NONE, |(_, effects)| *effects)
}

/// Whether `TEMP` after this word creates an object, rather than being a column name.
fn makes_object(before: &[u8]) -> bool {
    let lower = Lower::new(before);
    matches!(
        lower.as_bytes(),
        b"create" | b"into" | b"local" | b"global" | b"replace"
    )
}

/// Whether the call that follows ends with the argument `true`, so that `set_config` only affects
/// its transaction.
fn is_local(mut after: Lexer<'_>) -> bool {
    if after.next() != Some(Token::Symbol(b'(')) {
        return false;
    }
    let (mut depth, mut last, mut before_last) = (1_u32, Token::Literal, Token::Literal);
    while let Some(token) = after.next() {
        match token {
            Token::Symbol(b'(') => depth += 1,
            Token::Symbol(b')') => depth -= 1,
            Token::Unsure => return false,
            _ => {}
        }
        if depth == 0 {
            let is_true = matches!(last, Token::Word(word) if word.eq_ignore_ascii_case(b"true"));
            return is_true && before_last == Token::Symbol(b',');
        }
        (before_last, last) = (last, token);
    }
    false
}

/// A word in lower case; empty if it is longer than [`LONGEST`].
struct Lower {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Lower {
    fn new(word: &[u8]) -> Self {
        let mut lower = Self {
            bytes: [0; LONGEST],
            length: 0,
        };
        if let Some(bytes) = lower.bytes.get_mut(..word.len()) {
            bytes.copy_from_slice(word);
            bytes.make_ascii_lowercase();
            lower.length = word.len();
        }
        lower
    }

    fn next(mut lexer: Lexer<'_>) -> Self {
        Self::next_of(&mut lexer)
    }

    /// The next word; empty if the next token is not a word.
    fn next_of(lexer: &mut Lexer<'_>) -> Self {
        Self::new(lexer.next_word().unwrap_or_default())
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that leave the session unchanged.
    const CLEAN: &[&str] = &[
        "SELECT 1",
        "select temp, hold, settings from weather where set = 'SET x = 1'",
        "INSERT INTO log VALUES ('rollback; set role x', $1)",
        "SELECT set_config('app.tenant', $1, true)",
        "SELECT pg_catalog.set_config('app.tenant', lower($1, 'x'), TRUE)",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_advisory_unlock_all()",
        "SELECT * FROM pg_settings",
        "SELECT pg_notify('channel', $1), nextval('s')",
        "BEGIN; SET LOCAL work_mem = '1MB'; COMMIT",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET CONSTRAINTS ALL DEFERRED",
        "DECLARE c CURSOR FOR SELECT 1",
        "CREATE TABLE temp (n int)",
        "PREPARE TRANSACTION 'x'",
        "COPY t FROM STDIN",
        "",
        "-- nothing",
        "/* SET x = 1 */ SELECT 1",
        "(SELECT 1) UNION (SELECT 2)",
        "NOTIFY c",
        "DISCARD PLANS; DISCARD TEMP",
    ];

    /// Texts that may change the session in a way that a reset undoes.
    const CHANGED: &[&str] = &[
        "SET search_path = x",
        "set session characteristics as transaction read only",
        "SET ROLE other",
        "SET SESSION AUTHORIZATION other",
        "RESET ALL",
        "LISTEN c",
        "UNLISTEN *",
        "DO $$ BEGIN END $$",
        "CALL p()",
        "EXECUTE p",
        "SELECT set_config('role', 'x', false)",
        "SELECT pg_catalog.\"set_config\"('role', 'x', $1)",
        "SELECT set_config('a', set_config('b', 'c', false), true)",
        "SELECT set_config('a', 'b', not true)",
        "SELECT U&\"set\\005fconfig\"('role', 'x', false)",
        "SELECT setseed(0.5), set_limit(0.5)",
        "SELECT pg_advisory_lock(1)",
        "SELECT * FROM t WHERE pg_try_advisory_lock_shared(id)",
        "UPDATE pg_settings SET setting = '1234' WHERE name = 'work_mem'",
        "WITH x AS (UPDATE pg_catalog.pg_settings SET setting = '1' RETURNING 1) SELECT 1",
        "SELECT * FROM ts_stat('SELECT 1')",
        "SELECT ts_rewrite('a'::tsquery, 'SELECT 1')",
        "SELECT query_to_xml('SELECT set_config', true, true, '')",
        "CREATE TEMP TABLE t (n int)",
        "CREATE LOCAL TEMPORARY TABLE t (n int)",
        "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
        "CREATE TABLE pg_temp.t (n int)",
        "SELECT * INTO TEMP t FROM u",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "CREATE EXTENSION pg_trgm",
        "SELECT 1; SET x = 1",
        "SELECT 'no end",
        "SELECT 'a\\'; SET x = 1; --'",
        "BOGUS",
    ];

    /// Texts that may change the session in a way that a reset does not undo.
    const LASTING: &[&str] = &[
        "PREPARE p AS SELECT 1",
        "DEALLOCATE ALL",
        "DISCARD ALL",
        "LOAD 'auto_explain'",
        "SELECT dblink_connect('x')",
        "SELECT pg_backup_start('x')",
        "SELECT pg_create_logical_replication_slot('s', 'p', true)",
        "SELECT pg_replication_origin_session_setup('x')",
    ];

    #[test]
    fn clean_texts_leave_the_session_as_it_was() {
        for text in CLEAN {
            let found = effects(text);
            assert!(!found.has_any(Effects(2 | 4)), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_may_change_the_session_says_so() {
        for text in CHANGED {
            let found = effects(text);
            assert!(found.has(CHANGES), "{text}: {found:?}");
        }
        for text in LASTING {
            let found = effects(text);
            assert!(found.has(LASTS), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_the_driver_has_prepared_is_gone_for_good() {
        for text in ["DISCARD ALL", "deallocate all", "SELECT 1; DEALLOCATE s1"] {
            assert!(effects(text).has(FORGETS), "{text}");
        }
        assert!(!effects("PREPARE p AS SELECT 1").has(Effects::FORGETS));
    }

    #[test]
    fn going_back_to_a_savepoint_ends_no_transaction() {
        for text in [
            "COMMIT",
            "end work",
            "PREPARE TRANSACTION 'x'",
            "SAVEPOINT s; COMMIT AND CHAIN",
            "ROLLBACK",
            "rollback work",
            "ABORT",
            "ROLLBACK AND CHAIN",
            "SELECT 1; ROLLBACK; BEGIN",
            "ROLLBACK TRANSACTION AND CHAIN",
        ] {
            assert!(effects(text).has(ENDS), "{text}");
        }
        for text in [
            "ROLLBACK TO s",
            "rollback work to savepoint s",
            "ROLLBACK /* all */ TRANSACTION TO SAVEPOINT s; RELEASE s",
            "SELECT 'ROLLBACK'",
        ] {
            assert!(!effects(text).has(Effects::ENDS), "{text}");
        }
    }
}
