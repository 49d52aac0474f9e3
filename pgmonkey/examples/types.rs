//! Values of other crates, and of the program's own types, as parameters and columns.

use chrono::{DateTime, Utc};
use pgmonkey::types::{FromSql, Json, ToSql};
use pgmonkey::{AsyncPool, Config, ConnectionManager, Error};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

// ANCHOR: own
/// `CREATE TYPE mood AS ENUM ('happy', 'so-so')`
#[derive(Debug, Clone, PartialEq, ToSql, FromSql)]
#[postgres(name = "mood", rename_all = "kebab-case")]
enum Mood {
    Happy,
    SoSo,
}

/// `CREATE TYPE spot AS (room text, height int4)`
#[derive(Debug, Clone, PartialEq, ToSql, FromSql)]
#[postgres(name = "spot")]
struct Spot {
    room: String,
    height: i32,
}
// ANCHOR_END: own

// ANCHOR: json
/// Stored as `jsonb`, by serde.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Settings {
    dark: bool,
    columns: Vec<String>,
}
// ANCHOR_END: json

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().async_pool(&config).await?;
    other_crates(&pool).await?;
    json(&pool).await?;
    arrays(&pool).await?;
    own_types(&pool).await
}

async fn other_crates(pool: &AsyncPool) -> Result<(), Error> {
    // ANCHOR: crates
    let (id, now, price) = (Uuid::new_v4(), Utc::now(), Decimal::new(1999, 2));
    let row = pool
        .query_one(
            "SELECT $1::uuid AS id, $2::timestamptz AS at, $3::numeric AS price, NULL::uuid AS parent",
            &[&id, &now, &price],
        )
        .await?;
    let at: DateTime<Utc> = row.get("at");
    let parent: Option<Uuid> = row.get("parent"); // NULL needs an `Option`
    // ANCHOR_END: crates
    assert_eq!(row.get::<_, Uuid>("id"), id);
    // The server keeps microseconds.
    assert_eq!(at.timestamp_micros(), now.timestamp_micros());
    println!("numeric: {}", row.get::<_, Decimal>("price"));
    println!("NULL: {parent:?}");
    Ok(())
}

async fn json(pool: &AsyncPool) -> Result<(), Error> {
    let settings = Settings {
        dark: true,
        columns: vec!["id".into(), "name".into()],
    };
    // ANCHOR: json_query
    let row = pool
        .query_one(
            "SELECT $1::jsonb, $1::jsonb -> 'columns'",
            &[&Json(&settings)],
        )
        .await?;
    let Json(read): Json<Settings> = row.get(0);
    let columns: serde_json::Value = row.get(1); // or without a type of its own
    // ANCHOR_END: json_query
    assert_eq!(read, settings);
    println!("json: {columns}");
    Ok(())
}

async fn arrays(pool: &AsyncPool) -> Result<(), Error> {
    // ANCHOR: arrays
    let wanted: Vec<i64> = vec![1, 3];
    let rows = pool
        .query(
            "SELECT n FROM generate_series(1, 4) AS n WHERE n = ANY($1::bigint[])",
            &[&wanted],
        )
        .await?;
    // ANCHOR_END: arrays
    println!("in the array: {}", rows.len());
    Ok(())
}

async fn own_types(pool: &AsyncPool) -> Result<(), Error> {
    // ANCHOR: own_query
    let client = pool.acquire().await?;
    client
        .batch_execute(
            "CREATE TYPE pg_temp.mood AS ENUM ('happy', 'so-so');
             CREATE TYPE pg_temp.spot AS (room text, height int4)",
        )
        .await?;
    let (mood, spot) = (
        Mood::SoSo,
        Spot {
            room: "left".into(),
            height: 2,
        },
    );
    let row = client
        .query_one("SELECT $1::pg_temp.mood, $2::pg_temp.spot", &[&mood, &spot])
        .await?;
    // ANCHOR_END: own_query
    assert_eq!(row.get::<_, Mood>(0), mood);
    println!("composite: {:?}", row.get::<_, Spot>(1));
    Ok(())
}
