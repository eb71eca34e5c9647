//! `cargo xtask soak`: real processes on one database, killed and paused at random moments while a strict provider rotates
//! their tokens; afterwards every loss is explained or is a bug.

mod attempts;
mod callers;
mod judge;
#[cfg(test)]
mod judge_tests;
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

#[derive(Args)]
pub(crate) struct Options {
    /// Decides the weather, the moments and the victims
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many times something is done to a process
    #[arg(long, default_value_t = 200, conflicts_with = "minutes")]
    rounds: u32,
    /// Go on for so many minutes instead
    #[arg(long)]
    minutes: Option<u32>,
    /// How many connections are kept
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=500))]
    connections: u16,
    /// How many processes share the database
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    processes: u8,
    /// What the provider forgives
    #[arg(long, value_enum, default_value = "both")]
    mode: Mode,
    /// How long an access token lives; however long, it is refreshed every few seconds
    #[arg(long, default_value = "4s")]
    life: DurationText,
}

impl Options {
    /// What the test command runs.
    pub(crate) fn short() -> Self {
        Self {
            seed: 1,
            rounds: 12,
            minutes: None,
            connections: 4,
            processes: 2,
            mode: Mode::Both,
            life: DurationText(Duration::from_secs(4)),
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
            connections: self.connections,
            processes: self.processes,
            life: self.life.0,
        };
        graces.into_iter().map(act).collect()
    }
}

/// Runs the acts, says what happened, and keeps the figures below the target folder.
///
/// # Errors
/// A process could not be run, or the judge found something that no rule explains.
pub(crate) fn run(options: &Options) -> Result<()> {
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
