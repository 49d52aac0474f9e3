//! `sync_settings` and `async_settings`.

use pgmonkey::Error;
use pgmonkey_tests::{load, twin};
use pgmonkey_testserver::Pgbouncer;

fn both(settings: &str) -> String {
    format!("sync_settings: {settings}\nasync_settings: {settings}\n")
}

twin! {
    fn b07_b33_settings_arrive_as_they_are_written(on, driver, go, work) {
        let config = on.config(&both(
            "{ statement_timeout: '31000', work_mem: 7MB, search_path: 'pg_catalog, public', \
             my.blank: 'a b\\c ''d''', my.list: [x, y], geqo: false }",
        ));
        let pool = go!(driver::Pool::new(&config))?;
        let expected = [
            ("statement_timeout", "31s"),
            ("work_mem", "7MB"),
            ("search_path", "pg_catalog, public"),
            ("my.blank", "a b\\c 'd'"),
            ("my.list", "x,y"),
            ("geqo", "off"),
        ];
        for (name, value) in expected {
            let row = go!(pool.query_one("SELECT current_setting($1)", &[&name]))?;
            assert_eq!(row.get::<_, &str>(0), value, "{name}");
        }
        Ok(())
    }
}

twin! {
    fn settings_survive_a_rollback_and_a_reset(on, driver, go, work) {
        let config = on.config(&both("{ work_mem: 7MB }"));
        let connection = go!(driver::Connection::new(&config))?;
        let mut guard = go!(connection.acquire())?;
        go!(guard.begin())?;
        go!(guard.rollback())?;
        go!(guard.batch_execute("RESET ALL"))?;
        assert_eq!(go!(guard.query_one("SHOW work_mem", &[]))?.get::<_, &str>(0), "7MB");
        Ok(())
    }
}

twin! {
    fn a_bad_setting_fails_the_connect_and_is_named(on, driver, go, work) {
        for (settings, key) in [
            ("{ statment_timeout: 1 }", "statment_timeout"),
            ("{ work_mem: lots }", "work_mem"),
        ] {
            let config = on.config(&both(settings));
            let error = match go!(driver::Pool::new(&config)) {
                Ok(_) => panic!("{settings} was taken"),
                Err(error) => error,
            };
            assert!(matches!(error, Error::SessionSetting { .. }), "{error}");
            assert!(error.to_string().contains(&format!("sync_settings.{key}")), "{error}");
        }
        Ok(())
    }
}

// Where a backslash escapes, a value inside a statement must not end the literal early. The pooler
// accepts no `options`, so the settings are sent as statements; over TCP.
twin! {
    fn a_backslash_runs_nothing_where_strings_do_not_conform(on, driver, go, work) {
        let Some(program) = Pgbouncer::find() else {
            println!("skipped: no pgbouncer on this machine (`apt-get install pgbouncer`)");
            return Ok(());
        };
        on.run(&format!("CREATE DATABASE {}", on.name));
        on.run(&format!("ALTER DATABASE {} SET standard_conforming_strings = off", on.name));
        let pooler = Pgbouncer::start(&program, on.server(), &[("pool_mode", "session")])?;
        let to = pooler.endpoint();
        let value = r"x\', false), pg_catalog.set_config($$my.hit$$, $$yes$$, false) --";
        let settings = format!("{{ my.text: \"{}\" }}", value.replace('\\', "\\\\"));
        let config = load(&format!(
            "connection_settings: {{ host: {}, port: {}, user: {}, password: '{}', dbname: {}, \
             pooler: session }}\n{}",
            to.host(), to.port(), to.user(), to.password(), on.name, both(&settings),
        ));
        let connection = go!(driver::Connection::new(&config))?;
        let ask = "SELECT current_setting('standard_conforming_strings'), current_setting('my.text'), \
                   current_setting('my.hit', true)";
        let row = go!(connection.query_one(ask, &[]))?;
        assert_eq!((row.get(0), row.get(1)), ("off", value));
        assert_eq!(row.get::<_, Option<&str>>(2), None, "it ran");
        connection.close();
        drop(pooler);
        on.run(&format!("DROP DATABASE {} WITH (FORCE)", on.name));
        Ok(())
    }
}
