//! `cargo xtask stampede`: many tasks in several processes on one database ask for a token that has expired, all at once.

mod verdict;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_emulator::{Behaviour, Emulator, Fault, Settings};
use jeton_testkit::{Client, ConnectionSettings, ServerProcess, TestInstallation};
use serde_json::{Value, json};
use tokio::sync::{Barrier, mpsc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::load::{Line, api_key};
use crate::proof;
use verdict::{Evidence, Figures};

const NAME: &str = "acme";
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the provider thinks before it looks at a refresh token: long enough for every task to have asked meanwhile.
const THOUGHT: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct Options {
    /// How many tasks ask at once
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    tasks: u16,
    /// How many processes share the database
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    processes: u8,
    /// Decides the tokens of the provider
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Options {
    /// What the test command runs.
    pub(crate) fn short() -> Self {
        Self { tasks: 1_000, processes: 4, seed: 1 }
    }
}

/// Runs the proof, says what happened, and keeps the figures below the target folder.
///
/// # Errors
/// Something could not be run, or a promise was broken.
pub(crate) fn run(options: &Options) -> Result<()> {
    proof::build()?;
    let evidence = proof::runtime()?.block_on(play(options))?;
    let findings = evidence.findings();
    let figures = Figures::of(&evidence, options);
    proof::end("stampede", &figures.lines(), &figures, &findings, options.seed)
}

async fn play(options: &Options) -> Result<Evidence> {
    let settings = Settings { seed: options.seed, ..Settings::default() };
    let (id, secret) = (settings.client_id.clone(), settings.client_secret.clone());
    let emulator = Emulator::start(settings).await.context("starting the emulator")?;
    let mut home = TestInstallation::new()?;
    let connection =
        ConnectionSettings::oauth2(&emulator.token_url(), &emulator.api_base(), &id, secret.reveal());
    home.add_connection(NAME, connection)?;
    connect_expired(&home, &emulator).await?;
    let admin = home.service_token("stampede", &["admin"]).await?;
    let mut processes = Vec::new();
    for _ in 0..options.processes {
        let mut process = home.command(["serve"])?.serve()?;
        process.wait_until_ready(PATIENCE).await?;
        processes.push(process);
    }

    emulator.set_behaviour(Behaviour::from_queue([Fault::none().slow_before(THOUGHT)]));
    let answers = ask(options, &processes, &admin).await?;
    for process in &mut processes {
        process.terminate()?;
        let status = process.wait(PATIENCE).await?;
        ensure!(status.success(), "a process ended with {status} after SIGTERM\n{}", process.output()?);
    }
    ensure!(emulator.wait_until_idle(PATIENCE).await, "token requests are still under way at the end");
    let logs = home.command(["--json", "logs", "--lines", "1000"])?.run(PATIENCE).await?.json()?;
    Ok(Evidence {
        living: answers.first().is_some_and(|answer| emulator.accepts(&answer.token)),
        asked: options.tasks,
        answers,
        stats: emulator.stats(),
        records: emulator.records(),
        logs,
    })
}

/// A connection whose access token has expired. It is paused, so that nobody refreshes it before the tasks ask.
async fn connect_expired(home: &TestInstallation, emulator: &Emulator) -> Result<()> {
    let token = emulator.mint(1).remove(0);
    let file = home.path().join("tokens.json");
    let expired = SystemClock.now() - Duration::from_mins(1);
    let tokens = json!({
        "access_token": "an-access-token-that-has-expired",
        "refresh_token": token.reveal(),
        "expires_at": expired,
    });
    fs::write(&file, tokens.to_string()).context("writing tokens.json")?;
    let path = file.to_str().context("the path of a temporary home is text")?;
    home.command(["connect", NAME, "--import", path])?.run(PATIENCE).await?.success()?;
    home.command(["pause", NAME])?.run(PATIENCE).await?.success()?;
    Ok(())
}

/// What one task was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) asked_at: Timestamp,
    pub(super) took: Duration,
    pub(super) status: u16,
    /// Empty when it was given none.
    pub(super) token: String,
    pub(super) code: Option<String>,
}

/// Lets every task open its connection, ends the pause, and lets all of them ask at once.
async fn ask(options: &Options, processes: &[ServerProcess], admin: &str) -> Result<Vec<Answer>> {
    let tasks = TaskTracker::new();
    let start = Arc::new(Barrier::new(usize::from(options.tasks) + 1));
    let (answered, mut answers) = mpsc::unbounded_channel();
    for number in 0..usize::from(options.tasks) {
        let mut line = Line::open(&processes[number % processes.len()].base_url(), &tasks).await?;
        let (start, answered) = (Arc::clone(&start), answered.clone());
        tasks.spawn(async move {
            start.wait().await;
            // When nobody listens any more, the proof has failed already.
            drop(answered.send(ask_once(&mut line).await));
        });
    }
    drop(answered);
    let admin = Client::new(&processes[0].base_url()).with_header("x-service-token", admin);
    let resumed = admin.post(&format!("/api/v1/connections/{NAME}/resume"), &json!({})).await?;
    ensure!(resumed.status == 200, "resuming answered {}: {}", resumed.status, resumed.text());
    start.wait().await;
    let mut all = Vec::new();
    while let Some(answer) = answers.recv().await {
        all.push(answer?);
    }
    tasks.close();
    tasks.wait().await;
    Ok(all)
}

async fn ask_once(line: &mut Line) -> Result<Answer> {
    let (asked_at, begun) = (SystemClock.now(), Instant::now());
    let (status, body) = line.get(&format!("/api/v1/connections/{NAME}/token"), Some(api_key())).await?;
    let took = begun.elapsed();
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Answer {
        asked_at,
        took,
        status: status.as_u16(),
        token: said["access_token"].as_str().unwrap_or_default().to_owned(),
        code: said["code"].as_str().map(str::to_owned),
    })
}
