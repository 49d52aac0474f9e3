//! A cluster of a file: both pools are replaced when the file changes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use pgmonkey_tests::{LONG, load, twin};

use super::{SIZES, Servers, WHO, at};
use crate::successor::write;

/// The pools of both families.
fn pools(sizes: &str) -> String {
    format!("pool_settings: {sizes}\nasync_pool_settings: {sizes}\n")
}

impl Servers {
    /// The text of a file whose readers are these standbys, or without the section.
    fn text(&self, readers: &[usize]) -> String {
        let hosts: Vec<_> = readers
            .iter()
            .map(|at| self.standbys[*at].endpoint())
            .collect();
        let ports: Vec<_> = hosts.iter().map(|host| host.port().to_string()).collect();
        let names: Vec<_> = hosts.iter().map(|host| host.host()).collect();
        let text = at(&[self.primary.endpoint()], &pools(SIZES));
        match hosts.is_empty() {
            true => text,
            false => format!(
                "{text}readers:\n  connection_settings: {{ host: '{}', port: '{}' }}\n",
                names.join(","),
                ports.join(",")
            ),
        }
    }

    fn port(&self, standby: usize) -> i32 {
        self.standbys[standby].endpoint().port().into()
    }
}

fn in_folder(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pgmonkey.yaml");
    write(&path, text);
    (folder, path)
}

/// The port of the server that a read reached, and whether it is a standby.
macro_rules! reached {
    ($cluster:expr, $go:ident, $work:ident) => {{
        let read = $go!($cluster.read($work!(|tx| { $go!(tx.query_one(WHO, &[])) })))?;
        (read.get::<_, i32>(0), read.get::<_, bool>(1))
    }};
}

twin! {
    fn a_changed_file_replaces_both_pools(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let (_folder, path) = in_folder(&servers.text(&[0, 1]));
        let manager = driver::ConnectionManager::new();
        let cluster = go!(manager.cluster_from_file(&path))?;
        let same = go!(manager.cluster_from_file(&path))?;
        assert!(cluster.writer().is_same(same.writer()) && cluster.reader().is_same(same.reader()));
        assert!(!cluster.writer().is_same(cluster.reader()));
        assert_eq!(manager.cache_info().len(), 2);
        assert!(reached!(cluster, go, work).1);

        // Another reading side: the writer stays.
        for standby in [1, 0] {
            write(&path, &servers.text(&[standby]));
            let new = go!(manager.cluster_from_file(&path))?;
            assert!(cluster.reader().is_same(new.reader()));
            assert!(cluster.writer().is_same(new.writer()));
            for _ in 0..3 {
                assert_eq!(reached!(cluster, go, work), (servers.port(standby), true));
            }
            assert_eq!(manager.cache_info().len(), 2);
        }

        // Without the section both are the writer, and with it they are apart again.
        write(&path, &servers.text(&[]));
        let new = go!(manager.cluster_from_file(&path))?;
        assert!(new.reader().is_same(new.writer()) && cluster.reader().is_same(new.reader()));
        assert!(!reached!(cluster, go, work).1);
        assert_eq!(manager.cache_info().len(), 1);
        write(&path, &servers.text(&[1]));
        let new = go!(manager.cluster_from_file(&path))?;
        assert_eq!(reached!(new, go, work), (servers.port(1), true));
        assert!(!reached!(cluster, go, work).1);
        assert!(cluster.writer().is_same(new.writer()));
        assert_eq!(manager.cache_info().len(), 2);
        Ok(())
    }
}

twin! {
    fn what_the_file_says_of_the_fallback_is_followed(on, driver, go, work) {
        let sizes = pools("{ min_size: 0, max_size: 2, timeout: 1 }");
        let text = |fallback: bool| {
            let readers = format!("port: 1, host: 127.0.0.1 }}\n  fallback: {fallback}");
            on.yaml(&format!("{sizes}readers:\n  connection_settings: {{ {readers}\n"))
        };
        let (_folder, path) = in_folder(&text(true));
        let manager = driver::ConnectionManager::new();
        let cluster = go!(manager.cluster_from_file(&path))?;
        let own = i32::from(on.server().port());
        assert_eq!(reached!(cluster, go, work), (own, false));
        write(&path, &text(false));
        go!(manager.cluster_from_file(&path))?;
        let refused = go!(cluster.read(work!(|tx| { go!(tx.query_one(WHO, &[])) })));
        let error = refused.expect_err("there is no reader");
        assert!(error.is_transient() && !error.is_session_lost(), "{error:?}");
        Ok(())
    }
}

twin! {
    fn a_watched_file_changes_a_cluster(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let (_folder, path) = in_folder(&servers.text(&[0]));
        let manager = driver::ConnectionManager::new();
        let _watch = manager.watch(&path);
        let cluster = go!(manager.cluster_from_file(&path))?;
        let began = Instant::now();
        for (readers, port) in [
            (&[1][..], servers.port(1)),
            (&[], servers.primary.endpoint().port().into()),
        ] {
            write(&path, &servers.text(readers));
            while reached!(cluster, go, work).0 != port {
                assert!(began.elapsed() < LONG, "it is not followed");
            }
        }
        assert_eq!(manager.cache_info().len(), 1);
        Ok(())
    }
}

twin! {
    fn a_cluster_is_reloaded_and_replaced_as_a_whole(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let [apart, other, none] = [&[0][..], &[1], &[]].map(|readers| load(&servers.text(readers)));
        let manager = driver::ConnectionManager::new();
        let cluster = go!(manager.cluster(&apart))?;
        let reloaded = go!(manager.reload_cluster(&apart))?;
        assert!(cluster.writer().is_same(reloaded.writer()));
        assert!(cluster.reader().is_same(reloaded.reader()));
        assert_eq!(manager.cache_info().len(), 2);
        let numbers = || -> BTreeSet<u64> {
            manager.cache_info().iter().map(|entry| entry.number).collect()
        };
        let before = numbers();
        let replaced = go!(manager.replace_cluster(&apart, &other))?;
        assert_eq!(numbers().intersection(&before).count(), 1, "the same writer");
        assert!(cluster.reader().is_same(replaced.reader()));
        assert_eq!(reached!(cluster, go, work), (servers.port(1), true));
        assert_eq!(manager.cache_info().len(), 2);
        go!(manager.replace_cluster(&other, &none))?;
        assert!(cluster.reader().is_same(cluster.writer()));
        assert!(!reached!(cluster, go, work).1);
        assert_eq!(manager.cache_info().len(), 1);

        for readers in [&[0][..], &[]] {
            let (_folder, path) = in_folder(&servers.text(readers));
            let manager = driver::ConnectionManager::new();
            let cluster = go!(manager.cluster_from_file(&path))?;
            let reloaded = go!(manager.reload_cluster_from_file(&path))?;
            assert!(cluster.writer().is_same(reloaded.writer()));
            assert!(cluster.reader().is_same(reloaded.reader()));
            assert_eq!(reloaded.reader().is_same(reloaded.writer()), readers.is_empty());
            assert_eq!(manager.cache_info().len(), 1 + readers.len());
        }
        Ok(())
    }
}
