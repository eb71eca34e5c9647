//! The calls: each connection is answered with its own token.

use std::time::Duration;

use anyhow::{Result, ensure};
use jeton_emulator::Emulator;
use jeton_testkit::{ClientConnection, ServerProcess};
use serde_json::json;
use tokio::time::Instant;

use super::store::access_token;
use crate::latency::Latencies;

/// How many calls are spread over all connections.
const CALLS: usize = 1_000;

/// Asks for the tokens of connections spread over `names`, one after the other.
///
/// # Errors
/// A call was not answered with the connection's own token.
pub(super) async fn ask(server: &ServerProcess, names: impl Iterator<Item = String>) -> Result<Latencies> {
    let mut connection = server.client().connect().await?;
    let names: Vec<String> = names.collect();
    let mut latencies = Latencies::default();
    for name in names.iter().step_by(names.len().div_ceil(CALLS).max(1)) {
        latencies.push(ask_once(&mut connection, name).await?);
    }
    Ok(latencies)
}

/// Asks for one token, which must be the connection's own; returns how long it took.
///
/// # Errors
/// It was not answered, or with another token.
pub(super) async fn ask_once(connection: &mut ClientConnection, name: &str) -> Result<Duration> {
    let begun = Instant::now();
    let reply = connection.get(&format!("/api/v1/connections/{name}/token"), &[]).await?;
    let took = begun.elapsed();
    let body = reply.json()?;
    ensure!(reply.status == 200, "{name} was answered {}: {}", reply.status, body["code"]);
    let own = body["access_token"] == access_token(name);
    ensure!(own, "{name} was answered with a token that is not its own");
    Ok(took)
}

/// Reports that the token of `name` was rejected; returns how long the new one took.
///
/// # Errors
/// The provider does not accept the new token.
pub(super) async fn reject(server: &ServerProcess, emulator: &Emulator, name: &str) -> Result<Duration> {
    let path = format!("/api/v1/connections/{name}/token/reject");
    let begun = Instant::now();
    let reply = server.client().post(&path, &json!({ "access_token": access_token(name) })).await?;
    let took = begun.elapsed();
    let body = reply.json()?;
    ensure!(reply.status == 200, "{name} was answered {}: {}", reply.status, body["code"]);
    let good = body["access_token"].as_str().is_some_and(|token| emulator.accepts(token));
    ensure!(good, "the provider does not accept the token that {name} was refreshed to");
    Ok(took)
}
