//! `cargo xtask soak --store postgres`: several nodes on one PostgreSQL keep connections to a server that others wrote. One node
//! is killed, one is stopped for twice the lease, and PostgreSQL is restarted twice.

use std::time::Duration;

use anyhow::Result;
use jeton_testkit::{PgCluster, TestInstallation};
use tokio::time::{Instant, sleep};

use crate::oidc_run::{self, CallerPlan, Nodes, OidcFigures};
use crate::{proof, rig, tools};

/// The lease of a claim.
const LEASE: Duration = Duration::from_secs(3);

/// # Errors
/// As [`proof::run`].
pub(super) fn run(nodes: u8, plan: CallerPlan, length: Duration) -> Result<()> {
    rig::install()?;
    tools::postgres()?;
    proof::run("soak, postgres", async {
        // As on a machine that may lose its power.
        let cluster = PgCluster::private(&[("fsync", "on"), ("full_page_writes", "on")], &[])?;
        let mut installation = TestInstallation::on_database(cluster.empty_database()?)?;
        for (section, key, value) in [
            ("keeper", "lease", "3s"),
            ("keeper", "redeem_timeout", "2s"),
            ("keeper", "cooldown", "200ms"),
            ("store", "patience", "5s"),
            ("log", "level", "info"),
        ] {
            installation.set(section, key, value)?;
        }
        let evidence = oidc_run::observe(installation, nodes, plan, async |running, begun| {
            disturb(running, usize::from(nodes) - 1, &cluster, begun, length).await
        });
        let evidence = evidence.await?;
        Ok((OidcFigures::of(&evidence, nodes, plan), evidence.findings()))
    })
}

/// Disturbs the first node, the last node and PostgreSQL, each at its part of the time.
async fn disturb(
    nodes: &mut Nodes,
    last: usize,
    cluster: &PgCluster,
    begun: Instant,
    length: Duration,
) -> Result<()> {
    let at = |part: f64| sleep(length.mul_f64(part).saturating_sub(begun.elapsed()));
    at(0.15).await;
    nodes.kill_and_replace(0).await?;
    at(0.30).await;
    cluster.stop()?;
    sleep(Duration::from_millis(500)).await;
    cluster.start()?;
    at(0.45).await;
    nodes.pause(last, LEASE * 2).await?;
    at(0.75).await;
    cluster.kill()?;
    sleep(Duration::from_millis(500)).await;
    cluster.start()?;
    at(1.0).await;
    Ok(())
}
