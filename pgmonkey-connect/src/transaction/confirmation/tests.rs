use super::*;
use proptest::prelude::*;

const ID: u64 = 731;

fn server() -> Server {
    Server {
        system: "7".to_owned(),
        timeline: Some("00000001".to_owned()),
        statistics: Some("1.5".to_owned()),
    }
}

fn answer(status: Option<&str>) -> Answer {
    Answer {
        server: server(),
        recovered_to: None,
        status: status.map(str::to_owned),
    }
}

fn verdict(answer: &Answer) -> Verdict {
    judge(&server(), ID, answer, false)
}

/// After a crash from which the server recovered up to this id.
fn crashed(status: Option<&str>, recovered_to: Option<u64>) -> Answer {
    let mut answer = answer(status);
    answer.server.statistics = Some("2.5".to_owned());
    answer.recovered_to = recovered_to;
    answer
}

#[test]
fn the_status_decides_on_the_same_server() {
    assert_eq!(verdict(&answer(Some("committed"))), Verdict::Committed);
    assert_eq!(verdict(&answer(Some("aborted"))), Verdict::RolledBack);
    assert_eq!(verdict(&answer(Some(UNASSIGNED))), Verdict::RolledBack);
    let waits = verdict(&answer(Some("in progress")));
    assert!(matches!(waits, Verdict::Undecided(_)));
    for status in [None, Some("bogus")] {
        assert!(matches!(verdict(&answer(status)), Verdict::Unknown(_)));
    }
}

#[test]
fn another_cluster_or_timeline_knows_nothing() {
    for status in ["committed", "aborted", UNASSIGNED, "in progress"] {
        let mut other = answer(Some(status));
        other.server.system = "8".to_owned();
        assert!(matches!(verdict(&other), Verdict::Unknown(_)), "{status}");
        let mut promoted = answer(Some(status));
        promoted.server.timeline = Some("00000002".to_owned());
        assert!(
            matches!(verdict(&promoted), Verdict::Unknown(_)),
            "{status}"
        );
        let mut standby = answer(Some(status));
        standby.server.timeline = None;
        assert!(
            matches!(verdict(&standby), Verdict::Undecided(_)),
            "{status}"
        );
    }
}

#[test]
fn after_a_crash_only_an_id_that_survived_counts_as_committed() {
    let committed = |to| verdict(&crashed(Some("committed"), to));
    assert_eq!(committed(Some(ID + 1)), Verdict::Committed);
    assert_eq!(committed(Some(ID)), Verdict::RolledBack);
    assert!(matches!(committed(None), Verdict::Unknown(_)));
    assert_eq!(
        verdict(&crashed(Some("aborted"), None)),
        Verdict::RolledBack
    );
    assert_eq!(
        verdict(&crashed(Some("in progress"), Some(ID))),
        Verdict::RolledBack,
        "another transaction with the same id"
    );
}

#[test]
fn after_two_crashes_a_committed_id_may_be_another_transactions() {
    let again = |status, to| judge(&server(), ID, &crashed(Some(status), Some(to)), true);
    assert!(matches!(again("committed", ID + 1), Verdict::Unknown(_)));
    assert_eq!(again("committed", ID), Verdict::RolledBack);
    assert_eq!(again("aborted", ID + 1), Verdict::RolledBack);
}

#[test]
fn a_crash_that_another_ticket_has_seen_counts() {
    let server = |statistics: &str| {
        Server::of(&[Some("of two crashes"), Some("00000001"), Some(statistics)]).unwrap()
    };
    let (first, second, third) = (server("1.5"), server("2.5"), server("3.5"));
    assert!(first.crashed_again(&third));
    assert!(!first.crashed_again(&second) && !second.crashed_again(&third));
}

#[test]
fn an_id_has_an_epoch() {
    assert_eq!(full_id("0:731"), Some(731));
    assert_eq!(full_id("2:1"), Some((2 << 32) + 1));
    for text in ["", "731", "x:1", "1:-1"] {
        assert_eq!(full_id(text), None, "{text}");
    }
}

fn confirmation(id: Option<u64>, limit: Duration) -> Confirmation {
    let Error::CommitUnknown(lost) = Error::commit_unknown(Error::NoRow) else {
        unreachable!("it is made so");
    };
    let ticket = Ticket {
        server: server(),
        id,
    };
    Confirmation::new(Ok(ticket), lost, None, limit)
}

#[test]
fn a_transaction_that_wrote_nothing_may_be_run_again() {
    let confirmation = confirmation(None, Duration::from_secs(1));
    let Step::Done(Err(error)) = confirmation.begin(Instant::now()) else {
        panic!("nothing to ask");
    };
    assert!(error.is_transient() && !error.is_outcome_unknown());
}

#[test]
fn the_error_says_why_nothing_was_found() {
    let mut confirmation = confirmation(Some(ID), Duration::from_secs(1));
    assert!(matches!(confirmation.begin(Instant::now()), Step::Ask(_)));
    let Step::Done(Err(error)) = confirmation.answered(Ok(Some(answer(None))), Instant::now())
    else {
        panic!("it is too old");
    };
    assert!(error.is_outcome_unknown() && !error.is_transient());
    assert!(error.to_string().contains("too old"), "{error}");
}

#[test]
fn a_search_without_time_asks_nothing_and_says_what_was_known() {
    let late = || Error::Unanswered {
        address: "db:5432".to_owned(),
        limit: Duration::ZERO,
    };
    let limit = Duration::from_secs(60);
    let (now, over) = (Instant::now(), Instant::now() + 2 * limit);
    let mut first = confirmation(Some(ID), limit);
    let Step::Done(Err(error)) = first.begin(over) else {
        panic!("no time is left");
    };
    assert!(error.to_string().ends_with("the time is over"), "{error}");
    let answer = answer(Some("in progress"));
    assert!(matches!(
        first.answered(Ok(Some(answer)), now),
        Step::Ask(_)
    ));
    let Step::Done(Err(error)) = first.answered(Err(late()), over) else {
        panic!("no time is left");
    };
    assert!(error.is_outcome_unknown() && !error.is_transient());
    let text = error.to_string();
    assert!(
        text.contains("still in progress, and the time is over"),
        "{text}"
    );
    // Without an answer, the reason is why there was none.
    let mut second = confirmation(Some(ID), limit);
    let Step::Done(Err(error)) = second.answered(Err(late()), over) else {
        panic!("no time is left");
    };
    assert!(
        error.to_string().contains("db:5432 did not answer"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn only_a_committed_status_is_a_commit_and_the_search_ends(
        statuses in proptest::collection::vec((0_usize..6, any::<bool>(), 700_u64..760), 1..200),
        limit in 1_u64..5_000,
    ) {
        let mut confirmation = confirmation(Some(ID), Duration::from_millis(limit));
        let end = confirmation.deadline().instant();
        let mut now = Instant::now();
        for (status, crashes, to) in statuses {
            let status = ["committed", "aborted", "in progress", UNASSIGNED, "bogus"].get(status);
            let status = status.copied();
            let answer = if crashes { crashed(status, Some(to)) } else { answer(status) };
            match confirmation.answered(Ok(Some(answer)), now) {
                Step::Ask(pause) => {
                    prop_assert!(now + pause < end && pause <= LONGEST_PAUSE);
                    prop_assert_eq!(status, Some("in progress"));
                    now += pause;
                }
                Step::Done(Ok(())) => {
                    prop_assert_eq!(status, Some("committed"));
                    prop_assert!(!crashes || to > ID);
                    break;
                }
                Step::Done(Err(error)) => {
                    prop_assert!(error.is_transient() != error.is_outcome_unknown());
                    prop_assert!(!error.is_transient() || status != Some("committed") || to <= ID);
                    break;
                }
            }
        }
    }
}
