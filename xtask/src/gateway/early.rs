//! Tokens die early, at random moments, while many callers call: nobody sees it.

use std::time::Duration;

use anyhow::{Context, Result};
use http::StatusCode;
use jeton_core::entropy::Entropy;
use jeton_emulator::{Emulator, SeededEntropy};
use jeton_testkit::{Client, ServerProcess, TestInstallation};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::load::{Line, api_key};

const CALL: &str = "/api/v1/proxy/early/leads";

/// The shortest and the longest time between two deaths, in milliseconds.
const BETWEEN: (u64, u64) = (50, 500);

/// So many answers after a token was given, calls under way with the one before it have long ended.
const USES: u64 = 256;

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
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
) -> Result<Figures> {
    let tasks = TaskTracker::new();
    let (done, mut results) = mpsc::unbounded_channel();
    let (before, until) = (emulator.stats(), Instant::now() + length);
    for _ in 0..connections {
        let line = Line::open(&server.base_url(), &tasks).await?;
        let done = done.clone();
        tasks.spawn(async move {
            // When nobody listens any more, another caller has failed already.
            drop(done.send(call_until(line, until).await));
        });
    }
    drop(done);
    let deaths = end_tokens_until(emulator, server, until, &SeededEntropy::new(seed)).await?;
    let (mut calls, mut others) = (0, Vec::new());
    while let Some(result) = results.recv().await {
        let (answered, wrong) = result?;
        calls += answered;
        others.extend(wrong);
    }
    tasks.close();
    tasks.wait().await;
    let after = emulator.stats();
    Ok(Figures {
        seconds: length.as_secs_f64(),
        calls,
        deaths,
        refreshes: after.accepted - before.accepted,
        refused_by_the_api: after.api_401 - before.api_401,
        seen: others,
    })
}

/// Calls until then; answers how often, and every answer that was no 200.
async fn call_until(mut line: Line, until: Instant) -> Result<(usize, Vec<String>)> {
    let (mut calls, mut others) = (0, Vec::new());
    while Instant::now() < until {
        let (status, body) = line.get(CALL, Some(api_key())).await?;
        calls += 1;
        if status != StatusCode::OK {
            others.push(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
    }
    Ok((calls, others))
}

/// Ends the token that is held now, again and again.
async fn end_tokens_until(
    emulator: &Emulator,
    server: &ServerProcess,
    until: Instant,
    entropy: &dyn Entropy,
) -> Result<u64> {
    let client = Client::new(&server.base_url()).with_header("x-api-key", TestInstallation::API_KEY);
    let mut deaths = 0;
    loop {
        let mut random = [0; 8];
        entropy.fill(&mut random);
        let (least, most) = BETWEEN;
        sleep(Duration::from_millis(least + u64::from_le_bytes(random) % (most - least))).await;
        if Instant::now() >= until {
            return Ok(deaths);
        }
        let given = client.get_json("/api/v1/connections/early/token").await?;
        let token = given["access_token"].as_str().context("the answer has a token")?;
        // One that ends unused tells nobody that it ever was good: such an API is out of order, and that is another story.
        until_used(emulator, until).await;
        deaths += u64::from(emulator.revoke_access(token));
    }
}

/// Waits until callers have surely used the token that is held now.
async fn until_used(emulator: &Emulator, until: Instant) {
    let accepted = emulator.stats().api_ok;
    while emulator.stats().api_ok < accepted + USES && Instant::now() < until {
        sleep(Duration::from_millis(1)).await;
    }
}

impl Figures {
    pub(super) fn line(&self) -> String {
        format!(
            "{} calls in {:.0} s, {} tokens ended early, {} refreshes, {} refusals of the API, of which callers saw {}",
            self.calls,
            self.seconds,
            self.deaths,
            self.refreshes,
            self.refused_by_the_api,
            self.seen.len()
        )
    }

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
