//! Readers that are reached by their Unix sockets.

use super::*;

/// A cluster whose readers are reached in their socket directories.
fn config(servers: &Servers) -> Config {
    let [one, other] = servers.standbys.each_ref().map(|standby| {
        let directory = standby.socket_dir().expect("on this machine");
        (directory.display().to_string(), standby.port())
    });
    let pools = "pool_settings: { max_size: 8 }\n  async_pool_settings: { max_size: 8 }\n";
    let sections = format!(
        "readers:\n  connection_settings: {{ host: '{},{}', port: '{},{}' }}\n  {pools}",
        one.0, other.0, one.1, other.1,
    );
    load(&at(&[servers.primary.endpoint()], &sections))
}

/// The port that is part of the socket's name.
const PORT: &str = "SELECT current_setting('port')::int4";

// The blocking driver does not show the wire there, so nothing but the thread that waits notices.
twin! {
    fn a_frozen_reader_on_a_socket_is_not_read_from(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let cluster = go!(driver::Cluster::new(&config(&servers)))?;
        let guards = [go!(cluster.reader().acquire())?, go!(cluster.reader().acquire())?];
        drop(guards);
        let status = cluster.status();
        assert!(status.standbys.iter().all(|one| one.sessions == 1), "{status}");
        let frozen = Frozen::of(&servers.standbys[0]).thawing();
        until("it is not used", || cluster.status().standbys[0].unused.is_some());
        let still = i32::from(servers.standbys[0].port());
        for _ in 0..20 {
            let port: i32 = go!(cluster.read(work!(|tx| {
                Ok(go!(tx.query_one(PORT, &[]))?.get(0))
            })))?;
            assert_ne!(port, still);
        }
        assert!(frozen.is_frozen(), "it waited for the thaw");
        drop(frozen);
        until("it is used again", || cluster.status().standbys[0].unused.is_none());
        Ok(())
    }
}
