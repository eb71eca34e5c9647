//! The calls: each connection is answered with its own token.

use std::time::Duration;

use anyhow::{Result, ensure};
use jeton_emulator::Emulator;
use jeton_testkit::ServerProcess;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{REFUSED, rows};
use crate::load::{Latencies, Line, api_key};

/// How many calls are spread over all connections.
const CALLS: usize = 1_000;

/// How long the calls took.
pub(super) struct Asked {
    pub(super) spread: Latencies,
    /// One that was given a new token in place of one that an API refused.
    pub(super) refresh: Duration,
}

/// Asks for the tokens of the connections `names`, and for a new one of the connection whose token was refused.
///
/// # Errors
/// A call was not answered with the token that it should be.
pub(super) async fn ask(
    server: &ServerProcess,
    emulator: &Emulator,
    names: impl Iterator<Item = String>,
) -> Result<Asked> {
    let mut line = line(server).await?;
    let names: Vec<String> = names.collect();
    let mut spread = Latencies::default();
    for name in names.iter().step_by(names.len().div_ceil(CALLS).max(1)) {
        spread.push(living(&mut line, name).await?);
    }
    drop(line);
    let refresh = refresh(server, emulator).await?;
    Ok(Asked { spread, refresh })
}

/// The line of a caller.
///
/// # Errors
/// The server does not accept it.
pub(super) async fn line(server: &ServerProcess) -> Result<Line> {
    Line::open(&server.base_url(), &TaskTracker::new()).await
}

async fn refresh(server: &ServerProcess, emulator: &Emulator) -> Result<Duration> {
    let client = server.client();
    let path = format!("/api/v1/connections/{REFUSED}/token/reject");
    let begun = Instant::now();
    let reply = client.post(&path, &json!({ "access_token": rows::access_token(REFUSED) })).await?;
    let took = begun.elapsed();
    let answer = reply.json()?;
    ensure!(reply.status == 200, "{REFUSED} was answered {}: {}", reply.status, answer["code"]);
    let good = answer["access_token"].as_str().is_some_and(|token| emulator.accepts(token));
    ensure!(good, "the provider does not accept the token that {REFUSED} was refreshed to");
    Ok(took)
}

/// One token, which is the connection's own; and how long it took.
///
/// # Errors
/// It was not answered, or with another token.
pub(super) async fn living(line: &mut Line, name: &str) -> Result<Duration> {
    let (token, took) = token(line, name).await?;
    ensure!(token == rows::access_token(name), "{name} was answered with a token that is not its own");
    Ok(took)
}

async fn token(line: &mut Line, name: &str) -> Result<(String, Duration)> {
    let path = format!("/api/v1/connections/{name}/token");
    let begun = Instant::now();
    let (status, body) = line.get(&path, Some(api_key())).await?;
    let took = begun.elapsed();
    let answer: Value = serde_json::from_slice(&body)?;
    ensure!(status == 200, "{name} was answered {status}: {}", answer["code"]);
    Ok((answer["access_token"].as_str().unwrap_or_default().to_owned(), took))
}
