//! What a server's error means for the session it came on, beyond the statement that it failed.

/// An error that outlives its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complaint {
    /// The server ends the session.
    Ending,
    /// A write was refused because something is read-only.
    ReadOnly,
    /// A prepared statement was refused: its result has changed with the schema, or there is
    /// none of that name (any more).
    Stale,
}

impl Complaint {
    /// The meaning of an `ErrorResponse` with these fields; `None` for an error that concerns
    /// its statement alone.
    pub(super) fn of(fields: &[u8]) -> Option<Self> {
        let fatal = |severity: &[u8]| matches!(severity, b"FATAL" | b"PANIC");
        // `V` is `S` untranslated, and younger than some servers.
        if field(fields, b'V')
            .or(field(fields, b'S'))
            .is_some_and(fatal)
        {
            return Some(Self::Ending);
        }
        let raised_by = |wanted: &[u8]| field(fields, b'R').is_none_or(|found| found == wanted);
        match field(fields, b'C')? {
            b"57P01" | b"57P02" | b"57P03" => Some(Self::Ending),
            b"25006" => Some(Self::ReadOnly),
            b"26000" => Some(Self::Stale),
            // "feature not supported" has many causes.
            b"0A000" if raised_by(b"RevalidateCachedQuery") => Some(Self::Stale),
            _ => None,
        }
    }
}

/// Whether a `NoticeResponse` says why the session is about to end: that of a server that crashed or
/// is stopped at once, which sends no `ErrorResponse` then. Functions can raise the same code.
pub(super) fn is_farewell(fields: &[u8]) -> bool {
    let code = field(fields, b'C').unwrap_or_default();
    code.starts_with(b"57P") && field(fields, b'R') == Some(b"quickdie")
}

/// An error of the server's, as the wire showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerFailure {
    /// The SQLSTATE.
    pub code: String,
    /// The server's words; the end may be missing.
    pub message: String,
    /// Whether the statement may have begun to run: its parameters were bound before.
    pub bound: bool,
}

impl ServerFailure {
    pub(super) fn of(fields: &[u8], bound: bool) -> Self {
        let text = |kind| String::from_utf8_lossy(field(fields, kind).unwrap_or_default()).into();
        Self {
            code: text(b'C'),
            message: text(b'M'),
            bound,
        }
    }
}

/// The field of this kind: kind, text, NUL; a kind of NUL ends them.
fn field(fields: &[u8], kind: u8) -> Option<&[u8]> {
    fields
        .split(|byte| *byte == 0)
        .filter_map(|field| field.split_first())
        .find_map(|(found, text)| (*found == kind).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(severity: &str, code: &str, routine: &str) -> Option<Complaint> {
        let fields = format!(
            "S{severity}\0V{severity}\0C{code}\0Msome words\0Fplancache.c\0L1\0R{routine}\0\0"
        );
        Complaint::of(fields.as_bytes())
    }

    #[test]
    fn only_some_errors_outlive_their_statement() {
        let expected = [
            ("ERROR", "42601", "scanner_yyerror", None),
            (
                "FATAL",
                "57P01",
                "ProcessInterrupts",
                Some(Complaint::Ending),
            ),
            ("FATAL", "08P01", "", Some(Complaint::Ending)),
            ("PANIC", "XX000", "", Some(Complaint::Ending)),
            ("ERROR", "57P02", "quickdie", Some(Complaint::Ending)),
            ("ERROR", "57014", "ProcessInterrupts", None),
            (
                "ERROR",
                "25006",
                "PreventCommandIfReadOnly",
                Some(Complaint::ReadOnly),
            ),
            (
                "ERROR",
                "26000",
                "FetchPreparedStatement",
                Some(Complaint::Stale),
            ),
            (
                "ERROR",
                "0A000",
                "RevalidateCachedQuery",
                Some(Complaint::Stale),
            ),
            ("ERROR", "0A000", "ExecAlterObjectDependsStmt", None),
        ];
        for (severity, code, routine, wanted) in expected {
            assert_eq!(meaning(severity, code, routine), wanted, "{code} {routine}");
        }
    }

    #[test]
    fn a_message_that_was_cut_short_is_read_as_far_as_it_goes() {
        assert_eq!(
            Complaint::of(b"SERROR\0VERROR\0C25006\0Mcannot ex"),
            Some(Complaint::ReadOnly)
        );
        assert_eq!(Complaint::of(b"SERROR\0VERR"), None);
        assert_eq!(Complaint::of(b""), None);
        assert_eq!(
            Complaint::of(b"SFEHLER\0VFATAL\0C57P01\0\0"),
            Some(Complaint::Ending)
        );
    }
}
