//! State shared by the clones of a pool; acquiring, releasing and maintaining sessions.

use std::sync::Arc;

use pgmonkey_config::{Config, ConnectionType, PoolSettings};
use pgmonkey_connect::pool::{self, Budgets, Label, PoolCore};
use pgmonkey_connect::test_transaction::Holder;
use pgmonkey_connect::{ConnectTarget, Error};

use crate::options::HandleOptions;
use crate::session::Session;
use crate::session::engine::SessionFactory;
use crate::session::hooks::Hooks;
use crate::session::prepared::Statements;
use crate::threads::openers::Opener;

use self::failover::HostWatch;
use self::maintenance::Registration;
use self::standbys::StandbyWatch;

pub(crate) mod acquire;
mod failover;
pub(crate) mod maintenance;
mod standbys;

pub(crate) struct Shared {
    pub(crate) core: PoolCore<Box<Session>>,
    pub(crate) factory: SessionFactory,
    /// The pool's registration with the threads that open sessions.
    pub(crate) opener: Opener,
    /// Calls the maintenance when it is due.
    pub(crate) keeper: Registration,
    pub(crate) host_watch: HostWatch,
    pub(crate) standby_watch: StandbyWatch,
    pub(crate) settings: PoolSettings,
    /// What [`Database::scope`](crate::Database::scope) follows.
    pub(crate) autocommit: bool,
    /// Whether lifetimes and sizes are maintained.
    pub(crate) is_kept: bool,
    /// Whether it is one of many, and is to be small.
    pub(crate) is_one_of_many: bool,
    /// Whether each session is checked before it is handed out.
    pub(crate) checks: bool,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) statements: Statements,
    /// Records which caller has the session of a pool for tests.
    pub(crate) holder: Option<Holder>,
}

impl Shared {
    /// Has the pool keep to the manager's limit of sessions at its server, if there is one.
    pub(crate) fn share(self: &Arc<Self>, budgets: Option<&Budgets>) {
        if let Some(budgets) = budgets {
            pool::join(self, &budgets.of(&self.factory.connect_target.servers()));
        }
    }

    /// Creates the state of a pool without sessions.
    pub(crate) fn new(
        what: &'static str,
        config: &Config,
        connection_type: ConnectionType,
        settings: PoolSettings,
        options: HandleOptions,
    ) -> Result<Self, Error> {
        let connect_target = ConnectTarget::new(config, connection_type)?
            .asking_provider(options.provider.is_some())
            .named(options.name.clone(), options.notice_hook())
            .reading(options.readers);
        let label = Label::new(
            Arc::clone(connect_target.name()),
            Arc::clone(connect_target.target()),
            &settings,
        );
        let label = Arc::new(label.reporting_to(connect_target.statements()));
        let statements = Statements::new(
            settings.statement_cache,
            connect_target.has_transactions(),
            &label,
        );
        let opener = Opener::register(connect_target.servers().into(), settings.num_workers);
        let factory = SessionFactory {
            connect_target,
            provider: options.provider,
            hooks: options.hooks.clone(),
            label: Arc::clone(&label),
        };
        let asks = |hooks: &Hooks| hooks.asks_before_acquire();
        Ok(Self {
            core: PoolCore::new(what, label, &settings),
            factory,
            opener,
            keeper: Registration::default(),
            host_watch: HostWatch::default(),
            standby_watch: StandbyWatch::default(),
            checks: settings.check_on_checkout || options.hooks.as_ref().is_some_and(asks),
            settings,
            autocommit: config.connection_settings.autocommit,
            // A single connection has neither lifetimes nor sizes to maintain.
            is_kept: connection_type == ConnectionType::Pool && !options.for_tests,
            is_one_of_many: options.is_one_of_many,
            hooks: options.hooks,
            statements,
            holder: options.for_tests.then(Holder::default),
        })
    }
}
