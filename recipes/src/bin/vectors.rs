//! Vectors of the extension pgvector.

#![forbid(unsafe_code)]

use pgmonkey::{Config, ConnectionManager, Error};
use pgvector::Vector;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().async_pool(&config).await?;
    // ANCHOR: vectors
    let insert = "INSERT INTO items (name, embedding) VALUES ($1, $2)";
    for (name, embedding) in [("cat", [1.0, 0.0, 0.2]), ("car", [0.0, 1.0, 0.0])] {
        let embedding = Vector::from(embedding.to_vec());
        pool.execute(insert, &[&name, &embedding]).await?;
    }
    let nearest = "SELECT name, embedding FROM items ORDER BY embedding <-> $1 LIMIT 1";
    let wanted = Vector::from(vec![0.9, 0.1, 0.1]);
    let row = pool.query_one(nearest, &[&wanted]).await?;
    let embedding: Vector = row.get("embedding");
    // ANCHOR_END: vectors
    println!("{}: {:?}", row.get::<_, &str>("name"), embedding.as_slice());
    Ok(())
}
