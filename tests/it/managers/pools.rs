//! The pools of other crates, each with one session, and a test written once for all of them.

use pgmonkey::{Error, aio, sync};
use pgmonkey_tests::LONG;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

pub(super) struct R2d2(r2d2::Pool<sync::managers::SessionManager>);

impl R2d2 {
    pub(super) fn of(manager: sync::managers::SessionManager) -> Self {
        let builder = r2d2::Pool::builder()
            .max_size(1)
            .connection_timeout(LONG)
            .test_on_check_out(true);
        Self(builder.build_unchecked(manager))
    }

    pub(super) fn get(
        &self,
    ) -> Result<r2d2::PooledConnection<sync::managers::SessionManager>, AnyError> {
        Ok(self.0.get()?)
    }

    pub(super) fn open(
        manager: &sync::managers::SessionManager,
    ) -> Result<sync::managers::ManagedSession, Error> {
        r2d2::ManageConnection::connect(manager)
    }
}

pub(super) struct Bb8(bb8::Pool<aio::managers::SessionManager>);

impl Bb8 {
    pub(super) async fn of(manager: aio::managers::SessionManager) -> Self {
        Self::checking(true, manager).await
    }

    pub(super) async fn checking(checks: bool, manager: aio::managers::SessionManager) -> Self {
        let builder = bb8::Pool::builder().max_size(1).connection_timeout(LONG);
        Self(builder.test_on_check_out(checks).build_unchecked(manager))
    }

    pub(super) async fn get(
        &self,
    ) -> Result<bb8::PooledConnection<'static, aio::managers::SessionManager>, AnyError> {
        Ok(self.0.get_owned().await?)
    }

    pub(super) async fn open(
        manager: &aio::managers::SessionManager,
    ) -> Result<aio::managers::ManagedSession, Error> {
        bb8::ManageConnection::connect(manager).await
    }
}

pub(super) struct Deadpool(deadpool::managed::Pool<aio::managers::SessionManager>);

impl Deadpool {
    pub(super) async fn of(manager: aio::managers::SessionManager) -> Self {
        let builder = deadpool::managed::Pool::builder(manager).max_size(1);
        Self(builder.build().expect("it has no timeouts"))
    }

    pub(super) async fn get(
        &self,
    ) -> Result<deadpool::managed::Object<aio::managers::SessionManager>, AnyError> {
        let got = tokio::time::timeout(LONG, self.0.get()).await?;
        got.map_err(|error| error.to_string().into())
    }

    pub(super) async fn open(
        manager: &aio::managers::SessionManager,
    ) -> Result<aio::managers::ManagedSession, Error> {
        deadpool::managed::Manager::create(manager).await
    }
}

pub(super) struct Mobc(mobc::Pool<aio::managers::SessionManager>);

impl Mobc {
    pub(super) async fn of(manager: aio::managers::SessionManager) -> Self {
        Self::checking(true, manager).await
    }

    pub(super) async fn checking(checks: bool, manager: aio::managers::SessionManager) -> Self {
        let builder = mobc::Pool::builder().max_open(1).get_timeout(Some(LONG));
        Self(builder.test_on_check_out(checks).build(manager))
    }

    pub(super) async fn get(
        &self,
    ) -> Result<mobc::Connection<aio::managers::SessionManager>, AnyError> {
        Ok(self.0.get().await?)
    }

    pub(super) async fn open(
        manager: &aio::managers::SessionManager,
    ) -> Result<aio::managers::ManagedSession, Error> {
        mobc::Manager::connect(manager).await
    }
}

/// Writes a test once for these pools of other crates, each with one session. `$pool::of` makes one
/// from a manager; `$go!(call)` is the call, awaited in the async ones; `driver` is the crate under
/// test.
macro_rules! kept {
    (fn $name:ident[$($module:ident $kind:ident),*]($on:ident, $driver:ident, $pool:ident, $go:ident) $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "not every test needs all of it")]
            use super::*;

            $(kept!(@ $module $kind ($on, $driver, $pool, $go) $body);)*
        }
    };
    (@ r2d2 $kind:ident ($on:ident, $driver:ident, $pool:ident, $go:ident) $body:block) => {
        #[test]
        fn r2d2() -> Outcome {
            #[allow(unused_imports, reason = "as above")]
            use pgmonkey::sync as $driver;
            use super::pools::$kind as $pool;
            #[allow(unused_macros, reason = "as above")]
            macro_rules! $go { ($e:expr) => { $e } }
            let $on = Fixture::new();
            $body
        }
    };
    (@ $module:ident $kind:ident ($on:ident, $driver:ident, $pool:ident, $go:ident) $body:block) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[allow(unused_mut, reason = "the blocking driver takes &mut where the other takes &")]
        async fn $module() -> Outcome {
            #[allow(unused_imports, reason = "as above")]
            use pgmonkey::aio as $driver;
            use super::pools::$kind as $pool;
            #[allow(unused_macros, reason = "as above")]
            macro_rules! $go { ($e:expr) => { $e.await } }
            let $on = Fixture::new();
            $body
        }
    };
}

pub(super) use kept;
