use proptest::prelude::*;

use std::fmt;
use std::time::Duration;

use super::*;

const MODES: [SslMode; 6] = [
    SslMode::Disable,
    SslMode::Allow,
    SslMode::Prefer,
    SslMode::Require,
    SslMode::VerifyCa,
    SslMode::VerifyFull,
];

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        "[a-z]{1,8}(\\.[a-z]{2,5})?".prop_map(|name| Host::new(&name)),
        any::<IpAddr>().prop_map(Host::Ip),
        "/[a-z]{1,8}".prop_map(|path| Host::new(&path)),
    ]
}

prop_compose! {
    fn settings()(
        hosts in proptest::collection::vec((host(), 1u16..), 1..6),
        mode in proptest::sample::select(&MODES[..]),
        random in any::<bool>(),
        direct in any::<bool>(),
    ) -> ConnectionSettings {
        let mut settings = ConnectionSettings::default();
        (settings.host, settings.port) = hosts.into_iter().unzip();
        settings.sslmode = mode;
        if random {
            settings.load_balance_hosts = LoadBalanceHosts::Random;
        }
        if direct {
            settings.sslnegotiation = Negotiation::Direct;
        }
        settings
    }
}

/// Returns the given numbers cyclically.
fn cycle(drawn: &[f64]) -> impl FnMut() -> f64 + '_ {
    let mut next = drawn.iter().copied().cycle();
    move || next.next().unwrap_or_default()
}

fn sorted<T: fmt::Debug>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut texts: Vec<_> = items.into_iter().map(|item| format!("{item:?}")).collect();
    texts.sort_unstable();
    texts
}

proptest! {
    #[test]
    fn hosts_keep_their_order_or_are_shuffled_and_none_is_lost(
        settings in settings(),
        drawn in proptest::collection::vec(0.0..1.0f64, 1..9),
    ) {
        let ordered = targets(&settings, cycle(&drawn));
        prop_assert_eq!(sorted(&ordered), sorted(settings.targets()));
        if settings.load_balance_hosts == LoadBalanceHosts::Disable {
            prop_assert_eq!(ordered, settings.targets());
        }
    }

    #[test]
    fn every_address_is_tried_as_sslmode_says(
        settings in settings(),
        addresses in proptest::collection::vec(any::<IpAddr>(), 0..5),
        drawn in proptest::collection::vec(0.0..1.0f64, 1..9),
    ) {
        let tcp = Address::Tcp(SocketAddr::new([0; 4].into(), 1));
        for target in settings.targets() {
            let made = attempts(&settings, &target, &addresses, cycle(&drawn));
            let named = matches!(lookup(&target), Lookup::Name(_));
            let kinds = |address: &Address| encryptions(&settings, Some(address)).len();
            let expected: usize = match named {
                true => addresses.len() * kinds(&tcp),
                false => made.first().map_or(0, |attempt| kinds(&attempt.address)),
            };
            prop_assert_eq!(made.len(), expected);
            for attempt in &made {
                prop_assert_eq!(&attempt.target, &target);
                let plain = attempt.encryption == Encryption::Plain;
                let local = matches!(attempt.address, Address::Unix(..));
                prop_assert!(!local || plain, "TLS on a Unix socket");
                let may_be_plain = local || settings.sslmode <= SslMode::Prefer;
                prop_assert!(!plain || may_be_plain, "plain under {}", settings.sslmode);
                prop_assert!(plain || settings.sslmode != SslMode::Disable);
            }
            if named && settings.load_balance_hosts == LoadBalanceHosts::Disable {
                let mut tried: Vec<_> = made.iter().filter_map(Attempt::resolved).collect();
                let mut wanted = addresses.clone();
                tried.dedup();
                wanted.dedup();
                prop_assert_eq!(tried, wanted);
            }
        }
    }

    #[test]
    fn shares_never_pass_the_deadline_and_leave_the_rest_theirs(
        millis in 0u64..100_000,
        addresses in 0usize..50,
    ) {
        let now = Instant::now();
        let left = Duration::from_millis(millis);
        let share = share(now, Some(now + left), addresses).expect("there is a deadline");
        prop_assert!(share <= now + left);
        prop_assert!((share - now) * addresses.max(1) as u32 <= left);
        prop_assert!(addresses > 1 || share == now + left);
    }
}

#[test]
fn a_second_kind_of_encryption_is_tried_as_libpq_does() {
    let tls = Encryption::Tls { or_plain: false };
    let prefer = Encryption::Tls { or_plain: true };
    assert!(goes_on(Encryption::Plain, Outcome::Refused), "allow");
    assert!(!goes_on(Encryption::Plain, Outcome::Other));
    assert!(goes_on(prefer, Outcome::NoTls) && goes_on(prefer, Outcome::Refused));
    assert!(!goes_on(prefer, Outcome::Other), "a dead server stays dead");
    for kind in [tls, Encryption::Direct] {
        assert!(!goes_on(kind, Outcome::NoTls) && !goes_on(kind, Outcome::Refused));
    }
}

#[test]
fn every_host_comes_first_some_day() {
    let mut settings = ConnectionSettings::default();
    settings.host = ["a", "b", "c"].map(Host::new).into();
    settings.load_balance_hosts = LoadBalanceHosts::Random;
    let first = |number: f64| targets(&settings, || number)[0].host.to_string();
    let seen: std::collections::BTreeSet<_> = (0..30).map(|n| first(f64::from(n) / 30.0)).collect();
    assert_eq!(seen.len(), 3, "{seen:?}");
}
