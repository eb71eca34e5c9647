//! Tokens die early, at random moments, under many callers: none of them sees it.

use std::time::Duration;

use anyhow::{Context, Result};
use http::StatusCode;
use jeton_emulator::{Emulator, SeededEntropy};
use jeton_testkit::{ClientConnection, ServerProcess};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const CALL: &str = "/api/v1/proxy/early/leads";

/// The shortest and the longest time between two deaths, in milliseconds.
const BETWEEN: (u64, u64) = (50, 500);

/// After so many answers, no call is in progress with the token before.
const USES: u64 = 256;

#[derive(Debug, Serialize)]
pub(super) struct EarlyDeaths {
    seconds: f64,
    calls: usize,
    /// Tokens that were ended before their time.
    deaths: u64,
    /// Refresh tokens that were spent meanwhile.
    refreshes: u64,
    /// Calls that the API refused, and that callers never saw.
    refused_by_the_api: u64,
    /// Answers other than 200, as callers saw them.
    seen: Vec<String>,
}

pub(super) async fn run(
    emulator: &Emulator,
    server: &ServerProcess,
    connections: u16,
    length: Duration,
    seed: u64,
) -> Result<EarlyDeaths> {
    let mut callers = JoinSet::new();
    let (before, until) = (emulator.stats(), Instant::now() + length);
    for _ in 0..connections {
        callers.spawn(call_until(server.client().connect().await?, until));
    }
    let deaths = end_tokens_until(emulator, server, until, &SeededEntropy::new(seed)).await?;
    let (mut calls, mut others) = (0, Vec::new());
    for result in callers.join_all().await {
        let (answered, wrong) = result?;
        calls += answered;
        others.extend(wrong);
    }
    let after = emulator.stats();
    Ok(EarlyDeaths {
        seconds: length.as_secs_f64(),
        calls,
        deaths,
        refreshes: after.accepted - before.accepted,
        refused_by_the_api: after.api_401 - before.api_401,
        seen: others,
    })
}

/// Calls until then; returns how often, and every answer but 200.
async fn call_until(mut connection: ClientConnection, until: Instant) -> Result<(usize, Vec<String>)> {
    let (mut calls, mut others) = (0, Vec::new());
    while Instant::now() < until {
        let reply = connection.get(CALL, &[]).await?;
        calls += 1;
        if reply.status != StatusCode::OK {
            others.push(format!("{}: {}", reply.status, reply.text()));
        }
    }
    Ok((calls, others))
}

/// Revokes the current access token, again and again; returns how often.
async fn end_tokens_until(
    emulator: &Emulator,
    server: &ServerProcess,
    until: Instant,
    random: &SeededEntropy,
) -> Result<u64> {
    let client = server.client();
    let mut deaths = 0;
    loop {
        sleep(Duration::from_millis(random.between(BETWEEN.0, BETWEEN.1))).await;
        if Instant::now() >= until {
            return Ok(deaths);
        }
        let answer = client.get_json("/api/v1/connections/early/token").await?;
        let token = answer["access_token"].as_str().context("the answer has a token")?;
        // A token that was never accepted looks like an API that refuses every token.
        until_used(emulator, until).await;
        deaths += u64::from(emulator.revoke_access(token));
    }
}

/// Waits until callers have used the current token.
async fn until_used(emulator: &Emulator, until: Instant) {
    let accepted = emulator.stats().api_ok;
    while emulator.stats().api_ok < accepted + USES && Instant::now() < until {
        sleep(Duration::from_millis(1)).await;
    }
}

impl EarlyDeaths {
    pub(super) fn findings(&self) -> Vec<String> {
        let mut findings: Vec<String> =
            self.seen.iter().take(5).map(|seen| format!("a caller saw {seen}")).collect();
        if self.refreshes > self.deaths {
            findings.push(format!("{} refreshes for {} tokens that died", self.refreshes, self.deaths));
        }
        if self.deaths == 0 || self.refused_by_the_api == 0 {
            findings.push("no token died early, so that nothing was shown".to_owned());
        }
        findings
    }
}
