//! Opens cached handles in the global manager, says so, waits for a line and ends.
//!
//! `exits FILE return|exit|lock|async|hang|panic`

#![forbid(unsafe_code)]

use std::sync::Arc;

use pgmonkey::{Config, ConnectionManager, Error};
use pgmonkey_connect::exit::{self, CloseAtExit};

/// A handle whose close never ends, or panics.
struct Bad(bool);

impl CloseAtExit for Bad {
    fn close_at_exit(&self) {
        assert!(self.0, "told to panic at exit");
        loop {
            std::thread::park();
        }
    }
}

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let (file, how) = (args.next(), args.next());
    let config = Config::from_file(file.expect("a file"))?;
    let how = how.expect("how to end");
    if how == "hang" || how == "panic" {
        // Kept until the end, as in a static.
        let bad: &'static mut Arc<dyn CloseAtExit> =
            Box::leak(Box::new(Arc::new(Bad(how == "hang"))));
        exit::register(Arc::downgrade(bad));
    }
    let manager = ConnectionManager::global();
    let pool = manager.pool(&config)?;
    manager.connection(&config)?;
    if how == "async" {
        static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"));
        runtime.block_on(manager.async_pool(&config))?;
    }
    println!("open");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a line");
    if how == "lock" {
        // A statement that never ends, on a detached thread.
        std::thread::spawn(move || pool.batch_execute("SELECT pg_sleep(60)"));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    if how == "exit" {
        std::process::exit(0);
    }
    Ok(())
}
