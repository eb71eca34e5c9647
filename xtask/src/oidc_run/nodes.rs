//! The OAuth server, and the nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jeton_testkit::{Client, OidcRig, OidcSettings, ServerProcess, TestInstallation};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::proof;
use crate::refresh_log::{self, Attempt};
use crate::setup;

/// How many commands run at once.
const AT_ONCE: usize = 4;
/// How long after a disturbance an unanswered call may still be due to it.
const AFTERMATH: Duration = Duration::from_secs(1);
/// How long a token with an unknown outcome is left alone: longer than a node is stopped.
const UNKNOWN_HOLD: &str = "15s";

/// A node, and whether something is being done to it.
struct OidcNode {
    installation: TestInstallation,
    server: ServerProcess,
    access: NodeAccess,
}

/// How callers reach a node, on its new port too.
#[derive(Clone)]
pub(super) struct NodeAccess {
    pub(super) client: Arc<Mutex<Client>>,
    pub(super) disturbed: Arc<AtomicBool>,
}

/// Everything that runs.
pub(crate) struct Nodes {
    all: Vec<OidcNode>,
    pub(super) names: Vec<String>,
    pub(super) rig: Arc<OidcRig>,
}

impl Nodes {
    /// Starts the server, makes the connections, and starts the nodes.
    pub(super) async fn start(
        mut first: TestInstallation,
        count: u8,
        connections: u16,
        life: Duration,
    ) -> Result<Self> {
        let rig = OidcRig::start(OidcSettings { access_ttl: life, ..OidcSettings::default() }).await?;
        let names: Vec<String> = (1..=connections).map(|number| format!("oidc-{number}")).collect();
        // The server counts in whole seconds: a token may die up to a second before it was said to.
        let margin = format!("{}ms", life.as_millis() / 2);
        for name in &names {
            let connection = rig.connection().with_policy("margin", &margin);
            first.add_connection(name, connection.with_policy("unknown_hold", UNKNOWN_HOLD))?;
        }
        let tokens = rig.mint(names.len()).await?;
        // The first makes the store.
        setup::connect(&first, &names[0], &tokens[0]).await?;
        let others = names.iter().zip(&tokens).skip(1);
        let connecting = others.map(|(name, token)| setup::connect(&first, name, token));
        stream::iter(connecting).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let others: Vec<TestInstallation> =
            (1..count).map(|_| first.another_node()).collect::<Result<_>>()?;
        let mut nodes = Vec::new();
        for installation in std::iter::once(first).chain(others) {
            let server = setup::serve(&installation).await?;
            let access =
                NodeAccess { client: Arc::new(Mutex::new(server.client())), disturbed: Arc::default() };
            nodes.push(OidcNode { installation, server, access });
        }
        Ok(Self { all: nodes, names, rig: Arc::new(rig) })
    }

    pub(super) fn access(&self) -> Vec<NodeAccess> {
        self.all.iter().map(|node| node.access.clone()).collect()
    }

    /// Kills a node, and starts another in its place after a while.
    pub(crate) async fn kill_and_replace(&mut self, index: usize) -> Result<()> {
        let node = &mut self.all[index];
        node.access.disturbed.store(true, Ordering::SeqCst);
        node.server.kill().await?;
        sleep(Duration::from_secs(1)).await;
        node.server = setup::serve(&node.installation).await?;
        *node.access.client.lock() = node.server.client();
        node.access.end_disturbance().await;
        Ok(())
    }

    /// Stops a node in the middle of what it does, and lets it go on.
    pub(crate) async fn pause(&self, index: usize, length: Duration) -> Result<()> {
        let node = &self.all[index];
        node.access.disturbed.store(true, Ordering::SeqCst);
        node.server.pause()?;
        sleep(length).await;
        node.server.resume()?;
        node.access.end_disturbance().await;
        Ok(())
    }

    /// Waits until the server has counted so many rotations.
    ///
    /// # Errors
    /// It has not within `timeout`.
    pub(crate) async fn wait_for_rotations(&self, rotations: u64, timeout: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let stats = self.rig.stats().await?;
            if stats.refresh_ok >= rotations {
                return Ok(());
            }
            ensure!(begun.elapsed() < timeout, "after {timeout:?} the server has counted {stats:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the outcome of every attempt is known.
    pub(super) async fn settle(&self, timeout: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let open = refresh_log::connections(&self.all[0].installation)
                .await?
                .into_iter()
                .filter(|row| row.interrupted_attempt.is_some());
            let open: Vec<String> = open.map(|row| row.name).collect();
            if open.is_empty() {
                return Ok(());
            }
            ensure!(begun.elapsed() < timeout, "after {timeout:?} the outcome is still unknown for {open:?}");
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// The sum of the generations of all connections.
    pub(super) async fn generations(&self) -> Result<u64> {
        Ok(refresh_log::connections(&self.all[0].installation).await?.iter().map(|row| row.generation).sum())
    }

    /// Asks all nodes to end, and waits until they have.
    pub(super) async fn end(&mut self) -> Result<()> {
        for node in &mut self.all {
            proof::end(&mut node.server).await?;
        }
        Ok(())
    }

    /// All attempts to redeem.
    pub(super) async fn redeems(&self) -> Result<Vec<Attempt>> {
        let installation = &self.all[0].installation;
        let pages = self.names.iter().map(|name| refresh_log::redeems(installation, Some(name)));
        Ok(stream::iter(pages).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?.concat())
    }
}

impl NodeAccess {
    async fn end_disturbance(&self) {
        sleep(AFTERMATH).await;
        self.disturbed.store(false, Ordering::SeqCst);
    }
}
