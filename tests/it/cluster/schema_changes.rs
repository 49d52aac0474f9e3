//! The schema changes on the primary while sessions at the standbys hold statements that were
//! prepared before.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::schema_changes::{Label, Mood};

/// More than one session at each standby, so that each has its own statements.
const SESSIONS: usize = 6;
const SIX: &str = "{ min_size: 0, max_size: 6, timeout: 20 }";

/// Has each session prepare the text.
macro_rules! prepare_everywhere {
    ($cluster:ident, $go:ident, $text:expr, $params:expr) => {
        let mut guards = Vec::new();
        for _ in 0..SESSIONS {
            guards.push($go!($cluster.reader().acquire())?);
        }
        for guard in &mut guards {
            for _ in 0..2 {
                $go!(guard.query($text, $params))?;
            }
        }
        drop(guards);
    };
}

/// Reads once; the closure runs at most twice.
macro_rules! read_on {
    ($cluster:ident, $go:ident, $work:ident, $text:expr, $params:expr) => {{
        let runs = AtomicU32::new(0);
        let counted = &runs;
        let rows = $go!($cluster.read($work!(|tx| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok($go!(tx.query($text, $params))?.len())
        })));
        let runs = runs.load(Ordering::Relaxed);
        assert!(rows.is_ok() && runs <= 2, "{runs} runs: {rows:?}");
        rows?
    }};
}

twin! {
    fn reads_go_on_when_a_column_changes_its_type(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        servers.primary.psql("INSERT INTO t VALUES (1)")?;
        servers.wait_for_replay();
        let config = servers.with(SIX, |readers| readers.fallback = false);
        let cluster = go!(driver::Cluster::new(&config))?;
        let text = "SELECT * FROM t";
        for change in [
            "ALTER TABLE t ALTER n TYPE bigint",
            "ALTER TABLE t ADD more text",
            "ALTER TABLE t ALTER n TYPE text",
            "ALTER TABLE t DROP more",
        ] {
            prepare_everywhere!(cluster, go, text, &[]);
            servers.primary.psql(change)?;
            servers.wait_for_replay();
            for _ in 0..2 * SESSIONS {
                assert_eq!(read_on!(cluster, go, work, text, &[]), 1, "{change}");
            }
            prepare_everywhere!(cluster, go, text, &[]);
            servers.primary.psql("ALTER TABLE t ADD another int; ")?;
            servers.wait_for_replay();
            for _ in 0..2 * SESSIONS {
                assert_eq!(go!(cluster.reader().query(text, &[]))?.len(), 1, "{change}");
            }
            servers.primary.psql("ALTER TABLE t DROP another")?;
            servers.wait_for_replay();
        }
        let status = cluster.status().reader;
        assert!(status.statement_cache.healed > 0, "{status}");
        Ok(())
    }
}

twin! {
    fn reads_go_on_when_an_enum_gets_another_value(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        servers.primary.psql("CREATE TYPE mood AS ENUM ('sad', 'ok')")?;
        servers.primary.psql("CREATE TABLE moods (m mood)")?;
        servers.wait_for_replay();
        let config = servers.with(SIX, |readers| readers.fallback = false);
        let cluster = go!(driver::Cluster::new(&config))?;
        let text = "SELECT m::text FROM moods WHERE m = $1";
        prepare_everywhere!(cluster, go, text, &[&Label("ok")]);
        servers.primary.psql("ALTER TYPE mood ADD VALUE 'great'")?;
        servers.primary.psql("INSERT INTO moods VALUES ('great')")?;
        servers.wait_for_replay();
        for _ in 0..2 * SESSIONS {
            let rows = read_on!(cluster, go, work, text, &[&Mood("great".into())]);
            assert_eq!(rows, 1);
        }
        Ok(())
    }
}
