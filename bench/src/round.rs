//! The results of one contestant in one round, and in all of them.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::switches::Switches;

/// What every contestant does in its turns, and for how long in each round.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    pub(crate) what: &'static str,
    pub(crate) statement: &'static str,
    pub(crate) span: Duration,
}

/// One contestant's turns in one round.
pub(crate) struct Round {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    /// The operations of the caller with the fewest, as a share of an equal distribution.
    unluckiest: f64,
    /// Voluntary and involuntary context switches per turn.
    switches: Option<[f64; 2]>,
}

impl Round {
    /// From the times of each caller's turns, over `span`.
    fn of(turns: &[Vec<Duration>], span: Duration, switches: Option<Switches>) -> Self {
        let mut all: Vec<Duration> = turns.iter().flatten().copied().collect();
        all.sort_unstable();
        let at = |share: f64| {
            let index = (all.len() as f64 * share) as usize;
            all.get(index.min(all.len().saturating_sub(1))).copied()
        };
        let fewest = turns.iter().map(Vec::len).min().unwrap_or(0);
        let fair = all.len() as f64 / turns.len().max(1) as f64;
        Self {
            per_second: all.len() as f64 / span.as_secs_f64(),
            p50: at(0.5).unwrap_or_default(),
            p99: at(0.99).unwrap_or_default(),
            unluckiest: if fair > 0.0 {
                fewest as f64 / fair
            } else {
                0.0
            },
            switches: switches.map(|switches| {
                [switches.voluntary, switches.involuntary]
                    .map(|count| count as f64 / all.len().max(1) as f64)
            }),
        }
    }
}

/// A contestant and its rounds.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    /// Whether it is ours, a peer that ours is compared with, or a bare driver.
    pub(crate) kind: Kind,
    pub(crate) rounds: Vec<Round>,
}

/// The kind of a contestant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Peer,
    Bare,
}

impl Contestant {
    pub(crate) fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            rounds: Vec::new(),
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.per_second).collect())
    }

    pub(crate) fn p50(&self) -> Duration {
        self.time(|round| round.p50)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.time(|round| round.p99)
    }

    pub(crate) fn unluckiest(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.unluckiest).collect())
    }

    /// Voluntary and involuntary context switches per turn, if the system counts them.
    pub(crate) fn switches(&self) -> Option<[f64; 2]> {
        let rounds = self.rounds.iter().map(|round| round.switches);
        let rounds: Vec<_> = rounds.collect::<Option<_>>()?;
        Some([0, 1].map(|which| median(rounds.iter().map(|counts| counts[which]).collect())))
    }

    fn time(&self, of: impl Fn(&Round) -> Duration) -> Duration {
        let seconds = self.rounds.iter().map(|round| of(round).as_secs_f64());
        Duration::from_secs_f64(median(seconds.collect()))
    }

    /// The lowest of its ratios to `others`; each ratio is the median, over the rounds, of its
    /// turns to the other's in the same round.
    ///
    /// A ratio to the fastest of each round would be biased: if six contestants differ only by
    /// chance, each of them would get 0.9.
    pub(crate) fn ratio(&self, others: &[&Self]) -> Option<f64> {
        let to = |other: &&Self| median(self.ratios(other));
        others.iter().map(to).min_by(f64::total_cmp)
    }

    /// The lower quartile, the median and the upper quartile of the rounds' ratios to `other`.
    pub(crate) fn quartiles(&self, other: &Self) -> [f64; 3] {
        let mut ratios = self.ratios(other);
        ratios.sort_unstable_by(f64::total_cmp);
        let last = ratios.len().saturating_sub(1);
        [1, 2, 3].map(|quarter| ratios.get(last * quarter / 4).copied().unwrap_or(0.0))
    }

    fn ratios(&self, other: &Self) -> Vec<f64> {
        let rounds = self.rounds.iter().zip(&other.rounds);
        rounds
            .map(|(ours, theirs)| ours.per_second / theirs.per_second)
            .collect()
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Runs `work` in `callers` tasks, over and over for `span`; it receives the caller's number.
pub(crate) async fn with_tasks<F>(
    callers: usize,
    span: Duration,
    work: impl Fn(usize) -> F,
) -> anyhow::Result<Round>
where
    F: Future<Output = anyhow::Result<Vec<Duration>>> + Send + 'static,
{
    let here = Handle::current();
    with_tasks_in(std::slice::from_ref(&here), callers, span, work).await
}

/// The same in these runtimes, in rotation.
pub(crate) async fn with_tasks_in<F>(
    runtimes: &[Handle],
    callers: usize,
    span: Duration,
    work: impl Fn(usize) -> F,
) -> anyhow::Result<Round>
where
    F: Future<Output = anyhow::Result<Vec<Duration>>> + Send + 'static,
{
    let before = Switches::of_process();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| runtimes[caller % runtimes.len()].spawn(work(caller)))
        .collect();
    let mut turns = Vec::with_capacity(callers);
    for task in tasks {
        turns.push(task.await??);
    }
    let after = Switches::of_process();
    let switches = after.zip(before).map(|(after, before)| after - before);
    Ok(Round::of(&turns, span, switches))
}

/// The same with threads.
pub(crate) fn with_threads(
    callers: usize,
    span: Duration,
    work: impl Fn() -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Round> {
    let together = Arc::new(Barrier::new(callers));
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..callers)
            .map(|_| {
                let (together, work) = (Arc::clone(&together), &work);
                scope.spawn(move || {
                    together.wait();
                    let before = Switches::of_thread();
                    let (began, mut turns) = (Instant::now(), Vec::new());
                    while began.elapsed() < span {
                        let turn = Instant::now();
                        work()?;
                        turns.push(turn.elapsed());
                    }
                    let after = Switches::of_thread();
                    let switches = after.zip(before).map(|(after, before)| after - before);
                    Ok::<_, anyhow::Error>((turns, switches))
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|joined| joined.map_err(|_| anyhow::anyhow!("a caller panicked"))?)
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    let (turns, switches): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    Ok(Round::of(&turns, span, switches.into_iter().sum()))
}

/// One task's turns: `$work`, an expression that is awaited, over and over for `$span`.
macro_rules! turns {
    ($span:expr, $work:expr) => {
        async move {
            let (began, mut turns) = (std::time::Instant::now(), Vec::new());
            while began.elapsed() < $span {
                let turn = std::time::Instant::now();
                $work;
                turns.push(turn.elapsed());
            }
            anyhow::Ok(turns)
        }
    };
}

pub(crate) use turns;
