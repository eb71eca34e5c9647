//! `cargo xtask soak`: real processes on one database, killed and paused at random moments while a strict provider rotates
//! their tokens; afterwards every loss is explained or is a bug.

mod attempts;
mod callers;
mod given;
mod judge;
#[cfg(test)]
mod judge_tests;
mod nodes;
mod scene;
mod script;
mod status;
mod summary;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use jeton_core::keep::provider::DurationText;

use crate::proof;
use script::Act;

/// What the provider forgives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Nothing: a token that was spent in silence is lost, and must be named.
    Strict,
    /// A second use inside a documented grace: nothing may be lost.
    Grace,
    /// One after the other, half of the rounds each.
    Both,
}

/// What the processes have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    /// One file, and a strict emulator that is judged for every token.
    Sqlite,
    /// One PostgreSQL under several nodes, and a server that others wrote, judged by its own count.
    Postgres,
}

#[derive(Args)]
pub(crate) struct Options {
    /// What the processes have in common
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// How many nodes share the PostgreSQL
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=16))]
    nodes: u8,
    /// How many callers ask the nodes
    #[arg(long, default_value_t = 200)]
    callers: u16,
    /// Decides the weather, the moments and the victims
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many times something is done to a process
    #[arg(long, default_value_t = 200, conflicts_with = "minutes")]
    rounds: u32,
    /// Go on for so many minutes instead; on PostgreSQL 10 by default
    #[arg(long)]
    minutes: Option<u32>,
    /// How many connections are kept [default: 6, on PostgreSQL 100]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=500))]
    connections: Option<u16>,
    /// How many processes share the database
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    processes: u8,
    /// What the provider forgives
    #[arg(long, value_enum, default_value = "both")]
    mode: Mode,
    /// How long an access token lives; however long, it is refreshed every few seconds [default: 4s, on PostgreSQL 10s]
    #[arg(long)]
    life: Option<DurationText>,
}

impl Options {
    /// What the test command runs.
    pub(crate) fn short() -> Self {
        Self {
            store: Store::Sqlite,
            nodes: 4,
            callers: 200,
            seed: 1,
            rounds: 12,
            minutes: None,
            connections: Some(4),
            processes: 2,
            mode: Mode::Both,
            life: None,
        }
    }

    /// The run on PostgreSQL.
    fn plan(&self) -> nodes::Plan {
        nodes::Plan {
            seed: self.seed,
            nodes: self.nodes,
            connections: self.connections.unwrap_or(100),
            callers: self.callers,
            life: self.life.map_or(Duration::from_secs(10), |life| life.0),
            length: Duration::from_mins(self.minutes.unwrap_or(10).into()),
        }
    }

    fn acts(&self) -> Vec<Act> {
        let graces = match self.mode {
            Mode::Strict => vec![false],
            Mode::Grace => vec![true],
            Mode::Both => vec![false, true],
        };
        let share = u32::try_from(graces.len()).expect("there are one or two acts");
        let act = |grace| Act {
            grace,
            seed: self.seed,
            rounds: self.minutes.is_none().then(|| self.rounds.div_ceil(share)),
            length: self.minutes.map(|minutes| Duration::from_mins(u64::from(minutes)) / share),
            connections: self.connections.unwrap_or(6),
            processes: self.processes,
            life: self.life.map_or(Duration::from_secs(4), |life| life.0),
        };
        graces.into_iter().map(act).collect()
    }
}

/// What the test command runs on PostgreSQL: half a minute of it, for whatever part of the callers this machine can feed.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_short_on_postgres() -> Result<()> {
    let plan = Options { store: Store::Postgres, ..Options::short() }.plan();
    nodes::run(nodes::Plan { connections: 40, callers: 60, length: Duration::from_secs(30), ..plan })
}

/// Runs the acts, says what happened, and keeps the figures below the target folder.
///
/// # Errors
/// A process could not be run, or the judge found something that no rule explains.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.store == Store::Postgres {
        return nodes::run(options.plan());
    }
    proof::build()?;
    let runtime = proof::runtime()?;
    let mut findings = Vec::new();
    for act in options.acts() {
        let name = act.name();
        let (summary, found) = runtime.block_on(act.play()).with_context(|| format!("soak, {name}"))?;
        if let Err(error) =
            proof::end(&format!("soak, {name}"), &summary.lines(), &summary, &found, options.seed)
        {
            findings.push(error);
        }
    }
    findings.into_iter().next().map_or(Ok(()), Err)
}
