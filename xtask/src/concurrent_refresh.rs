//! `cargo xtask concurrent-refresh`: many tasks in several processes on one database ask for a token that has expired, all at
//! once.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_emulator::{Behaviour, Emulator, Fault, Settings};
use jeton_testkit::{Client, ClientConnection, ServerProcess, TestInstallation};
use serde::Serialize;
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::latency::{Latencies, Quantiles};
use crate::proof::{self, TIMEOUT};
use crate::refresh_log;
use crate::setup;
use crate::token_reply::{TokenReply, error_code};

const NAME: &str = "acme";
/// How long the provider waits before it looks at a refresh token: long enough for every task to have asked meanwhile.
const PROVIDER_DELAY: Duration = Duration::from_secs(1);

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

/// # Errors
/// As [`proof::run`].
pub(crate) fn run(options: &Options) -> Result<()> {
    proof::run("concurrent-refresh", measure(options))
}

#[derive(Serialize)]
struct ConcurrentRefresh {
    seed: u64,
    tasks: u16,
    processes: u8,
    good_answers: usize,
    errors: BTreeMap<String, usize>,
    /// Answers with another token than the first.
    other_tokens: usize,
    /// Whether the provider accepts the token of the first answer.
    accepted: bool,
    token_requests: u64,
    spends: u64,
    redeems_in_the_log: usize,
    asked_before_the_spend: usize,
    /// From the first request to the last.
    asked_within_ms: f64,
    /// From the instant that the provider spent the token.
    answered_within_ms: f64,
    took: Quantiles,
}

async fn measure(options: &Options) -> Result<(ConcurrentRefresh, Vec<String>)> {
    let emulator = Emulator::start(Settings { seed: options.seed, ..Settings::default() }).await?;
    let mut installation = TestInstallation::new()?;
    installation.add_connection(NAME, setup::connection(&emulator))?;
    connect_expired(&installation, &emulator).await?;
    let admin = installation.service_token("concurrent-refresh", &["admin"]).await?;
    let mut servers = Vec::new();
    for _ in 0..options.processes {
        servers.push(setup::serve(&installation).await?);
    }
    emulator.set_behaviour(Behaviour::from_queue([Fault::none().slow_before(PROVIDER_DELAY)]));
    let answers = ask(options, &servers, &admin).await?;
    for server in &mut servers {
        proof::end(server).await?;
    }
    ensure!(emulator.wait_until_idle(TIMEOUT).await, "token requests are still in progress at the end");
    let redeems = refresh_log::redeems(&installation, None).await?.len();

    let first = answers.first().context("there is a task")?;
    let done = answers.iter().map(|answer| answer.asked_at + answer.took).max().unwrap_or_default();
    let spent_at = emulator.records().iter().find_map(|record| record.accepted_at).unwrap_or_default();
    let asked_at = || answers.iter().map(|answer| answer.asked_at);
    let (first_asked, last_asked) =
        (asked_at().min().unwrap_or_default(), asked_at().max().unwrap_or_default());
    let mut took = Latencies::default();
    let mut errors = BTreeMap::new();
    for answer in &answers {
        took.push(answer.took);
        if let Err(code) = &answer.token {
            *errors.entry(code.clone()).or_default() += 1;
        }
    }
    let figures = ConcurrentRefresh {
        seed: options.seed,
        tasks: options.tasks,
        processes: options.processes,
        good_answers: answers.iter().filter(|answer| answer.token.is_ok()).count(),
        errors,
        other_tokens: answers.iter().filter(|answer| answer.token != first.token).count(),
        accepted: first.token.as_ref().is_ok_and(|token| emulator.accepts(token)),
        token_requests: emulator.stats().requests,
        spends: emulator.stats().rotations,
        redeems_in_the_log: redeems,
        asked_before_the_spend: asked_at().filter(|asked_at| *asked_at < spent_at).count(),
        asked_within_ms: last_asked.since(first_asked).as_secs_f64() * 1_000.0,
        answered_within_ms: done.since(spent_at).as_secs_f64() * 1_000.0,
        took: took.quantiles(),
    };
    let findings = figures.findings();
    Ok((figures, findings))
}

/// A connection whose access token has expired. It is paused, so that nobody refreshes it before the tasks ask.
async fn connect_expired(installation: &TestInstallation, emulator: &Emulator) -> Result<()> {
    let tokens = json!({
        "access_token": "an-access-token-that-has-expired",
        "refresh_token": emulator.mint(1).remove(0).reveal(),
        "expires_at": SystemClock.now() - Duration::from_mins(1),
    });
    let file = installation.path().join("tokens.json");
    fs::write(&file, tokens.to_string()).context("writing tokens.json")?;
    let path = file.to_str().context("the path of a test installation is text")?;
    installation.command(["connect", NAME, "--import", path])?.run(TIMEOUT).await?.success()?;
    installation.command(["pause", NAME])?.run(TIMEOUT).await?.success()?;
    Ok(())
}

/// The answer to one task: a token, or the code of an error.
struct Answer {
    asked_at: Timestamp,
    took: Duration,
    token: Result<String, String>,
}

/// Opens a connection for every task, ends the pause, and lets all of them ask at once.
async fn ask(options: &Options, servers: &[ServerProcess], admin: &str) -> Result<Vec<Answer>> {
    let mut tasks = JoinSet::new();
    let start = Arc::new(Barrier::new(usize::from(options.tasks) + 1));
    for number in 0..usize::from(options.tasks) {
        let mut connection = servers[number % servers.len()].client().connect().await?;
        let start = Arc::clone(&start);
        tasks.spawn(async move {
            start.wait().await;
            ask_once(&mut connection).await
        });
    }
    let admin = Client::new(&servers[0].base_url()).with_header("x-service-token", admin);
    let resumed = admin.post(&format!("/api/v1/connections/{NAME}/resume"), &json!({})).await?;
    ensure!(resumed.status == 200, "resuming answered {}: {}", resumed.status, resumed.text());
    start.wait().await;
    tasks.join_all().await.into_iter().collect()
}

async fn ask_once(connection: &mut ClientConnection) -> Result<Answer> {
    let (asked_at, begun) = (SystemClock.now(), Instant::now());
    let reply = connection.get(&format!("/api/v1/connections/{NAME}/token"), &[]).await?;
    let took = begun.elapsed();
    let token = TokenReply::read(&reply).map(|token| token.access_token.reveal().to_owned());
    let token = token.ok_or_else(|| error_code(&reply));
    Ok(Answer { asked_at, took, token })
}

impl ConcurrentRefresh {
    /// What must not be.
    fn findings(&self) -> Vec<String> {
        let tasks = usize::from(self.tasks);
        let rules = [
            (
                self.good_answers == tasks,
                format!("{} good answers for {tasks} tasks, errors: {:?}", self.good_answers, self.errors),
            ),
            (self.other_tokens == 0, format!("{} answers with another token", self.other_tokens)),
            (self.accepted, "the provider does not accept the token of the answers".to_owned()),
            (
                (self.token_requests, self.spends) == (1, 1),
                format!(
                    "{} token requests and {} spends, where one is enough",
                    self.token_requests, self.spends
                ),
            ),
            (self.redeems_in_the_log == 1, format!("{} redeems in the refresh log", self.redeems_in_the_log)),
            (
                self.asked_before_the_spend == tasks,
                format!(
                    "only {} of {tasks} tasks asked before the token was spent",
                    self.asked_before_the_spend
                ),
            ),
        ];
        proof::broken(rules)
    }
}
