//! What kind of failure an error is.

/// What kind of failure an [`Error`](super::Error) is, for those who must decide what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The same, tried again unchanged, may work. Pools do so by themselves.
    Transient,
    /// The server did not believe who this is, or asked in a way that is not allowed.
    Authentication,
    /// The session could not be encrypted as asked.
    Tls,
    /// The configuration, or what it names, has to be changed.
    Configuration,
    /// None of these: a statement failed, or a handle was used as it must not be.
    Other,
}
