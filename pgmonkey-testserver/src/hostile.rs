//! Servers that violate the protocol, or use it against their client.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a [`Hostile`] server does to every client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Behaviour {
    /// Accepts, and never answers.
    Silent,
    /// Agrees to TLS, and never continues the handshake.
    SilentInHandshake,
    /// Agrees to TLS, and closes after the first byte of the handshake.
    ClosesInHandshake,
    /// Agrees to TLS, and sends a successful login, unencrypted, in the same packet.
    StuffsBytes,
    /// Answers the TLS request with an error message.
    ErrorForTls,
    /// Answers the TLS request with bytes that are not a valid answer.
    GarbageForTls,
    /// Answers the login with a message that claims to be two gigabytes long.
    HugeMessage,
    /// Requests the password in clear text.
    AsksClearText,
    /// Requests the password as MD5.
    AsksMd5,
    /// Accepts every login without a password.
    TrustsEverybody,
    /// Starts a SCRAM login, and never continues it.
    SilentAfterLogin,
    /// Accepts every login and sends its settings byte by byte, endlessly.
    Trickles,
    /// Answers the login with endless notices.
    NoticesForLogin,
    /// Accepts every login, and sends endless short notices instead of becoming ready.
    ShortNotices,
    /// Accepts every login, and sends endless long notices instead of becoming ready.
    LongNotices,
    /// Accepts every login, becomes ready, and from the first query on reports settings with new
    /// names endlessly.
    NewSettings,
    /// Refuses the login with a text that contains terminal escapes and misleading characters.
    RefusesInEscapes,
    /// Refuses the login with a text of 900,000 bytes.
    RefusesAtLength,
    /// Cannot start a process for the session, and says so as PostgreSQL does.
    CannotFork,
    /// Sends an error without length or text before the real one, as Pgpool-II 4.3 does.
    Stumbles,
}

/// Terminal control characters: a title, colours, an overwritten line, text that runs backwards.
pub const ESCAPES: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\rok\n\u{202e}drawkcab\u{7f}";

/// The text of PostgreSQL's postmaster, with that of the system.
const CANNOT_FORK: &str =
    "could not fork new process for connection: Resource temporarily unavailable";

impl Behaviour {
    /// All behaviours.
    pub const ALL: [Self; 20] = [
        Self::Silent,
        Self::SilentInHandshake,
        Self::ClosesInHandshake,
        Self::StuffsBytes,
        Self::ErrorForTls,
        Self::GarbageForTls,
        Self::HugeMessage,
        Self::AsksClearText,
        Self::AsksMd5,
        Self::TrustsEverybody,
        Self::SilentAfterLogin,
        Self::Trickles,
        Self::NoticesForLogin,
        Self::ShortNotices,
        Self::LongNotices,
        Self::NewSettings,
        Self::RefusesInEscapes,
        Self::RefusesAtLength,
        Self::CannotFork,
        Self::Stumbles,
    ];

    /// Its answer to the TLS request; `None` if it does not answer.
    fn tls_answer(self) -> Option<Vec<u8>> {
        match self {
            Self::Silent => None,
            Self::SilentInHandshake | Self::ClosesInHandshake => Some(b"S".to_vec()),
            Self::StuffsBytes => Some([b"S".as_slice(), &trust()].concat()),
            Self::ErrorForTls => Some(message(b'E', b"SFATAL\0C08P01\0Mgo away\0\0")),
            Self::GarbageForTls => Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
            _ => Some(b"N".to_vec()),
        }
    }

    /// Its answer to the startup message; `None` if it does not answer.
    fn login(self) -> Option<Vec<u8>> {
        match self {
            Self::HugeMessage => Some([b"R".as_slice(), &0x7fff_ffff_u32.to_be_bytes()].concat()),
            Self::AsksClearText => Some(request(3, b"")),
            Self::AsksMd5 => Some(request(5, b"salt")),
            Self::TrustsEverybody | Self::NewSettings => Some(trust()),
            Self::SilentAfterLogin => Some(request(10, b"SCRAM-SHA-256\0\0")),
            Self::Trickles | Self::ShortNotices | Self::LongNotices => Some(request(0, b"")),
            Self::NoticesForLogin => Some(notice("a")),
            Self::RefusesInEscapes => Some(refusal(ESCAPES)),
            Self::RefusesAtLength => Some(refusal(&"x".repeat(900_000))),
            Self::CannotFork => Some([b"E", CANNOT_FORK.as_bytes(), b"\n\0"].concat()),
            Self::Stumbles => Some([b"E\0".as_slice(), &refusal("not yet")].concat()),
            _ => None,
        }
    }
}

/// A server on its own port that does one bad thing to every client. Dropping it closes all
/// connections.
///
/// It imitates only the first messages of PostgreSQL.
#[derive(Debug)]
pub struct Hostile {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    behaviour: Behaviour,
    closing: AtomicBool,
    accepted: AtomicUsize,
    open: AtomicUsize,
    received: Mutex<Vec<u8>>,
}

impl Hostile {
    /// Starts a server with this behaviour.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub fn start(behaviour: Behaviour) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            behaviour,
            closing: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            received: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        let listener = thread::spawn(move || serve(&listener, &theirs));
        Ok(Self {
            address,
            shared,
            listener: Some(listener),
        })
    }

    /// `127.0.0.1`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.ip().to_string()
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many clients have connected.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many of them are still connected.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// What clients sent after the startup message: their answers to the login, if any.
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        self.shared.lock().clone()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        let _ = self.listener.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut clients = Vec::new();
    for client in listener.incoming().flatten() {
        if shared.is_closing() {
            break;
        }
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let theirs = Arc::clone(shared);
        let other_end = client.try_clone();
        let thread = thread::spawn(move || {
            // Errors are ignored: the client is gone either way.
            let _ = attend(client, &theirs);
            theirs.open.fetch_sub(1, Ordering::SeqCst);
        });
        clients.push((other_end, thread));
    }
    for (client, thread) in clients {
        let _ = client.map(|client| client.shutdown(Shutdown::Both));
        let _ = thread.join();
    }
}

/// Serves one client until either side closes the connection.
fn attend(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let done = talk(&mut client, shared);
    // The listener keeps a clone of the socket, so that dropping this one does not close it.
    done.and(client.shutdown(Shutdown::Both))
}

fn talk(client: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let mut first = read_startup(client)?;
    let asks_for_tls = first.starts_with(&[0x04, 0xd2, 0x16, 0x2f]);
    if asks_for_tls {
        match shared.behaviour.tls_answer() {
            Some(answer) => client.write_all(&answer)?,
            None => return wait_for_end(client, shared),
        }
        if shared.behaviour == Behaviour::ClosesInHandshake {
            client.read_exact(&mut [0; 1])?;
            return Ok(());
        }
        if shared.behaviour.login().is_none() {
            return wait_for_end(client, shared);
        }
        first = read_startup(client)?;
    }
    if !first.starts_with(&[0, 3]) {
        // A cancel request, which has no answer.
        return Ok(());
    }
    if let Some(answer) = shared.behaviour.login() {
        client.write_all(&answer)?;
    }
    match shared.behaviour {
        Behaviour::Trickles => trickle(client, shared),
        Behaviour::NoticesForLogin | Behaviour::ShortNotices => {
            flood(client, shared, |_| notice("a"))
        }
        Behaviour::LongNotices => flood(client, shared, |_| notice(&"a".repeat(10_000))),
        Behaviour::NewSettings => {
            client.read_exact(&mut [0])?;
            flood(client, shared, |count| {
                message(b'S', format!("setting{count}\0value\0").as_bytes())
            })
        }
        _ => wait_for_end(client, shared),
    }
}

/// Sends one message after another until the client disconnects.
fn flood(
    client: &mut TcpStream,
    shared: &Shared,
    next: impl Fn(usize) -> Vec<u8>,
) -> io::Result<()> {
    for count in 0.. {
        if shared.is_closing() {
            break;
        }
        client.write_all(&next(count))?;
    }
    Ok(())
}

/// Reads a message without a type: its length, then the body.
fn read_startup(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length).clamp(4, 10_000) as usize;
    let mut body = vec![0; length - 4];
    client.read_exact(&mut body)?;
    Ok(body)
}

fn wait_for_end(client: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        match client.read(&mut bytes)? {
            0 => return Ok(()),
            count => shared.lock().extend_from_slice(&bytes[..count]),
        }
    }
}

fn trickle(client: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let setting = message(b'S', b"some_setting\0some value\0");
    for byte in setting.iter().cycle() {
        if shared.is_closing() {
            break;
        }
        client.write_all(&[*byte])?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short message");
    [&[kind], length.to_be_bytes().as_slice(), body].concat()
}

fn notice(text: &str) -> Vec<u8> {
    message(b'N', format!("SNOTICE\0C00000\0M{text}\0\0").as_bytes())
}

/// An error message that has this text in each of its fields.
fn refusal(words: &str) -> Vec<u8> {
    // The full text in every field would leave no room for the others.
    let short: String = words.chars().take(100).collect();
    let fields =
        format!("SFATAL{short}\0VFATAL\0C28000{short}\0Mgo away{words}\0D{short}\0H{short}\0\0");
    message(b'E', fields.as_bytes())
}

fn request(code: u32, rest: &[u8]) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes(), rest].concat())
}

/// The messages of a successful login.
fn trust() -> Vec<u8> {
    [
        request(0, b""),
        message(b'S', b"server_version\x0017.0\0"),
        message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]),
        message(b'Z', b"I"),
    ]
    .concat()
}
