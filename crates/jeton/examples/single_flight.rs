//! A thousand tasks need a token at the same moment: one refresh happens, and all get its result.
//!
//!     cargo run -p jeton --example single_flight
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashSet;
use std::error::Error;

use jeton::{Connection, Vault};
use jeton_emulator::{Emulator, Settings};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A strict provider that is emulated here: a refresh token used twice kills the grant.
    let provider = Emulator::start(Settings::default()).await?;
    let acme =
        Connection::at("oauth2").var("token_url", provider.token_url()).client("emulated", "emulated-secret");

    let vault = Vault::in_memory().connection("acme", acme).open().await?;
    vault.connect("acme", provider.mint(1).remove(0)).await?;

    let mut tasks = JoinSet::new();
    for _ in 0..1_000 {
        let vault = vault.clone();
        tasks.spawn(async move { vault.token("acme").await });
    }
    let mut tokens = HashSet::new();
    let mut tasks_served = 0;
    while let Some(token) = tasks.join_next().await {
        tokens.insert(token??.access.reveal().to_owned());
        tasks_served += 1;
    }

    println!("{tasks_served} tasks got {} token, from {} refresh", tokens.len(), provider.stats().requests);
    vault.close().await;
    Ok(())
}
