//! Passwords from a provider: requested before each new session, never stored, and known to the
//! cache only by their provider.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use pgmonkey::{
    AsyncPasswordProvider, Config, PasswordProvider, PasswordRequest, ProviderError, Secret,
};
use pgmonkey_tests::{Fixture, load, twin};

/// Returns the current token, or fails if there is none.
#[derive(Clone)]
struct Tokens(Arc<State>);

struct State {
    identity: &'static str,
    token: Mutex<Option<String>>,
    asked: AtomicU32,
    invalidated: AtomicU32,
    last: Mutex<Option<PasswordRequest>>,
}

impl Tokens {
    fn new(identity: &'static str, token: &str) -> Self {
        Self(Arc::new(State {
            identity,
            token: Mutex::new(Some(token.to_owned())),
            asked: AtomicU32::new(0),
            invalidated: AtomicU32::new(0),
            last: Mutex::default(),
        }))
    }

    fn turn_to(&self, token: Option<&str>) {
        *self.0.token.lock().expect("no panic") = token.map(str::to_owned);
    }

    fn asked(&self) -> u32 {
        self.0.asked.load(Ordering::SeqCst)
    }

    fn forget(&self, request: &PasswordRequest) {
        assert_eq!(
            self.0.last.lock().expect("no panic").as_ref(),
            Some(request)
        );
        self.0.invalidated.fetch_add(1, Ordering::SeqCst);
    }

    fn give(&self, request: &PasswordRequest) -> Result<Secret, ProviderError> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        *self.0.last.lock().expect("no panic") = Some(request.clone());
        let token = self.0.token.lock().expect("no panic").clone();
        token.map(Secret::from).ok_or("the vault is sealed".into())
    }
}

impl PasswordProvider for Tokens {
    fn identity(&self) -> String {
        self.0.identity.to_owned()
    }

    fn password(&self, request: &PasswordRequest) -> Result<Secret, ProviderError> {
        self.give(request)
    }

    fn invalidate(&self, request: &PasswordRequest) {
        self.forget(request);
    }
}

#[async_trait::async_trait]
impl AsyncPasswordProvider for Tokens {
    fn identity(&self) -> String {
        self.0.identity.to_owned()
    }

    async fn password(&self, request: &PasswordRequest) -> Result<Secret, ProviderError> {
        tokio::task::yield_now().await;
        self.give(request)
    }

    fn invalidate(&self, request: &PasswordRequest) {
        self.forget(request);
    }
}

/// A role of the test's own, and a file for it with a wrong password.
fn config(on: &Fixture) -> Config {
    load(&yaml(on))
}

fn yaml(on: &Fixture) -> String {
    on.run(&format!("CREATE ROLE {} LOGIN PASSWORD 'token-1'", on.name));
    let pools = "{ min_size: 1, max_size: 3, timeout: 1 }";
    let yaml = on.yaml(&format!(
        "pool_settings: {pools}\nasync_pool_settings: {pools}\n"
    ));
    let user = format!("user: '{}'", on.server().user());
    let password = format!("password: '{}'", on.server().password());
    yaml.replace(&user, &format!("user: {}", on.name))
        .replace(&password, "password: not-this-one")
}

twin! {
    fn each_new_session_gets_the_token_of_its_hour(on, driver, go, work) {
        let config = config(&on);
        let tokens = Tokens::new("vault", "token-1");
        let pool = go!(driver::Builder::new(&config).password_provider(tokens.clone()).pool())?;
        assert_eq!(tokens.asked(), 1);
        let request = tokens.0.last.lock().expect("no panic").clone().expect("asked");
        assert_eq!((request.user.as_str(), request.port), (on.name.as_str(), on.server().port()));
        assert_eq!((request.host.as_str(), request.dbname.as_str()), (on.server().host(), on.server().dbname()));
        let first = go!(pool.acquire())?;

        on.run(&format!("ALTER ROLE {} PASSWORD 'token-2'", on.name));
        tokens.turn_to(Some("token-2"));
        let second = go!(pool.acquire())?;
        assert_eq!(tokens.asked(), 2, "asked anew, not remembered");
        drop((first, second));
        drop(go!(pool.acquire())?);
        assert_eq!(tokens.asked(), 2, "an idle session needs none");

        let held = [go!(pool.acquire())?, go!(pool.acquire())?];
        tokens.turn_to(Some("token-that-is-wrong"));
        let error = go!(pool.acquire()).expect_err("a wrong token");
        assert!(error.is_timeout(), "the sessions in use may come back: {error}");
        assert!(error.to_string().contains("password authentication failed"), "{error}");
        assert!(!error.to_string().contains("token-that"), "{error}");
        on.kill();
        drop(held);
        on.until("the pool notices", || pool.status().size == 0);
        let error = go!(pool.acquire()).expect_err("no session is left");
        assert!(error.is_authentication() && !error.is_transient(), "{error}");
        assert!(tokens.0.invalidated.load(Ordering::SeqCst) >= 2, "it was told each time");

        tokens.turn_to(None);
        let error = go!(pool.acquire()).expect_err("no token");
        assert!(error.to_string().contains("the password provider failed: the vault is sealed"), "{error}");
        assert!(error.is_transient(), "it may be unsealed: {error}");
        drop(pool);
        on.until("sessions end", || on.sessions() == 0);
        on.run(&format!("DROP ROLE {}", on.name));
        Ok(())
    }
}

/// Panics while the flag is set.
#[derive(Clone)]
struct Panics(Tokens, Arc<AtomicBool>);

impl Panics {
    fn check(&self) {
        assert!(!self.1.load(Ordering::SeqCst), "the vault is on fire");
    }
}

impl PasswordProvider for Panics {
    fn identity(&self) -> String {
        "panics".to_owned()
    }

    fn password(&self, request: &PasswordRequest) -> Result<Secret, ProviderError> {
        self.check();
        self.0.give(request)
    }
}

#[async_trait::async_trait]
impl AsyncPasswordProvider for Panics {
    fn identity(&self) -> String {
        "panics".to_owned()
    }

    async fn password(&self, request: &PasswordRequest) -> Result<Secret, ProviderError> {
        self.check();
        self.0.give(request)
    }
}

twin! {
    fn a_provider_that_panics_is_told_to_its_waiter_and_costs_no_place(on, driver, go, work) {
        // A panic may take longer to be printed than the other pools wait.
        let config = load(&yaml(&on).replace("timeout: 1 }", "timeout: 20 }"));
        let panics = Panics(Tokens::new("vault", "token-1"), Arc::default());
        let pool = go!(driver::Builder::new(&config).password_provider(panics.clone()).pool())?;
        let first = go!(pool.acquire())?;
        panics.1.store(true, Ordering::SeqCst);
        for _ in 0..5 {
            let error = go!(pool.acquire()).expect_err("no password");
            let text = error.to_string();
            assert!(text.contains("panicked") && text.contains("the vault is on fire"), "{text}");
            assert!(!error.is_timeout() && !error.is_transient(), "{text}");
        }
        panics.1.store(false, Ordering::SeqCst);
        let others = [go!(pool.acquire())?, go!(pool.acquire())?];
        let status = pool.status();
        assert_eq!((status.in_use, status.opening, status.waiting), (3, 0, 0));
        drop((first, others, pool));
        on.until("sessions end", || on.sessions() == 0);
        on.run(&format!("DROP ROLE {}", on.name));
        Ok(())
    }
}

/// Never returns while the flag is set.
#[derive(Clone)]
struct Hangs(Tokens, Arc<AtomicBool>);

impl PasswordProvider for Hangs {
    fn identity(&self) -> String {
        "hangs".to_owned()
    }

    fn password(&self, request: &PasswordRequest) -> Result<Secret, ProviderError> {
        while self.1.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self.0.give(request)
    }
}

#[async_trait::async_trait]
impl AsyncPasswordProvider for Hangs {
    fn identity(&self) -> String {
        "hangs".to_owned()
    }

    async fn password(&self, request: &PasswordRequest) -> Result<Secret, ProviderError> {
        while self.1.load(Ordering::SeqCst) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        self.0.give(request)
    }
}

twin! {
    fn a_provider_that_hangs_is_named_and_holds_up_no_other_pool(on, driver, go, work) {
        let config = load(&yaml(&on).replacen("connect_timeout: 5", "connect_timeout: 500ms", 1));
        let hangs = Hangs(Tokens::new("vault", "token-1"), Arc::default());
        let pool = go!(driver::Builder::new(&config).password_provider(hangs.clone()).pool())?;
        let first = go!(pool.acquire())?;
        hangs.1.store(true, Ordering::SeqCst);
        let mut named = false;
        for _ in 0..4 {
            let error = go!(pool.acquire()).expect_err("no password");
            assert!(error.is_timeout(), "{error}");
            named |= error.to_string().contains("the password provider took longer");
            // Another pool of the same server works at any time.
            go!(go!(driver::Pool::new(&on.pools("{ min_size: 0 }")))?.query_one("SELECT 1", &[]))?;
        }
        assert!(named, "what took the time is in the reason");
        hangs.1.store(false, Ordering::SeqCst);
        let second = go!(pool.acquire())?;
        drop((first, second, pool));
        on.until("sessions end", || on.sessions() == 0);
        on.run(&format!("DROP ROLE {}", on.name));
        Ok(())
    }
}

twin! {
    fn the_cache_knows_the_provider_and_not_the_token(on, driver, go, work) {
        let config = config(&on);
        let manager = driver::ConnectionManager::new();
        let tokens = Tokens::new("vault", "token-1");
        let with = manager.with_password_provider(tokens.clone());
        let pool = go!(with.pool(&config))?;
        tokens.turn_to(Some("token-of-another-hour"));
        assert!(go!(with.pool(&config))?.is_same(&pool), "the token is no part of the key");
        let again = manager.with_password_provider(Tokens::new("vault", "token-1"));
        assert!(go!(again.pool(&config))?.is_same(&pool), "the identity is");

        let other = manager.with_password_provider(Tokens::new("another vault", "token-1"));
        assert!(!go!(other.pool(&config))?.is_same(&pool));
        let error = go!(manager.pool(&config)).expect_err("the file's own password is wrong");
        assert!(error.is_authentication(), "{error}");
        assert_eq!(manager.cache_info().len(), 2, "one cache for all");

        tokens.turn_to(Some("token-1"));
        let reloaded = go!(with.reload_pool(&config))?;
        assert!(reloaded.is_same(&pool) && manager.cache_info().len() == 2);
        let connection = go!(with.connection(&config))?;
        assert_eq!(go!(connection.ping())?.user, on.name);
        let shown = format!("{with:?} {:?}", manager.cache_info());
        assert!(!shown.contains("token-1"), "{shown}");
        drop((manager, with, again, other, reloaded, connection, pool));
        on.until("sessions end", || on.sessions() == 0);
        on.run(&format!("DROP ROLE {}", on.name));
        Ok(())
    }
}
