//! What the guide shows as the program after. A file of its own, for the guide shows it from its first line.

use std::path::Path;

use jeton::{Connection, NoToken, OpenError, Vault};

pub(crate) async fn open(file: &Path, token_url: &str, api: &str) -> Result<Vault, OpenError> {
    let acme = Connection::at("oauth2")
        .var("token_url", token_url)
        .var("api_base", api)
        .client("emulated", "emulated-secret");
    Vault::on_file(file).connection("acme", acme).open().await
}

pub(crate) async fn access(vault: &Vault) -> Result<String, NoToken> {
    Ok(vault.token("acme").await?.access.reveal().to_owned())
}
