//! `cargo xtask soak --store postgres`: several nodes on one PostgreSQL keep the one-time tokens of a server that others
//! wrote. In the middle one node is killed, one is stopped for twice the lease, and PostgreSQL is restarted twice.

mod callers;
mod scene;
mod verdict;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

use crate::{proof, rig};
use callers::Callers;
use scene::Scene;
use verdict::{Evidence, Figures};

/// The lease of a claim, and how long a redeem may take.
const LEASE: Duration = Duration::from_secs(3);
const REDEEM_TIMEOUT: Duration = Duration::from_secs(2);

/// How long attempts of unknown outcome may take to be settled at the end.
const SETTLING: Duration = Duration::from_secs(30);

/// One run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: u8,
    pub(super) connections: u16,
    pub(super) callers: u16,
    pub(super) life: Duration,
    pub(super) length: Duration,
}

/// Plays it, says what happened, and keeps the figures below the target folder.
///
/// # Errors
/// Something could not be run, or a promise was broken.
pub(super) fn run(plan: Plan) -> Result<()> {
    rig::install()?;
    proof::build()?;
    let evidence = proof::runtime()?.block_on(play(plan)).context("soak, postgres")?;
    let findings = evidence.findings();
    let figures = Figures::of(&evidence, plan);
    proof::end("soak, postgres", &figures.lines(), &figures, &findings, plan.seed)
}

async fn play(plan: Plan) -> Result<Evidence> {
    let mut scene = Scene::set(plan).await?;
    let begun = Instant::now();
    let callers = Callers::start(plan, &scene);
    let disturbed = disturb(plan, begun, &mut scene).await;
    let calls = callers.stop().await;
    disturbed.with_context(|| format!("callers were answered {calls:?}"))?;
    let seconds = begun.elapsed().as_secs_f64();
    scene.settle(SETTLING).await?;
    scene.end_nodes().await?;
    Ok(Evidence { stats: scene.rig.stats().await?, attempts: scene.attempts().await?, calls, seconds })
}

/// Does what hurts, each at its part of the time.
async fn disturb(plan: Plan, begun: Instant, scene: &mut Scene) -> Result<()> {
    let at = |part: f64| sleep(plan.length.mul_f64(part).saturating_sub(begun.elapsed()));
    let (first, second) = (0, usize::from(plan.nodes) - 1);
    at(0.15).await;
    scene.kill_and_replace(first).await?;
    at(0.30).await;
    scene.cluster.stop()?;
    sleep(Duration::from_millis(500)).await;
    scene.cluster.start()?;
    at(0.45).await;
    scene.pause(second, LEASE * 2).await?;
    at(0.75).await;
    scene.cluster.kill()?;
    sleep(Duration::from_millis(500)).await;
    scene.cluster.start()?;
    at(1.0).await;
    Ok(())
}
