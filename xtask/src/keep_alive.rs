//! `cargo xtask keep-alive`: a one-time refresh token of a server that others wrote is rotated again and again while many
//! clients ask for the access token and use it.

mod clients;
mod verdict;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use jeton_core::keep::provider::DurationText;
use jeton_testkit::{OidcRig, OidcSettings, ServerProcess, TestInstallation};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{proof, rig};
use clients::Clients;
use verdict::{Evidence, Figures};

const NAME: &str = "acme";
/// The server counts in whole seconds, so that a token may die up to a second before it was said to. With a shorter life
/// than this nothing would be left to refresh in.
const SHORTEST_LIFE: Duration = Duration::from_secs(3);
/// How long things may take that have nothing to do with the life of a token.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Args)]
pub(crate) struct Options {
    /// How long an access token lives: whole seconds, 3 or more
    #[arg(long, default_value = "5s")]
    life: DurationText,
    /// How often the refresh token must have been rotated
    #[arg(long, default_value_t = 20)]
    rotations: u64,
    /// How many clients ask for the token and use it, all the time
    #[arg(long, default_value_t = 50)]
    clients: u16,
    /// Decides the pauses of the clients
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Options {
    /// What the test command runs.
    pub(crate) fn short() -> Self {
        Self { life: DurationText(SHORTEST_LIFE), rotations: 5, clients: 20, seed: 1 }
    }
}

/// Runs the proof, says what happened, and keeps the figures below the target folder.
///
/// # Errors
/// Something could not be run, or a promise was broken.
pub(crate) fn run(options: &Options) -> Result<()> {
    let life = options.life.0;
    ensure!(life.subsec_nanos() == 0 && life >= SHORTEST_LIFE, "--life takes whole seconds, 3s or more");
    rig::install()?;
    proof::build()?;
    let evidence = proof::runtime()?.block_on(play(options))?;
    let findings = evidence.findings(options.rotations);
    let figures = Figures::of(&evidence, options);
    proof::end("keep-alive", &figures.lines(), &figures, &findings, options.seed)
}

async fn play(options: &Options) -> Result<Evidence> {
    let life = options.life.0;
    let rig = OidcRig::start(OidcSettings { access_ttl: life, ..OidcSettings::default() }).await?;
    let mut home = TestInstallation::new()?;
    // Half of the life, so that the second the server may be wrong by lies within it.
    let margin = format!("{}ms", life.as_millis() / 2);
    home.add_connection(NAME, rig.connection().with_policy("margin", &margin))?;
    let token = rig.mint(1).await?.pop().context("one token was minted")?;
    let connect = home.command(["connect", NAME, "--refresh-token-stdin"])?.stdin(token.reveal());
    connect.run(PATIENCE).await?.success().context("taking the refresh token over")?;

    let mut process = home.command(["serve"])?.serve()?;
    process.wait_until_ready(PATIENCE).await?;
    let begun = Instant::now();
    let clients = Clients::start(options, &process.base_url(), &rig.base_url(), NAME).await?;
    let rotated = rotate(options, &rig).await;
    let calls = clients.stop().await;
    let seconds = begun.elapsed().as_secs_f64();
    rotated.with_context(|| format!("callers were answered {calls:?}"))?;
    end(&mut process).await?;

    let logs = home.command(["--json", "logs", "--lines", "1000"])?.run(PATIENCE).await?.json()?;
    let status = home.command(["--json", "status", NAME])?.run(PATIENCE).await?.json()?;
    let generation = status[0]["generation"].as_u64().context("the status names a generation")?;
    Ok(Evidence { stats: rig.stats().await?, calls, attempts: attempts(logs)?, generation, seconds })
}

/// Waits until the server has counted enough rotations.
async fn rotate(options: &Options, rig: &OidcRig) -> Result<()> {
    let rotations = u32::try_from(options.rotations).context("so many rotations are never over")?;
    let patience = options.life.0 * rotations + PATIENCE;
    let begun = Instant::now();
    loop {
        let stats = rig.stats().await?;
        if stats.refresh_ok >= options.rotations {
            return Ok(());
        }
        ensure!(begun.elapsed() < patience, "after {patience:?} the server has counted {stats:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn end(process: &mut ServerProcess) -> Result<()> {
    process.terminate()?;
    let status = process.wait(PATIENCE).await?;
    ensure!(status.success(), "the process ended with {status} after SIGTERM\n{}", process.output()?);
    Ok(())
}

/// What the verdict needs of one row of the refresh log.
#[derive(Debug, Deserialize)]
struct Attempt {
    act: String,
    status: String,
    fingerprint: Option<String>,
    code: Option<String>,
}

fn attempts(printed: Value) -> Result<Vec<Attempt>> {
    let attempts: Vec<Attempt> = serde_json::from_value(printed).context("reading the refresh log")?;
    Ok(attempts.into_iter().filter(|attempt| attempt.act == "redeem").collect())
}
