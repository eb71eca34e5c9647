//! `cargo xtask keep-alive`: a refresh token that is valid once is rotated again and again at a server that others wrote, while
//! many callers ask for the access token and use it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use jeton_core::keep::provider::DurationText;
use jeton_testkit::TestInstallation;

use crate::oidc_run::{self, CallerPlan, OidcFigures};
use crate::proof::{self, TIMEOUT};
use crate::rig;

/// The server counts in whole seconds, so that a token may die up to a second before it was said to. With a shorter life
/// than this nothing would be left to refresh in.
const SHORTEST_LIFE: Duration = Duration::from_secs(3);

#[derive(Args)]
pub(crate) struct Options {
    /// How long an access token lives: whole seconds, 3 or more
    #[arg(long, default_value = "5s")]
    life: DurationText,
    /// How often the refresh token must have been rotated
    #[arg(long, default_value_t = 20)]
    rotations: u64,
    /// How many callers ask for the token and use it, all the time
    #[arg(long, default_value_t = 50)]
    callers: u16,
    /// Decides the pauses of the callers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Options {
    /// What the test command runs.
    pub(crate) fn short() -> Self {
        Self { life: DurationText(SHORTEST_LIFE), rotations: 5, callers: 20, seed: 1 }
    }
}

/// # Errors
/// As [`proof::run`].
pub(crate) fn run(options: &Options) -> Result<()> {
    let life = options.life.0;
    ensure!(life.subsec_nanos() == 0 && life >= SHORTEST_LIFE, "--life takes whole seconds, 3s or more");
    rig::install()?;
    let rotations = u32::try_from(options.rotations).context("--rotations takes at most 4294967295")?;
    let Options { seed, callers, .. } = *options;
    let plan = CallerPlan { seed, callers, pause_ms: (5, 40), connections: 1, life };
    proof::run("keep-alive", async {
        let evidence = oidc_run::observe(TestInstallation::new()?, 1, plan, async |nodes, _| {
            nodes.wait_for_rotations(rotations.into(), life * rotations + TIMEOUT).await
        });
        let evidence = evidence.await?;
        Ok((OidcFigures::of(&evidence, 1, plan), evidence.undisturbed_findings(options.rotations, 1)))
    })
}
