use std::net::Ipv4Addr;

use pgmonkey_config::{Host, Readers, Settings};
use proptest::prelude::*;

use super::lag::Lag;
use super::*;
use crate::status::CloseReason;
use crate::token::{Position, Token};

const SECOND: Duration = Duration::from_secs(1);

fn standby(received: u64, replayed: u64, ago: Option<u64>) -> Answer {
    let lsn = |lsn: u64| format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff);
    let columns = [
        Some("t".to_owned()),
        Some("on".to_owned()),
        Some(lsn(received)),
        Some(lsn(replayed)),
        Some("1".to_owned()),
        Some("t".to_owned()),
        ago.map(|ago| ago.to_string()),
    ];
    Answer::read(|column| columns[column].as_deref()).expect("all columns")
}

fn primary(written: u64) -> Answer {
    Answer {
        in_recovery: false,
        received: None,
        streams: false,
        ..standby(written, written, None)
    }
}

/// A replica that replays `delay` after it receives, asked once a second; returns each answer's lag
/// and the true one.
fn lags(writes: &[bool], delay: usize) -> Vec<(Duration, Duration)> {
    let (began, mut lag) = (Instant::now(), Lag::default());
    let mut written = vec![0_u64];
    let mut found = Vec::new();
    for (second, writes) in writes.iter().enumerate() {
        written.push(written[second] + u64::from(*writes));
        let received = written[second + 1];
        let replayed = written[(second + 1).saturating_sub(delay)];
        // When the last replayed transaction was committed.
        let commit = written.iter().position(|lsn| *lsn == replayed).unwrap();
        let ago = (replayed > 0).then(|| (second + 1 - commit) as u64);
        let late = written.iter().position(|lsn| *lsn > replayed);
        let truth = late.map_or(0, |since| second + 1 - since);
        let at = began + SECOND * second as u32;
        let seen = lag.of(&standby(received, replayed, ago), at);
        found.push((seen.unwrap_or(Duration::MAX), SECOND * truth as u32));
    }
    found
}

proptest! {
    /// A standby is never taken for more recent than it is, and for older only by the second
    /// between two questions, once it has been watched for as long as it is late.
    #[test]
    fn the_lag_of_a_standby_is_found(
        writes in prop::collection::vec(any::<bool>(), 20..60),
        delay in 0_usize..8,
    ) {
        for (second, (seen, truth)) in lags(&writes, delay).into_iter().enumerate() {
            prop_assert!(seen >= truth, "{seen:?} instead of {truth:?}, second {second}");
            if second > 2 * delay + 1 && seen < Duration::MAX {
                prop_assert!(seen <= truth + SECOND * (delay as u32 + 1), "{seen:?}, not {truth:?}");
            }
        }
    }
}

#[test]
fn a_standby_of_a_primary_without_writes_is_not_late() {
    let (now, mut lag) = (Instant::now(), Lag::default());
    assert_eq!(lag.of(&standby(9, 9, Some(600)), now), Some(Duration::ZERO));
    // The first transaction after ten minutes.
    let seen = lag.of(&standby(12, 9, Some(601)), now + SECOND);
    assert_eq!(seen, Some(SECOND));
    assert_eq!(
        lag.of(&standby(12, 12, Some(0)), now + 2 * SECOND),
        Some(Duration::ZERO)
    );
}

#[test]
fn a_standby_without_its_primary_grows_old() {
    let (now, mut lag) = (Instant::now(), Lag::default());
    assert_eq!(lag.of(&standby(9, 9, Some(1)), now), Some(Duration::ZERO));
    let alone = Answer {
        streams: false,
        ..standby(9, 9, Some(7))
    };
    assert_eq!(lag.of(&alone, now + SECOND), Some(7 * SECOND));
    let unknown = Answer {
        streams: false,
        ..standby(9, 9, None)
    };
    assert_eq!(lag.of(&unknown, now + SECOND), None);
    assert_eq!(lag.of(&primary(9), now), Some(Duration::ZERO));
}

fn standbys(hosts: &[&str], max_lag: Option<Duration>) -> Arc<Standbys> {
    let mut settings = Settings::default();
    let hosts = hosts.iter().map(|host| Host::new(host));
    settings.connection_settings.host = hosts.collect();
    let readers = Readers::new(settings).expect("valid settings");
    let limits = ReaderLimits {
        max_lag,
        fallback: readers.fallback,
    };
    Standbys::new(&readers.config, limits, &"test".into())
}

fn attempt(standbys: &Standbys, at: usize) -> Attempt {
    let target = standbys.targets[at].clone();
    let address = Address::Tcp((Ipv4Addr::new(10, 0, 0, at as u8 + 1), 5432).into());
    Attempt {
        target,
        address,
        encryption: crate::attempt::Encryption::Plain,
        turn: crate::attempt::Turn::Only,
    }
}

fn hears(standbys: &Standbys, at: usize, answer: &Answer) {
    let attempt = attempt(standbys, at);
    standbys.record(&attempt.target, &attempt.address, answer);
}

fn opens(standbys: &Standbys, at: usize) -> Arc<Observer> {
    let observer = Arc::new(Observer::default());
    standbys.add(&attempt(standbys, at), &observer);
    observer
}

const HOSTS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

/// The index of the host that a search tries first.
fn first(standbys: &Standbys) -> usize {
    let mut order: Vec<_> = (0..standbys.targets.len()).collect();
    order.sort_by_cached_key(|at| standbys.rank(&standbys.targets[*at], None));
    order[0]
}

#[test]
fn each_session_goes_to_the_standby_with_the_fewest() {
    let standbys = standbys(&HOSTS, None);
    let mut open = Vec::new();
    for _ in 0..9 {
        let at = first(&standbys);
        open.push((at, opens(&standbys, at)));
    }
    for at in 0..3 {
        assert_eq!(open.iter().filter(|(of, _)| *of == at).count(), 3);
    }
}

#[test]
fn a_late_standby_loses_its_sessions_and_comes_last() {
    let standbys = standbys(&HOSTS[..2], Some(5 * SECOND));
    let sessions = [opens(&standbys, 0), opens(&standbys, 1)];
    hears(&standbys, 0, &standby(9, 9, Some(1)));
    hears(&standbys, 1, &standby(9, 2, Some(6)));
    assert_eq!(sessions[0].outdated(), None);
    assert_eq!(sessions[1].outdated(), Some(CloseReason::Standby));
    let status = standbys.status();
    assert!(status[0].unused.is_none() && status[1].unused.is_some());
    assert_eq!((status[0].sessions, status[1].sessions), (1, 0));
    opens(&standbys, 0);
    assert_eq!(first(&standbys), 0, "even with more sessions");
    assert!(standbys.is_usable());
    let alone = Answer {
        streams: false,
        ..standby(9, 9, Some(6))
    };
    hears(&standbys, 0, &alone);
    assert!(!standbys.is_usable());
    hears(&standbys, 1, &standby(9, 9, Some(6)));
    assert!(standbys.is_usable() && first(&standbys) == 1);
}

#[test]
fn sessions_move_to_a_standby_that_is_back_one_at_a_time() {
    let standbys = standbys(&HOSTS[..2], None);
    let sessions: Vec<_> = (0..8).map(|_| opens(&standbys, 0)).collect();
    hears(&standbys, 0, &standby(9, 9, None));
    let left = || {
        sessions
            .iter()
            .filter(|one| one.outdated().is_none())
            .count()
    };
    let mut now = Instant::now();
    assert!(standbys.starts() && !standbys.starts());
    let mut round = |standbys: &Arc<Standbys>| {
        now += EVERY;
        let mut moved = 0;
        loop {
            match standbys.step(now) {
                StandbyStep::EndMisplaced => moved += 1,
                StandbyStep::Ask(asked) => drop(asked),
                StandbyStep::Pause(pause) => break assert!(pause <= EVERY),
                step => panic!("{step:?}"),
            }
        }
        moved
    };
    assert_eq!((round(&standbys), left()), (0, 8), "one alone");
    hears(&standbys, 1, &standby(9, 9, None));
    let mut there = Vec::new();
    for ended in 1..=4 {
        assert_eq!((round(&standbys), left()), (1, 8 - ended));
        there.push(opens(&standbys, first(&standbys)));
    }
    assert_eq!((round(&standbys), left()), (0, 4), "evenly spread");
    assert_eq!(standbys.status()[1].sessions, 4);
}

#[test]
fn a_primary_is_left_for_a_standby() {
    let standbys = standbys(&HOSTS[..2], None);
    let at_primary = opens(&standbys, 0);
    hears(&standbys, 0, &primary(9));
    assert!(standbys.starts() && at_primary.outdated().is_none());
    hears(&standbys, 1, &standby(9, 9, None));
    assert_eq!(first(&standbys), 1);
    assert!(matches!(
        standbys.step(Instant::now()),
        StandbyStep::EndMisplaced
    ));
    assert_eq!(at_primary.outdated(), Some(CloseReason::Standby));
}

#[test]
fn a_standby_that_does_not_answer_is_not_used_until_it_does() {
    let standbys = standbys(&HOSTS[..2], None);
    let session = opens(&standbys, 0);
    standbys.unreached(&attempt(&standbys, 0), &"connection refused");
    assert_eq!(session.outdated(), Some(CloseReason::Standby));
    assert_eq!(first(&standbys), 1);
    let why = standbys.status()[0].unused.clone();
    assert_eq!(why.as_deref(), Some("connection refused"));
    hears(&standbys, 0, &standby(9, 9, None));
    assert_eq!(standbys.status()[0].unused, None);
}

#[test]
fn only_a_server_that_has_it_reaches_a_token() {
    let replayed = Replayed::default();
    let token = |timeline, lsn: u64| -> Token {
        format!("{timeline:x}-{:x}-{:x}", lsn >> 32, lsn & 0xffff_ffff)
            .parse()
            .unwrap()
    };
    assert_eq!(
        replayed.reaches(token(1, 0)),
        Reach::Behind,
        "it was not asked"
    );
    let mut answer = standby(9, 9, None);
    replayed.set(&answer);
    assert_eq!(replayed.reaches(token(1, 9)), Reach::Reached);
    assert_eq!(replayed.reaches(token(1, 10)), Reach::Behind);
    assert_eq!(
        replayed.reaches(token(2, 5)),
        Reach::Behind,
        "before the failover"
    );
    answer.position = Some(Position {
        timeline: 2,
        lsn: 20,
    });
    replayed.set(&answer);
    assert_eq!(replayed.reaches(token(1, 9)), Reach::Elsewhere);
    assert_eq!(replayed.reaches(token(2, 20)), Reach::Reached);
}
