//! `cargo xtask databases`: how soon a test has a database of its own, beside one that is migrated from nothing.

use anyhow::Result;
use clap::Args;
use jeton_testkit::{PgCluster, TestInstallation};
use serde::Serialize;
use tokio::time::Instant;

use crate::latency::{Latencies, Quantiles};
use crate::proof::{self, TIMEOUT};
use crate::tools;

#[derive(Args)]
pub(crate) struct Options {
    /// How many of each kind are made, in turns
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

#[derive(Serialize)]
struct Databases {
    rounds: u32,
    /// An installation on a copy of the template, as each test has it.
    copied: Quantiles,
    /// An installation on an empty database, and `jeton migrate` in it.
    migrated: Quantiles,
    ratio: f64,
}

/// # Errors
/// As [`proof::run`]; there is no PostgreSQL.
pub(crate) fn run(options: &Options) -> Result<()> {
    tools::postgres()?;
    proof::run("databases", async { Ok((measure(options).await?, Vec::new())) })
}

async fn measure(options: &Options) -> Result<Databases> {
    // The first makes the template, for all.
    drop(TestInstallation::on_postgres()?);
    let (mut copied, mut migrated) = (Latencies::default(), Latencies::default());
    for _ in 0..options.rounds {
        let begun = Instant::now();
        let installation = TestInstallation::on_postgres()?;
        copied.push(begun.elapsed());
        drop(installation);
        let begun = Instant::now();
        let installation = TestInstallation::on_database(PgCluster::shared()?.empty_database()?)?;
        installation.command(["migrate"])?.run(TIMEOUT).await?.success()?;
        migrated.push(begun.elapsed());
    }
    let (copied, migrated) = (copied.quantiles(), migrated.quantiles());
    Ok(Databases { rounds: options.rounds, copied, migrated, ratio: migrated.p50 / copied.p50 })
}
