//! What one contestant did in one round, and in all of them.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// One contestant's turns in one round.
pub(crate) struct Round {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    /// The turns of the caller who had fewest, as a share of what each would have had.
    unluckiest: f64,
}

impl Round {
    /// Of the times of each caller's turns, over `span`.
    fn of(turns: &[Vec<Duration>], span: Duration) -> Self {
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

/// What a contestant is.
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

    fn time(&self, of: impl Fn(&Round) -> Duration) -> Duration {
        let seconds = self.rounds.iter().map(|round| of(round).as_secs_f64());
        Duration::from_secs_f64(median(seconds.collect()))
    }

    /// The least of its ratios to `others`, each the median over the rounds of this one's turns
    /// to the other's in the same round.
    ///
    /// Not the ratio to whoever was luckiest in a round: where six differ by chance only, each of
    /// them would have nine tenths of that.
    pub(crate) fn ratio(&self, others: &[&Self]) -> Option<f64> {
        let to = |other: &&Self| {
            let rounds = self.rounds.iter().zip(&other.rounds);
            median(
                rounds
                    .map(|(ours, theirs)| ours.per_second / theirs.per_second)
                    .collect(),
            )
        };
        others.iter().map(to).min_by(f64::total_cmp)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Has `callers` tasks do `work` over and over for `span`; it is given the caller's number.
pub(crate) async fn with_tasks<F>(
    callers: usize,
    span: Duration,
    work: impl Fn(usize) -> F,
) -> anyhow::Result<Round>
where
    F: Future<Output = anyhow::Result<Vec<Duration>>> + Send + 'static,
{
    let tasks: Vec<_> = (0..callers)
        .map(|caller| tokio::spawn(work(caller)))
        .collect();
    let mut turns = Vec::with_capacity(callers);
    for task in tasks {
        turns.push(task.await??);
    }
    Ok(Round::of(&turns, span))
}

/// The same with threads.
pub(crate) fn with_threads(
    callers: usize,
    span: Duration,
    work: impl Fn() -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Round> {
    let together = Arc::new(Barrier::new(callers));
    let turns = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..callers)
            .map(|_| {
                let (together, work) = (Arc::clone(&together), &work);
                scope.spawn(move || {
                    together.wait();
                    let (began, mut turns) = (Instant::now(), Vec::new());
                    while began.elapsed() < span {
                        let turn = Instant::now();
                        work()?;
                        turns.push(turn.elapsed());
                    }
                    Ok::<_, anyhow::Error>(turns)
                })
            })
            .collect();
        let turns = threads.into_iter().map(|thread| thread.join());
        turns
            .map(|joined| joined.map_err(|_| anyhow::anyhow!("a caller panicked"))?)
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    Ok(Round::of(&turns, span))
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
