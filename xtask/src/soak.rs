//! `cargo xtask soak`: real processes on one database are killed and paused at random moments while a strict provider rotates
//! their tokens. Afterwards every loss is explained, or it is a bug.

mod callers;
mod check;
#[cfg(test)]
mod check_tests;
mod environment;
mod figures;
mod log;
mod postgres;
mod run;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use jeton_core::keep::provider::DurationText;

use self::environment::{SoakPlan, SoakProvider};
use crate::oidc_run::CallerPlan;
use crate::proof;

/// What the provider forgives, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// It forgives nothing: a token that was spent without a reply is lost, and must be named.
    Strict,
    /// It forgives a second use inside a documented grace: nothing may be lost.
    Grace,
    /// It forgives nothing, and refuses with a 400 that says nothing: no token may be sent again and again for that.
    Bare,
    /// One after the other, a third of the rounds each.
    All,
}

/// The store under the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SoakStore {
    /// One file, and a strict emulator whose record of every token is checked.
    Sqlite,
    /// One PostgreSQL under several nodes, and a server that others wrote, whose own counts are checked.
    Postgres,
}

#[derive(Args)]
pub(crate) struct Options {
    /// The store under the processes
    #[arg(long, value_enum, default_value = "sqlite")]
    store: SoakStore,
    /// How many nodes share the PostgreSQL
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=16))]
    nodes: u8,
    /// How many callers ask the nodes
    #[arg(long, default_value_t = 200)]
    callers: u16,
    /// Decides the faults, the moments and the victims
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
    /// What the provider forgives, and what it says
    #[arg(long, value_enum, default_value = "all")]
    mode: Mode,
    /// How long an access token lives; however long, it is refreshed every few seconds [default: 4s, on PostgreSQL 10s]
    #[arg(long)]
    life: Option<DurationText>,
}

impl Options {
    /// What the test command runs.
    pub(crate) fn short() -> Self {
        Self {
            store: SoakStore::Sqlite,
            nodes: 4,
            callers: 200,
            seed: 1,
            rounds: 15,
            minutes: None,
            connections: Some(4),
            processes: 2,
            mode: Mode::All,
            life: None,
        }
    }

    fn plans(&self) -> Vec<SoakPlan> {
        let providers = match self.mode {
            Mode::Strict => vec![SoakProvider::Strict],
            Mode::Grace => vec![SoakProvider::Grace],
            Mode::Bare => vec![SoakProvider::Bare],
            Mode::All => vec![SoakProvider::Strict, SoakProvider::Grace, SoakProvider::Bare],
        };
        let share = u32::try_from(providers.len()).expect("there are three at most");
        let plan = |provider| SoakPlan {
            provider,
            seed: self.seed,
            rounds: self.minutes.is_none().then(|| self.rounds.div_ceil(share)),
            length: self.minutes.map(|minutes| Duration::from_mins(u64::from(minutes)) / share),
            connections: self.connections.unwrap_or(6),
            processes: self.processes,
            life: self.life.map_or(Duration::from_secs(4), |life| life.0),
        };
        providers.into_iter().map(plan).collect()
    }
}

/// What the test command runs on PostgreSQL: half a minute, with as many callers as a small machine can serve.
///
/// # Errors
/// As [`run()`].
pub(crate) fn run_short_on_postgres() -> Result<()> {
    let options =
        Options { store: SoakStore::Postgres, connections: Some(40), callers: 60, ..Options::short() };
    run_on_postgres(&options, Duration::from_secs(30))
}

fn run_on_postgres(options: &Options, length: Duration) -> Result<()> {
    let plan = CallerPlan {
        seed: options.seed,
        callers: options.callers,
        pause_ms: (200, 800),
        connections: options.connections.unwrap_or(100),
        life: options.life.map_or(Duration::from_secs(10), |life| life.0),
    };
    postgres::run(options.nodes, plan, length)
}

/// # Errors
/// As [`proof::run`].
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.store == SoakStore::Postgres {
        return run_on_postgres(options, Duration::from_mins(options.minutes.unwrap_or(10).into()));
    }
    // Every plan is carried out, whatever the one before found.
    let done: Vec<Result<()>> =
        options.plans().iter().map(|plan| proof::run(&plan.name(), run::run(plan))).collect();
    done.into_iter().collect()
}
