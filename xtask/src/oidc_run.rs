//! Nodes keep connections to an OAuth server that others wrote, whose refresh tokens are valid once, while callers use the
//! tokens. What the server, the callers and the refresh log counted is compared.

mod callers;
mod evidence;
#[cfg(test)]
mod evidence_tests;
mod nodes;

use std::time::Duration;

use anyhow::{Context, Result};
use jeton_testkit::TestInstallation;
use tokio::time::Instant;

pub(crate) use callers::CallerPlan;
pub(crate) use evidence::{Evidence, OidcFigures};
pub(crate) use nodes::Nodes;

/// How long attempts of unknown outcome may take to be settled at the end.
const SETTLING: Duration = Duration::from_secs(30);

/// Starts `nodes` nodes on the store of `installation`, and callers; does what `during` says, and ends everything.
///
/// # Errors
/// Something could not be started or ended, or `during` failed.
pub(crate) async fn observe(
    installation: TestInstallation,
    nodes: u8,
    plan: CallerPlan,
    during: impl AsyncFnOnce(&mut Nodes, Instant) -> Result<()>,
) -> Result<Evidence> {
    let mut nodes = Nodes::start(installation, nodes, plan.connections, plan.life).await?;
    let begun = Instant::now();
    let callers = callers::start(plan, &nodes);
    let done = during(&mut nodes, begun).await;
    let calls = callers.stop().await;
    done.with_context(|| format!("callers were answered {calls:?}"))?;
    let seconds = begun.elapsed().as_secs_f64();
    nodes.settle(SETTLING).await?;
    nodes.end().await?;
    let generations = nodes.generations().await?;
    let (stats, attempts) = (nodes.rig.stats().await?, nodes.redeems().await?);
    Ok(Evidence { stats, attempts, calls, generations, seconds })
}
