//! `cargo xtask gateway`: tokens that die early under many callers, large bodies in constant memory, and the speed of calls
//! through the gateway, directly and through nginx.

mod api;
mod early;
mod large;
mod nginx;

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{Client, ConnectionSettings, ServerProcess, TestInstallation, TestServer};
use serde::Serialize;

use crate::load::{self, Load, LoadFigures};
use crate::{proof, setup};
use early::EarlyDeaths;
use large::LargeBodies;
use nginx::Nginx;

/// The connection whose API is the emulator's: its tokens die early.
const EARLY: &str = "early";
/// The connection whose API answers whatever is asked.
const PLAIN: &str = "plain";
const SMALL: &str = "/api/v1/proxy/plain/small";

#[derive(Args)]
pub(crate) struct Options {
    /// How long tokens die early
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=36_000))]
    early_seconds: u64,
    /// How large the bodies are that go up and down, in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    mib: u64,
    /// How long each speed is measured
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many connections send calls, each as soon as it has its answer
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    connections: u16,
    /// When which token dies
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measure the build that this is, whatever its profile
    #[arg(long)]
    as_built: bool,
}

impl Options {
    /// What the test run does.
    pub(crate) fn short() -> Self {
        Self { early_seconds: 5, mib: 128, seconds: 1, connections: 64, seed: 1, as_built: true }
    }
}

/// Runs all of it with an optimized build: a debug build makes one and runs it.
///
/// # Errors
/// As [`proof::run`].
pub(crate) fn run(options: &Options) -> Result<()> {
    if cfg!(debug_assertions) && !options.as_built {
        return proof::run_optimized();
    }
    proof::run("gateway", measure(options))
}

#[derive(Serialize)]
struct GatewayFigures {
    connections: u16,
    early: EarlyDeaths,
    large: LargeBodies,
    through_the_gateway: LoadFigures,
    direct: LoadFigures,
    /// nginx with `proxy_pass` and open connections, where it is installed.
    nginx: Option<LoadFigures>,
    gateway_over_direct: f64,
    gateway_over_nginx: Option<f64>,
}

async fn measure(options: &Options) -> Result<(GatewayFigures, Vec<String>)> {
    let settings = Settings { access_ttl: Duration::from_hours(12), ..Settings::default() };
    let (id, secret) = (settings.client_id.clone(), settings.client_secret.clone());
    let emulator = Emulator::start(settings).await?;
    let api = api::start().await;
    let mut installation = TestInstallation::new()?;
    // One log line a call is part of what a call costs.
    installation.set("log", "level", "info")?;
    for (name, base) in [(EARLY, emulator.api_base()), (PLAIN, api.base_url())] {
        let connection = ConnectionSettings::oauth2(&emulator.token_url(), &base, &id, secret.reveal());
        installation.add_connection(name, connection)?;
        setup::connect(&installation, name, &emulator.mint(1).remove(0)).await?;
    }
    let mut server = setup::serve(&installation).await?;
    // A new connection has no access token yet: those refreshes are not what is counted.
    for name in [EARLY, PLAIN] {
        server.client().get_json(&format!("/api/v1/connections/{name}/token")).await?;
    }

    let length = Duration::from_secs(options.early_seconds);
    let early = early::run(&emulator, &server, options.connections, length, options.seed).await?;
    let large = large::run(&server, options.mib * 1024 * 1024).await?;
    let mut speeds = speeds(options, &server, &api).await?;
    proof::end(&mut server).await?;
    let (gateway, direct) = (speeds.remove(0), speeds.remove(0));
    let nginx = speeds.pop();
    let findings = early.findings().into_iter().chain(large.finding()).collect();
    let figures = GatewayFigures {
        connections: options.connections,
        early,
        large,
        gateway_over_direct: gateway.per_second / direct.per_second,
        gateway_over_nginx: nginx.as_ref().map(|nginx| gateway.per_second / nginx.per_second),
        through_the_gateway: gateway,
        direct,
        nginx,
    };
    Ok((figures, findings))
}

/// Through the gateway, directly, and through nginx where it is installed.
async fn speeds(options: &Options, server: &ServerProcess, api: &TestServer) -> Result<Vec<LoadFigures>> {
    let nginx = Nginx::start(&api.base_url()).await?;
    let mut loads = vec![
        Load::new("through the gateway", server.client(), SMALL),
        Load::new("direct", Client::new(&api.base_url()), "/small"),
    ];
    loads.extend(nginx.as_ref().map(|nginx| Load::new("through nginx", nginx.client(), "/small")));
    load::measure(loads, options.connections, Duration::from_secs(options.seconds)).await
}
