//! The actions with the blocking driver.

use std::io::Write;
use std::time::Duration;

use pgmonkey_connect::Connector;
use pgmonkey_connect::wire::{Observer, WireState};
use pgmonkey_tests::Fixture;
use postgres::fallible_iterator::FallibleIterator;

use super::{Act, COPY_OUT, COPY_OUT_FAILS, End, MIXTURE, Watch, statement};

pub(super) fn act(client: &mut postgres::Client, on: &Fixture, observer: &Observer, act: &Act) {
    if let Some(statement) = statement(act) {
        let _ = client.batch_execute(&statement);
        return;
    }
    match act {
        Act::Extended(size) => {
            let _ = client.query("SELECT repeat('y', $1::int)", &[&i32::from(*size)]);
        }
        Act::CopyIn(end) => copy_in(client, on, *end),
        Act::CopyOut | Act::CopyOutFails => {
            let fails = matches!(act, Act::CopyOutFails);
            let statement = if fails { COPY_OUT_FAILS } else { COPY_OUT };
            if let Ok(mut out) = client.copy_out(statement) {
                let _ = std::io::copy(&mut out, &mut std::io::sink());
            }
        }
        Act::DroppedTransaction => {
            if let Ok(mut transaction) = client.transaction() {
                let _ = transaction.batch_execute("SELECT 1");
            }
        }
        Act::Watched if observer.state() != WireState::Failed => {
            let watch = Watch::new(on);
            std::thread::scope(|scope| {
                scope.spawn(|| watch.look(observer));
                let went_on = client.query(&watch.statement(), &[]);
                went_on.expect("not interrupted");
            });
        }
        Act::Watched => {}
        Act::Mixed(chosen) | Act::Forgotten(chosen) => {
            // Rows that are read as far as it happens.
            for (at, index) in chosen.iter().enumerate() {
                let rows = client.query_raw(*index.get(&MIXTURE), std::iter::empty::<i32>());
                let _ = rows.and_then(|rows| rows.take(at * 9).count());
            }
        }
        Act::Pipeline(_) => {
            // The closest that blocking code gets to it: rows that are not read to their end.
            let _ = client.query_raw("SELECT generate_series(1, 2000)", std::iter::empty::<i32>());
        }
        Act::Abandoned => {
            let _ = client.copy_out(COPY_OUT);
        }
        Act::Cancelled => {
            let token = client.cancel_token();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while on.sessions_in("active") == 0 {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    while on.sessions_in("active") > 0 {
                        let _ = token.cancel_query(Connector::new(None));
                        std::thread::sleep(Duration::from_millis(10));
                    }
                });
                // In a failed transaction it would not run at all.
                let _ = client.batch_execute("ROLLBACK");
                let _ = client.batch_execute("SELECT pg_sleep(30)");
            });
        }
        _ => unreachable!("a single statement"),
    }
}

fn copy_in(client: &mut postgres::Client, on: &Fixture, end: End) {
    let copy = format!("COPY {} FROM STDIN", on.name);
    let Ok(mut writer) = client.copy_in(&copy) else {
        return;
    };
    let row = match end {
        End::Refused => "not a number\n",
        _ => "1\n",
    };
    for _ in 0..20 {
        if writer.write_all(row.as_bytes()).is_err() {
            return;
        }
    }
    if !matches!(end, End::GivenUp) {
        let _ = writer.finish();
    }
}
