//! The task that drives one session's connection, and what is known of its turns.
//!
//! A future that is dropped right after its first poll leaves a request in the driver's queue
//! that no byte on the wire tells of yet. What tells is that the task was woken for it and had
//! no turn since.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use pgmonkey_connect::events;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedSender;
use tokio_postgres::{AsyncMessage, Connection, Notification};

/// What is known of a driver's turns. Reading it costs two loads.
///
/// Whoever makes a request puts it into the driver's queue, sets `woken`, and only then wakes the
/// task. A turn sets `running` and takes `woken` away before it looks at the queue: who finds
/// `woken` gone sees `running` set by that turn, or, once it is gone too, all that the turn did.
#[derive(Debug)]
pub(crate) struct Turns {
    woken: AtomicBool,
    running: AtomicBool,
}

impl Default for Turns {
    /// Before its first turn a driver hears of nothing: it counts as woken from the start.
    fn default() -> Self {
        Self {
            woken: AtomicBool::new(true),
            running: AtomicBool::new(false),
        }
    }
}

impl Turns {
    /// Whether the driver has had a turn since it was last woken, and is through with it: then
    /// every request made so far is on the wire, and the observer has counted it.
    pub(crate) fn at_rest(&self) -> bool {
        !self.woken.load(Ordering::SeqCst) && !self.running.load(Ordering::SeqCst)
    }

    /// As [`at_rest`](Self::at_rest), with the patience for the end of a turn on another thread:
    /// the borrower goes on as soon as his answer is handed over, a moment before the turn ends.
    pub(crate) fn comes_to_rest(&self) -> bool {
        for _ in 0..64 {
            if self.woken.load(Ordering::SeqCst) || self.at_rest() {
                break;
            }
            std::hint::spin_loop();
        }
        self.at_rest()
    }
}

/// Spawns the task that drives `connection`; it ends with the session.
pub(crate) fn spawn<C>(connection: C) -> Arc<Turns>
where
    C: Future + Send + Unpin + 'static,
{
    let turns = Arc::new(Turns::default());
    let driver = Driver {
        connection,
        turns: Arc::clone(&turns),
        waker: None,
    };
    tokio::spawn(driver);
    turns
}

/// Where a listener's notifications go, and in the end why there are no more.
pub(crate) type Inbox = UnboundedSender<Result<Notification, tokio_postgres::Error>>;

/// Spawns the task that drives `connection` of the handle called `name`, and hands its
/// notifications on if there is an inbox for them.
pub(crate) fn spawn_for<S, T>(
    connection: Connection<S, T>,
    name: &Arc<str>,
    inbox: Option<&Inbox>,
) -> Arc<Turns>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    spawn(Forwarding {
        connection,
        name: Arc::clone(name),
        inbox: inbox.cloned(),
    })
}

/// A connection whose notifications somebody may want, and whose notices are logged here: the
/// driver would log them as they come. The inbox closes with it.
struct Forwarding<S, T> {
    connection: Connection<S, T>,
    name: Arc<str>,
    inbox: Option<Inbox>,
}

impl<S, T> Future for Forwarding<S, T>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let item = match ready!(self.connection.poll_message(cx)) {
                Some(Ok(AsyncMessage::Notification(notification))) => Ok(notification),
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    events::noticed(&self.name, &notice);
                    continue;
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => Err(error),
                None => return Poll::Ready(()),
            };
            let is_end = item.is_err();
            // Nobody there to hear it: the session ends as soon as its client is dropped.
            if let Some(inbox) = &self.inbox {
                let _ = inbox.send(item);
            }
            if is_end {
                return Poll::Ready(());
            }
        }
    }
}

struct Driver<C> {
    connection: C,
    turns: Arc<Turns>,
    /// The runtime's waker and ours around it: the same ones turn after turn.
    waker: Option<(Waker, Waker)>,
}

impl<C: Future + Unpin> Future for Driver<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let ours = match &this.waker {
            Some((outer, ours)) if outer.will_wake(cx.waker()) => ours,
            _ => &this.waker.insert(wrap(cx.waker(), &this.turns)).1,
        };
        // In this order: a reader in between sees a turn under way, never rest. The swap keeps
        // the look at the queue behind it.
        this.turns.running.store(true, Ordering::Relaxed);
        this.turns.woken.swap(false, Ordering::SeqCst);
        let ended = Pin::new(&mut this.connection).poll(&mut Context::from_waker(ours));
        this.turns.running.store(false, Ordering::Release);
        ended.map(drop)
    }
}

fn wrap(outer: &Waker, turns: &Arc<Turns>) -> (Waker, Waker) {
    let wakeup = Wakeup {
        outer: outer.clone(),
        turns: Arc::clone(turns),
    };
    (outer.clone(), Waker::from(Arc::new(wakeup)))
}

struct Wakeup {
    outer: Waker,
    turns: Arc<Turns>,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.turns.woken.store(true, Ordering::Release);
        self.outer.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A connection that only keeps its waker.
    struct Idle(Arc<Mutex<Option<Waker>>>);

    impl Future for Idle {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            *self.0.lock().expect("one thread") = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_driver_that_was_woken_is_not_at_rest_until_it_had_its_turn() {
        let waker = Arc::new(Mutex::new(None));
        let turns = spawn(Idle(Arc::clone(&waker)));
        assert!(!turns.at_rest(), "before its first turn");
        tokio::task::yield_now().await;
        assert!(turns.at_rest());
        let wake = waker.lock().expect("one thread").take().expect("polled");
        wake.wake();
        assert!(!turns.at_rest() && !turns.comes_to_rest());
        tokio::task::yield_now().await;
        assert!(turns.at_rest());
    }
}
