//! `sync_settings` and `async_settings`.

use pgmonkey::Error;
use pgmonkey_tests::twin;

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
