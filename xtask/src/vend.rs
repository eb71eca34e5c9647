//! `cargo xtask vend`: what it costs to be given a token from memory, what an idle server weighs, how soon it answers.

pub(crate) mod load;
mod peer;
pub(crate) mod server;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{ConnectionSettings, TestInstallation};
use serde::Serialize;
use tokio::time::sleep;

use crate::load::api_key;
use crate::tools::{self, cargo};
use crate::{proof, report};
use load::{Course, Figures as Load};
use peer::Peer;
use server::{Start, first_answer, resident_mib};

const NAME: &str = "acme";
const TOKEN: &str = "/api/v1/connections/acme/token";
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the server does nothing before its memory is measured.
const IDLE: Duration = Duration::from_secs(5);
const STARTS: usize = 10;
/// The courses take turns, so that a slow moment of the machine meets all of them.
const TURNS: u32 = 2;

#[derive(Args)]
pub(crate) struct Options {
    /// How long each server is asked
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many connections ask, each as soon as it has its answer
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    connections: u16,
    /// What the server logs
    #[arg(long, default_value = "info")]
    log: String,
}

/// Measures with an optimized build: a debug build hands over to one.
///
/// # Errors
/// Something could not be built or run, or an answer was not the right one.
pub(crate) fn run(options: &Options) -> Result<()> {
    if cfg!(debug_assertions) {
        return hand_over(options);
    }
    proof::build()?;
    let figures = proof::runtime()?.block_on(measure(options))?;
    proof::end("vend", &figures.lines(), &figures, &[], 0)
}

fn hand_over(options: &Options) -> Result<()> {
    report::line("      building with optimizations, which takes some minutes the first time");
    tools::run(cargo(&["build", "--release", "--quiet", "--workspace", "--bins"]))?;
    let running = std::env::current_exe().context("asking where this program lies")?;
    let target = running.parent().and_then(Path::parent).context("a program lies in its profile's folder")?;
    let (seconds, connections) = (options.seconds.to_string(), options.connections.to_string());
    let arguments =
        ["vend", "--seconds", &seconds, "--connections", &connections, "--log", options.log.as_str()];
    tools::run(tools::command(target.join("release").join("xtask"), &arguments))
}

/// The figures of one run.
#[derive(Serialize)]
struct Figures {
    connections: u16,
    log: String,
    /// `GET /api/v1/connections/acme/token`.
    vend: Load,
    /// `GET /healthz` of the same server.
    healthz: Load,
    /// Requests a second of the one over those of the other.
    vend_over_healthz: f64,
    /// A server that others wrote and that answers from memory, where there is one.
    peer: Option<Load>,
    vend_over_peer: Option<f64>,
    idle_resident_mib: f64,
    resident_after_load_mib: f64,
    start: Start,
}

async fn measure(options: &Options) -> Result<Figures> {
    let settings = Settings { access_ttl: Duration::from_hours(12), ..Settings::default() };
    let (id, secret) = (settings.client_id.clone(), settings.client_secret.clone());
    let emulator = Emulator::start(settings).await.context("starting the emulator")?;
    let mut home = TestInstallation::new()?;
    home.set("log", "level", options.log.as_str())?;
    let connection =
        ConnectionSettings::oauth2(&emulator.token_url(), &emulator.api_base(), &id, secret.reveal());
    home.add_connection(NAME, connection)?;
    let token = emulator.mint(1).remove(0);
    let connect = home.command(["connect", NAME, "--refresh-token-stdin"])?.stdin(token.reveal());
    connect.run(PATIENCE).await?.success().context("taking the refresh token over")?;

    let (mut process, _) = first_answer(&home, TOKEN).await?;
    sleep(IDLE).await;
    let idle_resident_mib = resident_mib(process.id())?;
    let peer = Peer::start().await?;
    let mut vend = Course::new("token", &process.base_url(), TOKEN, Some(api_key()));
    let mut healthz = Course::new("/healthz", &process.base_url(), "/healthz", None);
    let mut static_peer = peer.as_ref().map(|peer| Course::new(peer::NAME, &peer.base_url(), "/", None));
    let turn = Duration::from_secs(options.seconds) / TURNS;
    for _ in 0..TURNS {
        for course in [Some(&mut healthz), Some(&mut vend), static_peer.as_mut()].into_iter().flatten() {
            course.run(options.connections, turn).await?;
        }
    }
    drop(peer);
    let resident_after_load_mib = resident_mib(process.id())?;
    process.terminate()?;
    process.wait(PATIENCE).await?;
    let start = Start::measure(&home, TOKEN, STARTS).await?;

    let (vend, healthz) = (vend.figures(), healthz.figures());
    let static_peer = static_peer.map(Course::figures);
    Ok(Figures {
        connections: options.connections,
        log: options.log.clone(),
        vend_over_healthz: vend.per_second / healthz.per_second,
        vend_over_peer: static_peer.as_ref().map(|peer| vend.per_second / peer.per_second),
        vend,
        healthz,
        peer: static_peer,
        idle_resident_mib,
        resident_after_load_mib,
        start,
    })
}

impl Figures {
    /// For people.
    fn lines(&self) -> Vec<String> {
        let loads = [Some(&self.vend), Some(&self.healthz), self.peer.as_ref()];
        let mut lines: Vec<String> = loads.into_iter().flatten().map(Load::line).collect();
        let peer = self.vend_over_peer.map(|ratio| format!(", {ratio:.2} of the static peer's"));
        lines.push(format!(
            "token requests a second: {:.2} of those of /healthz{}",
            self.vend_over_healthz,
            peer.unwrap_or_default()
        ));
        lines.push(format!(
            "resident memory: {:.1} MiB after {} s of idleness, {:.1} MiB after the load",
            self.idle_resident_mib,
            IDLE.as_secs(),
            self.resident_after_load_mib
        ));
        lines.push(self.start.line());
        lines
    }
}
