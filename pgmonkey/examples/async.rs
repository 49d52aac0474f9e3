//! A single session, shared by the tasks of the program.
use pgmonkey::{Config, ConnectionManager, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let connection = ConnectionManager::global()
        .async_connection(&config)
        .await?;
    let row = connection
        .query_one("SELECT current_user::text", &[])
        .await?;
    println!("connected as {}", row.get::<_, &str>(0));
    Ok(())
}
