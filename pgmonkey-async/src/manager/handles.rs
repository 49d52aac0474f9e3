//! The handles that a manager caches, and which of them are retired.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pgmonkey_cache::Cache;
use pgmonkey_config::{Config, ConnectionType, Fingerprint};
use pgmonkey_connect::sources::{Asked, ConfigSource, Request, Sources};
use pgmonkey_connect::succession::{self, Succeed};
use pgmonkey_connect::tenants::Census;
use pgmonkey_connect::{CacheEntry, ConfigFiles, Error, Listed, events};

use crate::handle::database::{connection_type, open};
use crate::handle::pool::Pool;
use crate::options::Identity;
use crate::pool::Shared;

use super::ConnectionManager;
use super::limits::Sweep;

/// Contains the identities of the password provider and the hooks, but never a password.
pub(super) type Key = (Fingerprint, ConnectionType, Identity);

/// What all clones of a manager share.
pub(super) struct Handles {
    /// A connection is cached as its pool of one session.
    pub(super) cache: Cache<Key, Pool, Error>,
    pub(super) files: ConfigFiles,
    /// Also held while handles are retired, so that of two that replace each other one stays.
    sources: Mutex<Sources<Identity, Key>>,
    /// The handles of a manager with limits.
    pub(super) census: Arc<Census<Key, Shared>>,
    pub(super) sweep: OnceLock<Sweep>,
}

impl Default for Handles {
    fn default() -> Self {
        Self {
            cache: Cache::sharded(Pool::shard),
            files: ConfigFiles::default(),
            sources: Mutex::default(),
            census: Arc::default(),
            sweep: OnceLock::new(),
        }
    }
}

/// Handles that have left the cache: closed, or only dropped, after the locks are released.
#[derive(Default)]
pub(super) struct Left {
    retired: Vec<Pool>,
    dropped: Vec<Pool>,
}

impl Left {
    /// Makes `new` the successor of `old`. One that the program closed stays closed.
    pub(super) fn retire(&mut self, old: Pool, new: &Pool) {
        match !old.is_over() && succession::succeed(&old, new) {
            true => self.retired.push(old),
            false => self.dropped.push(old),
        }
    }

    /// Closes the retired handles: their waiters go on at the successors.
    pub(super) fn close(self) {
        let shared = || self.retired.iter().map(Pool::shared);
        shared().for_each(|shared| shared.close());
        // The program's subscribers come last: they may panic.
        shared()
            .for_each(|shared| events::replaced(shared.core.label().name(), shared.core.what()));
    }
}

impl ConnectionManager {
    pub(super) fn key(&self, config: &Config, connection_type: ConnectionType) -> Key {
        let fingerprint = *config.fingerprint(connection_type);
        (fingerprint, connection_type, self.options.identity())
    }

    /// The handle for a configuration of the program.
    pub(super) async fn handle(
        &self,
        config: &Config,
        connection_type: ConnectionType,
    ) -> Result<Pool, Error> {
        let key = self.key(config, connection_type);
        loop {
            let pool = self.find_or_open(&key, config).await?;
            if pool.succession().claim() {
                return Ok(pool);
            }
            // Retired at this moment, and no longer cached.
        }
    }

    /// The handle for the configuration in a file, and its type: the one that is asked for, or the
    /// one that the file names.
    pub(super) async fn handle_from_file(
        &self,
        path: &Path,
        asked: Asked,
    ) -> Result<(Pool, ConnectionType), Error> {
        let identity = self.options.identity();
        loop {
            let handles = self.handles.get();
            let loaded = handles.files.load(path, self.options.allow_commands)?;
            let request = request(path, &identity, asked, &loaded)?;
            let (manager, config) = self.side(&loaded.config, asked);
            let key = manager.key(config, request.connection_type);
            let pool = manager.find_or_open(&key, config).await?;
            if handles.give(&request, &key, &pool, None) {
                return Ok((pool, request.connection_type));
            }
        }
    }

    /// As [`handle_from_file`](Self::handle_from_file), but opens a new handle in any case.
    pub(super) async fn reload_from_file(
        &self,
        path: &Path,
        asked: Asked,
    ) -> Result<(Pool, ConnectionType), Error> {
        let identity = self.options.identity();
        loop {
            let handles = self.handles.get();
            let loaded = handles.files.load(path, self.options.allow_commands)?;
            let request = request(path, &identity, asked, &loaded)?;
            let (manager, config) = self.side(&loaded.config, asked);
            let key = manager.key(config, request.connection_type);
            let open = || open(config, key.1, manager.options.clone());
            let replaced = handles.cache.replace_async(&key, open).await?;
            manager.admit(&key, &replaced.new);
            if handles.give(&request, &key, &replaced.new, replaced.old) {
                return Ok((replaced.new, request.connection_type));
            }
        }
    }

    /// Opens a new handle for a configuration of the program, and retires the one of the same
    /// configuration, whatever its credentials are.
    pub(super) async fn reload(
        &self,
        config: &Config,
        connection_type: ConnectionType,
    ) -> Result<Pool, Error> {
        let key = self.key(config, connection_type);
        let open = async || {
            let pool = open(config, connection_type, self.options.clone()).await?;
            // Before it is cached, so that no change of a file retires it.
            pool.succession().claim();
            Ok(pool)
        };
        let handles = self.handles.get();
        let replaced = handles.cache.replace_async(&key, open).await?;
        self.admit(&key, &replaced.new);
        handles.retire_older(&key, &replaced.new, replaced.old);
        Ok(replaced.new)
    }

    /// The handle for `new`, in favour of which the one for `old` is retired.
    pub(super) async fn replace(
        &self,
        old: (&Config, ConnectionType),
        new: (&Config, ConnectionType),
    ) -> Result<Pool, Error> {
        let (from, to) = (self.key(old.0, old.1), self.key(new.0, new.1));
        if from == to {
            return self.reload(new.0, new.1).await;
        }
        let pool = self.handle(new.0, new.1).await?;
        self.handles.get().retire(&from, &pool);
        Ok(pool)
    }

    /// The manager and the configuration of what is asked for. Readers without a section of their own
    /// are the writer.
    fn side<'a>(&self, config: &'a Config, asked: Asked) -> (Cow<'_, Self>, &'a Config) {
        match (&config.readers, asked) {
            (Some(readers), Asked::Readers(_)) => {
                (Cow::Owned(self.reading(readers)), &readers.config)
            }
            _ => (Cow::Borrowed(self), config),
        }
    }

    /// The cached handle, or one that is opened now if there is none that can be used.
    async fn find_or_open(&self, key: &Key, config: &Config) -> Result<Pool, Error> {
        let cache = &self.handles.get().cache;
        // A handle that the program closed is never returned again.
        if let Some(pool) = cache.get(key).filter(|pool| !pool.is_over()) {
            return Ok(pool);
        }
        let is_past = |pool: &Pool| pool.is_over() || pool.succession().is_retired();
        let open = || open(config, key.1, self.options.clone());
        let renewed = cache.get_or_try_renew_async(key, is_past, open).await?;
        self.admit(key, &renewed.new);
        Ok(renewed.new)
    }
}

/// What a caller asks a file for.
fn request<'a>(
    path: &'a Path,
    identity: &'a Identity,
    asked: Asked,
    loaded: &pgmonkey_connect::Loaded,
) -> Result<Request<'a, Identity>, Error> {
    let connection_type = match asked {
        Asked::ByType(connection_type) | Asked::Readers(connection_type) => connection_type,
        Asked::Database => connection_type(&loaded.config)?,
    };
    Ok(Request {
        path,
        identity,
        asked,
        connection_type,
        generation: loaded.generation,
    })
}

impl Handles {
    /// Records that a file gave `pool`, retires what no file gives any more, and `replaced`, which
    /// `pool` has replaced in the cache. Returns false if `pool` has been retired meanwhile.
    fn give(
        &self,
        request: &Request<'_, Identity>,
        key: &Key,
        pool: &Pool,
        replaced: Option<Pool>,
    ) -> bool {
        let mut left = Left::default();
        let mut sources = self.sources();
        let is_given = !pool.succession().is_retired();
        if let Some(old) = replaced {
            left.retire(old, pool);
        }
        let superseded = match is_given {
            true => sources.give(request, key),
            false => Vec::new(),
        };
        for one in superseded {
            let is_free = |old: &Pool| old.succession().give_up();
            let old = self.cache.remove_if(&one.old, is_free);
            let new = match one.new == *key {
                true => Some(pool.clone()),
                false => self.cache.get(&one.new),
            };
            match (old, new) {
                (Some(old), Some(new)) => {
                    left.retire(old, &new);
                    left.dropped.push(new);
                }
                (old, new) => left.dropped.extend(old.into_iter().chain(new)),
            }
        }
        drop(sources);
        left.close();
        is_given
    }

    /// Retires `replaced` and the handles of the same login, in favour of the new handle of `key`.
    fn retire_older(&self, key: &Key, new: &Pool, replaced: Option<Pool>) {
        let mut left = Left::default();
        let sources = self.sources();
        if let Some(old) = replaced {
            left.retire(old, new);
        }
        // Of two reloads at a time, the one that comes here first retires the other's handle.
        if !new.succession().is_retired() {
            for entry in self.cache.entries() {
                let (login, kind, identity) = &entry.key;
                let is_same = key.0.is_same_login(login) && key.1 == *kind && key.2 == *identity;
                if is_same
                    && entry.key != *key
                    && let Some(old) = self.cache.remove(&entry.key)
                {
                    left.retire(old, new);
                }
                left.dropped.push(entry.value);
            }
        }
        drop(sources);
        left.close();
    }

    /// Retires the handle of `key`, if there is one.
    pub(super) fn retire(&self, key: &Key, new: &Pool) {
        let mut left = Left::default();
        let sources = self.sources();
        if let Some(old) = self.cache.remove(key) {
            left.retire(old, new);
        }
        drop(sources);
        left.close();
    }

    /// Removes the handles whose key and entry are meant; returns how many.
    pub(super) fn remove(
        &self,
        has_key: impl Fn(&Key) -> bool,
        is_meant: impl Fn(&CacheEntry) -> bool,
    ) -> usize {
        let mut listed = self.listed();
        listed.retain(|((key, _), entry)| has_key(key) && is_meant(entry));
        let mut removed = Vec::new();
        for ((key, pool), _) in listed {
            // Another one may have its place meanwhile.
            let same = |found: &Pool| found.is_itself(&pool);
            if let Some(found) = self.cache.remove_if(&key, same) {
                self.sources().forget(|other| *other == key);
                removed.push(found);
            }
        }
        removed.len()
    }

    /// The cached handles with their keys and descriptions.
    pub(super) fn listed(&self) -> Vec<((Key, Pool), CacheEntry)> {
        let entries = self.cache.entries();
        let sources = self.sources();
        let given: Vec<_> = sources
            .all()
            .map(|(path, key)| (key.clone(), path.to_owned()))
            .collect();
        drop(sources);
        let list = entries.into_iter().map(|entry| {
            let (key, pool) = (entry.key, entry.value);
            let core = &pool.shared().core;
            let files = given.iter().filter(|(of, _)| *of == key);
            let files = files.map(|(_, path)| ConfigSource::File(path.clone()));
            let code = pool.succession().is_claimed().then_some(ConfigSource::Code);
            let mut sources: Vec<_> = code.into_iter().chain(files).collect();
            sources.sort();
            let described = CacheEntry::from(Listed {
                number: core.label().number(),
                name: core.label().name(),
                connection_type: key.1,
                fingerprint: key.0,
                target: core.label().target(),
                sources,
                age: entry.created.elapsed(),
                hits: entry.hits,
                usage: core.usage(),
            });
            ((key, pool), described)
        });
        list.collect()
    }

    /// Closes all cached handles; returns how many.
    pub(super) fn clear(&self) -> usize {
        let held = self.cache.clear();
        self.sources().forget(|_| true);
        held.iter().for_each(|(_, pool)| pool.close());
        held.len()
    }

    pub(super) fn sources(&self) -> MutexGuard<'_, Sources<Identity, Key>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
