//! `cargo xtask databases`: how soon a test has a database of its own, beside one that is migrated from nothing.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use jeton_testkit::{PgCluster, TestInstallation};
use serde::Serialize;
use tokio::time::Instant;

use crate::load::{Latencies, Quantiles};
use crate::{proof, tools};

const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Args)]
pub(crate) struct Options {
    /// How many of each kind are made, in turns
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

/// The figures of one run.
#[derive(Serialize)]
struct Figures {
    rounds: u32,
    /// A home on a copy of the template, as each test has it.
    copied: Quantiles,
    /// A home on an empty database, and `jeton migrate` in it.
    migrated: Quantiles,
    ratio: f64,
}

/// Makes homes of both kinds, says how long each took, and keeps the figures below the target folder.
///
/// # Errors
/// There is no PostgreSQL, or a home cannot be made.
pub(crate) fn run(options: &Options) -> Result<()> {
    proof::build()?;
    tools::postgres()?;
    // The first makes the template, for all.
    drop(TestInstallation::on_postgres()?);
    let (mut copied, mut migrated) = (Latencies::default(), Latencies::default());
    let runtime = proof::runtime()?;
    for _ in 0..options.rounds {
        let begun = Instant::now();
        let home = TestInstallation::on_postgres()?;
        copied.push(begun.elapsed());
        drop(home);
        let begun = Instant::now();
        let home = TestInstallation::on_database(PgCluster::shared()?.empty_database()?)?;
        runtime.block_on(home.command(["migrate"])?.run(PATIENCE))?.success()?;
        migrated.push(begun.elapsed());
    }
    let (copied, migrated) = (copied.quantiles(), migrated.quantiles());
    let figures = Figures { rounds: options.rounds, copied, migrated, ratio: migrated.p50 / copied.p50 };
    proof::end("databases", &figures.lines(), &figures, &[], 0)
}

impl Figures {
    /// For people.
    fn lines(&self) -> Vec<String> {
        let line = |what: &str, took: &Quantiles| {
            format!("{what}: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms", took.p50, took.p99, took.max)
        };
        vec![
            line("a copy of the template", &self.copied),
            line("an empty database and `jeton migrate`", &self.migrated),
            format!("{:.1} times as long, by the middle of {} each", self.ratio, self.rounds),
        ]
    }
}
