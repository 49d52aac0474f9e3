use std::io;

use super::*;
use crate::error::failure::{ConnectCause, FailedAttempt};
use crate::role::Requirement;

pub(crate) fn refused() -> Error {
    failed(ConnectCause::Io(io::Error::from(
        io::ErrorKind::ConnectionRefused,
    )))
}

pub(crate) fn of_other_role() -> Error {
    let mismatch = Requirement::Primary.or_mismatch(false).expect_err("no");
    failed(ConnectCause::Role(mismatch))
}

pub(crate) fn unauthenticated() -> Error {
    failed(ConnectCause::NoPassword)
}

fn failed(cause: ConnectCause) -> Error {
    let mut attempt = FailedAttempt::before("db:5432".into(), cause);
    attempt.address = Some("10.0.0.1".into());
    Error::Connect(Arc::new(ConnectFailure::new(
        "app".into(),
        "shop".into(),
        vec![attempt],
    )))
}

#[test]
fn a_refused_connection_says_where_and_is_transient() {
    let error = refused();
    assert_eq!(
        error.to_string(),
        "could not connect to db:5432 (10.0.0.1): connection refused (user \"app\", database \"shop\")"
    );
    assert!(error.is_transient() && !error.is_timeout() && !error.is_closed());
}

#[test]
fn errors_cross_threads_and_clone() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<Error>();
}

#[test]
fn what_the_caller_did_wrong_is_final() {
    assert!(!Error::NoTransaction { action: "commit" }.is_transient());
    assert!(Error::Closed { what: "pool" }.is_closed());
}
