//! `cargo xtask clocks`: real processes go on while their civil clocks, and that of their database, are set by hours and days and
//! while they are killed. No token is given past its life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use jeton_emulator::{Emulator, SeededEntropy, Settings};
use jeton_testkit::{Client, PgCluster, Reply, ServerProcess, ShiftedClock, TestInstallation};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::callers::{Callers, any};
use crate::proof::{self, TIMEOUT};
use crate::setup;
use crate::token_reply::{TokenReply, error_code};

const NODES: usize = 2;
const CONNECTIONS: usize = 3;
const CALLERS: u64 = 4;

/// How far clocks are set, in seconds: by what people and daylight saving do to them, and by what hides in a margin.
const SHIFTS: [i64; 8] = [0, 50, -50, 300, 3_600, -3_600, 86_400, -86_400];

/// A token is given with at least a second left. An answer that took longer says nothing about it.
const QUICK: Duration = Duration::from_millis(900);

/// How long the provider takes a refresh token again: what a killed process sent may be sent again.
const GRACE: Duration = Duration::from_mins(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ClocksStore {
    /// Two processes on one file, and the one clock of their machine.
    Sqlite,
    /// Two nodes with a clock each, and a database with another.
    Postgres,
}

#[derive(Args)]
pub(crate) struct Options {
    /// The store under the processes
    #[arg(long, value_enum, default_value = "sqlite")]
    store: ClocksStore,
    /// How long clocks are set and processes killed
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Decides what is done when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seconds an access token lives
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(4..))]
    life: u64,
}

/// What the test command runs.
///
/// # Errors
/// As [`proof::run`].
pub(crate) fn run_short() -> Result<()> {
    for store in [ClocksStore::Sqlite, ClocksStore::Postgres] {
        run(&Options { store, seconds: 7, seed: 1, life: 4 })?;
    }
    Ok(())
}

/// # Errors
/// As [`proof::run`].
pub(crate) fn run(options: &Options) -> Result<()> {
    let name = match options.store {
        ClocksStore::Sqlite => "clocks",
        ClocksStore::Postgres => "clocks, postgres",
    };
    proof::run(name, measure(options))
}

#[derive(Clone, Debug, Default, Serialize)]
struct ClockAnswers {
    tokens: u64,
    /// Given past their life.
    dead: u64,
    /// Came too slowly to tell.
    slow: u64,
    unanswered: u64,
    errors: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct ClockFigures {
    seed: u64,
    seconds: u64,
    life_s: u64,
    clock_changes: u32,
    kills: u32,
    answers: ClockAnswers,
    refreshes: u64,
    invalid_grants: u64,
    reuses: u64,
    overlaps: u64,
    /// Connections that give no living token once the clocks are right.
    lost: usize,
}

/// A node, or one of two processes on a file, and its clock.
struct TestNode {
    installation: Arc<TestInstallation>,
    clock: Arc<ShiftedClock>,
    server: ServerProcess,
}

impl TestNode {
    async fn start(installation: Arc<TestInstallation>, clock: Arc<ShiftedClock>) -> Result<Self> {
        let server = serve(&installation, &clock).await?;
        Ok(Self { installation, clock, server })
    }

    async fn kill_and_start_again(&mut self) -> Result<()> {
        self.server.kill().await?;
        self.server = serve(&self.installation, &self.clock).await?;
        Ok(())
    }
}

async fn serve(installation: &TestInstallation, clock: &ShiftedClock) -> Result<ServerProcess> {
    let mut server = installation.command(["serve"])?.envs(clock.environment()).serve()?;
    server.wait_until_ready(TIMEOUT).await?;
    Ok(server)
}

async fn measure(options: &Options) -> Result<(ClockFigures, Vec<String>)> {
    let life = Duration::from_secs(options.life);
    let settings =
        Settings { access_ttl: life, reuse_grace: GRACE, seed: options.seed, ..Settings::default() };
    let emulator = Arc::new(Emulator::start(settings).await?);
    // The clock of the database, where there is one.
    let store_clock = Arc::new(ShiftedClock::new()?);
    let cluster = match options.store {
        ClocksStore::Sqlite => None,
        ClocksStore::Postgres => Some(PgCluster::with_clock(&store_clock)?),
    };
    let (mut nodes, names) = start_nodes(options, &emulator, cluster.as_ref()).await?;
    let clients = Arc::new(Mutex::new(clients(&nodes)));
    let callers = Callers::start(CALLERS, options.seed, |random, answers| {
        let caller = ClocksCaller {
            random,
            names: names.clone(),
            clients: Arc::clone(&clients),
            emulator: Arc::clone(&emulator),
            answers,
        };
        async move { caller.call_on().await }
    });
    let random = SeededEntropy::new(options.seed);
    let (mut clock_changes, mut kills) = (0, 0);
    let end = Instant::now() + Duration::from_secs(options.seconds);
    // Whatever the seed is: what one refresh under a clock that is a day ahead leaves behind.
    let mut first = vec![0, 86_400];
    while Instant::now() < end {
        if first.is_empty() && random.between(0, 4) == 0 {
            let number = usize::try_from(random.between(0, 2))?;
            nodes[number].kill_and_start_again().await?;
            *clients.lock() = self::clients(&nodes);
            kills += 1;
        } else {
            let shift = first.pop().unwrap_or_else(|| *any(&random, &SHIFTS));
            let of_the_store = cluster.is_some() && random.between(0, 3) == 0;
            let clock = if of_the_store { &store_clock } else { &any(&random, &nodes).clock };
            clock.set(shift)?;
            clock_changes += 1;
        }
        sleep(Duration::from_millis(random.between(300, 1_500))).await;
    }
    let answers = callers.stop().await;
    for clock in nodes.iter().map(|node| &node.clock).chain([&store_clock]) {
        clock.set(0)?;
    }
    let mut lost = 0;
    for name in &names {
        lost += usize::from(!gives_a_living_token(&emulator, &nodes[0].server.client(), name).await);
    }
    for node in &mut nodes {
        proof::end(&mut node.server).await?;
    }
    ensure!(emulator.wait_until_idle(TIMEOUT).await, "token requests are still in progress at the end");
    let stats = emulator.stats();
    let figures = ClockFigures {
        seed: options.seed,
        seconds: options.seconds,
        life_s: options.life,
        clock_changes,
        kills,
        answers,
        refreshes: stats.rotations,
        invalid_grants: stats.invalid_grant,
        reuses: stats.reuse_kills,
        overlaps: stats.overlaps,
        lost,
    };
    let findings = figures.findings();
    Ok((figures, findings))
}

/// Connects everything, and starts the nodes. Processes on one file have one clock.
async fn start_nodes(
    options: &Options,
    emulator: &Emulator,
    cluster: Option<&PgCluster>,
) -> Result<(Vec<TestNode>, Vec<String>)> {
    let mut installation = match cluster {
        None => TestInstallation::new()?,
        Some(cluster) => TestInstallation::on_cluster(cluster)?,
    };
    installation.set("keeper", "lease", "3s")?;
    installation.set("keeper", "redeem_timeout", "2s")?;
    installation.set("keeper", "cooldown", "200ms")?;
    let names: Vec<String> = (1..=CONNECTIONS).map(|number| format!("clocks-{number}")).collect();
    for name in &names {
        let connection = setup::connection(emulator)
            .with_policy("unknown_hold", "1s")
            .with_policy("reuse_grace", &format!("{}s", GRACE.as_secs()));
        installation.add_connection(name, connection)?;
    }
    for (name, refresh) in names.iter().zip(emulator.mint(CONNECTIONS)) {
        setup::connect(&installation, name, &refresh).await?;
    }
    let (installation, mut nodes) = (Arc::new(installation), Vec::new());
    let clock = Arc::new(ShiftedClock::new()?);
    nodes.push(TestNode::start(Arc::clone(&installation), Arc::clone(&clock)).await?);
    while nodes.len() < NODES {
        let (installation, clock) = match options.store {
            ClocksStore::Sqlite => (Arc::clone(&installation), Arc::clone(&clock)),
            ClocksStore::Postgres => (Arc::new(installation.another_node()?), Arc::new(ShiftedClock::new()?)),
        };
        nodes.push(TestNode::start(installation, clock).await?);
    }
    Ok((nodes, names))
}

fn clients(nodes: &[TestNode]) -> Vec<Client> {
    nodes.iter().map(|node| node.server.client().with_deadline(Duration::from_secs(15))).collect()
}

/// Whether a connection recovers from whatever was done to the clocks.
async fn gives_a_living_token(emulator: &Emulator, client: &Client, name: &str) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < TIMEOUT {
        let reply = client.get(&format!("/api/v1/connections/{name}/token")).await;
        let token = reply.ok().and_then(|reply| TokenReply::read(&reply));
        if token.is_some_and(|token| emulator.accepts(token.access_token.reveal())) {
            return true;
        }
        sleep(Duration::from_millis(200)).await;
    }
    false
}

struct ClocksCaller {
    random: SeededEntropy,
    names: Vec<String>,
    clients: Arc<Mutex<Vec<Client>>>,
    emulator: Arc<Emulator>,
    answers: Arc<Mutex<ClockAnswers>>,
}

impl ClocksCaller {
    async fn call_on(&self) {
        loop {
            let client = any(&self.random, &self.clients.lock()).clone();
            let name = any(&self.random, &self.names);
            let begun = Instant::now();
            let reply = client.get(&format!("/api/v1/connections/{name}/token")).await;
            self.count(reply.ok().as_ref(), begun);
            sleep(Duration::from_millis(self.random.between(5, 60))).await;
        }
    }

    fn count(&self, reply: Option<&Reply>, begun: Instant) {
        let token = reply.and_then(TokenReply::read);
        let lives = token.map(|token| self.emulator.accepts(token.access_token.reveal()));
        let mut answers = self.answers.lock();
        match (lives, reply) {
            (Some(true), _) => answers.tokens += 1,
            (Some(false), _) if begun.elapsed() > QUICK => answers.slow += 1,
            (Some(false), _) => answers.dead += 1,
            (None, Some(reply)) => *answers.errors.entry(error_code(reply)).or_default() += 1,
            (None, None) => answers.unanswered += 1,
        }
    }
}

impl ClockFigures {
    /// What must not be.
    fn findings(&self) -> Vec<String> {
        let ClockAnswers { tokens, dead, .. } = self.answers;
        proof::broken([
            (dead == 0, format!("{dead} of {} tokens were given past their life", tokens + dead)),
            (tokens > 0, "nobody got a token".to_owned()),
            (self.clock_changes > 2, "the clocks were hardly set".to_owned()),
            (
                self.invalid_grants + self.reuses + self.overlaps == 0,
                format!(
                    "{} refused grants, {} reuses, {} sends at the same time",
                    self.invalid_grants, self.reuses, self.overlaps
                ),
            ),
            (self.lost == 0, format!("{} connections give no living token at the end", self.lost)),
        ])
    }
}
