//! The clusters of a manager: each is two cached pools.

use std::path::Path;

use pgmonkey_config::{Config, ConnectionType, Readers};
use pgmonkey_connect::Error;
use pgmonkey_connect::sources::Asked;

use crate::handle::cluster::{Cluster, limits};

use super::ConnectionManager;
use super::handles::Key;

/// The type of both pools.
const POOL: ConnectionType = ConnectionType::Pool;

impl ConnectionManager {
    /// Returns the cluster for `config`: the pool that [`pool`](Self::pool) returns as its writer, and
    /// the cached pool of its section `readers`, or the writer if there is none.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let cluster = pgmonkey_sync::ConnectionManager::global().cluster(&config)?;
    /// println!("{}", cluster.status());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Cluster::new`].
    pub fn cluster(&self, config: &Config) -> Result<Cluster, Error> {
        let writer = self.pool(config)?;
        let reader = match &config.readers {
            Some(readers) => self.reading(readers).pool(&readers.config)?,
            None => writer.clone(),
        };
        Ok(Cluster::of(writer, reader))
    }

    /// As [`cluster`](Self::cluster), for a caller that keeps no [`Config`]. A change of the file
    /// replaces both pools as [`pool_from_file`](Self::pool_from_file) does. If it removes the section
    /// `readers`, clones read from the writer; if it adds the section, those that this returns from
    /// then on read there.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey_sync::Error> {
    /// let manager = pgmonkey_sync::ConnectionManager::global();
    /// let cluster = manager.cluster_from_file("pgmonkey.yaml")?;
    /// println!("{}", cluster.status());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`cluster`](Self::cluster), and [`Error::Config`].
    pub fn cluster_from_file(&self, path: impl AsRef<Path>) -> Result<Cluster, Error> {
        let path = path.as_ref();
        let (writer, _) = self.handle_from_file(path, Asked::ByType(POOL))?;
        let (reader, _) = self.handle_from_file(path, Asked::Readers(POOL))?;
        Ok(Cluster::of(writer, reader))
    }

    /// As [`reload_pool`](Self::reload_pool), for both pools of the cluster.
    ///
    /// # Errors
    ///
    /// As [`cluster`](Self::cluster); a pool that could not be opened has not replaced the old one.
    pub fn reload_cluster(&self, config: &Config) -> Result<Cluster, Error> {
        let writer = self.reload(config, POOL)?;
        let reader = match &config.readers {
            Some(readers) => self.reading(readers).reload(&readers.config, POOL)?,
            None => writer.clone(),
        };
        Ok(Cluster::of(writer, reader))
    }

    /// As [`reload_pool_from_file`](Self::reload_pool_from_file), for both pools of the cluster.
    ///
    /// # Errors
    ///
    /// As [`cluster_from_file`](Self::cluster_from_file); a pool that could not be opened has not
    /// replaced the old one.
    pub fn reload_cluster_from_file(&self, path: impl AsRef<Path>) -> Result<Cluster, Error> {
        let path = path.as_ref();
        let (writer, _) = self.reload_from_file(path, Asked::ByType(POOL))?;
        let asked = Asked::Readers(POOL);
        // Without a section of their own, readers are the writer, which is new.
        let loaded = self
            .handles
            .get()
            .files
            .load(path, self.options.allow_commands)?;
        let (reader, _) = match loaded.config.readers.is_some() {
            true => self.reload_from_file(path, asked)?,
            false => self.handle_from_file(path, asked)?,
        };
        Ok(Cluster::of(writer, reader))
    }

    /// As [`replace_pool`](Self::replace_pool), for the pools that differ, or for both if none does. If
    /// `new` has no section `readers`, clones of the old cluster read from the writer; if only `new`
    /// has it, they do so too.
    ///
    /// # Errors
    ///
    /// As [`cluster`](Self::cluster); then nothing has been replaced.
    pub fn replace_cluster(&self, old: &Config, new: &Config) -> Result<Cluster, Error> {
        let keys = |config: &Config| (self.key(config, POOL), self.readers_key(config));
        let (from, to) = (keys(old), keys(new));
        if from == to {
            return self.reload_cluster(new);
        }
        let cluster = self.cluster(new)?;
        let handles = self.handles.get();
        if from.0 != to.0 {
            handles.retire(&from.0, cluster.writer());
        }
        if let Some(readers) = from.1.filter(|readers| Some(readers) != to.1.as_ref()) {
            handles.retire(&readers, cluster.reader());
        }
        Ok(cluster)
    }

    /// The key of the pool at the readers of `config`, if it has the section.
    pub(super) fn readers_key(&self, config: &Config) -> Option<Key> {
        let readers = config.readers.as_ref()?;
        Some(self.reading(readers).key(&readers.config, POOL))
    }

    /// The manager, with the same cache, of the reading sides of clusters.
    pub(super) fn reading(&self, readers: &Readers) -> Self {
        let mut manager = self.clone();
        manager.options.readers = Some(limits(readers));
        manager
    }
}
