//! Two processes keep one grant in one file. Its refresh tokens are good for one use, and each is used once.
//!
//!     cargo run -p jeton --example two_processes
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jeton::{Connection, Vault};
use jeton_emulator::{Emulator, Settings};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => both().await,
        [file, token_url] => one(Path::new(file), token_url).await,
        _ => Err("start it without arguments".into()),
    }
}

fn acme(token_url: &str) -> Connection {
    Connection::at("oauth2").var("token_url", token_url).client("emulated", "emulated-secret")
}

/// Emulates the provider, and starts this program twice.
async fn both() -> Result<(), Box<dyn Error>> {
    // Access tokens live for two seconds, so that both processes need a new one again and again.
    let provider =
        Emulator::start(Settings { access_ttl: Duration::from_secs(2), ..Settings::default() }).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tokens.json");

    let vault = Vault::on_file(&file).connection("acme", acme(&provider.token_url())).open().await?;
    vault.seed("acme", provider.mint(1).remove(0)).await?;
    vault.close().await;

    let mut processes = Vec::new();
    for _ in 0..2 {
        let this = std::env::current_exe()?;
        processes
            .push(Command::new(this).arg(&file).arg(provider.token_url()).stdout(Stdio::piped()).spawn()?);
    }
    for process in processes {
        let ended = process.wait_with_output().await?;
        print!("{}", String::from_utf8_lossy(&ended.stdout));
        if !ended.status.success() {
            return Err(format!("a process ended with {}", ended.status).into());
        }
    }

    let records = provider.records();
    let presented: HashSet<_> = records.iter().filter_map(|record| record.presented.as_ref()).collect();
    println!("{} refreshes by two processes spent {} refresh tokens", records.len(), presented.len());
    if presented.len() != records.len() {
        return Err("a refresh token was used twice".into());
    }
    Ok(())
}

/// One process: eight tasks that ask for tokens all the time.
async fn one(file: &Path, token_url: &str) -> Result<(), Box<dyn Error>> {
    let vault = Vault::on_file(file).connection("acme", acme(token_url)).open().await?;
    let until = Instant::now() + Duration::from_secs(5);
    let asking = (0..8).map(|_| async {
        let mut answers = 0;
        while Instant::now() < until {
            vault.token("acme").await?;
            answers += 1;
            sleep(Duration::from_millis(1)).await;
        }
        Ok::<u32, jeton::NoToken>(answers)
    });
    let answers: u32 = futures_util::future::try_join_all(asking).await?.into_iter().sum();
    println!("process {} got {answers} live tokens", std::process::id());
    vault.close().await;
    Ok(())
}
