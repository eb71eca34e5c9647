//! `cargo xtask rotation`: a service token is rotated again and again while its service calls, and no call is refused.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use http::{HeaderName, HeaderValue};
use jeton_testkit::{ServerProcess, TestInstallation};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::load::{Latencies, Line, Quantiles};
use crate::proof;

const SERVICE: &str = "bot1";
const DOOR: &str = "/api/v1/verify?service=bot1&scope=read";
const PATIENCE: Duration = Duration::from_mins(1);
/// How many connections share the calls.
const LINES: u32 = 40;

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
    /// How many seconds lie between two rotations; the old token counts as long after each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    every: u64,
}

impl Options {
    /// What the test command runs.
    pub(crate) fn short() -> Self {
        Self { rate: 1_000, seconds: 10, processes: 2, every: 2 }
    }
}

/// What one connection was answered.
#[derive(Default)]
struct Answers {
    latencies: Latencies,
    by_status: BTreeMap<u16, u64>,
}

/// The figures of one run.
#[derive(Serialize)]
struct Figures {
    processes: u8,
    asked_per_second: u32,
    answered_per_second: u64,
    calls: usize,
    rotations: usize,
    /// How many answers had which status: 204 is let in.
    answers: BTreeMap<u16, u64>,
    #[serde(flatten)]
    took: Quantiles,
}

/// Runs the proof, says what happened, and keeps the figures below the target folder.
///
/// # Errors
/// Something could not be run, or a call was refused.
pub(crate) fn run(options: &Options) -> Result<()> {
    proof::build()?;
    let figures = proof::runtime()?.block_on(play(options))?;
    proof::end("rotation", &figures.lines(), &figures, &figures.findings(), 0)
}

async fn play(options: &Options) -> Result<Figures> {
    let mut home = TestInstallation::new()?;
    home.set("log", "level", "warn")?;
    let held = Arc::new(RwLock::new(header(&home.service_token(SERVICE, &["read"]).await?)?));
    let mut processes = Vec::new();
    for _ in 0..options.processes {
        let mut process = home.command(["serve"])?.serve()?;
        process.wait_until_ready(PATIENCE).await?;
        processes.push(process);
    }
    let (tasks, over) = (TaskTracker::new(), CancellationToken::new());
    let (tell, mut told) = mpsc::unbounded_channel();
    for number in 0..LINES {
        let server: &ServerProcess = &processes[usize::try_from(number)? % processes.len()];
        let line = Line::open(&server.base_url(), &tasks).await?;
        let pace = Duration::from_secs(1) * LINES / options.rate;
        let (held, over, tell) = (Arc::clone(&held), over.clone(), tell.clone());
        tasks.spawn(async move {
            // When nobody listens any more, the proof has failed already.
            drop(tell.send(call(line, pace, &held, &over).await));
        });
    }
    drop(tell);
    let begun = Instant::now();
    let rotations = rotate(&home, &held, begun, options).await;
    over.cancel();
    let ran = begun.elapsed();
    let (mut all, mut answers) = (Latencies::default(), BTreeMap::new());
    while let Some(said) = told.recv().await {
        let said = said?;
        all.absorb(said.latencies);
        for (status, count) in said.by_status {
            *answers.entry(status).or_default() += count;
        }
    }
    tasks.close();
    tasks.wait().await;
    let calls = all.len();
    Ok(Figures {
        processes: options.processes,
        asked_per_second: options.rate,
        answered_per_second: u64::try_from(calls)? * 1_000 / u64::try_from(ran.as_millis())?.max(1),
        calls,
        rotations: rotations?,
        answers,
        took: all.quantiles(),
    })
}

/// Calls at this pace with the token that is held at the moment.
async fn call(
    mut line: Line,
    pace: Duration,
    held: &RwLock<HeaderValue>,
    over: &CancellationToken,
) -> Result<Answers> {
    let mut answers = Answers::default();
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !over.is_cancelled() {
        ticks.tick().await;
        let token = held.read().unwrap_or_else(PoisonError::into_inner).clone();
        let asked = Instant::now();
        let (status, _) = line.get(DOOR, Some((HeaderName::from_static("x-service-token"), token))).await?;
        answers.latencies.push(asked.elapsed());
        *answers.by_status.entry(status.as_u16()).or_default() += 1;
    }
    Ok(answers)
}

/// Rotates until the time is over; gives how often.
async fn rotate(
    home: &TestInstallation,
    held: &RwLock<HeaderValue>,
    begun: Instant,
    options: &Options,
) -> Result<usize> {
    let (every, end) = (Duration::from_secs(options.every), begun + Duration::from_secs(options.seconds));
    let overlap = format!("{}s", options.every);
    let mut rotations = 0;
    let mut next = begun + every;
    while next < end {
        sleep_until(next).await;
        let rotate = home.command(["service-token", "rotate", SERVICE, "--overlap", &overlap, "--json"])?;
        let rotated = rotate.run(PATIENCE).await?.json()?;
        let token = header(rotated["token"].as_str().context("the answer has no `token`")?)?;
        *held.write().unwrap_or_else(PoisonError::into_inner) = token;
        rotations += 1;
        next += every;
    }
    sleep_until(end).await;
    Ok(rotations)
}

fn header(raw: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(raw)?;
    header.set_sensitive(true);
    Ok(header)
}

impl Figures {
    /// For people.
    fn lines(&self) -> Vec<String> {
        vec![format!(
            "{} calls at {} processes, {} a second, while their token was rotated {} times: {:?}; p50 {:.2} ms, p99 {:.2} ms, \
             max {:.2} ms",
            self.calls,
            self.processes,
            self.answered_per_second,
            self.rotations,
            self.answers,
            self.took.p50,
            self.took.p99,
            self.took.max
        )]
    }

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
        let figures = |answers: &[(u16, u64)], rotations, answered_per_second| Figures {
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
