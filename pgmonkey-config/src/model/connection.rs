use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::secret_source::SecretSource;
use crate::redact::told;
use crate::schema::choice::{
    ChannelBinding, LoadBalanceHosts, Pooler, RequireAuth, SettingsDelivery, SslMode,
    SslNegotiation, TargetSessionAttrs, TlsVersion,
};

/// PostgreSQL's default port.
pub(crate) const DEFAULT_PORT: u16 = 5432;

/// Default directories of the server's Unix socket: that of Debian and Red Hat, then PostgreSQL's.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The host of a server.
///
/// `Debug` and `Display` hide a connection string used in place of a name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A name to look up.
    Name(String),
    /// An address.
    Ip(IpAddr),
    /// The directory of a Unix socket.
    Unix(PathBuf),
}

impl Host {
    /// Parses a host as libpq does: a text that starts with `/` is a socket directory.
    pub fn new(text: &str) -> Self {
        if text.starts_with('/') {
            return Self::Unix(PathBuf::from(text));
        }
        match text.parse() {
            Ok(address) => Self::Ip(address),
            Err(_) => Self::Name(text.to_owned()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&told("host", name)),
            Self::Ip(address) => address.fmt(f),
            Self::Unix(directory) => told_path(directory).display().fmt(f),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.debug_tuple("Name").field(&told("host", name)).finish(),
            Self::Ip(address) => f.debug_tuple("Ip").field(address).finish(),
            Self::Unix(directory) => f.debug_tuple("Unix").field(&told_path(directory)).finish(),
        }
    }
}

/// One server to try.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The host as configured: TLS verifies this name, and the passfile is searched for it.
    pub host: Host,
    /// The address to use instead of resolving the host.
    pub hostaddr: Option<IpAddr>,
    /// The port; for a socket directory, the number in the socket's name.
    pub port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Unix(directory) => {
                let directory = told_path(directory);
                write!(f, "{}", socket(&directory, self.port).display())
            }
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Where the trusted root certificates come from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum RootCert {
    /// A PEM file.
    Path(PathBuf),
    /// The operating system's root certificates.
    System,
}

impl fmt::Debug for RootCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(&told_path(path)).finish(),
            Self::System => f.write_str("System"),
        }
    }
}

/// `connection_settings`: the server, the role, and how to connect.
///
/// The settings mean the same as in libpq. Empty lists and `None` stand for the default, which
/// [`targets`](Self::targets), [`effective_user`](Self::effective_user) and
/// [`effective_dbname`](Self::effective_dbname) resolve.
///
/// `Debug` shows no secret: it hides secrets in `options`, and names that are connection strings,
/// which [`Config::new`](crate::Config::new) refuses.
///
/// ```
/// use pgmonkey_config::{ConnectionSettings, Host};
///
/// let mut settings = ConnectionSettings::default();
/// settings.host = vec![Host::new("db1"), Host::new("db2")];
/// settings.user = Some("app".into());
/// assert_eq!(settings.describe(), "app@db1:5432,db2:5432/app");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionSettings {
    /// The servers, in order. Empty: the usual socket directory if it has a socket, else
    /// `localhost`.
    pub host: Vec<Host>,
    /// Addresses of the hosts, one for each host. Empty: the names are resolved.
    pub hostaddr: Vec<IpAddr>,
    /// One port for all hosts, or one for each. Empty: 5432.
    pub port: Vec<u16>,
    /// The database. `None`: same as the user.
    pub dbname: Option<String>,
    /// The role. `None`: the operating system's user.
    pub user: Option<String>,
    /// The password. `None`: taken from the passfile.
    pub password: Option<SecretSource>,
    /// The password file. `None`: `~/.pgpass`.
    pub passfile: Option<PathBuf>,
    /// The service whose settings were taken from the service file.
    pub service: Option<String>,
    /// How much TLS is required. Default: `prefer`.
    pub sslmode: SslMode,
    /// Trusted roots. `None`: `~/.postgresql/root.crt` if it exists.
    pub sslrootcert: Option<RootCert>,
    /// The client certificate, PEM. `None`: `~/.postgresql/postgresql.crt` if it exists.
    pub sslcert: Option<PathBuf>,
    /// The private key of the client certificate, PEM. `None`: `~/.postgresql/postgresql.key` if it
    /// exists.
    pub sslkey: Option<PathBuf>,
    /// The passphrase of the private key. Not from a command.
    pub sslpassword: Option<SecretSource>,
    /// Certificate revocation lists, PEM. `None`: `~/.postgresql/root.crl` if it exists.
    pub sslcrl: Option<PathBuf>,
    /// Whether TLS sends the host name to the server (SNI). Default: true.
    pub sslsni: bool,
    /// How TLS negotiation starts. Default: `postgres`.
    pub sslnegotiation: SslNegotiation,
    /// The oldest accepted TLS version. Default: 1.2.
    pub ssl_min_protocol_version: TlsVersion,
    /// The newest accepted TLS version. `None`: no limit.
    pub ssl_max_protocol_version: Option<TlsVersion>,
    /// Whether SCRAM is bound to the TLS channel. Default: `prefer`.
    pub channel_binding: ChannelBinding,
    /// The authentication methods that the server may request. Default: any.
    pub require_auth: RequireAuth,
    /// Time limit for the whole attempt on one host, including authentication. `None`: no limit.
    /// Default: 10 s.
    pub connect_timeout: Option<Duration>,
    /// The name of the session in `pg_stat_activity`.
    pub application_name: Option<String>,
    /// Command-line options for the server's session.
    pub options: Option<String>,
    /// Whether TCP keepalives are sent. Default: true.
    pub keepalives: bool,
    /// Idle time before the first keepalive. `None`: 2 hours, which the driver sets.
    pub keepalives_idle: Option<Duration>,
    /// Time between keepalives. `None`: the system's default.
    pub keepalives_interval: Option<Duration>,
    /// Lost keepalives before the session counts as dead. `None`: the system's default.
    pub keepalives_count: Option<u32>,
    /// How long sent data may stay unacknowledged. `None`: the system's default.
    pub tcp_user_timeout: Option<Duration>,
    /// Which servers are acceptable. Default: `any`.
    pub target_session_attrs: TargetSessionAttrs,
    /// The order in which hosts are tried. Default: as written.
    pub load_balance_hosts: LoadBalanceHosts,
    /// Whether sessions end that are at an address which their host's name no longer has. Default:
    /// false.
    pub follow_dns: bool,
    /// The connection pooler between the program and the server. `None`: detected when needed.
    pub pooler: Option<Pooler>,
    /// How session settings reach the server. Default: `verify`.
    pub session_settings: SettingsDelivery,
    /// Whether a scope commits each statement separately instead of running as one transaction.
    /// Default: false.
    pub autocommit: bool,
}

/// Adds each variable as the field of its name.
macro_rules! fields {
    ($debug:expr; $($name:ident)+) => { $debug$(.field(stringify!($name), $name))+ };
}

/// Written by hand, because a name may be a connection string until it has been checked. Every
/// field is destructured, so that the compiler reports a missing one.
impl fmt::Debug for ConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            |key, text: &Option<String>| text.as_ref().map(|text| told(key, text).into_owned());
        let path = |path: &Option<PathBuf>| path.as_deref().map(told_path);
        let Self {
            host,
            hostaddr,
            port,
            dbname,
            user,
            password,
            passfile,
            service,
            sslmode,
            sslrootcert,
            sslcert,
            sslkey,
            sslpassword,
            sslcrl,
            sslsni,
            sslnegotiation,
            ssl_min_protocol_version,
            ssl_max_protocol_version,
            channel_binding,
            require_auth,
            connect_timeout,
            application_name,
            options,
            keepalives,
            keepalives_idle,
            keepalives_interval,
            keepalives_count,
            tcp_user_timeout,
            target_session_attrs,
            load_balance_hosts,
            follow_dns,
            pooler,
            session_settings,
            autocommit,
        } = self;
        let (dbname, user) = (&text("dbname", dbname), &text("user", user));
        let (service, options) = (&text("service", service), &text("options", options));
        let application_name = &text("application_name", application_name);
        let (passfile, sslcert) = (&path(passfile), &path(sslcert));
        let (sslkey, sslcrl) = (&path(sslkey), &path(sslcrl));
        fields!(f.debug_struct("ConnectionSettings");
            host hostaddr port dbname user password passfile service
            sslmode sslrootcert sslcert sslkey sslpassword sslcrl sslsni sslnegotiation
            ssl_min_protocol_version ssl_max_protocol_version channel_binding require_auth
            connect_timeout application_name options
            keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout
            target_session_attrs load_balance_hosts follow_dns pooler session_settings autocommit)
        .finish()
    }
}

/// Returns a path for display, without secrets.
fn told_path(path: &Path) -> PathBuf {
    match path.to_str() {
        Some(text) => PathBuf::from(&*told("passfile", text)),
        None => path.to_owned(),
    }
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            host: Vec::new(),
            hostaddr: Vec::new(),
            port: Vec::new(),
            dbname: None,
            user: None,
            password: None,
            passfile: None,
            service: None,
            sslmode: SslMode::default(),
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            sslpassword: None,
            sslcrl: None,
            sslsni: true,
            sslnegotiation: SslNegotiation::default(),
            ssl_min_protocol_version: TlsVersion::default(),
            ssl_max_protocol_version: None,
            channel_binding: ChannelBinding::default(),
            require_auth: RequireAuth::default(),
            connect_timeout: Some(Duration::from_secs(10)),
            application_name: None,
            options: None,
            keepalives: true,
            keepalives_idle: None,
            keepalives_interval: None,
            keepalives_count: None,
            tcp_user_timeout: None,
            target_session_attrs: TargetSessionAttrs::default(),
            load_balance_hosts: LoadBalanceHosts::default(),
            follow_dns: false,
            pooler: None,
            session_settings: SettingsDelivery::default(),
            autocommit: false,
        }
    }
}

impl ConnectionSettings {
    /// Returns the servers to try, in the order written, with the defaults filled in.
    ///
    /// Never empty. If no host is set, this looks for a Unix socket on disk.
    pub fn targets(&self) -> Vec<Target> {
        let hosts = self.effective_hosts();
        hosts
            .into_iter()
            .enumerate()
            .map(|(index, host)| Target {
                host,
                hostaddr: self.hostaddr.get(index).copied(),
                port: self.port_of(index),
            })
            .collect()
    }

    /// Returns the role to log in as: `user`, else the operating system's user.
    pub fn effective_user(&self) -> String {
        self.user
            .clone()
            .unwrap_or_else(|| whoami::username().unwrap_or_default())
    }

    /// Returns the database to open: `dbname`, else the name of the user.
    pub fn effective_dbname(&self) -> String {
        self.dbname.clone().unwrap_or_else(|| self.effective_user())
    }

    /// Returns the target in one line, `user@host:port/database`, without secrets.
    pub fn describe(&self) -> String {
        let targets: Vec<String> = self.targets().iter().map(Target::to_string).collect();
        let user = self.effective_user();
        let user = told("user", &user);
        let dbname = match &self.dbname {
            Some(dbname) => told("dbname", dbname),
            None => user.clone(),
        };
        format!("{user}@{}/{dbname}", targets.join(","))
    }

    fn effective_hosts(&self) -> Vec<Host> {
        if !self.host.is_empty() {
            return self.host.clone();
        }
        if !self.hostaddr.is_empty() {
            return self.hostaddr.iter().copied().map(Host::Ip).collect();
        }
        vec![default_host(self.port_of(0))]
    }

    fn port_of(&self, index: usize) -> u16 {
        let port = match self.port.as_slice() {
            [one] => Some(one),
            ports => ports.get(index),
        };
        port.copied().unwrap_or(DEFAULT_PORT)
    }
}

fn default_host(port: u16) -> Host {
    SOCKET_DIRECTORIES
        .map(Path::new)
        .into_iter()
        .find(|directory| cfg!(unix) && socket(directory, port).exists())
        .map_or_else(
            || Host::Name("localhost".to_owned()),
            |directory| Host::Unix(directory.to_owned()),
        )
}

fn socket(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> ConnectionSettings {
        ConnectionSettings {
            host: names.iter().map(|name| Host::new(name)).collect(),
            ..ConnectionSettings::default()
        }
    }

    #[test]
    fn hosts_are_told_apart_as_libpq_does() {
        assert_eq!(Host::new("/tmp"), Host::Unix("/tmp".into()));
        assert_eq!(Host::new("::1"), Host::Ip("::1".parse().unwrap()));
        assert_eq!(
            Host::new("127.0.0.1"),
            Host::Ip("127.0.0.1".parse().unwrap())
        );
        assert_eq!(Host::new("db.internal"), Host::Name("db.internal".into()));
    }

    #[test]
    fn one_port_serves_all_hosts() {
        let mut settings = hosts(&["a", "::1", "/run/pg"]);
        settings.port = vec![6000];
        let shown: Vec<_> = settings.targets().iter().map(Target::to_string).collect();
        assert_eq!(shown, ["a:6000", "[::1]:6000", "/run/pg/.s.PGSQL.6000"]);
    }

    #[test]
    fn each_host_has_its_address_and_port() {
        let mut settings = hosts(&["a", "b"]);
        settings.hostaddr = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        settings.port = vec![1, 2];
        let targets = settings.targets();
        assert_eq!(targets[1].hostaddr, Some("10.0.0.2".parse().unwrap()));
        assert_eq!(targets[1].port, 2);
    }

    #[test]
    fn an_address_alone_is_the_host() {
        let settings = ConnectionSettings {
            hostaddr: vec!["10.0.0.1".parse().unwrap()],
            ..ConnectionSettings::default()
        };
        assert_eq!(
            settings.targets()[0].host,
            Host::Ip("10.0.0.1".parse().unwrap())
        );
    }

    #[test]
    fn without_a_host_it_is_this_machine() {
        // No server listens on this port, so no socket is found.
        let settings = ConnectionSettings {
            port: vec![1],
            ..ConnectionSettings::default()
        };
        assert_eq!(settings.targets()[0].to_string(), "localhost:1");
    }

    #[test]
    fn the_database_is_named_as_the_user() {
        let mut settings = hosts(&["a"]);
        assert_eq!(settings.effective_user(), whoami::username().unwrap());
        settings.user = Some("app".into());
        assert_eq!(settings.effective_dbname(), "app");
        settings.dbname = Some("shop".into());
        assert_eq!(settings.describe(), "app@a:5432/shop");
    }
}
