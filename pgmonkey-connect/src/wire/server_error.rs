//! What a server's error means for the session, beyond the failed statement.

/// An error with consequences beyond its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerError {
    /// The server ends the session.
    Ending,
    /// A write was refused because the session, transaction or server is read-only.
    ReadOnly,
    /// A prepared statement was refused: a schema change changed its result, or no statement of
    /// that name exists (any more).
    Stale,
}

impl ServerError {
    /// Classifies an `ErrorResponse` with these fields; `None` for an error that concerns only its
    /// statement.
    pub(super) fn of(fields: &[u8]) -> Option<Self> {
        let fatal = |severity: &[u8]| matches!(severity, b"FATAL" | b"PANIC");
        // `V` is `S` untranslated; old servers do not send it.
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

/// Whether a `NoticeResponse` gives the reason for the session's end: a server that crashed or
/// shuts down immediately sends no `ErrorResponse`. The routine is checked too, because functions
/// can raise the same code.
pub(super) fn is_farewell(fields: &[u8]) -> bool {
    let code = field(fields, b'C').unwrap_or_default();
    code.starts_with(b"57P") && field(fields, b'R') == Some(b"quickdie")
}

/// A server error, as observed on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerFailure {
    /// The SQLSTATE.
    pub code: String,
    /// The server's message; its end may be missing.
    pub message: String,
    /// Whether the statement may have been executed in part: its parameters were already bound.
    pub bound: bool,
    /// Whether the error names the routine that raised it, as PostgreSQL's own errors do.
    pub(crate) has_routine: bool,
}

impl ServerFailure {
    pub(super) fn of(fields: &[u8], bound: bool) -> Self {
        let text = |kind| String::from_utf8_lossy(field(fields, kind).unwrap_or_default()).into();
        Self {
            code: text(b'C'),
            message: text(b'M'),
            bound,
            has_routine: field(fields, b'R').is_some(),
        }
    }
}

/// The field of this kind. A field is its kind, text and NUL; a kind of NUL ends the list.
fn field(fields: &[u8], kind: u8) -> Option<&[u8]> {
    fields
        .split(|byte| *byte == 0)
        .filter_map(|field| field.split_first())
        .find_map(|(found, text)| (*found == kind).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(severity: &str, code: &str, routine: &str) -> Option<ServerError> {
        let fields = format!(
            "S{severity}\0V{severity}\0C{code}\0Msome words\0Fplancache.c\0L1\0R{routine}\0\0"
        );
        ServerError::of(fields.as_bytes())
    }

    #[test]
    fn only_some_errors_outlive_their_statement() {
        let expected = [
            ("ERROR", "42601", "scanner_yyerror", None),
            (
                "FATAL",
                "57P01",
                "ProcessInterrupts",
                Some(ServerError::Ending),
            ),
            ("FATAL", "08P01", "", Some(ServerError::Ending)),
            ("PANIC", "XX000", "", Some(ServerError::Ending)),
            ("ERROR", "57P02", "quickdie", Some(ServerError::Ending)),
            ("ERROR", "57014", "ProcessInterrupts", None),
            (
                "ERROR",
                "25006",
                "PreventCommandIfReadOnly",
                Some(ServerError::ReadOnly),
            ),
            (
                "ERROR",
                "26000",
                "FetchPreparedStatement",
                Some(ServerError::Stale),
            ),
            (
                "ERROR",
                "0A000",
                "RevalidateCachedQuery",
                Some(ServerError::Stale),
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
            ServerError::of(b"SERROR\0VERROR\0C25006\0Mcannot ex"),
            Some(ServerError::ReadOnly)
        );
        assert_eq!(ServerError::of(b"SERROR\0VERR"), None);
        assert_eq!(ServerError::of(b""), None);
        assert_eq!(
            ServerError::of(b"SFEHLER\0VFATAL\0C57P01\0\0"),
            Some(ServerError::Ending)
        );
    }
}
