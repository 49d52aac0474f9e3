//! A server behind a separate network, whose packets can be dropped.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Proxy;

/// How long a new network may take until packets pass.
const USABLE: Duration = Duration::from_secs(30);

/// A route to a server through a network namespace.
///
/// A [`Proxy`] accepts connections in the namespace and forwards them. While packets are dropped,
/// nothing returns from the namespace, not even an acknowledgement: to the client the network has
/// gone silent. The namespace is removed when this is dropped, and when the process is killed.
#[derive(Debug)]
pub struct FarServer {
    proxy: Proxy,
    namespace: Namespace,
    near: Ipv4Addr,
    far: Ipv4Addr,
}

impl FarServer {
    /// Forwards connections to `server`.
    ///
    /// # Errors
    ///
    /// When a network namespace cannot be created (it needs root on Linux, `unshare`, `nsenter` and
    /// `ip`), or `server` does not resolve.
    pub fn to(server: impl ToSocketAddrs) -> io::Result<Self> {
        let namespace = Namespace::new()?;
        // A /30 of the addresses reserved for benchmarks, chosen by the pid of the namespace.
        let pid = namespace.pid();
        let network = pid % (1 << 15);
        let base = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + network * 4;
        let (near, far) = (Ipv4Addr::from(base + 1), Ipv4Addr::from(base + 2));
        let (here, there) = (format!("pgn{pid}"), format!("pgf{pid}"));
        let netns = pid.to_string();
        run(
            "ip",
            &[
                "link", "add", &here, "type", "veth", "peer", "name", &there, "netns", &netns,
            ],
        )?;
        run("ip", &["addr", "add", &format!("{near}/30"), "dev", &here])?;
        run("ip", &["link", "set", &here, "up"])?;
        namespace.ip(&["addr", "add", &format!("{far}/30"), "dev", &there])?;
        namespace.ip(&["link", "set", &there, "up"])?;
        let proxy = Proxy::behind(namespace.listen(far)?, server)?;
        // The first packets over new interfaces may be lost, and are sent again after a second, which
        // is as long as some callers wait.
        TcpStream::connect_timeout(&(far, proxy.port()).into(), USABLE)?;
        Ok(Self {
            proxy,
            namespace,
            near,
            far,
        })
    }

    /// The address clients connect to.
    #[must_use]
    pub fn host(&self) -> String {
        self.far.to_string()
    }

    /// The port clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.proxy.port()
    }

    /// Drops every packet to the client until the returned value is dropped.
    ///
    /// # Errors
    ///
    /// When `ip` fails.
    #[must_use = "packets pass again when it is dropped"]
    pub fn drop_packets(&self) -> io::Result<Silence<'_>> {
        self.namespace
            .ip(&["route", "add", "blackhole", &format!("{}/32", self.near)])?;
        Ok(Silence(self))
    }
}

/// Packets are dropped until this is dropped.
#[derive(Debug)]
pub struct Silence<'a>(&'a FarServer);

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        let FarServer {
            namespace, near, ..
        } = self.0;
        if let Err(error) = namespace.ip(&["route", "del", "blackhole", &format!("{near}/32")]) {
            eprintln!("packets stay dropped: {error}");
        }
    }
}

/// A network namespace, held by a process that waits for the end of its input.
#[derive(Debug)]
struct Namespace(Child);

impl Namespace {
    fn new() -> io::Result<Self> {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; read _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let namespace = Self(child);
        match line.trim() {
            "ready" => Ok(namespace),
            _ => Err(io::Error::other("unshare made no network namespace")),
        }
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Returns a listener inside the namespace.
    fn listen(&self, at: Ipv4Addr) -> io::Result<TcpListener> {
        let link = File::open(format!("/proc/{}/ns/net", self.pid()))?;
        // On a separate thread, because the call moves the calling thread, permanently.
        let listening = thread::spawn(move || {
            move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network))?;
            TcpListener::bind((at, 0))
        });
        listening
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    }

    fn ip(&self, args: &[&str]) -> io::Result<()> {
        let pid = self.pid().to_string();
        let enter = ["--target", &pid, "--net", "ip"];
        run("nsenter", &[&enter, args].concat())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn run(program: &str, args: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(args).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{program} {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}
