//! A client of `reqwest` whose calls carry a live token, also when the API stops to accept it before its time.
//!
//!     cargo run -p jeton --features reqwest --example reqwest
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use futures_util::future::try_join_all;
use jeton::reqwest::Auth;
use jeton::{Connection, Vault};
use jeton_emulator::{Emulator, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // An emulated provider, with an API that wants its tokens.
    let provider = Emulator::start(Settings::default()).await?;
    let acme = Connection::at("oauth2")
        .var("token_url", provider.token_url())
        .var("api_base", provider.api_base())
        .client("emulated", "emulated-secret");
    let vault = Vault::in_memory().connection("acme", acme).open().await?;
    vault.connect("acme", provider.mint(1).remove(0)).await?;

    let client = Auth::new(vault.clone(), "acme").client(reqwest::Client::builder())?;
    let account = format!("{}/v4/account", provider.api_base());

    let reply = client.get(&account).send().await?;
    println!("before: {}", reply.status());

    // The provider ends the token early. Fifty calls find out at once: one refresh is enough for all.
    provider.revoke_access(vault.token("acme").await?.access.reveal());
    let replies = try_join_all((0..50).map(|_| client.get(&account).send())).await?;
    let good = replies.iter().filter(|reply| reply.status().is_success()).count();
    println!(
        "after the token was revoked: {good} of 50 calls answered 200, with {} refresh more",
        provider.stats().requests - 1
    );

    vault.close().await;
    Ok(())
}
