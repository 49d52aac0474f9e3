//! The operations of a text and the names of what they act on.

use super::super::lexer::Token;

/// The longest summary, in bytes, as recommended by OpenTelemetry.
const LONGEST: usize = 255;

/// The first words of statements.
const OPERATIONS: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "WITH",
    "VALUES",
    "TABLE",
    "COPY",
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "SET",
    "RESET",
    "SHOW",
    "CREATE",
    "ALTER",
    "DROP",
    "TRUNCATE",
    "CALL",
    "DO",
    "EXECUTE",
    "PREPARE",
    "DEALLOCATE",
    "DECLARE",
    "FETCH",
    "MOVE",
    "CLOSE",
    "LISTEN",
    "UNLISTEN",
    "NOTIFY",
    "LOCK",
    "ANALYZE",
    "VACUUM",
    "EXPLAIN",
    "REFRESH",
    "REINDEX",
    "CLUSTER",
    "GRANT",
    "REVOKE",
    "COMMENT",
    "DISCARD",
    "CHECKPOINT",
    "IMPORT",
    "LOAD",
    "REASSIGN",
    "SECURITY",
];

/// What a statement is called whose first word is none of the above.
const OTHER: &str = "OTHER";

/// What several statements in one text are called.
const BATCH: &str = "BATCH";

/// What is read next.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Next {
    #[default]
    Anything,
    /// The name of a relation.
    Name,
    /// A point may follow, and another part of the name.
    Part,
    /// The kind of object of `CREATE`, `ALTER` or `DROP`.
    Object,
}

/// A summary as it grows.
#[derive(Default)]
pub(super) struct Summary {
    operation: Option<&'static str>,
    text: String,
    next: Next,
    depth: u32,
    /// The depth of the list of relations that is being read.
    list: Option<u32>,
    /// Whether the parentheses of each depth are a function's, where `FROM` separates arguments.
    calls: u64,
    follows_word: bool,
    /// Whether a semicolon precedes, and whether a statement followed one.
    starts: bool,
    is_batch: bool,
    /// Whether the word before takes away the usual meaning of this one: `FOR UPDATE`.
    is_clause: bool,
}

impl Summary {
    pub(super) fn take(&mut self, token: Token<'_>) {
        match token {
            Token::Word(word) => self.word(word),
            Token::Symbol(symbol) => self.symbol(symbol),
            Token::Literal | Token::Unsure => {
                self.next = Next::Anything;
                self.follows_word = false;
            }
        }
    }

    pub(super) fn finish(self) -> (&'static str, String) {
        let operation = match self.operation {
            _ if self.is_batch => BATCH,
            // What the common table expressions are for was not found.
            None if self.text.starts_with("WITH") => "WITH",
            operation => operation.unwrap_or(OTHER),
        };
        let summary = match self.text.is_empty() {
            true => operation.to_owned(),
            false => self.text,
        };
        (operation, summary)
    }

    fn word(&mut self, word: &[u8]) {
        let is_clause = std::mem::take(&mut self.is_clause);
        self.follows_word = true;
        if std::mem::take(&mut self.starts) && !self.text.is_empty() {
            self.is_batch = true;
            return self.begin(word);
        }
        if self.operation.is_none() && self.text.is_empty() {
            return self.begin(word);
        }
        let mut upper = [0; 16];
        let upper = match upper.get_mut(..word.len()) {
            Some(upper) => {
                upper.copy_from_slice(word);
                upper.make_ascii_uppercase();
                &*upper
            }
            None => b"",
        };
        let is_call = self.depth > 0 && self.calls >> self.depth.min(63) & 1 == 1;
        match upper {
            b"SELECT" | b"INSERT" | b"UPDATE" | b"DELETE" | b"MERGE" if !is_clause => {
                self.verb(upper);
            }
            b"FROM" | b"JOIN" if !is_clause && !is_call => {
                self.next = Next::Name;
                self.list = Some(self.depth);
                self.follows_word = false;
            }
            b"INTO" | b"TABLE" if self.next != Next::Object => self.next = Next::Name,
            b"ONLY" | b"IF" | b"NOT" | b"EXISTS" | b"LATERAL" | b"CONCURRENTLY"
                if self.next == Next::Name => {}
            b"OR" | b"REPLACE" | b"TEMP" | b"TEMPORARY" | b"UNLOGGED" | b"UNIQUE"
            | b"MATERIALIZED"
                if self.next == Next::Object => {}
            _ if self.next == Next::Object => {
                self.push(&String::from_utf8_lossy(upper));
                self.next = Next::Name;
            }
            b"WHERE" | b"SET" | b"ON" | b"GROUP" | b"ORDER" | b"LIMIT" | b"VALUES"
            | b"RETURNING" | b"HAVING" | b"FOR" | b"DO" | b"DISTINCT" | b"UNION" | b"WINDOW"
            | b"OFFSET" => {
                self.list = None;
                self.next = Next::Anything;
                self.is_clause = matches!(upper, b"FOR" | b"DO" | b"ON" | b"DISTINCT");
                self.follows_word = false;
            }
            b"STDIN" | b"STDOUT" | b"PROGRAM" if self.text.starts_with("COPY") => {
                self.next = Next::Anything;
            }
            _ if self.next == Next::Name => self.name(word),
            _ => self.next = Next::Anything,
        }
    }

    fn begin(&mut self, word: &[u8]) {
        let known = OPERATIONS
            .iter()
            .find(|known| word.eq_ignore_ascii_case(known.as_bytes()));
        let operation = known.copied().unwrap_or(OTHER);
        match self.text.is_empty() {
            true => self.text.push_str(operation),
            false => self.push(operation),
        }
        self.follows_word = false;
        // The operation is that of the statement after the common table expressions.
        self.operation = (operation != "WITH").then_some(operation);
        self.next = match operation {
            "CREATE" | "ALTER" | "DROP" | "REFRESH" => Next::Object,
            "UPDATE" | "COPY" | "TRUNCATE" | "LOCK" | "CALL" | "LISTEN" | "NOTIFY" | "ANALYZE"
            | "TABLE" => Next::Name,
            _ => Next::Anything,
        };
    }

    fn verb(&mut self, upper: &[u8]) {
        let verb = OPERATIONS.iter().find(|known| known.as_bytes() == upper);
        let verb = verb.copied().unwrap_or(OTHER);
        if self.operation.is_none() && self.depth == 0 {
            self.operation = Some(verb);
        }
        self.push(verb);
        self.calls &= !(1 << self.depth.min(63));
        self.list = None;
        self.next = match verb {
            "UPDATE" => Next::Name,
            _ => Next::Anything,
        };
        self.follows_word = false;
    }

    fn name(&mut self, name: &[u8]) {
        let name = String::from_utf8_lossy(name);
        match self.text.ends_with('.') {
            true if self.text.len() + name.len() <= LONGEST => self.text.push_str(&name),
            true => {}
            false => self.push(&name),
        }
        self.next = Next::Part;
    }

    fn push(&mut self, word: &str) {
        if self.text.len() + word.len() < LONGEST {
            self.text.push(' ');
            self.text.push_str(word);
        }
    }

    fn symbol(&mut self, symbol: u8) {
        match symbol {
            b'(' => {
                self.depth += 1;
                let bit = 1 << self.depth.min(63);
                match self.follows_word {
                    true => self.calls |= bit,
                    false => self.calls &= !bit,
                }
                self.next = Next::Anything;
            }
            b';' => {
                (self.starts, self.next) = (true, Next::Anything);
                (self.depth, self.list) = (0, None);
            }
            b')' => self.depth = self.depth.saturating_sub(1),
            b',' if self.list == Some(self.depth) => self.next = Next::Name,
            b'.' if self.next == Next::Part && self.text.len() < LONGEST => {
                self.text.push('.');
                self.next = Next::Name;
            }
            _ => self.next = Next::Anything,
        }
        self.follows_word = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::of;

    /// A text, its operation and its summary.
    const CASES: &str = "\
        select * from songs where artist = 'x' | SELECT | SELECT songs
        SELECT * FROM songs s JOIN artists a ON s.a = a.id | SELECT | SELECT songs artists
        SELECT * FROM a, public.b AS x, c | SELECT | SELECT a public.b c
        INSERT INTO shipping SELECT * FROM orders | INSERT | INSERT shipping SELECT orders
        INSERT INTO t (a) VALUES (1) ON CONFLICT DO UPDATE SET a = 2 | INSERT | INSERT t
        UPDATE t SET a = extract(year FROM b) | UPDATE | UPDATE t
        DELETE FROM ONLY t WHERE a IS DISTINCT FROM b | DELETE | DELETE t
        SELECT 1 FROM t FOR UPDATE | SELECT | SELECT t
        WITH x AS (SELECT 1 FROM a) INSERT INTO b SELECT * FROM x | INSERT | WITH SELECT a INSERT b SELECT x
        (SELECT 1) | SELECT | SELECT
        CREATE TABLE IF NOT EXISTS users (id int) | CREATE | CREATE TABLE users
        CREATE OR REPLACE FUNCTION f() RETURNS int | CREATE | CREATE FUNCTION f
        COPY t (a) FROM STDIN | COPY | COPY t
        BEGIN | BEGIN | BEGIN
        BEGIN; INSERT INTO t VALUES (1); ; DROP TABLE u; | BATCH | BEGIN INSERT t DROP TABLE u
        SELECT 1; -- one | SELECT | SELECT
        frobnicate 'x' | OTHER | OTHER
        | OTHER | OTHER";

    #[test]
    fn a_summary_names_operations_and_relations() {
        for case in CASES.lines() {
            let parts: Vec<_> = case.split('|').map(str::trim).collect();
            let shape = of(parts[0].as_bytes(), true);
            assert_eq!([shape.operation, &*shape.summary], parts[1..], "{case}");
        }
    }

    #[test]
    fn a_summary_is_short() {
        let names: Vec<_> = (0..200).map(|n| format!("table{n}")).collect();
        let text = format!("SELECT * FROM {}", names.join(", "));
        assert!(of(text.as_bytes(), true).summary.len() <= 255);
    }
}
