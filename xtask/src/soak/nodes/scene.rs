//! The server that others wrote, PostgreSQL, and the nodes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jeton_core::secret::Secret;
use jeton_testkit::{Client, OidcRig, OidcSettings, PgCluster, ServerProcess, TestInstallation};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::verdict::{Attempt, read};
use super::{LEASE, Plan, REDEEM_TIMEOUT};

const READY: Duration = Duration::from_secs(30);
const SHORT_RUN: Duration = Duration::from_secs(30);
/// How many commands run at once.
const AT_ONCE: usize = 4;
/// How long after a disturbance an unanswered call may still be due to it.
const AFTERMATH: Duration = Duration::from_secs(1);

/// A node, and whether something is being done to it.
pub(super) struct Node {
    home: TestInstallation,
    running: ServerProcess,
    /// Callers follow a node to its new port.
    pub(super) client: Arc<Mutex<Client>>,
    pub(super) disturbed: Arc<AtomicBool>,
}

/// Everything that runs. What stands last is dropped last.
pub(super) struct Scene {
    pub(super) nodes: Vec<Node>,
    pub(super) names: Vec<String>,
    pub(super) rig: Arc<OidcRig>,
    pub(super) cluster: PgCluster,
}

impl Scene {
    /// Starts everything, and connects everything.
    pub(super) async fn set(plan: Plan) -> Result<Self> {
        // What a machine that may lose its power is set to.
        let cluster = PgCluster::private(&[("fsync", "on"), ("full_page_writes", "on")], &[])?;
        let rig = OidcRig::start(OidcSettings { access_ttl: plan.life, ..OidcSettings::default() }).await?;
        let mut home = TestInstallation::on_database(cluster.empty_database()?)?;
        home.set("keeper", "lease", seconds(LEASE))?;
        home.set("keeper", "redeem_timeout", seconds(REDEEM_TIMEOUT))?;
        home.set("keeper", "cooldown", "200ms")?;
        home.set("store", "patience", "5s")?;
        home.set("log", "level", "info")?;
        let names: Vec<String> = (1..=plan.connections).map(|number| format!("soak-{number}")).collect();
        for name in &names {
            let half = format!("{}ms", plan.life.as_millis() / 2);
            // Longer than a node is stopped: what it has in its hands is not given up meanwhile.
            let hold = seconds(LEASE * 5);
            let connection = rig.connection().with_policy("margin", &half).with_policy("unknown_hold", &hold);
            home.add_connection(name, connection)?;
        }
        connect(&home, &rig, &names).await?;
        let others: Vec<TestInstallation> =
            (1..plan.nodes).map(|_| home.another_node()).collect::<Result<_>>()?;
        let mut nodes = Vec::new();
        for home in std::iter::once(home).chain(others) {
            nodes.push(Node::start(home).await?);
        }
        Ok(Self { nodes, names, rig: Arc::new(rig), cluster })
    }

    /// Kills a node, and starts another in its place after a while.
    pub(super) async fn kill_and_replace(&mut self, place: usize) -> Result<()> {
        let node = &mut self.nodes[place];
        node.disturbed.store(true, Ordering::SeqCst);
        node.running.kill().await?;
        sleep(Duration::from_secs(1)).await;
        node.running = start(&node.home).await?;
        *node.client.lock().unwrap_or_else(PoisonError::into_inner) = node.running.client();
        node.over().await;
        Ok(())
    }

    /// Stops a node in the middle of what it does, and lets it go on.
    pub(super) async fn pause(&mut self, place: usize, length: Duration) -> Result<()> {
        let node = &self.nodes[place];
        node.disturbed.store(true, Ordering::SeqCst);
        node.running.pause()?;
        sleep(length).await;
        node.running.resume()?;
        node.over().await;
        Ok(())
    }

    /// Waits until the outcome of no attempt is open.
    pub(super) async fn settle(&self, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let open = self.states().await?.into_iter().filter(|state| state.interrupted_attempt.is_some());
            let open: Vec<String> = open.map(|state| state.name).collect();
            if open.is_empty() {
                return Ok(());
            }
            ensure!(begun.elapsed() < patience, "after {patience:?} the outcome is still open for {open:?}");
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn states(&self) -> Result<Vec<State>> {
        let status = self.nodes[0].home.command(["--json", "status"])?;
        Ok(serde_json::from_value(status.run(SHORT_RUN).await?.json()?)?)
    }

    /// Asks all nodes to end, and waits until they have.
    pub(super) async fn end_nodes(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.running.terminate()?;
        }
        for node in &mut self.nodes {
            let status = node.running.wait(Duration::from_mins(1)).await?;
            let written = node.running.output()?;
            ensure!(status.success(), "a node ended with {status} after SIGTERM\n{written}");
        }
        Ok(())
    }

    /// All attempts to redeem.
    pub(super) async fn attempts(&self) -> Result<Vec<Attempt>> {
        let of = |name: String| async move {
            let logs =
                self.nodes[0].home.command(["--json", "logs", "--lines", "1000", "--connection", &name])?;
            read(logs.run(SHORT_RUN).await?.json()?)
        };
        let pages = stream::iter(self.names.clone()).map(of).buffer_unordered(AT_ONCE);
        Ok(pages.try_collect::<Vec<_>>().await?.concat())
    }
}

/// What is needed of one connection as `jeton status` prints it.
#[derive(Deserialize)]
struct State {
    name: String,
    interrupted_attempt: Option<String>,
}

impl Node {
    async fn start(home: TestInstallation) -> Result<Self> {
        let running = start(&home).await?;
        Ok(Self { client: Arc::new(Mutex::new(running.client())), home, running, disturbed: Arc::default() })
    }

    /// What was done to it is over, and calls of that time have ended.
    async fn over(&self) {
        sleep(AFTERMATH).await;
        self.disturbed.store(false, Ordering::SeqCst);
    }
}

async fn start(home: &TestInstallation) -> Result<ServerProcess> {
    let mut running = home.command(["serve"])?.serve()?;
    running.wait_until_ready(READY).await?;
    Ok(running)
}

/// Gives each connection a grant fresh from the server.
async fn connect(home: &TestInstallation, rig: &OidcRig, names: &[String]) -> Result<()> {
    let tokens = rig.mint(names.len()).await?;
    let one = |(name, token): (&String, Secret)| {
        let name = name.clone();
        async move {
            let command = home.command(["connect", &name, "--refresh-token-stdin"])?.stdin(token.reveal());
            command.run(SHORT_RUN).await?.success().with_context(|| format!("connecting {name}"))
        }
    };
    // The first founds the installation.
    let mut all = names.iter().zip(tokens).map(one);
    if let Some(first) = all.next() {
        first.await?;
    }
    stream::iter(all).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await.map(drop)
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}
