//! A TCP proxy on the loopback address that disturbs connections on demand.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

mod link;
mod tripwire;

use link::Link;
pub use tripwire::At;
use tripwire::Tripwire;

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both sides see an orderly end of the stream (FIN).
    Fin,
    /// The client sees a reset (RST), as when a firewall has dropped the connection or the server's
    /// machine was restarted: at once if it has sent bytes that were not forwarded, otherwise as
    /// soon as it sends some.
    Rst,
    /// The client sees an orderly end of the server's stream and may continue to send: the
    /// connection stays open until the client closes it.
    HalfClose,
}

/// Forwards TCP connections to a server, and disturbs them on demand.
///
/// Settings apply to open and new connections; cutting affects only the open ones. Dropping the
/// proxy cuts them all.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use pgmonkey_testserver::{Cut, Proxy};
///
/// let server = TcpListener::bind("127.0.0.1:0")?;
/// let proxy = Proxy::to(server.local_addr()?)?;
/// let mut client = TcpStream::connect(proxy.addr())?;
/// let (mut session, _) = server.accept()?;
/// session.write_all(b"hello")?;
/// client.read_exact(&mut [0; 5])?;
///
/// proxy.cut(Cut::Fin);
/// assert_eq!(client.read(&mut [0; 5])?, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards connections to `server`.
    ///
    /// # Errors
    ///
    /// When `server` does not resolve, or the proxy cannot listen.
    pub fn to(server: impl ToSocketAddrs) -> io::Result<Self> {
        Self::behind(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, server)
    }

    /// Accepts connections from `listener` and forwards them to `server`.
    ///
    /// # Errors
    ///
    /// When `server` does not resolve, or the listener has no address.
    pub fn behind(listener: TcpListener, server: impl ToSocketAddrs) -> io::Result<Self> {
        let target = server
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::other("the server's name has no address"))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, target, &shared))
        };
        Ok(Self {
            addr,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// The address clients connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The port clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Stops forwarding data in both directions. New connections are still accepted, but not
    /// forwarded to the server.
    pub fn stall(&self) {
        self.shared.gate().stalled = true;
    }

    /// Undoes [`stall`](Self::stall): data held back is forwarded.
    pub fn resume(&self) {
        self.shared.gate().stalled = false;
        self.shared.changed.notify_all();
    }

    /// Waits this long before forwarding each piece of data, in either direction. Zero, the
    /// default, means no wait.
    pub fn delay(&self, pause: Duration) {
        self.shared.gate().delay = pause;
    }

    /// Forwards the server's data on the open connections one byte at a time, with this pause
    /// before each byte; zero turns it off. New connections are not slowed down.
    pub fn trickle(&self, pause: Duration) {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        for link in self.shared.links() {
            link.trickle.store(pause, Ordering::SeqCst);
        }
    }

    /// Cuts the open connections; new ones are forwarded.
    pub fn cut(&self, how: Cut) {
        for link in self.shared.links() {
            link.cut(how);
        }
        // Under the lock, so that a thread between its check and its wait does not miss it.
        let _gate = self.shared.gate();
        self.shared.changed.notify_all();
    }

    /// Calls `action` whenever a client sends `text` in one piece, and cuts its connection as the
    /// action says: before or right after the piece is forwarded. Replaces the action set before.
    ///
    /// # Panics
    ///
    /// If `text` is empty.
    pub fn on_text(
        &self,
        text: &[u8],
        at: At,
        action: impl Fn() -> Option<Cut> + Send + Sync + 'static,
    ) {
        assert!(!text.is_empty(), "every piece would contain it");
        self.shared.gate().tripwire = Some(Tripwire::new(text, at, action));
    }

    /// Undoes [`on_text`](Self::on_text).
    pub fn forget_text(&self) {
        self.shared.gate().tripwire = None;
    }

    /// Round trips so far, over all connections: how often a client has sent something after the
    /// server had, or for the first time. What is pipelined is one round trip.
    #[must_use]
    pub fn round_trips(&self) -> usize {
        self.shared.round_trips.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now, without those that were cut.
    #[must_use]
    pub fn connections(&self) -> usize {
        let links = self.shared.links();
        links.iter().filter(|link| !link.is_cut()).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // Wakes the acceptor; if this fails, its socket is closed and the acceptor has ended.
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.cut(Cut::Fin);
    }
}

#[derive(Debug, Default)]
struct Shared {
    gate: Mutex<Gate>,
    changed: Condvar,
    links: Mutex<HashMap<usize, Weak<Link>>>,
    accepted: AtomicUsize,
    round_trips: AtomicUsize,
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct Gate {
    stalled: bool,
    delay: Duration,
    tripwire: Option<Tripwire>,
}

impl Shared {
    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> Vec<Arc<Link>> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, link| link.strong_count() > 0);
        links.values().filter_map(Weak::upgrade).collect()
    }

    fn register(&self, link: &Arc<Link>) {
        let number = self.accepted.fetch_add(1, Ordering::SeqCst);
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.insert(number, Arc::downgrade(link));
    }

    /// Writes data to one side of a link, with the fault that it calls for.
    fn forward(&self, link: &Link, mut to: &TcpStream, data: &[u8]) -> io::Result<()> {
        self.count(link, !std::ptr::eq(to, &link.client));
        let cut_off = || Err(io::ErrorKind::ConnectionAborted.into());
        if std::ptr::eq(to, &link.client) {
            // An answer must not overtake the fault.
            let _faultless = link.fault();
            return match link.is_cut() {
                true => cut_off(),
                false => to.write_all(data),
            };
        }
        let tripwire = self.gate().tripwire.clone();
        let touched = tripwire.and_then(|wire| wire.touched_by(data).map(|at| (wire, at)));
        let Some((tripwire, at)) = touched else {
            return to.write_all(data);
        };
        let _fault = link.fault();
        if at == At::After {
            to.write_all(data)?;
        }
        match (tripwire.act(), at) {
            (Some(how), At::Before) => {
                link.cut(how);
                cut_off()
            }
            (None, At::Before) => to.write_all(data),
            (how, At::After) => {
                if let Some(how) = how {
                    link.cut(how);
                }
                Ok(())
            }
        }
    }

    /// Counts a round trip if data from the client is the first since the server's. Called before it
    /// is forwarded, so that the other direction comes after it.
    fn count(&self, link: &Link, from_client: bool) {
        if link.answered.swap(!from_client, Ordering::SeqCst) && from_client {
            self.round_trips.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until data may pass on this link; returns false if the link was cut meanwhile.
    fn pass(&self, link: &Link) -> bool {
        let mut gate = self.gate();
        while gate.stalled && !link.is_cut() {
            gate = self
                .changed
                .wait(gate)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let delay = gate.delay;
        drop(gate);
        thread::sleep(delay);
        !link.is_cut()
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let link = Arc::new(Link::new(client));
        shared.register(&link);
        let shared = Arc::clone(shared);
        thread::spawn(move || serve(&link, target, &shared));
    }
}

/// Serves one client. If the server refuses the connection, the client's is closed.
fn serve(link: &Arc<Link>, target: SocketAddr, shared: &Arc<Shared>) {
    if !shared.pass(link) {
        return await_reset(link);
    }
    let Ok(server) = TcpStream::connect(target) else {
        return;
    };
    let server = Arc::new(server);
    // Small messages back and forth: waiting to fill packets would only add latency.
    let _ = link.client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    link.attach(&server);

    let back = {
        let (link, server, shared) = (Arc::clone(link), Arc::clone(&server), Arc::clone(shared));
        thread::spawn(move || pump(&server, &link.client, &link, &shared, &link.trickle))
    };
    pump(&link.client, &server, link, shared, &AtomicU64::new(0));
    let _ = back.join();
    await_reset(link);
}

/// Forwards data until the source ends or the link is cut. Data is peeked at before it is read, so
/// that it stays unread while the proxy is stalled.
fn pump(mut from: &TcpStream, to: &TcpStream, link: &Link, shared: &Shared, trickle: &AtomicU64) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let seen = from.peek(&mut buffer[..1]);
        let pause = trickle.load(Ordering::SeqCst);
        let piece = if pause > 0 { 1 } else { buffer.len() };
        thread::sleep(Duration::from_millis(pause));
        if link.is_cut() || !shared.pass(link) {
            return;
        }
        let passed = match seen {
            Ok(0) | Err(_) => false,
            Ok(_) => from
                .read(&mut buffer[..piece])
                .and_then(|size| shared.forward(link, to, &buffer[..size]))
                .is_ok(),
        };
        if !passed {
            // The other direction may still have data to send.
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}

/// After a [`Cut::Rst`], keeps the client's socket open until bytes arrive that stay unread.
fn await_reset(link: &Link) {
    if link.is_cut() {
        // Returns at once if the socket was shut down ([`Cut::Fin`]).
        let _ = link.client.peek(&mut [0]);
    }
}
