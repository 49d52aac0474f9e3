//! The recorded sessions: together they contain everything that the drivers send and receive.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use pgmonkey_connect::wire::WireState::{Failed, Idle, InTransaction};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;

use super::recording::{Recording, Session};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub(super) fn all() -> Result<Vec<Recording>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        Ok(vec![
            rows().await?,
            errors().await?,
            statements().await?,
            pipeline().await?,
            copies_in().await?,
            refused_copy().await?,
            copies_out().await?,
            interrupted().await?,
            notifications().await?,
        ])
    })
}

async fn rows() -> Result<Recording> {
    let session = Session::start().await?;
    let client = &session.client;
    for sql in [
        "SELECT 1",
        "SELECT repeat('x', 9000), NULL, ''",
        "SELECT n, repeat('r', n % 40), NULL FROM generate_series(1, 300) n",
        "SELECT",
    ] {
        client.query(sql, &[]).await?;
        session.rest(Idle).await;
        client.simple_query(sql).await?;
        session.rest(Idle).await;
    }
    client.batch_execute("").await?;
    client.batch_execute("SELECT 1; SELECT 2; SELECT 3").await?;
    session.rest(Idle).await;
    // Rows that are not read.
    let statement = client.prepare("SELECT generate_series(1, 500)").await?;
    let rows = client.query_raw(&statement, &[] as &[i32]).await?;
    pin!(rows).next().await;
    session.rest(Idle).await;
    Ok(session.end("rows").await)
}

async fn errors() -> Result<Recording> {
    let session = Session::start().await?;
    let client = &session.client;
    let noise = "DO $$ BEGIN RAISE NOTICE '%', repeat('n', 900); RAISE WARNING 'w'; END $$";
    for sql in ["nonsense", "SELECT 1/0", "SELECT 1; SELECT 1/0; SELECT 2"] {
        assert!(client.batch_execute(sql).await.is_err());
        session.rest(Idle).await;
        assert!(client.query(sql, &[]).await.is_err());
        session.rest(Idle).await;
        client.batch_execute("BEGIN; SAVEPOINT s").await?;
        session.rest(InTransaction).await;
        assert!(client.query(sql, &[]).await.is_err());
        session.rest(Failed).await;
        client.batch_execute("ROLLBACK TO s").await?;
        session.rest(InTransaction).await;
        client.batch_execute(noise).await?;
        session.rest(InTransaction).await;
        assert!(client.batch_execute(sql).await.is_err());
        session.rest(Failed).await;
        client.batch_execute("COMMIT").await?;
        session.rest(Idle).await;
    }
    // Rows arrive, and then the error.
    let late = "SELECT 1 / (300 - n) FROM generate_series(1, 400) n";
    assert!(client.query(late, &[]).await.is_err());
    session.rest(Idle).await;
    Ok(session.end("errors").await)
}

async fn statements() -> Result<Recording> {
    let mut session = Session::start().await?;
    let table = session.on.name.clone();
    let insert = format!("INSERT INTO {table} VALUES ($1)");
    let statement = session.client.prepare(&insert).await?;
    let transaction = session.client.transaction().await?;
    for n in 0..5 {
        transaction.execute(&statement, &[&n]).await?;
    }
    let portal = transaction
        .bind(&format!("SELECT n FROM {table}"), &[])
        .await?;
    while !transaction.query_portal(&portal, 2).await?.is_empty() {}
    drop(portal);
    transaction.commit().await?;
    session.rest(Idle).await;
    // A dropped transaction is rolled back in the background.
    let transaction = session.client.transaction().await?;
    transaction.execute(&statement, &[&9]).await?;
    drop(transaction);
    session.client.batch_execute("").await?;
    session.rest(Idle).await;
    drop(statement);
    session.client.batch_execute("SET TimeZone = 'UTC'").await?;
    session.client.batch_execute("BEGIN").await?;
    let wrong = session.client.query(&insert, &[&"no number"]).await;
    assert!(wrong.is_err(), "the driver refuses it before it is sent");
    session.rest(InTransaction).await;
    Ok(session.end("statements").await)
}

async fn pipeline() -> Result<Recording> {
    let session = Session::start().await?;
    let client = &session.client;
    let query = |sql: &'static str| async move { client.query(sql, &[]).await.is_ok() };
    let texts = ["SELECT 1", "SELECT 1/0", "SELECT repeat('p', 3000)"];
    let answers = join_all((0..30).map(|n| query(texts[n % 3]))).await;
    assert_eq!(answers.iter().filter(|fine| **fine).count(), 20);
    session.rest(Idle).await;
    let batch = |sql: &'static str| async move { client.batch_execute(sql).await.is_ok() };
    let mixed = [
        "BEGIN", "SELECT 1", "nonsense", "SELECT 2", "ROLLBACK", "BEGIN",
    ];
    assert_eq!(
        join_all(mixed.map(batch)).await,
        [true, true, false, false, true, true]
    );
    session.rest(InTransaction).await;
    // Requests whose futures are dropped.
    for sql in ["SELECT 3", "SELECT repeat('d', 9000)", "ROLLBACK"] {
        let mut abandoned = Box::pin(client.batch_execute(sql));
        let _ = futures_util::poll!(&mut abandoned);
    }
    client.batch_execute("").await?;
    session.rest(Idle).await;
    Ok(session.end("pipeline").await)
}

async fn copies_in() -> Result<Recording> {
    let session = Session::start().await?;
    let client = &session.client;
    let copy = format!("COPY {} FROM STDIN", session.on.name);
    for (begin, good, bad) in [("", Idle, Idle), ("BEGIN", InTransaction, Failed)] {
        client.batch_execute(begin).await?;
        let mut sink = pin!(client.copy_in::<_, Bytes>(&copy).await?);
        for chunk in 0..4 {
            sink.send(Bytes::from(format!("{chunk}\n").repeat(2500)))
                .await?;
        }
        assert_eq!(sink.as_mut().finish().await?, 10_000);
        session.rest(good).await;
        let mut sink = pin!(client.copy_in::<_, Bytes>(&copy).await?);
        assert_eq!(sink.as_mut().finish().await?, 0);
        session.rest(good).await;
        // Data that the server refuses while more of it is in flight.
        let mut sink = pin!(client.copy_in::<_, Bytes>(&copy).await?);
        sink.send(Bytes::from_static(b"1\nno number\n")).await?;
        let _ = sink.send(Bytes::from("2\n".repeat(6000))).await;
        assert!(sink.as_mut().finish().await.is_err());
        session.rest(bad).await;
        client.batch_execute("ROLLBACK").await?;
        client.batch_execute(begin).await?;
        // A copy that is abandoned in the middle.
        let mut sink = Box::pin(client.copy_in::<_, Bytes>(&copy).await?);
        sink.send(Bytes::from("3\n".repeat(3000))).await?;
        drop(sink);
        let _ = client.batch_execute("").await;
        session.rest(bad).await;
        client.batch_execute("ROLLBACK").await?;
        session.rest(Idle).await;
    }
    Ok(session.end("copies in").await)
}

async fn refused_copy() -> Result<Recording> {
    let session = Session::start().await?;
    let client = &session.client;
    // The statement fails when it runs, after the driver has started the copy.
    let nowhere = "COPY no_such_table FROM STDIN";
    assert!(client.copy_in::<_, Bytes>(nowhere).await.is_err());
    session.over().await;
    Ok(session.end("refused copy").await)
}

async fn copies_out() -> Result<Recording> {
    let session = Session::start().await?;
    let client = &session.client;
    let whole = "COPY (SELECT n FROM generate_series(1, 1500) n) TO STDOUT";
    let mut stream = pin!(client.copy_out(whole).await?);
    while stream.next().await.transpose()?.is_some() {}
    session.rest(Idle).await;
    let late = "COPY (SELECT 1 / (500 - n) FROM generate_series(1, 600) n) TO STDOUT";
    client.batch_execute("BEGIN").await?;
    let mut stream = pin!(client.copy_out(late).await?);
    while let Some(Ok(_)) = stream.next().await {}
    session.rest(Failed).await;
    client.batch_execute("ROLLBACK").await?;
    // A copy that is not read to its end.
    let mut stream = Box::pin(client.copy_out(whole).await?);
    stream.next().await.transpose()?;
    drop(stream);
    client.batch_execute("").await?;
    session.rest(Idle).await;
    Ok(session.end("copies out").await)
}

async fn interrupted() -> Result<Recording> {
    let session = Session::start().await?;
    let client = &session.client;
    let token = client.cancel_token();
    for (begin, state) in [("", Idle), ("BEGIN", Failed)] {
        client.batch_execute(begin).await?;
        let sleep = client.query("SELECT pg_sleep(20)", &[]);
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let server = session.on.server();
            let stream = TcpStream::connect((server.host(), server.port())).await?;
            Result::Ok(token.cancel_query_raw(stream, NoTls).await?)
        };
        let (slept, cancelled) = tokio::join!(sleep, cancel);
        assert!(slept.is_err() && cancelled.is_ok());
        session.rest(state).await;
        client.batch_execute("ROLLBACK").await?;
    }
    session.rest(Idle).await;
    // A statement whose future is dropped while it runs.
    let sleep = client.query("SELECT pg_sleep(0.05), repeat('d', 500)", &[]);
    let _ = tokio::time::timeout(Duration::from_millis(10), sleep).await;
    client.batch_execute("").await?;
    session.rest(Idle).await;
    Ok(session.end("interrupted").await)
}

async fn notifications() -> Result<Recording> {
    let session = Session::start().await?;
    let client = &session.client;
    let channel = session.on.name.clone();
    client.batch_execute(&format!("LISTEN {channel}")).await?;
    session.rest(Idle).await;
    let notify =
        format!("SELECT pg_notify('{channel}', repeat('m', n)) FROM generate_series(1, 60) n");
    client.batch_execute(&notify).await?;
    session.rest(Idle).await;
    // From another session, while this one is idle and while it is busy.
    session.on.number(
        &format!("WITH sent AS ({notify}) SELECT count(*) FROM sent"),
        &[],
    );
    tokio::time::sleep(Duration::from_millis(50)).await;
    session.rest(Idle).await;
    client.batch_execute("BEGIN").await?;
    session.on.number(
        &format!("WITH sent AS ({notify}) SELECT count(*) FROM sent"),
        &[],
    );
    client.query("SELECT pg_sleep(0.05)", &[]).await?;
    session.rest(InTransaction).await;
    client.batch_execute("COMMIT").await?;
    client.batch_execute("SELECT 1").await?;
    session.rest(Idle).await;
    Ok(session.end("notifications").await)
}
