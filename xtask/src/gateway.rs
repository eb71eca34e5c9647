//! `cargo xtask gateway`: tokens that die early under many callers, large bodies in constant memory, and what a call
//! through the gateway costs beside a direct one and one through nginx.

mod api;
mod early;
mod large;
mod nginx;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{Client, ConnectionSettings, ServerProcess, TestInstallation};
use serde::Serialize;

use crate::load::api_key;
use crate::tools::{self, cargo};
use crate::vend::load::{Course, Figures as Load};
use crate::{proof, report};
use api::Api;
use nginx::Nginx;

const PATIENCE: Duration = Duration::from_mins(1);
/// The connection whose API is the emulator's: its tokens die early.
const EARLY: &str = "early";
/// The connection whose API answers whatever is asked.
const PLAIN: &str = "plain";
const SMALL: &str = "/api/v1/proxy/plain/small";
/// The courses take turns, so that a slow moment of the machine meets all of them.
const TURNS: u32 = 2;

#[derive(Args)]
pub(crate) struct Options {
    /// How long tokens die early
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=36_000))]
    early_seconds: u64,
    /// How large the bodies are that go up and down, in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    mib: u64,
    /// How long each course is measured
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many connections call, each as soon as it has its answer
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

/// Runs all of it with an optimized build: a debug build hands over to one.
///
/// # Errors
/// Something could not be built or run, a caller saw what it should not, or memory grew with the bodies.
pub(crate) fn run(options: &Options) -> Result<()> {
    if cfg!(debug_assertions) && !options.as_built {
        return hand_over(options);
    }
    proof::build()?;
    let figures = proof::runtime()?.block_on(measure(options))?;
    proof::end("gateway", &figures.lines(), &figures, &figures.findings(), options.seed)
}

fn hand_over(options: &Options) -> Result<()> {
    report::line("      building with optimizations, which takes some minutes the first time");
    tools::run(cargo(&["build", "--release", "--quiet", "--workspace", "--bins"]))?;
    let running = std::env::current_exe().context("asking where this program lies")?;
    let target = running.parent().and_then(Path::parent).context("a program lies in its profile's folder")?;
    let values = [
        ("--early-seconds", options.early_seconds),
        ("--mib", options.mib),
        ("--seconds", options.seconds),
        ("--connections", options.connections.into()),
        ("--seed", options.seed),
    ];
    let mut arguments = vec!["gateway".to_owned()];
    arguments.extend(values.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    tools::run(tools::command(target.join("release").join("xtask"), &arguments))
}

/// The figures of one run.
#[derive(Serialize)]
struct Figures {
    connections: u16,
    early: early::Figures,
    large: large::Figures,
    through_the_gateway: Load,
    direct: Load,
    /// nginx with `proxy_pass` and open connections, where it is installed.
    nginx: Option<Load>,
    gateway_over_direct: f64,
    gateway_over_nginx: Option<f64>,
}

async fn measure(options: &Options) -> Result<Figures> {
    let settings = Settings { access_ttl: Duration::from_hours(12), ..Settings::default() };
    let (id, secret) = (settings.client_id.clone(), settings.client_secret.clone());
    let emulator = Emulator::start(settings).await.context("starting the emulator")?;
    let api = Api::start().await?;
    let mut home = TestInstallation::new()?;
    // One line a call is part of what a call costs.
    home.set("log", "level", "info")?;
    for (name, base) in [(EARLY, emulator.api_base()), (PLAIN, api.base_url())] {
        home.add_connection(
            name,
            ConnectionSettings::oauth2(&emulator.token_url(), &base, &id, secret.reveal()),
        )?;
        let token = emulator.mint(1).remove(0);
        let connect = home.command(["connect", name, "--refresh-token-stdin"])?.stdin(token.reveal());
        connect.run(PATIENCE).await?.success().context("taking a refresh token over")?;
    }
    let mut server = home.command(["serve"])?.serve()?;
    server.wait_until_ready(PATIENCE).await?;
    // What was taken over has no access token yet: those refreshes are not what is counted.
    let client = Client::new(&server.base_url()).with_header("x-api-key", TestInstallation::API_KEY);
    for name in [EARLY, PLAIN] {
        client.get_json(&format!("/api/v1/connections/{name}/token")).await?;
    }

    let length = Duration::from_secs(options.early_seconds);
    let early = early::run(&emulator, &server, options.connections, length, options.seed).await?;
    let large = large::run(&server, &api, options.mib * 1024 * 1024).await?;
    let (gateway, direct, nginx) = speed(options, &server, &api).await?;
    server.terminate()?;
    ensure!(server.wait(PATIENCE).await?.success(), "the server did not end well: {}", server.output()?);
    Ok(Figures {
        connections: options.connections,
        early,
        large,
        gateway_over_direct: gateway.per_second / direct.per_second,
        gateway_over_nginx: nginx.as_ref().map(|nginx| gateway.per_second / nginx.per_second),
        through_the_gateway: gateway,
        direct,
        nginx,
    })
}

async fn speed(options: &Options, server: &ServerProcess, api: &Api) -> Result<(Load, Load, Option<Load>)> {
    let nginx = Nginx::start(&api.base_url()).await?;
    let mut gateway = Course::new("through the gateway", &server.base_url(), SMALL, Some(api_key()));
    let mut direct = Course::new("direct", &api.base_url(), "/small", None);
    let mut peer =
        nginx.as_ref().map(|nginx| Course::new("through nginx", &nginx.base_url(), "/small", None));
    let turn = Duration::from_secs(options.seconds) / TURNS;
    for _ in 0..TURNS {
        for course in [Some(&mut gateway), Some(&mut direct), peer.as_mut()].into_iter().flatten() {
            course.run(options.connections, turn).await?;
        }
    }
    Ok((gateway.figures(), direct.figures(), peer.map(Course::figures)))
}

impl Figures {
    /// For people.
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.early.line(), self.large.line()];
        let loads = [Some(&self.through_the_gateway), Some(&self.direct), self.nginx.as_ref()];
        lines.extend(loads.into_iter().flatten().map(Load::line));
        let nginx = self.gateway_over_nginx.map(|ratio| format!(", {ratio:.2} of those through nginx"));
        lines.push(format!(
            "calls a second through the gateway: {:.2} of direct ones{}",
            self.gateway_over_direct,
            nginx.unwrap_or_default()
        ));
        lines
    }

    fn findings(&self) -> Vec<String> {
        self.early.findings().into_iter().chain(self.large.findings()).collect()
    }
}
