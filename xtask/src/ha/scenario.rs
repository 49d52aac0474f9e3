//! What happens to the cluster while the callers write.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::callers::{Callers, Seen};
use super::patroni::Patroni;

/// So that every caller has a session, and has used it.
const WARM_UP: Duration = Duration::from_secs(2);
/// Between a change and the count of what it left, and from the return of the old primary to the end.
const REST: Duration = Duration::from_secs(3);
/// How long a node that is frozen or cut off stays so after another one has taken over: callers
/// that wait for its return show as a longer pause.
const HELD: Duration = Duration::from_secs(10);
/// Between the cut and the operator's answer to it.
const NOTICED: Duration = Duration::from_secs(1);
/// A new session may look at any node for a moment: the lowest of several counts is what stays.
const COUNTS: u32 = 5;

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    event: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Switchover,
    Failover,
    Kill,
    Freeze,
    Cut,
    Restart,
}

pub(crate) const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "switchover",
        event: Event::Switchover,
    },
    Scenario {
        name: "failover",
        event: Event::Failover,
    },
    Scenario {
        name: "kill",
        event: Event::Kill,
    },
    Scenario {
        name: "freeze",
        event: Event::Freeze,
    },
    Scenario {
        name: "cut",
        event: Event::Cut,
    },
    Scenario {
        name: "restart",
        event: Event::Restart,
    },
];

/// What one scenario led to.
pub(crate) struct Outcome {
    pub(crate) seen: Vec<Seen>,
    /// Connections of the callers' program to the old primary, before that came back.
    pub(crate) open: usize,
    /// Sessions that the old primary has afterwards, by type.
    pub(crate) left: BTreeMap<String, u64>,
}

/// The scenarios named, or all.
pub(crate) fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    let find = |name: &String| {
        let known = SCENARIOS.iter().find(|scenario| scenario.name == name);
        known.with_context(|| {
            let names = SCENARIOS.map(|scenario| scenario.name);
            format!("unknown scenario `{name}`: {}", names.join(", "))
        })
    };
    match names {
        [] => Ok(SCENARIOS.iter().collect()),
        names => names.iter().map(find).collect(),
    }
}

impl Scenario {
    pub(crate) fn run(&self, cluster: &Patroni, callers: &mut Callers) -> anyhow::Result<Outcome> {
        let (old, standby) = cluster.until_whole()?;
        callers.begin()?;
        thread::sleep(WARM_UP);
        let open = self.cause(cluster, callers, old, standby)?;
        // What comes back must not disturb them. That it works again takes a while, and nothing of
        // theirs.
        thread::sleep(REST);
        let seen = callers.end()?;
        let (leader, _) = cluster.until_whole()?;
        // Patroni may give the lead back to a node that was frozen.
        let left = match leader == old {
            true => BTreeMap::new(),
            false => sessions(cluster, old)?,
        };
        Ok(Outcome { seen, open, left })
    }

    /// Causes the event and undoes it; returns the connections to the old primary in between.
    fn cause(
        &self,
        cluster: &Patroni,
        callers: &Callers,
        old: usize,
        standby: usize,
    ) -> anyhow::Result<usize> {
        let open_after = |rest| {
            let new = cluster.until_other_leader(old)?;
            ensure!(new != old, "the leader has not changed");
            thread::sleep(rest);
            open(callers, old)
        };
        match self.event {
            Event::Switchover => {
                cluster.switchover(standby)?;
                open_after(REST)
            }
            Event::Failover => {
                cluster.failover(standby)?;
                open_after(REST)
            }
            Event::Kill => {
                cluster.kill_node(old)?;
                let open = open_after(REST)?;
                cluster.start_node(old)?;
                Ok(open)
            }
            Event::Freeze => {
                let frozen = cluster.freeze(old)?;
                let open = open_after(HELD)?;
                drop(frozen);
                Ok(open)
            }
            Event::Cut => {
                let cut = Cut::off(&[Patroni::outer(old), Patroni::readers(old)])?;
                thread::sleep(NOTICED);
                cluster.switchover(standby)?;
                let open = open_after(HELD)?;
                drop(cut);
                Ok(open)
            }
            Event::Restart => {
                cluster.restart(old)?;
                Ok(0)
            }
        }
    }
}

fn open(callers: &Callers, old: usize) -> anyhow::Result<usize> {
    let mut lowest = usize::MAX;
    for _ in 0..COUNTS {
        lowest = lowest.min(callers.connections_to(&Patroni::outer(old))?);
        thread::sleep(Duration::from_millis(100));
    }
    Ok(lowest)
}

/// The callers' sessions at this node, by type.
fn sessions(cluster: &Patroni, node: usize) -> anyhow::Result<BTreeMap<String, u64>> {
    let query = "SELECT substr(application_name, 4), count(*) FROM pg_stat_activity \
                 WHERE application_name LIKE 'ha\\_%' GROUP BY 1";
    let rows = cluster.ask(node, query)?;
    let row = |line: &str| {
        let (kind, count) = line.split_once('|')?;
        Some((kind.to_owned(), count.parse().ok()?))
    };
    let rows: Option<_> = rows.lines().map(row).collect();
    rows.context("psql printed no numbers")
}

/// Packets from and to some addresses are dropped until this is dropped.
struct Cut;

impl Cut {
    fn off(addresses: &[String]) -> anyhow::Result<Self> {
        let hook = "type filter hook output priority 0";
        let set = addresses.join(", ");
        let rules = format!(
            "table ip ha {{ chain cut {{\n{hook}\nip daddr {{ {set} }} drop\nip saddr {{ {set} }} drop\n}}\n}}"
        );
        nft(&rules)?;
        Ok(Self)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Err(error) = nft("delete table ip ha") {
            eprintln!("the cut remains: {error:#}");
        }
    }
}

fn nft(rules: &str) -> anyhow::Result<()> {
    let output = Command::new("nft").arg(rules).output();
    let output = output.context("cannot run `nft`")?;
    ensure!(
        output.status.success(),
        "nft: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_chosen_by_name() {
        assert_eq!(chosen(&[]).unwrap().len(), SCENARIOS.len());
        let two = chosen(&["cut".to_owned(), "kill".to_owned()]).unwrap();
        let names: Vec<_> = two.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names, ["cut", "kill"]);
        let error = chosen(&["kil".to_owned()]).err().unwrap();
        assert!(error.to_string().contains("switchover"), "{error}");
    }
}
