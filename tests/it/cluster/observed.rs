//! What is reported about standbys: events, metrics, and what OpenTelemetry receives.

use std::collections::{BTreeMap, BTreeSet};

use metrics_util::debugging::DebugValue;
use pgmonkey_connect::events;

use super::*;
use crate::exported::{self, Point, compare_exported, exported_of};
use crate::observation::{self, Recorded, compare_recorded, recorded_of, table, told_of, words};

const LAG: &str = "pgmonkey.standby.lag";
const USED: &str = "pgmonkey.standby.used";

/// Opens a cluster whose readers are both used, then not the first one, then both again.
macro_rules! one_goes_and_comes_back {
    ($servers:ident, $driver:ident, $go:ident, $while_away:expr) => {{
        let cluster = $go!($driver::Cluster::new(&$servers.config(SIZES)))?;
        let guards = [
            $go!(cluster.reader().acquire())?,
            $go!(cluster.reader().acquire())?,
        ];
        let is_out = || cluster.status().standbys[0].unused.is_some();
        $servers.standbys[0].stop(StopMode::Immediate)?;
        until("it is away", is_out);
        $while_away(&cluster.reader().target());
        $servers.standbys[0].start_again()?;
        until("it is back", || !is_out());
        drop(guards);
        cluster
    }};
}

twin! {
    fn what_is_told_is_what_the_book_says(on, driver, go, work) {
        drop(on);
        observation::record();
        let servers = Servers::start();
        let cluster = one_goes_and_comes_back!(servers, driver, go, |_: &str| {});
        let told = told_of(&cluster.reader().target()).into_iter();
        let told: Vec<_> = told.filter(|told| told.name() == events::STANDBY).collect();
        let rows = table("cluster event");
        let [row] = &rows[..] else {
            panic!("another event of clusters is compared with nothing: {rows:?}");
        };
        assert_eq!(row[0], format!("`{}`", events::STANDBY));
        let host = servers.standbys[0].endpoint();
        let host = format!("{}:{}", host.host(), host.port());
        for told in &told {
            assert_eq!(told.declared(), words(&row[2]), "{told:?}");
            assert_eq!((told.get("event"), told.get("host")), (events::STANDBY, &*host));
            assert!(told.get("message").starts_with(&host), "{told:?}");
        }
        let levels: BTreeSet<_> = told.iter().map(|told| told.level().to_owned()).collect();
        assert_eq!(levels, words(&row[1]));
        let outcomes: Vec<_> = told.iter().map(|told| told.get("outcome")).collect();
        assert_eq!(outcomes, ["unused", "used"], "{told:?}");
        assert!(told[1].get("lag_seconds").parse::<f64>().is_ok_and(|lag| lag >= 0.0), "{told:?}");
        Ok(())
    }
}

/// What was recorded about standbys.
fn of_standbys(name: &str) -> Recorded {
    let recorded = recorded_of(name).into_iter();
    let is_it = |name: &str| name.starts_with("pgmonkey.standby");
    recorded.filter(|((name, _), _)| is_it(name)).collect()
}

/// The values of the gauge, by the port of the standby.
fn used(recorded: &Recorded) -> BTreeMap<String, f64> {
    let gauges = recorded.iter().filter(|((name, _), _)| name == USED);
    gauges
        .map(|((_, labels), (.., value))| match value {
            DebugValue::Gauge(value) => (labels["server.port"].clone(), value.into_inner()),
            other => panic!("{other:?}"),
        })
        .collect()
}

twin! {
    fn what_is_measured_is_what_the_book_says(on, driver, go, work) {
        drop(on);
        observation::metrics();
        let servers = Servers::start();
        let [first, second] = servers.standbys.each_ref().map(|one| one.port().to_string());
        let mut before = BTreeMap::new();
        let cluster = one_goes_and_comes_back!(servers, driver, go, |name: &str| {
            before = used(&of_standbys(name));
        });
        assert_eq!(before, BTreeMap::from([(first.clone(), 0.0), (second.clone(), 1.0)]));
        let recorded = of_standbys(&cluster.reader().target());
        compare_recorded(&recorded, &table("cluster metric"));
        // Each call takes what was recorded since the last one.
        assert_eq!(used(&recorded), BTreeMap::from([(first, 1.0), (second, 0.0)]));
        for ((name, labels), (.., value)) in recorded.iter().filter(|((name, _), _)| name == LAG) {
            let DebugValue::Histogram(lags) = value else {
                panic!("{name}: {value:?}");
            };
            assert!(!lags.is_empty() && lags.iter().all(|lag| lag.into_inner() >= 0.0), "{labels:?}: {lags:?}");
        }
        Ok(())
    }
}

twin! {
    fn otel_receives_what_the_book_says(on, driver, go, work) {
        drop(on);
        exported::provider();
        let servers = Servers::start();
        let all = |name: &str| {
            let mut exported = exported_of(name);
            exported.retain(|name, _| name.starts_with("pgmonkey.standby"));
            exported
        };
        let used = |exported: &BTreeMap<String, Vec<Point>>| -> BTreeMap<String, f64> {
            let points = exported[USED].iter();
            points.map(|point| (point.attributes["server.port"].clone(), point.value)).collect()
        };
        let [first, second] = servers.standbys.each_ref().map(|one| one.port().to_string());
        let mut before = BTreeMap::new();
        let cluster = one_goes_and_comes_back!(servers, driver, go, |name: &str| {
            before = used(&all(name));
        });
        assert_eq!(before, BTreeMap::from([(first.clone(), 0.0), (second.clone(), 1.0)]));
        let exported = all(&cluster.reader().target());
        compare_exported(&exported, &table("cluster metric"));
        assert_eq!(used(&exported), BTreeMap::from([(first, 1.0), (second, 1.0)]));
        Ok(())
    }
}
