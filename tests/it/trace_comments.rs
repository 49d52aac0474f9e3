//! `sqlcommenter`: texts that are not cached carry the current trace to the server.

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_sdk::trace::SdkTracerProvider;
use pgmonkey::sync;
use pgmonkey_tests::{Fixture, Outcome, twin};
use tracing::info_span;
use tracing_subscriber::layer::SubscriberExt;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A context with the span of [`PARENT`].
fn traced() -> Context {
    let trace = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").expect("32 digits");
    let span = SpanId::from_hex("b7ad6b7169203331").expect("16 digits");
    let state = TraceState::default();
    let span = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, state);
    Context::new().with_remote_span_context(span)
}

/// The text of this statement, as the server got it.
const OWN: &str = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()";

fn config(on: &Fixture, cache: u32, sections: &str) -> pgmonkey::Config {
    on.config(&format!(
        "{sections}\npool_settings: {{ max_size: 1, statement_cache: {cache} }}\n\
         async_pool_settings: {{ max_size: 1, statement_cache: {cache} }}\n"
    ))
}

/// The last text that the server got from this fixture's session.
fn last(on: &Fixture) -> String {
    let ask = "SELECT query FROM pg_stat_activity WHERE application_name = $1";
    // On a thread of its own, because half of the tests are tasks.
    let ask = || {
        let mut admin = postgres::Client::connect(&on.server().url(), postgres::NoTls)?;
        admin.query_one(ask, &[&on.name]).map(|row| row.get(0))
    };
    let asked = std::thread::scope(|scope| scope.spawn(ask).join());
    asked.expect("no panic").expect("one session")
}

twin! {
    fn texts_that_are_not_cached_carry_the_current_trace(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&config(&on, 0, "sqlcommenter: true")))?;
        let comment = format!("/*traceparent='{PARENT}'*/");
        let own = format!("{OWN} AND $1");
        {
            let _attached = traced().attach();
            for _ in 0..2 {
                let row = go!(pool.query_one(&*own, &[&true]))?;
                assert_eq!(row.get::<_, String>(0), format!("{own} {comment}"));
            }
            let row = go!(pool.query_one(OWN, &[]))?;
            assert_eq!(row.get::<_, String>(0), format!("{OWN} {comment}"));
            go!(pool.batch_execute("SELECT 2 -- two"))?;
        }
        assert_eq!(last(&on), format!("SELECT 2 -- two\n{comment}"));
        let row = go!(pool.query_one(&*own, &[&true]))?;
        assert_eq!(row.get::<_, String>(0), own, "there is no trace");
        let top = pool.top_statements(10);
        let shown = top.iter().find(|top| top.text.as_deref() == Some(&*own));
        assert_eq!(shown.map(|top| top.count), Some(3), "{top:?}");
        Ok(())
    }
}

twin! {
    fn cached_texts_carry_no_trace(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&config(&on, 100, "sqlcommenter: true")))?;
        let _attached = traced().attach();
        let row = go!(pool.query_one(OWN, &[]))?;
        assert_eq!(row.get::<_, String>(0), OWN);
        Ok(())
    }
}

twin! {
    fn nothing_is_added_if_the_file_does_not_ask(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&config(&on, 0, "")))?;
        let _attached = traced().attach();
        let row = go!(pool.query_one(OWN, &[]))?;
        assert_eq!(row.get::<_, String>(0), OWN);
        Ok(())
    }
}

#[test]
fn a_span_of_tracing_is_carried_where_it_is_exported() -> Outcome {
    let on = Fixture::new();
    let pool = sync::Pool::new(&config(&on, 0, "sqlcommenter: true"))?;
    let provider = SdkTracerProvider::default();
    let exported = tracing_opentelemetry::layer().with_tracer(provider.tracer("tests"));
    let subscriber = tracing_subscriber::registry().with(exported);
    let text = tracing::subscriber::with_default(subscriber, || {
        let row = info_span!("request").in_scope(|| pool.query_one(OWN, &[]))?;
        Ok::<String, pgmonkey::Error>(row.get(0))
    })?;
    assert!(
        text.starts_with(&format!("{OWN} /*traceparent='00-")),
        "{text}"
    );
    assert!(
        text.ends_with("'*/") && !text.contains("-0000000000000000-"),
        "{text}"
    );
    Ok(())
}
