//! The actions with the async driver.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use pgmonkey_connect::Connector;
use pgmonkey_connect::wire::{Observer, WireState};
use pgmonkey_tests::Fixture;

use super::{Act, COPY_OUT, COPY_OUT_FAILS, End, MIXTURE, Watch, statement};

pub(super) async fn act(
    client: &mut tokio_postgres::Client,
    on: &Fixture,
    observer: &Observer,
    act: &Act,
) {
    if let Some(statement) = statement(act) {
        let _ = client.batch_execute(&statement).await;
        return;
    }
    match act {
        Act::Extended(size) => {
            let _ = client
                .query("SELECT repeat('y', $1::int)", &[&i32::from(*size)])
                .await;
        }
        Act::CopyIn(end) => copy_in(client, on, *end).await,
        Act::CopyOut | Act::CopyOutFails => {
            let fails = matches!(act, Act::CopyOutFails);
            let statement = if fails { COPY_OUT_FAILS } else { COPY_OUT };
            if let Ok(out) = client.copy_out(statement).await {
                // A failing one returns only errors after the first.
                let limit = if fails { 60 } else { usize::MAX };
                out.take(limit).for_each(|_| async {}).await;
            }
        }
        Act::Pipeline(count) => {
            let asked = (0..*count).map(|n| client.query("SELECT $1::text", &[&"p"]).then_drop(n));
            futures_util::future::join_all(asked).await;
        }
        Act::Mixed(chosen) => {
            let asked = chosen.iter().enumerate().map(async |(at, index)| {
                let sql = index.get(&MIXTURE);
                // Both protocols.
                if at % 2 == 0 {
                    drop(client.query(*sql, &[]).await);
                } else {
                    drop(client.simple_query(sql).await);
                }
            });
            futures_util::future::join_all(asked).await;
        }
        Act::Forgotten(chosen) => {
            for (at, index) in chosen.iter().enumerate() {
                let sql = index.get(&MIXTURE);
                // A query is prepared first: let it get as far as it happens to.
                let mut asked = Box::pin(client.query(*sql, &[]));
                for _ in 0..at {
                    if futures_util::poll!(&mut asked).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                let mut asked = Box::pin(client.simple_query(sql));
                let _ = futures_util::poll!(&mut asked);
            }
        }
        Act::DroppedTransaction => {
            if let Ok(transaction) = client.transaction().await {
                let _ = transaction.batch_execute("SELECT 1").await;
            }
        }
        Act::Watched if observer.state() != WireState::Failed => {
            let watch = Watch::new(on);
            let statement = watch.statement();
            // The check blocks this task, so the statement must be sent completely before it.
            let (went_on, ()) = tokio::join!(client.batch_execute(&statement), async {
                watch.look(observer);
            });
            went_on.expect("not interrupted");
        }
        Act::Watched => {}
        Act::Abandoned => {
            let asked = client.query("SELECT pg_sleep(0.01), repeat('a', 5000)", &[]);
            let _ = tokio::time::timeout(Duration::from_millis(2), asked).await;
        }
        Act::Cancelled => {
            let token = client.cancel_token();
            let _ = tokio::join!(client.batch_execute("SELECT pg_sleep(30)"), async {
                // Whatever it cancels, the sleep is over after this.
                loop {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if on.sessions_in("active") == 0 {
                        break;
                    }
                    let _ = token.cancel_query(Connector::new(None)).await;
                }
            });
        }
        _ => unreachable!("a single statement"),
    }
}

trait ThenDrop: Future + Sized {
    async fn then_drop(self, _: u8) {
        drop(self.await);
    }
}

impl<F: Future> ThenDrop for F {}

async fn copy_in(client: &tokio_postgres::Client, on: &Fixture, end: End) {
    let copy = format!("COPY {} FROM STDIN", on.name);
    let Ok(sink) = client.copy_in::<_, Bytes>(&copy).await else {
        return;
    };
    let mut sink = std::pin::pin!(sink);
    let row = match end {
        End::Refused => "not a number\n",
        _ => "1\n",
    };
    for _ in 0..20 {
        if sink.send(Bytes::from_static(row.as_bytes())).await.is_err() {
            return;
        }
    }
    if !matches!(end, End::GivenUp) {
        let _ = Pin::as_mut(&mut sink).finish().await;
    }
}
