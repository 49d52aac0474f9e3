//! A TCP proxy on the loopback address that spoils connections on demand.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both sides see an orderly end of the stream (FIN).
    Fin,
    /// The client sees a reset (RST), as when a firewall forgot the connection or the server's
    /// machine was restarted: at once if it has sent bytes that were not passed on, else as soon
    /// as it sends some.
    Rst,
}

/// Passes TCP connections on to a server, until told to do otherwise.
///
/// What is set holds for the connections there are and for those to come; cutting concerns only
/// those there are. Dropping the proxy cuts them all.
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
    /// Listens on a free port of 127.0.0.1 and passes on to `server`.
    ///
    /// # Errors
    ///
    /// When `server` does not resolve, or nothing can be listened on.
    pub fn to(server: impl ToSocketAddrs) -> io::Result<Self> {
        let target = server
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::other("the server's name has no address"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
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

    /// Where clients connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The port clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Passes nothing on any more, in either direction, and does not reach for the server for
    /// new connections, which are accepted all the same.
    pub fn stall(&self) {
        self.shared.gate().stalled = true;
    }

    /// Undoes [`stall`](Self::stall): what was held back is passed on.
    pub fn resume(&self) {
        self.shared.gate().stalled = false;
        self.shared.changed.notify_all();
    }

    /// Waits this long before passing on each piece of data, in either direction; zero, which
    /// is the default, for no wait.
    pub fn delay(&self, pause: Duration) {
        self.shared.gate().delay = pause;
    }

    /// Ends the connections there are; new ones are passed on.
    pub fn cut(&self, how: Cut) {
        for link in self.shared.links() {
            link.cut(how);
        }
        // Under the lock, lest somebody who has looked but does not wait yet misses it.
        let _gate = self.shared.gate();
        self.shared.changed.notify_all();
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.links().len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // Wakes the acceptor; if that fails, its socket is gone and it with it.
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
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct Gate {
    stalled: bool,
    delay: Duration,
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

    /// Waits until data may pass on this link; false when the link was cut meanwhile.
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

/// One client's connection, and the one to the server once there is one.
///
/// The sockets close when the last reference goes, and a socket that closes with unread bytes
/// sends a reset: that is how [`Cut::Rst`] works without raw socket options.
#[derive(Debug)]
struct Link {
    client: TcpStream,
    server: Mutex<Option<Arc<TcpStream>>>,
    cut: AtomicBool,
}

impl Link {
    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    fn cut(&self, how: Cut) {
        self.cut.store(true, Ordering::SeqCst);
        // Sockets that are closed already need no shutting down.
        if let Some(server) = self.server().take() {
            let _ = server.shutdown(Shutdown::Both);
        }
        if how == Cut::Fin {
            let _ = self.client.shutdown(Shutdown::Both);
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<Arc<TcpStream>>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the connection to the server, unless the link was cut while it was made.
    fn attach(&self, server: &Arc<TcpStream>) {
        *self.server() = Some(Arc::clone(server));
        if self.is_cut() {
            let _ = server.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let link = Arc::new(Link {
            client,
            server: Mutex::new(None),
            cut: AtomicBool::new(false),
        });
        shared.register(&link);
        let shared = Arc::clone(shared);
        thread::spawn(move || serve(&link, target, &shared));
    }
}

/// Serves one client. A server that refuses looks to the client like one that hangs up.
fn serve(link: &Arc<Link>, target: SocketAddr, shared: &Arc<Shared>) {
    if !shared.pass(link) {
        return await_reset(link);
    }
    let Ok(server) = TcpStream::connect(target) else {
        return;
    };
    let server = Arc::new(server);
    // Small messages back and forth: waiting to fill packets would only add time.
    let _ = link.client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    link.attach(&server);

    let back = {
        let (link, server, shared) = (Arc::clone(link), Arc::clone(&server), Arc::clone(shared));
        thread::spawn(move || pump(&server, &link.client, &link, &shared))
    };
    pump(&link.client, &server, link, shared);
    let _ = back.join();
    await_reset(link);
}

/// Passes data on until the source ends or the link is cut. Data is looked at before it is read,
/// so that it stays unread while the proxy stalls.
fn pump(mut from: &TcpStream, mut to: &TcpStream, link: &Link, shared: &Shared) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let seen = from.peek(&mut buffer[..1]);
        if link.is_cut() || !shared.pass(link) {
            return;
        }
        let passed = match seen {
            Ok(0) | Err(_) => false,
            Ok(_) => from
                .read(&mut buffer)
                .and_then(|size| to.write_all(&buffer[..size]))
                .is_ok(),
        };
        if !passed {
            // The other direction may still have something to say.
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}

/// After a [`Cut::Rst`], holds the client's socket until bytes arrive that closing leaves unread.
fn await_reset(link: &Link) {
    if link.is_cut() {
        // Ends at once when the socket was shut down ([`Cut::Fin`]).
        let _ = link.client.peek(&mut [0]);
    }
}
