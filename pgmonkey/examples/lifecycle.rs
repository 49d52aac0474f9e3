//! The life of a cached handle: one for each configuration, reloaded without a gap, closed.

use std::thread;
use std::time::Duration;

use pgmonkey::{Config, ConnectionManager, Error};

fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    storm(&config)?;
    reload(&config)?;
    tenants(&config)?;
    clear(&config)
}

// ANCHOR: storm
fn storm(config: &Config) -> Result<(), Error> {
    let manager = ConnectionManager::global();
    let pools: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| manager.pool(config)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|pool| pool.expect("no panic"))
            .collect::<Result<_, _>>()
    })?;
    assert!(pools.iter().all(|pool| pool.is_same(&pools[0])));
    println!(
        "{} callers, {} handle",
        pools.len(),
        manager.cache_info().len()
    );
    Ok(())
}
// ANCHOR_END: storm

// ANCHOR: reload
fn reload(config: &Config) -> Result<(), Error> {
    let manager = ConnectionManager::global();
    let old = manager.pool(config)?;
    let mut borrowed = old.acquire()?;

    let new = manager.reload_pool(config)?; // if this fails, the old one stays
    assert!(new.is_same(&manager.pool(config)?));
    assert!(new.is_same(&old)); // clones of the old one use the new one

    borrowed.batch_execute("SELECT 1")?; // a session in use stays open until it is released
    Ok(())
}
// ANCHOR_END: reload

// ANCHOR: tenants
fn tenants(config: &Config) -> Result<(), Error> {
    let manager = ConnectionManager::builder()
        .idle_handle_timeout(Duration::from_secs(300)) // an unused handle sleeps after five minutes
        .max_handles(1000) // the least recently used one leaves the cache
        .build()?;
    let pool = manager.pool(config)?; // one for each tenant's configuration
    println!("asleep: {}", pool.status().asleep);
    Ok(())
}
// ANCHOR_END: tenants

// ANCHOR: clear
fn clear(config: &Config) -> Result<(), Error> {
    let manager = ConnectionManager::global();
    for entry in manager.cache_info() {
        println!("{entry}");
    }
    let closed = manager.clear_cache();
    println!("closed {closed}");
    manager.pool(config)?; // opened again; closed at exit
    Ok(())
}
// ANCHOR_END: clear
