//! A computation that suspends after each output and continues on request.
//!
//! The driver's iterators borrow the client. An iterator that owns its session would have to borrow
//! from itself, which safe code can express only as an async block. Such a block waits for nothing
//! but the next `resume`, so a no-op waker is enough.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Takes an `I` and yields an `O` at each step, and ends with an `R`.
pub(crate) struct Coroutine<'a, I, O, R> {
    body: Pin<Box<dyn Future<Output = R> + Send + 'a>>,
    slots: Arc<Mutex<Slots<I, O>>>,
}

struct Slots<I, O> {
    input: Option<I>,
    output: Option<O>,
}

/// The result of one step.
pub(crate) enum Turn<O, R> {
    Gave(O),
    Ended(R),
}

/// The side of the async block.
pub(crate) struct Yielder<I, O>(Arc<Mutex<Slots<I, O>>>);

impl<'a, I: Send, O: Send, R> Coroutine<'a, I, O, R> {
    pub(crate) fn new<B>(body: impl FnOnce(Yielder<I, O>) -> B) -> Self
    where
        B: Future<Output = R> + Send + 'a,
    {
        let slots = Arc::new(Mutex::new(Slots {
            input: None,
            output: None,
        }));
        let body = Box::pin(body(Yielder(Arc::clone(&slots))));
        Self { body, slots }
    }

    /// Runs the first step, which takes no input.
    pub(crate) fn start(&mut self) -> Turn<O, R> {
        match self
            .body
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(result) => Turn::Ended(result),
            Poll::Pending => {
                let output = locked(&self.slots).output.take();
                Turn::Gave(output.expect("a body stops only to give something"))
            }
        }
    }

    /// Runs another step. Must not be called after the end.
    pub(crate) fn resume(&mut self, input: I) -> Turn<O, R> {
        locked(&self.slots).input = Some(input);
        self.start()
    }
}

impl<I, O> Yielder<I, O> {
    /// Yields `output` and suspends; returns the input of the next step.
    pub(crate) async fn give(&self, output: O) -> I {
        locked(&self.0).output = Some(output);
        let mut stopped = false;
        poll_fn(|_| match std::mem::replace(&mut stopped, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        let input = locked(&self.0).input.take();
        input.expect("each turn but the first has an input")
    }
}

fn locked<I, O>(slots: &Mutex<Slots<I, O>>) -> MutexGuard<'_, Slots<I, O>> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_alternate_and_the_body_owns_what_it_borrows() {
        let owned = [1, 2, 3];
        let mut sums = Coroutine::new(|yielder| async move {
            let mut add = yielder.give(0).await;
            for number in &owned {
                add = yielder.give(number + add).await;
            }
            "over"
        });
        assert!(matches!(sums.start(), Turn::Gave(0)));
        for (add, expected) in [(10, 11), (20, 22), (30, 33)] {
            assert!(matches!(sums.resume(add), Turn::Gave(sum) if sum == expected));
        }
        assert!(matches!(sums.resume(0), Turn::Ended("over")));
    }
}
