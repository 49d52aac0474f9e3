//! A password that expires: asked for anew for each session.

use std::path::PathBuf;

use pgmonkey::{
    Config, ConnectionManager, Error, PasswordProvider, PasswordRequest, ProviderError, Secret,
};

// ANCHOR: provider
/// A token that another program keeps fresh in a file, as agents of clouds and of Vault do.
struct TokenFile(PathBuf);

impl PasswordProvider for TokenFile {
    /// Part of the cache's key: the same file is the same pool, whatever the token is.
    fn identity(&self) -> String {
        format!("token file {}", self.0.display())
    }

    fn password(&self, _: &PasswordRequest) -> Result<Secret, ProviderError> {
        let token = std::fs::read_to_string(&self.0)?;
        Ok(Secret::from(token.trim_end().to_owned()))
    }
}

fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let manager =
        ConnectionManager::global().with_password_provider(TokenFile(PathBuf::from("token")));
    println!("{}", manager.pool(&config)?.ping()?.user);
    Ok(())
}
// ANCHOR_END: provider
