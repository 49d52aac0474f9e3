//! A password that expires: the program is asked for it for each new session.

use std::path::PathBuf;

use pgmonkey::{
    Config, ConnectionManager, Error, PasswordProvider, PasswordRequest, ProviderError, Secret,
};

// ANCHOR: provider
/// A file with a token that another program refreshes, such as the agent of a cloud or of Vault.
struct TokenFile(PathBuf);

impl PasswordProvider for TokenFile {
    /// Part of the cache key: the same file means the same pool, whatever the token is.
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
