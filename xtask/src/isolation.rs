//! `cargo xtask isolation`: 200 connections of a provider that takes requests and never answers them take nothing from the one
//! connection of another provider, in whichever way the two are written down.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use jeton_core::secret::Secret;
use jeton_emulator::{Emulator, SeededEntropy, Settings};
use jeton_testkit::{Client, ConnectionSettings, TestInstallation, TestServer};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep};

use crate::callers::{Callers, any};
use crate::proof::{self, TIMEOUT};
use crate::refresh_log;
use crate::setup;
use crate::token_reply::{TokenReply, error_code};

/// The connection of the provider that answers.
const HEALTHY: &str = "healthy";
/// How many requests of one client run at once (`keeper.provider_concurrency`), and the trial that may join them.
const MOST_AT_ONCE: usize = 8 + 1;
/// How many programs ask for the healthy connection, and how many for those that hang.
const HEALTHY_CALLERS: u64 = 8;
const HANGING_CALLERS: u64 = 16;
/// The longest that a caller of the healthy connection may wait, a start of the process and a busy machine included.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct Options {
    /// How long each way of writing them down is tried
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(4..=3_600))]
    seconds: u64,
    /// How many seconds an access token of the healthy connection lives
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(3..=60))]
    life: u64,
    /// How many connections hang
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    hanging: u16,
    /// Decides the callers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Options {
    /// What the test command runs.
    pub(crate) fn short() -> Self {
        Self { seconds: 5, life: 3, hanging: 200, seed: 1 }
    }
}

/// # Errors
/// As [`proof::run`].
pub(crate) fn run(options: &Options) -> Result<()> {
    proof::run("isolation", measure(options))
}

/// How the two providers are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Both are `oauth2`, with a client each.
    NoFiles,
    /// Each is a provider file of its own.
    OwnFiles,
    /// Both know the same client id.
    SameClient,
}

#[derive(Serialize)]
struct IsolationFigures {
    seed: u64,
    hanging: u16,
    life_s: u64,
    seconds: u64,
    #[serde(flatten)]
    layouts: BTreeMap<&'static str, LayoutFigures>,
}

#[derive(Serialize)]
struct LayoutFigures {
    /// What the callers of the healthy connection were answered.
    healthy: HealthyCalls,
    /// Its refreshes.
    refreshes: u64,
    /// Requests that the silent provider got, and the most at once.
    hung: usize,
    hung_at_once: usize,
}

#[derive(Clone, Debug, Default, Serialize)]
struct HealthyCalls {
    /// A token that the provider accepted.
    good: u64,
    /// Another token.
    dead: u64,
    /// No answer, because the process had been killed.
    unanswered: u64,
    longest_ms: u64,
    errors: BTreeMap<String, u64>,
}

async fn measure(options: &Options) -> Result<(IsolationFigures, Vec<String>)> {
    let (mut layouts, mut findings) = (BTreeMap::new(), Vec::new());
    for (name, layout) in
        [("no files", Layout::NoFiles), ("own files", Layout::OwnFiles), ("same client", Layout::SameClient)]
    {
        let (figures, found) = try_layout(options, layout).await.with_context(|| name.to_owned())?;
        findings.extend(found.into_iter().map(|finding| format!("{name}: {finding}")));
        layouts.insert(name, figures);
    }
    let Options { seed, hanging, life, seconds } = *options;
    Ok((IsolationFigures { seed, hanging, life_s: life, seconds, layouts }, findings))
}

/// Starts cold, lets everybody call, kills the process half way, and starts it again.
async fn try_layout(options: &Options, layout: Layout) -> Result<(LayoutFigures, Vec<String>)> {
    let life = Duration::from_secs(options.life);
    let emulator = Emulator::start(Settings { access_ttl: life, ..Settings::default() }).await?;
    let silent = SilentProvider::start().await;
    let (installation, hanging) = install(options, layout, &emulator, &silent)?;
    let mut server = setup::serve(&installation).await?;
    let client = Arc::new(Mutex::new(server.client()));
    let emulator = Arc::new(emulator);
    let healthy = Callers::start(HEALTHY_CALLERS, options.seed, |random, calls| {
        call_healthy(random, Arc::clone(&emulator), Arc::clone(&client), calls)
    });
    let others = Callers::<()>::start(HANGING_CALLERS, options.seed, |random, _| {
        call_hanging(random, hanging.clone(), Arc::clone(&client))
    });
    let half = Duration::from_secs(options.seconds) / 2;
    sleep(half).await;
    server.kill().await?;
    // Its token expires meanwhile.
    sleep(life).await;
    server = setup::serve(&installation).await?;
    *client.lock() = server.client();
    sleep(half).await;
    let healthy = healthy.stop().await;
    others.stop().await;
    let attempts = refresh_log::redeems(&installation, Some(HEALTHY)).await?;
    // It would wait for the refreshes that hang.
    server.kill().await?;
    let figures = LayoutFigures {
        refreshes: emulator.stats().rotations,
        healthy,
        hung: silent.requests.load(Ordering::Relaxed),
        hung_at_once: silent.most.load(Ordering::Relaxed),
    };
    let failed = attempts.iter().filter(|attempt| !attempt.succeeded()).count();
    let findings = figures.findings(failed, options.seconds / options.life);
    Ok((figures, findings))
}

impl LayoutFigures {
    /// What must not be, where `failed` refreshes of the healthy connection failed and `least` would have been too few.
    fn findings(&self, failed: usize, least: u64) -> Vec<String> {
        let HealthyCalls { good, dead, longest_ms, errors, .. } = &self.healthy;
        let longest = u64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(u64::MAX);
        proof::broken([
            (*good > 0, "nobody got a token of the healthy connection".to_owned()),
            (*dead == 0, format!("{dead} tokens of the healthy connection were dead")),
            (errors.is_empty(), format!("callers of the healthy connection got errors: {errors:?}")),
            (*longest_ms < longest, format!("a caller of the healthy connection waited for {longest_ms} ms")),
            (failed == 0, format!("{failed} refreshes of the healthy connection failed")),
            (
                self.refreshes >= least,
                format!("the healthy connection was refreshed {} times", self.refreshes),
            ),
            (self.hung > 0, "the silent provider got no request".to_owned()),
            (
                self.hung_at_once <= MOST_AT_ONCE,
                format!("the silent provider had {} requests at once", self.hung_at_once),
            ),
        ])
    }
}

/// A provider that takes requests and never answers.
struct SilentProvider {
    server: TestServer,
    requests: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl SilentProvider {
    async fn start() -> Self {
        let (requests, open, most) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let (all, highest) = (Arc::clone(&requests), Arc::clone(&most));
        let server = TestServer::accepting(move |mut stream| {
            let (all, open, highest) = (Arc::clone(&all), Arc::clone(&open), Arc::clone(&highest));
            async move {
                all.fetch_add(1, Ordering::Relaxed);
                let now = open.fetch_add(1, Ordering::Relaxed) + 1;
                highest.fetch_max(now, Ordering::Relaxed);
                // Until the client gives up.
                while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {}
                open.fetch_sub(1, Ordering::Relaxed);
            }
        });
        Self { server: server.await, requests, most }
    }
}

/// An installation whose connections are imported as it starts; answers the names of those that hang.
fn install(
    options: &Options,
    layout: Layout,
    emulator: &Emulator,
    silent: &SilentProvider,
) -> Result<(TestInstallation, Vec<String>)> {
    let mut installation = TestInstallation::new()?;
    installation.set("log", "level", "info")?;
    let Settings { client_id, client_secret, .. } = Settings::default();
    let provider =
        |name: &str| if layout == Layout::OwnFiles { name.to_owned() } else { "oauth2".to_owned() };
    if layout == Layout::OwnFiles {
        let folder = installation.path().join("providers");
        fs::create_dir(&folder).context("making a folder for provider files")?;
        for name in ["good", "silent"] {
            fs::write(folder.join(format!("{name}.toml")), provider_file(name))?;
        }
        installation.set("providers", "paths", vec![folder.display().to_string()])?;
    }
    let good = ConnectionSettings {
        provider: provider("good"),
        ..ConnectionSettings::oauth2(
            &emulator.token_url(),
            &emulator.api_base(),
            &client_id,
            client_secret.reveal(),
        )
    };
    setup::import(&mut installation, HEALTHY, good, &emulator.mint(1).remove(0))?;
    let base = silent.server.base_url();
    let other_client = if layout == Layout::SameClient { client_id.as_str() } else { "another" };
    let names: Vec<String> = (1..=options.hanging).map(|number| format!("hangs-{number}")).collect();
    for name in &names {
        let connection = ConnectionSettings {
            provider: provider("silent"),
            ..ConnectionSettings::oauth2(
                &format!("{base}/token"),
                &format!("{base}/api"),
                other_client,
                "secret",
            )
        };
        setup::import(
            &mut installation,
            name,
            connection,
            &Secret::from(format!("refresh-token-of-{name}")),
        )?;
    }
    Ok((installation, names))
}

fn provider_file(name: &str) -> String {
    format!(
        r#"name = "{name}"
title = "{name}"
hosts = []

[vars.token_url]
about = "the token endpoint"

[vars.api_base]
about = "the API"

[client]
auth = "basic"

[refresh]
url = "${{token_url}}"
form = {{ grant_type = "refresh_token", refresh_token = "${{refresh}}" }}

[policy]
rotation = "single_use"

[api]
base = "${{api_base}}"
"#
    )
}

async fn call_healthy(
    random: SeededEntropy,
    emulator: Arc<Emulator>,
    client: Arc<Mutex<Client>>,
    calls: Arc<Mutex<HealthyCalls>>,
) {
    loop {
        let asking = client.lock().clone().with_deadline(TIMEOUT);
        let asked = Instant::now();
        let reply = asking.get(&format!("/api/v1/connections/{HEALTHY}/token")).await.ok();
        let took = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        let token = reply.as_ref().and_then(TokenReply::read);
        {
            let mut calls = calls.lock();
            calls.longest_ms = calls.longest_ms.max(if reply.is_some() { took } else { 0 });
            match (token, reply) {
                (Some(token), _) if emulator.accepts(token.access_token.reveal()) => calls.good += 1,
                (Some(_), _) => calls.dead += 1,
                (None, Some(reply)) => *calls.errors.entry(error_code(&reply)).or_default() += 1,
                (None, None) => calls.unanswered += 1,
            }
        }
        sleep(Duration::from_millis(random.between(20, 80))).await;
    }
}

async fn call_hanging(random: SeededEntropy, names: Vec<String>, client: Arc<Mutex<Client>>) {
    loop {
        let asking = client.lock().clone().with_deadline(TIMEOUT);
        let name = any(&random, &names);
        // What becomes of it is not what is asked here.
        let _ = asking.get(&format!("/api/v1/connections/{name}/token")).await;
        sleep(Duration::from_millis(random.between(20, 80))).await;
    }
}
