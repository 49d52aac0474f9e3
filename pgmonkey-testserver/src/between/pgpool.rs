//! Pgpool-II in front of a primary and its standbys.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Program, find};
use crate::endpoint::Endpoint;
use crate::ports::free_port;

const SETTINGS: &str = "pgpool.conf";

/// A throw-away Pgpool-II in streaming replication mode. It is stopped when this is dropped and when
/// this process exits.
///
/// It serves sixteen clients at a time, and uses the user and password of the servers. A server that
/// is away is not given up: its sessions end, and new ones fail, until it is back.
#[derive(Debug)]
pub struct Pgpool {
    endpoint: Endpoint,
    // Ended with SIGINT, because a killed one leaves its shared memory behind.
    _program: Program,
}

impl Pgpool {
    /// Returns the path of the program: the one that `PGMONKEY_TEST_PGPOOL` names, or the
    /// installed one, if any.
    #[must_use]
    pub fn find() -> Option<PathBuf> {
        find("PGMONKEY_TEST_PGPOOL", "pgpool")
    }

    /// Starts `program` in front of `servers`, the primary first, with additional settings.
    ///
    /// # Errors
    ///
    /// When there is no server, or it does not start; the error then includes its log.
    pub fn start(
        program: &Path,
        servers: &[&Endpoint],
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let first = *servers
            .first()
            .ok_or_else(|| anyhow::anyhow!("no server"))?;
        let mut program = Program::new(program, "INT")?;
        let port = free_port()?;
        let conf = conf(&program.file("."), servers, port, settings)?;
        program.write(SETTINGS, &conf)?;
        let hba = "host all all 127.0.0.1/32 scram-sha-256\n";
        program.write("pool_hba.conf", hba)?;
        let password = format!("{}:TEXT{}\n", first.user(), first.password());
        program.write("pool_passwd", &password)?;
        program.write("pcp.conf", "")?;
        let file = program.file(SETTINGS);
        let file = file.to_string_lossy();
        let others = ["-a", "pool_hba.conf", "-F", "pcp.conf"];
        program.start(&[&["-n", "-f", &file], others.as_slice()].concat())?;
        let endpoint = Endpoint {
            host: "127.0.0.1".to_owned(),
            port,
            socket_dir: None,
            log_file: Some(program.file("output")),
            ..first.clone()
        };
        let started = |program: &Program| program.output().contains("successfully started");
        program.wait(started)?;
        Ok(Self {
            endpoint,
            _program: program,
        })
    }

    /// Its address and credentials.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

fn conf(
    dir: &Path,
    servers: &[&Endpoint],
    port: u16,
    settings: &[(&str, &str)],
) -> anyhow::Result<String> {
    let dir = dir.display().to_string();
    let first = servers[0];
    let mut conf = String::new();
    let (port, console) = (port.to_string(), free_port()?.to_string());
    let usual = [
        ("backend_clustering_mode", "streaming_replication"),
        ("listen_addresses", "127.0.0.1"),
        ("port", &port),
        ("socket_dir", &dir),
        ("pcp_listen_addresses", ""),
        ("pcp_port", &console),
        ("pcp_socket_dir", &dir),
        ("wd_ipc_socket_dir", &dir),
        ("pid_file_name", "pgpool.pid"),
        ("logdir", "."),
        ("memqcache_oiddir", "oiddir"),
        ("memqcache_total_size", "1MB"),
        ("enable_pool_hba", "on"),
        ("num_init_children", "16"),
        ("max_pool", "1"),
        ("failover_on_backend_error", "off"),
        ("failover_on_backend_shutdown", "off"),
        ("sr_check_period", "1"),
        ("sr_check_user", first.user()),
        ("sr_check_password", first.password()),
        ("sr_check_database", first.dbname()),
    ];
    for (number, server) in servers.iter().enumerate() {
        let (host, port) = (server.host(), server.port());
        writeln!(
            conf,
            "backend_hostname{number} = '{host}'\nbackend_port{number} = {port}\n\
             backend_weight{number} = 1\nbackend_flag{number} = 'ALLOW_TO_FAILOVER'"
        )?;
    }
    // The last of a name counts.
    for (name, value) in usual.iter().chain(settings) {
        let value = value.replace('\'', "''");
        writeln!(conf, "{name} = '{value}'")?;
    }
    Ok(conf)
}
