//! Clients that ask for the token all the time and use it at the server's resource.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use http::{HeaderName, HeaderValue, StatusCode, header};
use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_emulator::SeededEntropy;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Options;
use crate::load::{Latencies, Line, api_key};

/// What the clients were answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    /// Tokens that they were given.
    pub(super) given: u64,
    /// Tokens that came with a warning.
    pub(super) warned: u64,
    /// Anything but a token, by code or by what went wrong.
    pub(super) errors: BTreeMap<String, u64>,
    /// Tokens that the resource accepted.
    pub(super) accepted: u64,
    /// Tokens that the resource refused before they were said to die.
    pub(super) dead: u64,
    /// Tokens that died of age between the answer and their use.
    pub(super) late: u64,
    /// What the resource answered besides 200 and 401.
    pub(super) strange: BTreeMap<String, u64>,
    /// Times that a client was given an older token than it had.
    pub(super) went_back: u64,
    /// How long they waited for a token.
    pub(super) waited: Latencies,
}

/// Clients at work; they stop when told to.
pub(super) struct Clients {
    tasks: TaskTracker,
    stop: CancellationToken,
    calls: Arc<Mutex<Calls>>,
}

impl Clients {
    /// Starts them, each with a connection of its own to either server.
    pub(super) async fn start(options: &Options, jeton: &str, resource: &str, name: &str) -> Result<Self> {
        let clients =
            Self { tasks: TaskTracker::new(), stop: CancellationToken::new(), calls: Arc::default() };
        for number in 0..u64::from(options.clients) {
            let client = Client {
                random: SeededEntropy::new(options.seed.wrapping_add(number)),
                jeton: Line::open(jeton, &clients.tasks).await?,
                resource: Line::open(resource, &clients.tasks).await?,
                path: format!("/api/v1/connections/{name}/token"),
                generation: 0,
                calls: Arc::clone(&clients.calls),
            };
            let stop = clients.stop.clone();
            clients.tasks.spawn(async move { stop.run_until_cancelled(client.ask_on()).await });
        }
        Ok(clients)
    }

    /// Stops them; answers what they were answered.
    pub(super) async fn stop(self) -> Calls {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Client {
    random: SeededEntropy,
    jeton: Line,
    resource: Line,
    path: String,
    generation: u64,
    calls: Arc<Mutex<Calls>>,
}

/// What the client needs of an answer.
#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_at: Timestamp,
    generation: u64,
    warning: Option<String>,
}

impl Client {
    async fn ask_on(mut self) {
        loop {
            if let Some(given) = self.ask().await {
                self.try_out(&given).await;
            }
            sleep(Duration::from_millis(self.random.between(5, 40))).await;
        }
    }

    async fn ask(&mut self) -> Option<Given> {
        let asked = Instant::now();
        let answer = self.jeton.get(&self.path, Some(api_key())).await;
        let waited = asked.elapsed();
        let read =
            answer.map_err(|error| format!("{error:#}")).and_then(|(status, body)| read(status, &body));
        let newest = self.generation;
        self.count(|calls| {
            calls.waited.push(waited);
            match &read {
                Ok(given) => {
                    calls.given += 1;
                    calls.warned += u64::from(given.warning.is_some());
                    calls.went_back += u64::from(given.generation < newest);
                }
                Err(code) => *calls.errors.entry(code.clone()).or_default() += 1,
            }
        });
        let given = read.ok()?;
        self.generation = newest.max(given.generation);
        Some(given)
    }

    async fn try_out(&mut self, given: &Given) {
        let answer = match bearer(&given.access_token) {
            Ok(header) => self.resource.get("/api/account", Some(header)).await.map(|(status, _)| status),
            Err(error) => Err(error),
        };
        let now = SystemClock.now();
        self.count(|calls| match answer {
            Ok(StatusCode::OK) => calls.accepted += 1,
            Ok(StatusCode::UNAUTHORIZED) if now < given.expires_at => calls.dead += 1,
            Ok(StatusCode::UNAUTHORIZED) => calls.late += 1,
            Ok(status) => *calls.strange.entry(status.to_string()).or_default() += 1,
            Err(error) => *calls.strange.entry(format!("{error:#}")).or_default() += 1,
        });
    }

    fn count(&self, change: impl FnOnce(&mut Calls)) {
        change(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn bearer(token: &str) -> Result<(HeaderName, HeaderValue)> {
    Ok((header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?))
}

/// The token, or the code of the error.
fn read(status: StatusCode, body: &[u8]) -> Result<Given, String> {
    if status == StatusCode::OK {
        return serde_json::from_slice(body).map_err(|error| format!("a strange 200: {error}"));
    }
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    Err(said["code"].as_str().map_or_else(|| status.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_token_or_the_code_of_an_error() {
        let token = br#"{"access_token": "a", "expires_at": "2026-11-21T08:00:00.5Z", "generation": 2, "expires_in": 4}"#;
        assert_eq!(read(StatusCode::OK, token).ok().unwrap().generation, 2);
        let refused = |status, body: &[u8]| read(status, body).err().unwrap();
        assert_eq!(refused(StatusCode::SERVICE_UNAVAILABLE, br#"{"code": "INTERRUPTED"}"#), "INTERRUPTED");
        assert_eq!(refused(StatusCode::BAD_GATEWAY, b"<html>"), "502 Bad Gateway");
        assert!(refused(StatusCode::OK, b"{}").starts_with("a strange 200"));
    }
}
