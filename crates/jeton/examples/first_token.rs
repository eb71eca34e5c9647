//! The lines that the README shows: one file, one connection, a token.
//!
//!     cargo run -p jeton --example first_token
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use jeton::{Connection, Vault};
use jeton_emulator::{Emulator, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // An emulated provider, the refresh token of a consent there, and a folder that is gone afterwards.
    let provider = Emulator::start(Settings::default()).await?;
    let token_url = provider.token_url();
    let refresh_token = provider.mint(1).remove(0);
    let (id, secret) = ("emulated", "emulated-secret");
    let folder = tempfile::tempdir()?;
    std::env::set_current_dir(folder.path())?;

    let acme = Connection::at("oauth2").var("token_url", token_url).client(id, secret);
    let vault = Vault::on_file("tokens.json").connection("acme", acme).open().await?;
    vault.seed("acme", refresh_token).await?; // used on the first start; after that the stored token is newer
    let token = vault.token("acme").await?;
    println!("Authorization: Bearer {}", token.access.reveal());

    vault.close().await;
    Ok(())
}
