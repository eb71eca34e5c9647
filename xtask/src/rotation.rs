//! `cargo xtask rotation`: a service token is rotated again and again while its service calls, and no call is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use jeton_testkit::{Client, ClientConnection, TestInstallation};
use parking_lot::RwLock;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::latency::{Latencies, Quantiles};
use crate::proof::{self, TIMEOUT};
use crate::setup;

const SERVICE: &str = "bot1";
const PATH: &str = "/api/v1/verify?service=bot1&scope=read";
/// How many connections share the calls.
const CONNECTIONS: u32 = 40;

#[derive(Args)]
pub(crate) struct Options {
    /// How many calls a second are made in all
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(40..=20_000))]
    rate: u32,
    /// How long they are made
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    seconds: u64,
    /// How many processes share the database
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    processes: u8,
    /// How many seconds lie between two rotations; the old token is valid as long after each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    every: u64,
}

impl Options {
    /// What the test command runs.
    pub(crate) fn short() -> Self {
        Self { rate: 1_000, seconds: 10, processes: 2, every: 2 }
    }
}

/// The answers to one connection.
#[derive(Default)]
struct Answers {
    latencies: Latencies,
    by_status: BTreeMap<u16, u64>,
}

#[derive(Serialize)]
struct RotationFigures {
    processes: u8,
    asked_per_second: u32,
    answered_per_second: u64,
    calls: usize,
    rotations: usize,
    /// How many answers had which status: 204 says that the token is valid.
    answers: BTreeMap<u16, u64>,
    #[serde(flatten)]
    took: Quantiles,
}

/// # Errors
/// As [`proof::run`].
pub(crate) fn run(options: &Options) -> Result<()> {
    proof::run("rotation", measure(options))
}

async fn measure(options: &Options) -> Result<(RotationFigures, Vec<String>)> {
    let mut installation = TestInstallation::new()?;
    installation.set("log", "level", "warn")?;
    let token = Arc::new(RwLock::new(installation.service_token(SERVICE, &["read"]).await?));
    let mut servers = Vec::new();
    for _ in 0..options.processes {
        servers.push(setup::serve(&installation).await?);
    }
    let (mut callers, over) = (JoinSet::new(), CancellationToken::new());
    for number in 0..CONNECTIONS {
        let server = &servers[usize::try_from(number)? % servers.len()];
        let connection = Client::new(&server.base_url()).connect().await?;
        let pace = Duration::from_secs(1) * CONNECTIONS / options.rate;
        callers.spawn(call(connection, pace, Arc::clone(&token), over.clone()));
    }
    let begun = Instant::now();
    let rotations = rotate(&installation, &token, begun, options).await;
    over.cancel();
    let ran = begun.elapsed();
    let (mut all, mut answers) = (Latencies::default(), BTreeMap::new());
    for result in callers.join_all().await {
        let result = result?;
        all.extend(result.latencies);
        for (status, count) in result.by_status {
            *answers.entry(status).or_default() += count;
        }
    }
    let calls = all.len();
    let figures = RotationFigures {
        processes: options.processes,
        asked_per_second: options.rate,
        answered_per_second: u64::try_from(calls)? * 1_000 / u64::try_from(ran.as_millis())?.max(1),
        calls,
        rotations: rotations?,
        answers,
        took: all.quantiles(),
    };
    let findings = figures.findings();
    Ok((figures, findings))
}

/// Calls at this pace with the token of the moment.
async fn call(
    mut connection: ClientConnection,
    pace: Duration,
    token: Arc<RwLock<String>>,
    over: CancellationToken,
) -> Result<Answers> {
    let mut answers = Answers::default();
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !over.is_cancelled() {
        ticks.tick().await;
        let token = token.read().clone();
        let sent = Instant::now();
        let reply = connection.get(PATH, &[("x-service-token", &token)]).await?;
        answers.latencies.push(sent.elapsed());
        *answers.by_status.entry(reply.status.as_u16()).or_default() += 1;
    }
    Ok(answers)
}

/// Rotates the token until the time is over; returns how often.
async fn rotate(
    installation: &TestInstallation,
    token: &RwLock<String>,
    begun: Instant,
    options: &Options,
) -> Result<usize> {
    let (every, end) = (Duration::from_secs(options.every), begun + Duration::from_secs(options.seconds));
    let overlap = format!("{}s", options.every);
    let mut rotations = 0;
    let mut next = begun + every;
    while next < end {
        sleep_until(next).await;
        let arguments = ["service-token", "rotate", SERVICE, "--overlap", &overlap, "--json"];
        let rotated = installation.command(arguments)?.run(TIMEOUT).await?.json()?;
        let new = rotated["token"].as_str().context("the answer has no `token`")?;
        new.clone_into(&mut token.write());
        rotations += 1;
        next += every;
    }
    sleep_until(end).await;
    Ok(rotations)
}

impl RotationFigures {
    /// What must not be.
    fn findings(&self) -> Vec<String> {
        let refused = self.answers.iter().filter(|(status, _)| **status != 204);
        let mut findings: Vec<String> =
            refused.map(|(status, count)| format!("{count} calls were answered {status}")).collect();
        if self.rotations < 2 {
            findings.push(format!("the token was rotated {} times, which shows nothing", self.rotations));
        }
        // Half of the pace is still a load; below it the machine, not the rotation, was measured.
        if self.answered_per_second * 2 < u64::from(self.asked_per_second) {
            findings.push(format!("only {} calls a second were answered", self.answered_per_second));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refused_call_is_a_finding_and_so_is_a_run_that_shows_nothing() {
        let figures = |answers: &[(u16, u64)], rotations, answered_per_second| RotationFigures {
            processes: 2,
            asked_per_second: 1_000,
            answered_per_second,
            calls: 10,
            rotations,
            answers: answers.iter().copied().collect(),
            took: Quantiles::default(),
        };
        assert!(figures(&[(204, 10)], 2, 999).findings().is_empty());
        assert!(figures(&[(204, 9), (403, 1)], 2, 999).findings()[0].contains("1 calls were answered 403"));
        assert_eq!(figures(&[(204, 10)], 1, 100).findings().len(), 2);
    }
}
