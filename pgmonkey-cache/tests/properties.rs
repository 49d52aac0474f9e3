//! Property tests: any sequence of operations behaves as on a plain map.

use std::collections::BTreeMap;

use pgmonkey_cache::{Cache, Replaced};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Operation {
    Get(u8),
    Build(u8),
    Fail(u8),
    Panic(u8),
    Replace(u8),
    /// Renews the value if its number is odd.
    Renew(u8),
    ReplaceFail(u8),
    Remove(u8),
    Clear,
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = || 0..4u8;
    prop_oneof![
        3 => key().prop_map(Operation::Get),
        4 => key().prop_map(Operation::Build),
        2 => key().prop_map(Operation::Fail),
        1 => key().prop_map(Operation::Panic),
        2 => key().prop_map(Operation::Replace),
        2 => key().prop_map(Operation::Renew),
        1 => key().prop_map(Operation::ReplaceFail),
        2 => key().prop_map(Operation::Remove),
        1 => Just(Operation::Clear),
    ]
}

/// The cache, the expected contents of a plain map (value and hits), and the number of the next
/// build.
#[derive(Default)]
struct World {
    cache: Cache<u8, u32, u32>,
    model: BTreeMap<u8, (u32, u64)>,
    next: u32,
}

impl World {
    /// Returns the model's value for `key` and counts a hit.
    fn hit(&mut self, key: u8) -> Option<u32> {
        self.model.get_mut(&key).map(|(value, hits)| {
            *hits += 1;
            *value
        })
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn apply(&mut self, operation: &Operation, tasks: bool) -> Result<(), TestCaseError> {
        let number = self.number();
        match *operation {
            Operation::Get(key) => prop_assert_eq!(self.cache.get(&key), self.hit(key)),
            Operation::Build(key) => self.get_or_build(key, tasks, Ok(number))?,
            Operation::Fail(key) => self.get_or_build(key, tasks, Err(number))?,
            Operation::Panic(key) => {
                let attempt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    self.cache
                        .get_or_try_init(&key, || std::panic::resume_unwind(Box::new(())))
                }));
                prop_assert_eq!(attempt.ok(), self.hit(key).map(Ok));
            }
            Operation::Replace(key) => {
                let old = self.model.insert(key, (number, 0)).map(|(value, _)| value);
                let got = self.replace(key, tasks, Ok(number));
                prop_assert_eq!(got, Ok(Replaced { new: number, old }));
            }
            Operation::Renew(key) => {
                let fresh = self
                    .model
                    .get(&key)
                    .is_some_and(|(value, _)| value % 2 == 0);
                let expected = if fresh {
                    let new = self.hit(key).expect("it is there");
                    Replaced { new, old: None }
                } else {
                    let old = self.model.insert(key, (number, 0));
                    Replaced {
                        new: number,
                        old: old.map(|(value, _)| value),
                    }
                };
                let got = self
                    .cache
                    .get_or_try_renew(&key, |value| value % 2 == 1, || Ok(number));
                prop_assert_eq!(got, Ok(expected));
            }
            Operation::ReplaceFail(key) => {
                prop_assert_eq!(self.replace(key, tasks, Err(number)), Err(number));
            }
            Operation::Remove(key) => {
                let expected = self.model.remove(&key).map(|(value, _)| value);
                prop_assert_eq!(self.cache.remove(&key), expected);
            }
            Operation::Clear => {
                let mut got = self.cache.clear();
                got.sort_unstable();
                let expected = std::mem::take(&mut self.model).into_iter();
                let expected: Vec<_> = expected.map(|(key, (value, _))| (key, value)).collect();
                prop_assert_eq!(got, expected);
            }
        }
        self.compare()
    }

    fn get_or_build(
        &mut self,
        key: u8,
        tasks: bool,
        outcome: Result<u32, u32>,
    ) -> Result<(), TestCaseError> {
        let expected = self.hit(key);
        let mut built = false;
        let build = || {
            built = true;
            outcome
        };
        let got = if tasks {
            get_async(&self.cache, key, build)
        } else {
            self.cache.get_or_try_init(&key, build)
        };
        prop_assert_eq!(built, expected.is_none());
        prop_assert_eq!(got, expected.map_or(outcome, Ok));
        if let (true, Ok(value)) = (built, outcome) {
            self.model.insert(key, (value, 0));
        }
        Ok(())
    }

    fn replace(
        &self,
        key: u8,
        tasks: bool,
        outcome: Result<u32, u32>,
    ) -> Result<Replaced<u32>, u32> {
        if tasks {
            replace_async(&self.cache, key, outcome)
        } else {
            self.cache.replace(&key, || outcome)
        }
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let entries = self.cache.entries().into_iter();
        let entries: BTreeMap<_, _> = entries
            .map(|entry| (entry.key, (entry.value, entry.hits)))
            .collect();
        prop_assert_eq!(&entries, &self.model);
        prop_assert_eq!(self.cache.len(), self.model.len());
        prop_assert_eq!(self.cache.is_empty(), self.model.is_empty());
        Ok(())
    }
}

#[cfg(feature = "async")]
fn get_async(
    cache: &Cache<u8, u32, u32>,
    key: u8,
    build: impl FnOnce() -> Result<u32, u32>,
) -> Result<u32, u32> {
    let build = || async { build() };
    run_at_once(cache.get_or_try_init_async(&key, build))
}

#[cfg(feature = "async")]
fn replace_async(
    cache: &Cache<u8, u32, u32>,
    key: u8,
    outcome: Result<u32, u32>,
) -> Result<Replaced<u32>, u32> {
    run_at_once(cache.replace_async(&key, || async { outcome }))
}

/// A lone caller never waits, so a single poll completes the future.
#[cfg(feature = "async")]
fn run_at_once<F: Future>(future: F) -> F::Output {
    use std::task::{Context, Poll, Waker};
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a lone caller had to wait"),
    }
}

#[cfg(not(feature = "async"))]
fn get_async(
    cache: &Cache<u8, u32, u32>,
    key: u8,
    build: impl FnOnce() -> Result<u32, u32>,
) -> Result<u32, u32> {
    cache.get_or_try_init(&key, build)
}

#[cfg(not(feature = "async"))]
fn replace_async(
    cache: &Cache<u8, u32, u32>,
    key: u8,
    outcome: Result<u32, u32>,
) -> Result<Replaced<u32>, u32> {
    cache.replace(&key, || outcome)
}

proptest! {
    #[test]
    fn any_sequence_behaves_as_on_a_plain_map(
        operations in proptest::collection::vec((operation(), any::<bool>()), 0..60),
    ) {
        let mut world = World::default();
        for (operation, tasks) in operations {
            world.apply(&operation, tasks)?;
        }
    }
}
