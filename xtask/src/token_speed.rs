//! `cargo xtask token-speed`: what a token from memory costs, how much memory an idle server takes, how soon it answers.

mod node_server;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Args;
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{Client, ServerProcess, TestInstallation};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::latency::{Latencies, Quantiles};
use crate::load::{self, Load, LoadFigures};
use crate::proof::{self, TIMEOUT};
use crate::server_memory::memory_mib;
use crate::setup;
use node_server::NodeServer;

const NAME: &str = "acme";
const PATH: &str = "/api/v1/connections/acme/token";
/// How long the server does nothing before its memory is measured.
const IDLE: Duration = Duration::from_secs(5);
const STARTS: usize = 10;
/// How soon a server that does not answer yet is asked again.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Args)]
pub(crate) struct Options {
    /// How long each server is under load
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many connections send requests, each as soon as it has its answer
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    connections: u16,
    /// What the server logs
    #[arg(long, default_value = "info")]
    log: String,
}

/// Measures with an optimized build: a debug build makes one and runs it.
///
/// # Errors
/// As [`proof::run`].
pub(crate) fn run(options: &Options) -> Result<()> {
    if cfg!(debug_assertions) {
        return proof::run_optimized();
    }
    proof::run("token-speed", async { Ok((measure(options).await?, Vec::new())) })
}

#[derive(Serialize)]
struct TokenSpeed {
    connections: u16,
    log: String,
    /// `GET /api/v1/connections/acme/token`.
    token: LoadFigures,
    /// `GET /healthz` of the same server.
    healthz: LoadFigures,
    /// Requests a second of the one over those of the other.
    token_over_healthz: f64,
    /// A static answer of `node:http`, where Node.js is installed.
    node: Option<LoadFigures>,
    token_over_node: Option<f64>,
    idle_resident_mib: f64,
    resident_after_load_mib: f64,
    /// From the start of the process to the first token.
    start: Quantiles,
}

async fn measure(options: &Options) -> Result<TokenSpeed> {
    let settings = Settings { access_ttl: Duration::from_hours(12), ..Settings::default() };
    let emulator = Emulator::start(settings).await?;
    let mut installation = TestInstallation::new()?;
    installation.set("log", "level", options.log.as_str())?;
    installation.add_connection(NAME, setup::connection(&emulator))?;
    setup::connect(&installation, NAME, &emulator.mint(1).remove(0)).await?;

    let (mut server, _) = start(&installation).await?;
    sleep(IDLE).await;
    let idle_resident_mib = memory_mib(server.id(), "VmRSS")?;
    let node = NodeServer::start().await?;
    let mut loads = vec![
        Load::new("/healthz", Client::new(&server.base_url()), "/healthz"),
        Load::new("token", server.client(), PATH),
    ];
    loads.extend(node.as_ref().map(|node| Load::new(node_server::NAME, node.client(), "/")));
    let mut loads = load::measure(loads, options.connections, Duration::from_secs(options.seconds)).await?;
    drop(node);
    let resident_after_load_mib = memory_mib(server.id(), "VmRSS")?;
    proof::end(&mut server).await?;

    let mut starts = Latencies::default();
    for _ in 0..STARTS {
        let (mut server, took) = start(&installation).await?;
        starts.push(took);
        proof::end(&mut server).await?;
    }
    let (healthz, token) = (loads.remove(0), loads.remove(0));
    let node = loads.pop();
    Ok(TokenSpeed {
        connections: options.connections,
        log: options.log.clone(),
        token_over_healthz: token.per_second / healthz.per_second,
        token_over_node: node.as_ref().map(|node| token.per_second / node.per_second),
        token,
        healthz,
        node,
        idle_resident_mib,
        resident_after_load_mib,
        start: starts.quantiles(),
    })
}

/// Starts a server; returns it, and how long it took to the first token.
async fn start(installation: &TestInstallation) -> Result<(ServerProcess, Duration)> {
    let command = installation.command(["serve"])?;
    let begun = Instant::now();
    let mut server = command.serve()?;
    loop {
        let last = match server.client().get(PATH).await {
            Ok(reply) if reply.status == 200 => return Ok((server, begun.elapsed())),
            Ok(reply) => format!("{}: {}", reply.status, reply.text()),
            Err(error) => format!("{error:#}"),
        };
        if let Ok(status) = server.wait(Duration::ZERO).await {
            bail!("the server ended before it gave a token ({status})\n{}", server.output()?);
        }
        ensure!(begun.elapsed() < TIMEOUT, "no token in {TIMEOUT:?}; the last answer: {last}");
        sleep(PAUSE).await;
    }
}
