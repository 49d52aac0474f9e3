//! The task that drives one session's connection, and what is known about its activity.
//!
//! A future that is dropped right after its first poll leaves a request in the driver's queue that
//! no byte on the wire shows yet. What shows it is that the task was woken for it and has not run
//! since.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use pgmonkey_connect::notices::Notices;
use pgmonkey_connect::pool::Permit;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedSender;
use tokio_postgres::{AsyncMessage, Connection, Notification};

/// The activity of a driver's task. Reading it costs two loads.
///
/// A request is put into the driver's queue; then `woken` is set, and only then is the task woken.
/// A poll sets `running` and clears `woken` before it looks at the queue. A reader that finds
/// `woken` cleared therefore sees `running` set by that poll or, once `running` is cleared too,
/// everything that the poll did.
#[derive(Debug)]
pub(crate) struct DriverActivity {
    woken: AtomicBool,
    running: AtomicBool,
    /// Whether the task was dropped before its connection had ended.
    cut_off: AtomicBool,
    /// The session's part of a budget, until its socket is closed.
    permit: Mutex<Option<Permit>>,
}

impl Default for DriverActivity {
    /// Counts as woken from the start: before its first poll, a driver does not notice requests.
    fn default() -> Self {
        Self {
            woken: AtomicBool::new(true),
            running: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            permit: Mutex::new(None),
        }
    }
}

impl DriverActivity {
    /// Whether the driver has run since it was last woken, and has finished: then every request
    /// made so far is on the wire, and the observer has counted it.
    pub(crate) fn is_idle(&self) -> bool {
        !self.woken.load(Ordering::SeqCst) && !self.running.load(Ordering::SeqCst)
    }

    /// Keeps the permit until the task has ended.
    pub(crate) fn keep(&self, permit: Option<Permit>) {
        *self.permit() = permit;
    }

    fn permit(&self) -> MutexGuard<'_, Option<Permit>> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the runtime that the driver lived in has ended.
    pub(crate) fn was_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// As [`is_idle`](Self::is_idle), but waits briefly for the end of a poll on another thread: a
    /// caller continues as soon as its answer is handed over, a moment before that poll ends.
    pub(crate) fn spin_until_idle(&self) -> bool {
        for _ in 0..64 {
            if self.woken.load(Ordering::SeqCst) || self.is_idle() {
                break;
            }
            std::hint::spin_loop();
        }
        self.is_idle()
    }
}

/// Spawns the task that drives `connection`; it ends with the session.
pub(crate) fn spawn<C>(connection: C) -> Arc<DriverActivity>
where
    C: Future + Send + Unpin + 'static,
{
    let activity = Arc::new(DriverActivity::default());
    let driver = Driver {
        connection,
        activity: Arc::clone(&activity),
        waker: None,
        over: false,
    };
    tokio::spawn(driver);
    activity
}

/// Where a listener's notifications go, followed by the reason why no more will arrive.
pub(crate) type Inbox = UnboundedSender<Result<Notification, tokio_postgres::Error>>;

/// Spawns the task that drives `connection`, reports its notices, and forwards its notifications if
/// there is an inbox.
pub(crate) fn spawn_for<S, T>(
    connection: Connection<S, T>,
    notices: &Arc<Notices>,
    inbox: Option<&Inbox>,
) -> Arc<DriverActivity>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    spawn(Forwarding {
        connection,
        notices: Arc::clone(notices),
        inbox: inbox.cloned(),
    })
}

/// A connection that forwards notifications and reports notices here, because the driver would log
/// them as they arrive. The inbox closes with it.
struct Forwarding<S, T> {
    connection: Connection<S, T>,
    notices: Arc<Notices>,
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
                    self.notices.received(&notice);
                    continue;
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => Err(error),
                None => return Poll::Ready(()),
            };
            let is_end = item.is_err();
            // If the receiver is gone, the session ends as soon as its client is dropped.
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
    activity: Arc<DriverActivity>,
    /// The runtime's waker and our wrapper around it, kept from one poll to the next.
    waker: Option<(Waker, Waker)>,
    over: bool,
}

impl<C: Future + Unpin> Future for Driver<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let ours = match &this.waker {
            Some((outer, ours)) if outer.will_wake(cx.waker()) => ours,
            _ => &this.waker.insert(wrap(cx.waker(), &this.activity)).1,
        };
        // In this order, a reader in between sees a poll under way, never an idle driver. The swap
        // keeps the look at the queue after it.
        this.activity.running.store(true, Ordering::Relaxed);
        this.activity.woken.swap(false, Ordering::SeqCst);
        let ended = Pin::new(&mut this.connection).poll(&mut Context::from_waker(ours));
        this.activity.running.store(false, Ordering::Release);
        this.over = ended.is_ready();
        ended.map(drop)
    }
}

impl<C> Drop for Driver<C> {
    fn drop(&mut self) {
        if !self.over {
            self.activity.cut_off.store(true, Ordering::Relaxed);
        }
        let permit = self.activity.permit().take();
        drop(permit);
    }
}

fn wrap(outer: &Waker, activity: &Arc<DriverActivity>) -> (Waker, Waker) {
    let wakeup = Wakeup {
        outer: outer.clone(),
        activity: Arc::clone(activity),
    };
    (outer.clone(), Waker::from(Arc::new(wakeup)))
}

struct Wakeup {
    outer: Waker,
    activity: Arc<DriverActivity>,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.activity.woken.store(true, Ordering::Release);
        self.outer.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn a_driver_that_was_woken_is_busy_until_it_was_polled() {
        let waker = Arc::new(Mutex::new(None));
        let activity = spawn(Idle(Arc::clone(&waker)));
        assert!(!activity.is_idle(), "before its first turn");
        tokio::task::yield_now().await;
        assert!(activity.is_idle());
        let wake = waker.lock().expect("one thread").take().expect("polled");
        wake.wake();
        assert!(!activity.is_idle() && !activity.spin_until_idle());
        tokio::task::yield_now().await;
        assert!(activity.is_idle());
    }
}
