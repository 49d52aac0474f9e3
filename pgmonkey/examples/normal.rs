//! A single session, shared by the threads of the program.
use pgmonkey::{Config, ConnectionManager, Error};

fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let connection = ConnectionManager::global().connection(&config)?;
    let row = connection.query_one("SELECT current_user::text", &[])?;
    println!("connected as {}", row.get::<_, &str>(0));
    Ok(())
}
