//! Recognizes SQL text that only reads.

use super::lexer::{Lexer, Token};

/// Whether a text only reads, so that running it twice does no harm: queries without a word that
/// writes, whose calls are all to functions of PostgreSQL that are known to change nothing.
///
/// Decided by comparing with what is known to read. Any other text counts as one that may write:
/// a call of a function that is not known, a data-modifying `WITH`, `SELECT … INTO`, `CALL`, `DO`.
/// Functions behind views, operators and policies are not seen.
///
/// ```
/// use pgmonkey_connect::sql::only_reads;
///
/// assert!(only_reads("SELECT count(*) FROM orders WHERE customer = $1 FOR UPDATE"));
/// assert!(!only_reads("SELECT book_order($1)"));
/// assert!(!only_reads("INSERT INTO orders VALUES ($1)"));
/// ```
pub fn only_reads(text: &str) -> bool {
    // Not certain about backslashes: then the lexer gives up.
    let mut lexer = Lexer::new(text.as_bytes(), false);
    let mut statement = Statement::default();
    while let Some(token) = lexer.next() {
        let reads = match token {
            Token::Word(word) => statement.word(word),
            Token::Symbol(b';') => {
                let ended = statement.ends();
                statement = Statement::default();
                ended
            }
            Token::Symbol(symbol) => statement.symbol(symbol),
            Token::Literal => statement.symbol(0),
            Token::Unsure => false,
        };
        if !reads {
            return false;
        }
    }
    statement.ends()
}

/// One statement of a text, as far as it has been read.
#[derive(Default)]
struct Statement {
    begun: bool,
    depth: u32,
    /// The word before, if nothing is between; and the schema that qualifies it.
    before: Vec<u8>,
    schema: Option<Vec<u8>>,
    /// Whether a dot follows the word before.
    dotted: bool,
    copies: Copies,
}

/// A `COPY` reads if its target is the client.
#[derive(Default, PartialEq, Eq)]
enum Copies {
    #[default]
    No,
    Begun,
    ToClient,
}

impl Statement {
    /// Whether the statement still only reads with this word.
    fn word(&mut self, word: &[u8]) -> bool {
        let word = word.to_ascii_lowercase();
        if !self.begun {
            self.begun = true;
            if word == b"copy" {
                self.copies = Copies::Begun;
            } else if !QUERIES.contains(&word.as_slice()) {
                return false;
            }
        }
        let locks = word == b"update" && (self.before == b"for" || self.before == b"key");
        let takes = self.copies == Copies::Begun && self.depth == 0 && word == b"from";
        if takes || WRITES.contains(&word.as_slice()) && !locks {
            return false;
        }
        if self.copies == Copies::Begun && word == b"stdout" && self.before == b"to" {
            self.copies = Copies::ToClient;
        }
        let before = std::mem::replace(&mut self.before, word);
        self.schema = std::mem::take(&mut self.dotted).then_some(before);
        true
    }

    /// Whether the statement still only reads with this symbol, or a literal.
    fn symbol(&mut self, symbol: u8) -> bool {
        match symbol {
            b'.' => {
                self.dotted = true;
                return self.begun;
            }
            b'(' => {
                let reads = self.before.is_empty() || self.is_harmless_before_parenthesis();
                self.depth += 1;
                self.before.clear();
                return reads;
            }
            b')' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.before.clear();
        self.dotted = false;
        self.begun
    }

    fn is_harmless_before_parenthesis(&self) -> bool {
        let word = self.before.as_slice();
        let builtin = self
            .schema
            .as_deref()
            .is_none_or(|schema| schema == b"pg_catalog");
        // The columns of a table that is copied.
        let columns = self.copies == Copies::Begun && self.depth == 0;
        columns || builtin && (KEYWORDS.contains(&word) || FUNCTIONS.contains(&word))
    }

    /// Whether it was right to read so far: nothing is missing.
    fn ends(&self) -> bool {
        self.copies != Copies::Begun
    }
}

/// The first words of queries.
const QUERIES: &[&[u8]] = &[b"select", b"with", b"values", b"table", b"show"];

/// Words of statements that write, wherever they are.
const WRITES: &[&[u8]] = &[b"insert", b"update", b"delete", b"merge", b"into"];

/// Keywords and types that are followed by a parenthesis without a call.
const KEYWORDS: &[&[u8]] = &[
    b"all",
    b"and",
    b"any",
    b"array",
    b"as",
    b"between",
    b"bit",
    b"by",
    b"case",
    b"char",
    b"character",
    b"cube",
    b"decimal",
    b"distinct",
    b"else",
    b"except",
    b"exists",
    b"filter",
    b"from",
    b"group",
    b"having",
    b"ilike",
    b"in",
    b"intersect",
    b"interval",
    b"is",
    b"join",
    b"key",
    b"lateral",
    b"like",
    b"limit",
    b"materialized",
    b"not",
    b"numeric",
    b"of",
    b"offset",
    b"on",
    b"only",
    b"or",
    b"over",
    b"rollup",
    b"row",
    b"select",
    b"sets",
    b"some",
    b"stdout",
    b"then",
    b"time",
    b"timestamp",
    b"timestamptz",
    b"union",
    b"using",
    b"values",
    b"varchar",
    b"varying",
    b"when",
    b"where",
    b"with",
    b"within",
];

/// Functions of PostgreSQL that change nothing, neither in the database nor in the session.
const FUNCTIONS: &[&[u8]] = &[
    b"abs",
    b"age",
    b"array_agg",
    b"array_append",
    b"array_length",
    b"array_position",
    b"array_remove",
    b"array_to_string",
    b"ascii",
    b"avg",
    b"bool_and",
    b"bool_or",
    b"btrim",
    b"cardinality",
    b"cast",
    b"ceil",
    b"ceiling",
    b"char_length",
    b"chr",
    b"clock_timestamp",
    b"coalesce",
    b"col_description",
    b"concat",
    b"concat_ws",
    b"count",
    b"current_database",
    b"current_schema",
    b"current_schemas",
    b"current_setting",
    b"date_part",
    b"date_trunc",
    b"decode",
    b"dense_rank",
    b"encode",
    b"every",
    b"exp",
    b"extract",
    b"first_value",
    b"floor",
    b"format",
    b"format_type",
    b"gen_random_uuid",
    b"generate_series",
    b"generate_subscripts",
    b"greatest",
    b"has_database_privilege",
    b"has_schema_privilege",
    b"has_table_privilege",
    b"initcap",
    b"json_agg",
    b"json_build_array",
    b"json_build_object",
    b"json_object_agg",
    b"jsonb_agg",
    b"jsonb_array_elements",
    b"jsonb_array_length",
    b"jsonb_build_array",
    b"jsonb_build_object",
    b"jsonb_each",
    b"jsonb_extract_path_text",
    b"jsonb_object_agg",
    b"jsonb_object_keys",
    b"jsonb_set",
    b"jsonb_typeof",
    b"lag",
    b"last_value",
    b"lead",
    b"least",
    b"left",
    b"length",
    b"ln",
    b"log",
    b"lower",
    b"lpad",
    b"ltrim",
    b"make_date",
    b"max",
    b"md5",
    b"min",
    b"mod",
    b"now",
    b"nth_value",
    b"ntile",
    b"nullif",
    b"obj_description",
    b"octet_length",
    b"overlay",
    b"pg_backend_pid",
    b"pg_column_size",
    b"pg_database_size",
    b"pg_get_constraintdef",
    b"pg_get_expr",
    b"pg_get_indexdef",
    b"pg_get_viewdef",
    b"pg_is_in_recovery",
    b"pg_relation_size",
    b"pg_size_pretty",
    b"pg_sleep",
    b"pg_table_size",
    b"pg_total_relation_size",
    b"pg_typeof",
    b"pg_xact_status",
    b"phraseto_tsquery",
    b"plainto_tsquery",
    b"position",
    b"power",
    b"quote_ident",
    b"quote_literal",
    b"random",
    b"rank",
    b"regexp_match",
    b"regexp_matches",
    b"regexp_replace",
    b"regexp_split_to_array",
    b"regexp_split_to_table",
    b"repeat",
    b"replace",
    b"reverse",
    b"right",
    b"round",
    b"row_number",
    b"row_to_json",
    b"rpad",
    b"rtrim",
    b"sha256",
    b"sign",
    b"similarity",
    b"split_part",
    b"sqrt",
    b"starts_with",
    b"statement_timestamp",
    b"stddev",
    b"string_agg",
    b"string_to_array",
    b"strpos",
    b"substr",
    b"substring",
    b"sum",
    b"to_char",
    b"to_date",
    b"to_json",
    b"to_jsonb",
    b"to_number",
    b"to_regclass",
    b"to_timestamp",
    b"to_tsquery",
    b"to_tsvector",
    b"transaction_timestamp",
    b"trim",
    b"trunc",
    b"ts_headline",
    b"ts_rank",
    b"unnest",
    b"upper",
    b"variance",
    b"version",
    b"websearch_to_tsquery",
    b"width_bucket",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_read() {
        for text in [
            "",
            "-- nothing",
            "SELECT 1",
            "select name, (a + b) * (c) from users where id = $1 and (x or y)",
            "(SELECT 1) UNION ALL (SELECT pg_catalog.count(*) FROM t)",
            "SELECT repeat('x', 10) FROM generate_series(1, 5) UNION ALL SELECT pg_sleep(600)::text",
            "WITH x AS (SELECT 1), y AS MATERIALIZED (TABLE t) SELECT * FROM x JOIN y USING (n)",
            "SELECT sum(x) FILTER (WHERE x > 1) OVER (PARTITION BY y ORDER BY z) FROM t",
            "SELECT 'insert into', $$update$$, a::numeric(10, 2), ARRAY(SELECT 1) FROM t",
            "SELECT * FROM t WHERE n IN (1, 2) AND m = ANY($1) FOR UPDATE SKIP LOCKED",
            "SELECT * FROM t FOR NO KEY UPDATE",
            "SELECT 1; SELECT 2;",
            "VALUES (1), (2)",
            "SHOW work_mem",
            "COPY t (a, b) TO STDOUT WITH (FORMAT csv)",
            "COPY (SELECT a FROM t) TO STDOUT (DELIMITER '|')",
        ] {
            assert!(only_reads(text), "{text}");
        }
    }

    #[test]
    fn what_may_write_does_not_only_read() {
        for text in [
            "INSERT INTO t VALUES (1)",
            "update t set n = 1",
            "DELETE FROM t",
            "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
            "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
            "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
            "SELECT * INTO copy FROM t",
            "SELECT nextval('s')",
            "SELECT book($1)",
            "SELECT shop.count(1)",
            "SELECT \"Count\" (1) + public . count (2)",
            "SELECT pg_notify('c', 'x')",
            "SELECT set_config('a', 'b', false)",
            "SELECT 1; DELETE FROM t",
            "CALL p()",
            "DO $$ BEGIN END $$",
            "COMMIT",
            "BEGIN; SELECT 1; COMMIT",
            "COPY t FROM STDIN",
            "COPY t (a) FROM STDIN",
            "COPY t TO PROGRAM 'x'",
            "COPY t TO '/tmp/x'",
            "COPY (DELETE FROM t RETURNING *) TO STDOUT",
            "CREATE TABLE t (n int)",
            "EXECUTE p",
            "EXPLAIN ANALYZE DELETE FROM t",
            "SELECT 'no end",
            "1",
            "'x'",
        ] {
            assert!(!only_reads(text), "{text}");
        }
    }
}
