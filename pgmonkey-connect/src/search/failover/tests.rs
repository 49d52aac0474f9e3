//! What follows a silent statement, told the time.

use std::net::Ipv4Addr;
use std::net::SocketAddr;

use super::*;
use crate::Error;
use crate::attempt::{Encryption, Turn};
use crate::error::failure::{ConnectCause, ConnectFailure, FailedAttempt};

const SECOND: Duration = Duration::from_secs(1);

fn settings(attrs: TargetSessionAttrs, follow_dns: bool) -> ConnectionSettings {
    let mut settings = ConnectionSettings::default();
    settings.target_session_attrs = attrs;
    settings.follow_dns = follow_dns;
    settings.host = vec![Host::new("db")];
    settings
}

fn attempt(name: &str, last: u8) -> Attempt {
    let target = Target {
        host: Host::new(name),
        hostaddr: None,
        port: 5432,
    };
    Attempt {
        target,
        address: Address::Tcp(SocketAddr::new(ip(last), 5432)),
        encryption: Encryption::Plain,
        turn: Turn::Only,
    }
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

/// Without a byte from the server, an observer counts as waiting.
fn watched(requirement: Requirement) -> (Arc<Failover>, Arc<Observer>) {
    let failover = Failover::new(&settings(TargetSessionAttrs::Primary, true)).unwrap();
    let observer = Arc::new(Observer::default());
    failover.add(&attempt("db", 1), requirement, &observer);
    (failover, observer)
}

fn refused(cause: ConnectCause) -> Error {
    let attempts = vec![FailedAttempt::before("db:5432".to_owned(), cause)];
    let failure = ConnectFailure::new("u".to_owned(), "d".to_owned(), attempts);
    Error::Connect(Arc::new(failure))
}

fn no_answer() -> Error {
    refused(ConnectCause::Timeout(SECOND))
}

/// The suspect at this time, if there is one; names are not resolved here.
fn suspect(failover: &Arc<Failover>, now: Instant) -> Option<Suspect> {
    loop {
        match failover.step(now) {
            FailoverStep::Probe(suspect) => return Some(suspect),
            FailoverStep::Resolve(_) => {}
            FailoverStep::Pause(_) | FailoverStep::End => return None,
        }
    }
}

#[test]
fn only_several_hosts_a_role_or_a_name_to_follow_are_watched() {
    use TargetSessionAttrs::{Any, Primary};
    assert!(Failover::new(&settings(Any, false)).is_none());
    assert!(Failover::new(&settings(Any, true)).is_some());
    assert!(Failover::new(&settings(Primary, false)).is_some());
    let mut alone = settings(Primary, false);
    alone.host = vec![Host::new("10.0.0.1")];
    assert!(Failover::new(&alone).is_none(), "an address");
    let mut two = settings(Any, false);
    two.host = vec![Host::new("a"), Host::new("b")];
    assert!(Failover::new(&two).is_some());
}

#[test]
fn a_host_that_answers_is_asked_ever_less_often() {
    let (failover, observer) = watched(Requirement::Primary);
    let now = Instant::now();
    assert!(suspect(&failover, now + SECOND / 2).is_none());
    let mut asked = Vec::new();
    for tick in 0..60 {
        let at = now + tick * SECOND / 2;
        if let Some(suspect) = suspect(&failover, at) {
            assert!(suspect.answered(Ok(()), at).is_none());
            asked.push(tick);
        }
    }
    let pauses: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(pauses[..3], [2, 4, 8], "{asked:?}");
    assert!(pauses[3..].iter().all(|pause| *pause == 10), "{asked:?}");
    assert_eq!(observer.abandoned(), None);
}

#[test]
fn a_host_is_asked_once_at_a_time() {
    let (failover, _observer) = watched(Requirement::Primary);
    let now = Instant::now() + 2 * SECOND;
    let first = suspect(&failover, now).unwrap();
    assert!(suspect(&failover, now + SECOND).is_none());
    // A probe that was lost, as in a runtime that has ended, is followed by another one.
    drop(first);
    assert!(suspect(&failover, now + 2 * SECOND).is_some());
}

#[test]
fn sessions_are_given_up_when_their_host_is_out_and_another_has_taken_over() {
    let (failover, observer) = watched(Requirement::Primary);
    let now = Instant::now();
    let mut at = now + 2 * SECOND;
    for other in [None, Some("db2:5432")] {
        let mut given_up = None;
        while given_up.is_none() {
            let suspect = suspect(&failover, at).expect("it has not answered");
            at += SECOND;
            let dead = suspect.answered(Err::<(), _>(&no_answer()), at);
            given_up = dead.map(|dead| dead.asked_others(other, at));
            at += SECOND / 2;
        }
        assert!(at - now >= 4 * SECOND, "after two probes at the earliest");
        assert_eq!(given_up, Some(usize::from(other.is_some())));
    }
    let reason = observer.abandoned().unwrap();
    assert!(
        reason.contains("db:5432 no longer answers, and db2:5432 has taken over"),
        "{reason}"
    );
    let place = attempt("db", 1);
    assert!(failover.avoids(&place.target, None, at));
    assert!(failover.avoids(&place.target, Some(&place.address), at));
    assert!(!failover.avoids(&place.target, Some(&attempt("db", 2).address), at));
    assert!(!failover.avoids(&place.target, None, at + 2 * AVOIDED));
    assert!(
        matches!(failover.step(at), FailoverStep::End),
        "no session is left"
    );
}

#[test]
fn a_wrong_role_needs_no_patience_and_a_refusal_is_an_answer() {
    let (failover, observer) = watched(Requirement::ReadWrite);
    let at = Instant::now() + 2 * SECOND;
    let full = refused(ConnectCause::NoPassword);
    let refusal = suspect(&failover, at).unwrap();
    assert!(refusal.answered(Err::<(), _>(&full), at).is_none());
    let at = at + 2 * SECOND;
    let mismatch = Requirement::ReadWrite.or_mismatch(false).unwrap_err();
    let demoted = suspect(&failover, at).unwrap();
    let dead = demoted.answered(Err::<(), _>(&refused(ConnectCause::Role(mismatch))), at);
    assert_eq!(dead.unwrap().asked_others(Some("db2:5432"), at), 1);
    let reason = observer.abandoned().unwrap();
    assert!(reason.contains("no longer has the role"), "{reason}");
}

#[test]
fn where_any_host_will_do_silence_alone_takes_longer() {
    for (requirement, patience) in [
        (Requirement::Primary, PRIMARY_OUT),
        (Requirement::ReadWrite, PRIMARY_OUT),
        (Requirement::Any, OTHERS_OUT),
        (Requirement::Standby, OTHERS_OUT),
        (Requirement::ReadOnly, OTHERS_OUT),
    ] {
        let (failover, _observer) = watched(requirement);
        let began = Instant::now() + 2 * SECOND;
        let mut at = began;
        while suspect(&failover, at)
            .expect("it has not answered")
            .answered(Err::<(), _>(&no_answer()), at)
            .is_none()
        {
            at += SECOND;
        }
        assert_eq!(at - began, patience, "{requirement:?}");
    }
}

#[test]
fn a_session_that_got_something_is_not_silent() {
    let (failover, _observer) = watched(Requirement::Primary);
    let now = Instant::now();
    // Its answer arrived: nothing is known of the host any more.
    let dead = suspect(&failover, now + 2 * SECOND).unwrap();
    assert!(
        dead.answered(Err::<(), _>(&no_answer()), now + 3 * SECOND)
            .is_none()
    );
    failover.state().sessions[0].seen = (1, 1);
    assert!(suspect(&failover, now + 4 * SECOND).is_none());
    let again = suspect(&failover, now + 6 * SECOND).unwrap();
    let soon = again.answered(Err::<(), _>(&no_answer()), now + 7 * SECOND);
    assert!(soon.is_none(), "out for one second");
}

#[test]
fn sessions_at_an_address_that_the_name_no_longer_has_are_outdated() {
    let (failover, stays) = watched(Requirement::Any);
    let [moved, other, address] = [(); 3].map(|()| Arc::new(Observer::default()));
    failover.add(&attempt("db", 2), Requirement::Any, &moved);
    failover.add(&attempt("elsewhere", 2), Requirement::Any, &other);
    failover.add(&attempt("10.0.0.2", 2), Requirement::Any, &address);
    let now = Instant::now();
    let FailoverStep::Resolve(names) = failover.step(now) else {
        panic!("names are resolved first");
    };
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(!matches!(
        failover.step(now + SECOND),
        FailoverStep::Resolve(_)
    ));
    assert!(matches!(
        failover.step(now + 2 * SECOND),
        FailoverStep::Resolve(_)
    ));
    let db = names.iter().find(|name| name.name == "db").unwrap();
    assert!(!failover.resolved(db, &[]), "a failed lookup says nothing");
    assert!(failover.resolved(db, &[ip(1), ip(3)]));
    assert!(!failover.resolved(db, &[ip(1)]), "said once");
    let outdated = [&stays, &moved, &other, &address].map(|one| one.outdated().is_some());
    assert_eq!(outdated, [false, true, false, false]);
}

#[test]
fn attempts_that_failed_are_forgotten_without_a_round() {
    let (failover, _observer) = watched(Requirement::Primary);
    for _ in 0..10 {
        failover.add(&attempt("db", 2), Requirement::Primary, &Arc::default());
    }
    assert_eq!(failover.state().sessions.len(), 2);
}

#[test]
fn it_runs_while_there_are_sessions() {
    let (failover, observer) = watched(Requirement::Primary);
    assert!(failover.starts() && !failover.starts());
    drop(observer);
    assert!(matches!(failover.step(Instant::now()), FailoverStep::End));
    assert!(!failover.starts(), "no session");
    let next = Arc::new(Observer::default());
    failover.add(&attempt("db", 1), Requirement::Primary, &next);
    assert!(failover.starts());
}
