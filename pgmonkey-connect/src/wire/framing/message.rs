//! The messages of both sides, as far as they are told apart.

/// One message from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Backend<'a> {
    /// `ReadyForQuery` with its status byte.
    Ready(u8),
    /// `CopyInResponse` or `CopyBothResponse`: the server expects data now and ignores Sync.
    CopyIn,
    /// `ParameterStatus`, as sent: name, NUL, value, NUL.
    Parameter(&'a [u8]),
    /// A message of the login: an authentication request, or its success.
    Authentication(&'a [u8]),
    /// `ErrorResponse`.
    Error {
        /// Its fields, up to [`BODY_KEPT`](super::BODY_KEPT) bytes.
        fields: &'a [u8],
        /// Whether a `BindComplete` preceded it in the same request, so that the statement may have
        /// been executed in part.
        bound: bool,
        /// How many rows of the statement preceded it.
        rows: u64,
    },
    /// `NoticeResponse`: its fields, up to [`BODY_KEPT`](super::BODY_KEPT) bytes.
    Notice(&'a [u8]),
    /// `CommandComplete` of a statement that ends a transaction or rolls back to a savepoint.
    Ended(TransactionEnd),
    /// `CommandComplete`, if each statement is reported.
    Completed(&'a [u8]),
    /// `EmptyQueryResponse`, if each statement is reported.
    Empty,
    /// `PortalSuspended`, if each statement is reported: how many rows preceded it.
    Suspended(u64),
    /// `BackendKeyData`: the process id.
    Key(u32),
}

/// How a transaction ended, according to the server's command tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransactionEnd {
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`; also the server's answer to `COMMIT` in a failed transaction.
    Rollback,
    /// `PREPARE TRANSACTION`.
    Prepare,
}

impl TransactionEnd {
    /// The server's command tag.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
            Self::Prepare => "PREPARE TRANSACTION",
        }
    }

    #[inline]
    pub(super) fn of_tag(tag: &[u8]) -> Option<Self> {
        match tag {
            [b'C', b'O', b'M', b'M', b'I', b'T', 0, ..] => Some(Self::Commit),
            [b'R', b'O', b'L', b'L', b'B', b'A', b'C', b'K', 0, ..] => Some(Self::Rollback),
            _ if tag.starts_with(b"PREPARE TRANSACTION\0") => Some(Self::Prepare),
            _ => None,
        }
    }
}

/// One message from the client. A body is `None` while it is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frontend<'a> {
    /// The startup message, which has no type byte.
    Startup,
    /// A simple query: answered by one `ReadyForQuery`.
    Query(Option<&'a [u8]>),
    /// A function call: answered by one `ReadyForQuery`.
    Call,
    /// `Parse`: a statement's name and text.
    Parse(Option<&'a [u8]>),
    /// `Bind`: a portal's name, a statement's name, and more.
    Bind(Option<&'a [u8]>),
    /// `Execute`: a portal's name, and a limit of rows.
    Execute(Option<&'a [u8]>),
    /// `Sync`: answered by one `ReadyForQuery`, except during a copy.
    Sync,
    /// `Close` of a statement or a portal.
    Close(Option<&'a [u8]>),
    /// `CopyDone` or `CopyFail`.
    CopyEnd,
    /// `Terminate`.
    Terminate,
    /// Anything else.
    Other,
    /// The completed body of the last announced message, or its first bytes if it is longer than
    /// what is kept.
    Late {
        /// The message's type byte.
        kind: u8,
        /// Its body.
        body: &'a [u8],
        /// Whether `body` is all of it.
        whole: bool,
    },
}

impl<'a> Frontend<'a> {
    #[inline]
    pub(super) fn of(kind: u8, body: Option<&'a [u8]>) -> Self {
        match kind {
            b'Q' => Self::Query(body),
            b'F' => Self::Call,
            b'P' => Self::Parse(body),
            b'B' => Self::Bind(body),
            b'E' => Self::Execute(body),
            b'S' => Self::Sync,
            b'C' => Self::Close(body),
            b'c' | b'f' => Self::CopyEnd,
            b'X' => Self::Terminate,
            _ => Self::Other,
        }
    }
}
