//! `cargo xtask many-connections`: how soon a server with very many connections is ready, how much memory it takes, and that it
//! answers for each of them with the token of that connection.

mod calls;
mod start;
mod store;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use jeton_core::time::{Clock, SystemClock};
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{ConnectionSettings, PgCluster, TestInstallation};
use serde::Serialize;
use serde_json::json;

use crate::latency::{Quantiles, millis};
use crate::proof::{self, PROFILE, TIMEOUT};
use crate::{setup, tools};
use start::Start;

/// Connected by the binary itself; all others are connected as it is.
const FIRST: &str = "many-000000";
/// Connected by the binary, with a refresh token of the provider: a caller reports its access token as rejected.
const REJECTED: &str = "rejected";
/// How long the tokens live: nothing is due by itself.
const LIFE: Duration = Duration::from_hours(12);

/// How soon an optimized build is ready with so many connections at most.
const START_GOAL: Duration = Duration::from_secs(2);
const MOST_CONNECTIONS: u32 = 100_000;
/// How long it claims one of them at most.
const CLAIM_GOAL: Duration = Duration::from_millis(5);
/// How soon any other run is ready.
const LONGEST_START: Duration = Duration::from_secs(10);

/// Where the connections are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Store {
    Sqlite,
    Postgres,
}

#[derive(Args)]
pub(crate) struct Options {
    /// How many connections are defined and connected
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(3..=1_000_000))]
    connections: u32,
    /// Where they are kept
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// What the server logs
    #[arg(long, default_value = "info")]
    log: String,
    /// How often the server is started; the figures of the start are those in the middle
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    starts: u32,
    /// How many seconds the server does nothing before its memory is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=600))]
    idle: u64,
}

/// What the test run does, on each store.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_short() -> Result<()> {
    [Store::Sqlite, Store::Postgres].into_iter().try_for_each(|store| {
        run(&Options { connections: 5_000, store, log: "info".to_owned(), starts: 1, idle: 1 })
    })
}

/// # Errors
/// As [`proof::run`].
pub(crate) fn run(options: &Options) -> Result<()> {
    let name = match options.store {
        Store::Sqlite => "many-connections",
        Store::Postgres => {
            tools::postgres()?;
            "many-connections, postgres"
        }
    };
    proof::run(name, measure(options))
}

#[derive(Serialize)]
struct ManyConnections {
    connections: u32,
    store: Store,
    settings_kib: u64,
    /// With two connections, for comparison.
    few: Start,
    /// With all connections: the start in the middle of all of them.
    many: Start,
    starts: u32,
    quickest_ms: f64,
    slowest_ms: f64,
    resident_kib_per_connection: f64,
    calls: usize,
    /// Calls one after the other, spread evenly over all connections.
    call: Quantiles,
    /// Claims one after the other, spread evenly over all connections: the transaction that comes before each refresh.
    claim: Quantiles,
    /// A new token in place of one that an API refused: claim, redeem, commit.
    refresh_ms: f64,
    token_requests: u64,
    warnings: Vec<String>,
}

async fn measure(options: &Options) -> Result<(ManyConnections, Vec<String>)> {
    let emulator = Emulator::start(Settings { access_ttl: LIFE, ..Settings::default() }).await?;
    let cluster = match options.store {
        Store::Sqlite => None,
        Store::Postgres => Some(PgCluster::private(&[("fsync", "on"), ("full_page_writes", "on")], &[])?),
    };
    let installation = connect_two(options, &emulator, cluster.as_ref()).await?;
    let idle = Duration::from_secs(options.idle);
    let (mut server, few) = Start::of(&installation, idle, &[FIRST.to_owned()]).await?;
    proof::end(&mut server).await?;

    store::connect_all(&installation, FIRST, names(options)).await?;
    define(&installation, &emulator, options)?;
    let early: Vec<String> = names(options).collect();
    let (mut server, first) = Start::of(&installation, idle, &early).await?;
    let mut starts = vec![first];
    for _ in 1..options.starts {
        proof::end(&mut server).await?;
        let (again, start) = Start::of(&installation, idle, &early).await?;
        server = again;
        starts.push(start);
    }
    let readiness = starts.iter().map(|start| start.ready_ms);
    let (quickest, slowest) = (readiness.clone().fold(f64::MAX, f64::min), readiness.fold(0.0, f64::max));
    let many = Start::middle(starts);
    let calls = calls::ask(&server, names(options)).await?;
    let refresh = calls::reject(&server, &emulator, REJECTED).await?;
    let output = proof::end(&mut server).await?;
    let claims = store::claim(&installation, names(options)).await?;
    let warnings = output.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
    let figures = ManyConnections {
        connections: options.connections,
        store: options.store,
        settings_kib: fs::metadata(installation.settings())?.len() / 1_024,
        resident_kib_per_connection: (many.idle_resident_mib - few.idle_resident_mib) * 1_024.0
            / f64::from(options.connections - 2),
        few,
        many,
        starts: options.starts,
        quickest_ms: quickest,
        slowest_ms: slowest,
        calls: calls.len(),
        call: calls.quantiles(),
        claim: claims.quantiles(),
        refresh_ms: millis(refresh),
        token_requests: emulator.stats().requests,
        warnings: warnings.map(str::to_owned).collect(),
    };
    let findings = figures.findings();
    Ok((figures, findings))
}

/// The names of all connections but the two that the binary connects.
fn names(options: &Options) -> impl Iterator<Item = String> {
    (1..options.connections - 1).map(|number| format!("many-{number:06}"))
}

/// An installation whose two connections were connected by the binary.
async fn connect_two(
    options: &Options,
    emulator: &Emulator,
    cluster: Option<&PgCluster>,
) -> Result<TestInstallation> {
    let mut installation = match cluster {
        Some(cluster) => TestInstallation::on_database(cluster.empty_database()?)?,
        None => TestInstallation::new()?,
    };
    ensure!(
        installation.postgres().is_some() == cluster.is_some(),
        "the environment asks the testkit for PostgreSQL; give `--store postgres`"
    );
    installation.set("log", "level", options.log.as_str())?;
    for name in [FIRST, REJECTED] {
        installation.add_connection(name, setup::connection(emulator))?;
        // It holds the secret of a client, and the server would warn of that.
        fs::set_permissions(installation.settings(), fs::Permissions::from_mode(0o600))?;
        let tokens = json!({
            "access_token": store::access_token(name),
            "refresh_token": emulator.mint(1).remove(0).reveal(),
            "expires_at": SystemClock.now() + LIFE,
        });
        let file = installation.path().join("tokens.json");
        fs::write(&file, tokens.to_string()).context("writing tokens.json")?;
        let path = file.to_str().context("the path of a test installation is text")?;
        installation.command(["connect", name, "--import", path])?.run(TIMEOUT).await?.success()?;
    }
    Ok(installation)
}

/// Adds all connections to the settings file at once.
fn define(installation: &TestInstallation, emulator: &Emulator, options: &Options) -> Result<()> {
    let connections: BTreeMap<String, ConnectionSettings> =
        names(options).map(|name| (name, setup::connection(emulator))).collect();
    let definitions = toml::to_string(&BTreeMap::from([("connections", connections)]))
        .context("writing connections as TOML")?;
    let first = fs::read_to_string(installation.settings()).context("reading the settings file")?;
    installation.write_settings(&format!("{first}\n{definitions}"))
}

impl ManyConnections {
    /// What must not be.
    fn findings(&self) -> Vec<String> {
        let optimized = PROFILE == "release" && self.connections <= MOST_CONNECTIONS;
        let longest_start = if optimized { START_GOAL } else { LONGEST_START };
        let (start, claim, requests) = (self.many.ready_ms, self.claim.p50, self.token_requests);
        let mut findings = proof::broken([
            (start < millis(longest_start), format!("the start took {start:.1} ms of {longest_start:?}")),
            (
                !optimized || claim < millis(CLAIM_GOAL),
                format!("a claim took {claim:.1} ms of {CLAIM_GOAL:?}"),
            ),
            (requests == 1, format!("{requests} token requests at the provider, where 1 was due")),
        ]);
        findings.extend(self.warnings.iter().take(10).map(|line| format!("the server logged {line}")));
        findings
    }
}
