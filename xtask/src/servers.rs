//! The servers for tests, demo and bench.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use pgmonkey_testserver::{
    Binaries, Certificates, Cluster, Container, Docker, Endpoint, Kind, ScratchDir, TestServers,
};

use crate::args::{Options, Postgres};
use crate::install;

const PULL_LIMIT: Duration = Duration::from_secs(30);
/// The superuser of the servers with TLS, to which the client certificate is issued.
const CLIENT: &str = "postgres";

/// Which servers are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Plain,
    /// Only with the feature that generates certificates.
    #[cfg_attr(
        not(feature = "checks"),
        expect(dead_code, reason = "only `test` wants all")
    )]
    AllKinds,
}

impl Wanted {
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Plain => &[Kind::Plain],
            Self::AllKinds => &[Kind::Plain, Kind::Tls, Kind::ClientCert],
        }
    }
}

/// Servers that end when this is dropped, and how to reach them.
pub(crate) struct Servers {
    reached: TestServers,
    _held: Vec<Held>,
    // Dropped after the servers, which use its contents.
    _certificates: Option<ScratchDir>,
}

impl Servers {
    /// Starts the servers as the options say, and prints how.
    pub(crate) fn start(options: &Options, wanted: Wanted) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let servers = match &options.postgres {
            Postgres::Url(url) => Self::named(Endpoint::from_url(url)?, wanted),
            Postgres::Docker => Self::from_docker(&options.image, wanted),
            Postgres::Local => Self::local(options, wanted),
            Postgres::Auto => Self::automatic(options, wanted),
        }?;
        servers.announce(begin.elapsed());
        Ok(servers)
    }

    pub(crate) fn plain(&self) -> &Endpoint {
        &self.reached.plain
    }

    /// The environment variables of the test binaries.
    #[cfg(feature = "checks")]
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        self.reached.to_env()
    }

    fn automatic(options: &Options, wanted: Wanted) -> anyhow::Result<Self> {
        if let Some(reached) = TestServers::from_env() {
            say("using the servers named in the environment (PGMONKEY_TEST_PLAIN_URL)");
            return Ok(Self::reached(reached));
        }
        // Before Docker, which may have to pull an image first.
        if Binaries::find().is_ok() {
            return Self::local(options, wanted);
        }
        match Self::from_docker(&options.image, wanted) {
            Ok(servers) => Ok(servers),
            Err(error) => {
                say(&format!("Docker is not usable ({error:#})"));
                Self::local(options, wanted)
            }
        }
    }

    pub(crate) fn from_docker(image: &str, wanted: Wanted) -> anyhow::Result<Self> {
        let docker = Docker::find()?;
        let leftovers = docker.remove_leftovers()?;
        if leftovers > 0 {
            say(&format!("removed {leftovers} containers of earlier runs"));
        }
        if !docker.has_image(image) {
            say(&format!(
                "pulling {image}, for at most {} s",
                PULL_LIMIT.as_secs()
            ));
            docker.pull(image, PULL_LIMIT)?;
        }
        say(&format!("Docker {} with image {image}", docker.version()));
        Self::of_kinds(wanted.kinds(), |kind, certificates| {
            let container = docker.start(image, kind, certificates)?;
            Ok(Held::Docker(Box::new(container)))
        })
    }

    fn local(options: &Options, wanted: Wanted) -> anyhow::Result<Self> {
        Self::from_programs(&local_programs(options)?, wanted)
    }

    /// Starts servers with these programs, which tests that start their own get too.
    pub(crate) fn from_programs(binaries: &Binaries, wanted: Wanted) -> anyhow::Result<Self> {
        say(&format!(
            "local programs in {}: {}",
            binaries.dir().display(),
            binaries.version()?
        ));
        let mut servers = Self::of_kinds(wanted.kinds(), |kind, certificates| {
            Held::local(binaries, kind, certificates)
        })?;
        servers.reached.binaries = Some(binaries.clone());
        Ok(servers)
    }

    /// An existing plain server; those with TLS come from local programs, if there are any.
    fn named(plain: Endpoint, wanted: Wanted) -> anyhow::Result<Self> {
        say(&format!(
            "the server at {}:{} as plain server",
            plain.host(),
            plain.port()
        ));
        let binaries = Binaries::find();
        let mut servers = match (wanted, binaries) {
            (Wanted::Plain, _) => Self::reached(only(plain.clone())),
            (Wanted::AllKinds, Err(error)) => {
                say(&format!(
                    "NO servers with TLS, their tests cannot run: {error:#}"
                ));
                Self::reached(only(plain.clone()))
            }
            (Wanted::AllKinds, Ok(binaries)) => {
                let kinds = [Kind::Tls, Kind::ClientCert];
                Self::of_kinds(&kinds, |kind, certificates| {
                    Held::local(&binaries, kind, certificates)
                })?
            }
        };
        servers.reached.plain = plain;
        Ok(servers)
    }

    fn reached(reached: TestServers) -> Self {
        Self {
            reached,
            _held: Vec::new(),
            _certificates: None,
        }
    }

    /// Starts one server of each kind, all concurrently.
    fn of_kinds(
        kinds: &[Kind],
        start: impl Fn(Kind, Option<&Certificates>) -> anyhow::Result<Held> + Sync,
    ) -> anyhow::Result<Self> {
        let scratch = ScratchDir::new()?;
        let needed = kinds.iter().any(|kind| kind.has_tls());
        let certificates = needed
            .then(|| Certificates::generate(scratch.path(), CLIENT))
            .transpose()?;
        let started = thread::scope(|scope| {
            let (start, certificates) = (&start, certificates.as_ref());
            let begun: Vec<_> = kinds
                .iter()
                .map(|&kind| (kind, scope.spawn(move || start(kind, certificates))))
                .collect();
            begun
                .into_iter()
                .map(|(kind, thread)| {
                    let held = thread.join().map_err(|_| anyhow!("starting it panicked"));
                    let held = held.and_then(|held| held);
                    held.map(|held| (kind, held))
                        .with_context(|| format!("cannot start the server of kind {kind:?}"))
                })
                .collect::<anyhow::Result<Vec<_>>>()
        })?;
        let of = |wanted: Kind| {
            let found = started.iter().find(|(kind, _)| *kind == wanted);
            found.map(|(_, held)| held.endpoint().clone())
        };
        let first = started.first().context("no kind of server asked for")?;
        let reached = TestServers {
            plain: of(Kind::Plain).unwrap_or_else(|| first.1.endpoint().clone()),
            tls: of(Kind::Tls),
            client_cert: of(Kind::ClientCert),
            certificates,
            binaries: Binaries::find().ok(),
        };
        Ok(Self {
            reached,
            _held: started.into_iter().map(|(_, held)| held).collect(),
            _certificates: Some(scratch),
        })
    }

    fn announce(&self, took: Duration) {
        let servers = [
            ("plain", Some(&self.reached.plain)),
            ("TLS", self.reached.tls.as_ref()),
            ("client certificate", self.reached.client_cert.as_ref()),
        ];
        let list: Vec<String> = servers
            .into_iter()
            .filter_map(|(name, server)| {
                let server = server?;
                Some(format!("{name} at {}:{}", server.host(), server.port()))
            })
            .collect();
        let took = took.as_secs_f64();
        say(&format!("{} ({took:.1} s)", list.join(", ")));
    }
}

/// A server that runs until this is dropped.
enum Held {
    Local(Box<Cluster>),
    Docker(Box<Container>),
}

impl Held {
    fn local(
        binaries: &Binaries,
        kind: Kind,
        certificates: Option<&Certificates>,
    ) -> anyhow::Result<Self> {
        let mut builder = Cluster::builder().kind(kind).binaries(binaries.clone());
        if let Some(certificates) = certificates {
            builder = builder.certificates(certificates.clone());
        }
        Ok(Self::Local(Box::new(builder.start()?)))
    }

    fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Local(cluster) => cluster.endpoint(),
            Self::Docker(container) => container.endpoint(),
        }
    }
}

/// The server programs on this machine, installed if they are missing and that is allowed.
pub(crate) fn local_programs(options: &Options) -> anyhow::Result<Binaries> {
    match Binaries::find() {
        Ok(binaries) => Ok(binaries),
        Err(missing) => {
            install::postgres(options.install, &missing)?;
            Binaries::find().context("installed, yet not found")
        }
    }
}

fn only(plain: Endpoint) -> TestServers {
    TestServers {
        plain,
        tls: None,
        client_cert: None,
        certificates: None,
        binaries: Binaries::find().ok(),
    }
}

fn say(text: &str) {
    eprintln!("PostgreSQL: {text}");
}
