//! What readers see over a handle's lifetime: no secret of the configuration, and no server text
//! that a terminal would obey.

use std::error::Error as StdError;
use std::time::Instant;

use pgmonkey::{Config, ConnectionType, Error, printable};
use pgmonkey_connect::{ConnectTarget, SettingsMode};
use pgmonkey_tests::{Fixture, load, twin};
use pgmonkey_testserver::{Behaviour, ESCAPES, Hostile};

use crate::observation::all_told;

/// Longer than any of the library's errors with server text in each of its parts.
const LONG: usize = 10_000;

/// A secret in every place that may hold one.
const PLANTED: &str = "S3cret-of-the-test";

/// The fixture's file with secrets in its options and session settings.
fn planted(on: &Fixture, more: &str) -> String {
    let options = format!("options: '-c app.api_token={PLANTED}-1', application_name:");
    let yaml = on.yaml(&format!(
        "sync_settings: {{ app.secret: '{PLANTED}-2', app.source: 'postgres://u:{PLANTED}-3@h/d' }}
async_settings: {{ app.secret: '{PLANTED}-2', app.source: 'postgres://u:{PLANTED}-3@h/d' }}
{more}"
    ));
    yaml.replacen("application_name:", &options, 1)
}

/// The full text of an error, including its sources.
fn everything(error: &Error) -> String {
    let mut text = format!("{error}\n{error:#}\n{error:?}\n{error:#?}");
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!("\n{cause}\n{cause:?}");
        next = cause.source();
    }
    if let Error::Connect(failure) = error {
        text += &format!("\n{failure:?}\n{failure}");
    }
    text
}

/// Checks that it is a single line of printable text.
#[track_caller]
fn is_quiet(text: &str) {
    let loud = text
        .chars()
        .find(|letter| *letter != '\n' && printable::is_escaped(*letter));
    assert!(loud.is_none(), "{loud:?} in {text:?}");
    assert!(!text.contains("\rok\n"));
}

#[track_caller]
fn hides(text: &str) {
    assert!(!text.contains(PLANTED), "{text}");
}

twin! {
    fn nothing_of_a_handle_shows_a_secret(on, driver, go, work) {
        let config = load(&planted(&on, ""));
        hides(&format!("{config} {config:?} {:?}", config.exposed()));
        let builder = driver::Builder::new(&config).name(&*on.name);
        hides(&format!("{builder:?}"));
        let pool = go!(builder.pool())?;
        let connection = go!(driver::Connection::new(&config))?;
        let mut guard = go!(pool.acquire())?;
        let row = go!(guard.query_one("SELECT current_setting('app.api_token') || current_setting('app.secret')", &[]))?;
        // The server has the secrets.
        assert_eq!(row.get::<_, &str>(0), format!("{PLANTED}-1{PLANTED}-2"));
        let report = go!(guard.ping())?;
        hides(&format!("{pool:?} {connection:?} {guard:?} {report} {report:?} {} {:?}", pool.target(), pool.status()));
        hides(&connection.target());
        drop(guard);
        on.kill();
        drop(go!(pool.acquire())?);
        // Failures report why, without the value.
        let wrong = planted(&on, "").replacen("password: '", &format!("password: '{PLANTED}-4"), 1);
        let error = go!(driver::Pool::new(&load(&wrong))).expect_err("a wrong password");
        hides(&everything(&error));
        for setting in ["app.b-c: 1", "work_mem: nonsense", "no_such_setting_token: 1"] {
            let yaml = planted(&on, "").replace("_settings: { ", &format!("_settings: {{ {setting}, "));
            let Ok(config) = Config::loader().yaml(yaml).libpq_sources(false).load() else {
                continue;
            };
            let error = go!(driver::Connection::new(&config)).expect_err("a wrong setting");
            hides(&everything(&error));
        }
        let away = planted(&on, "").replacen(&format!("port: {}", on.server().port()), "port: 1", 1);
        let error = go!(driver::Connection::new(&load(&away))).expect_err("no server listens");
        hides(&everything(&error));
        hides(&all_told());
        Ok(())
    }
}

/// The values of a server search, in each of its steps.
#[test]
fn no_part_of_a_search_shows_a_secret() {
    let on = Fixture::new();
    let config = load(&planted(&on, ""));
    for kind in ConnectionType::ALL {
        let connect_target = ConnectTarget::new(&config, kind).expect("it is right");
        hides(&format!("{connect_target:?} {connect_target:#?}"));
        let mut dial = connect_target.search();
        let step = dial.next(Instant::now()).expect("a first step");
        hides(&format!("{dial:?} {step:?} {step:#?}"));
        if let pgmonkey_connect::Step::Open(opening) = step {
            // The secrets are in there.
            let options = opening.driver_config(SettingsMode::Startup).get_options();
            assert!(options.is_some_and(|options| options.contains(PLANTED)));
        }
    }
}

twin! {
    fn a_refusal_before_the_login_is_shown_as_text(on, driver, go, work) {
        all_told();
        for behaviour in [Behaviour::RefusesInEscapes, Behaviour::RefusesAtLength] {
            let server = Hostile::start(behaviour)?;
            let config = load(&format!(
                "connection_settings: {{ host: {}, port: {}, user: app, connect_timeout: 5, sslmode: disable }}",
                server.host(), server.port(),
            ));
            let builder = driver::Builder::new(&config).name(&*on.name);
            let error = go!(builder.connection()).expect_err("refused");
            let text = everything(&error);
            is_quiet(&text);
            assert!(text.contains("go away"), "{text}");
            assert!(error.to_string().len() < LONG, "{behaviour:?}: {}", error.to_string().len());
            assert!(text.len() < 8 * LONG, "{behaviour:?}: {}", text.len());
        }
        let told = all_told();
        is_quiet(&told);
        assert!(told.contains("go away\\\\u{1b}") || told.contains("go away\\u{1b}"), "it was logged");
        Ok(())
    }
}

twin! {
    fn what_a_server_says_of_a_statement_is_shown_as_text(on, driver, go, work) {
        all_told();
        let raise = |level: &str, what: &str| format!(
            "DO $do$ BEGIN RAISE {level} USING MESSAGE = {what}, DETAIL = {what}, HINT = {what}; END $do$"
        );
        let escapes: Vec<String> = ESCAPES.chars().map(|letter| format!("chr({})", u32::from(letter))).collect();
        let escapes = escapes.join("||");
        let pool = go!(driver::Builder::new(&on.config("")).name(&*on.name).pool())?;
        for what in [escapes.as_str(), "repeat('x', 900000)"] {
            let error = go!(pool.batch_execute(&raise("EXCEPTION", what))).expect_err("raised");
            let text = everything(&error);
            is_quiet(&text);
            assert!(error.to_string().len() < LONG, "{}", error.to_string().len());
            let mut guard = go!(pool.acquire())?;
            go!(guard.batch_execute(&raise("WARNING", what)))?;
        }
        // A hook's failure is reported in the server's words.
        let hooks = driver::Hooks::new("raises").after_connect(Raises(raise("EXCEPTION", &escapes)));
        let built = driver::Builder::new(&on.config("")).name(&*on.name).hooks(hooks);
        is_quiet(&everything(&go!(built.connection()).expect_err("the hook fails")));
        let told = all_told();
        is_quiet(&told);
        assert!(told.contains("drawkcab"), "it was logged");
        Ok(())
    }
}

/// A hook whose statement fails.
struct Raises(String);

impl pgmonkey::sync::AfterConnect for Raises {
    fn after_connect(&self, client: &mut postgres::Client) -> Result<(), Error> {
        Ok(client.batch_execute(&self.0)?)
    }
}

#[async_trait::async_trait]
impl pgmonkey::aio::AfterConnect for Raises {
    async fn after_connect(&self, client: &mut tokio_postgres::Client) -> Result<(), Error> {
        Ok(client.batch_execute(&self.0).await?)
    }
}
