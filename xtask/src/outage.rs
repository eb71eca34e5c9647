//! `cargo xtask outage`: providers of hundreds of one-time grants are down for seconds, minutes and half an hour, in every way that
//! providers are. Meanwhile they get a few requests, nobody is called, and soon after each end every grant is alive.

mod callers;
mod environment;
mod journal;
mod kind;
mod plan;
mod proxy;
mod round;
mod samples;
mod timing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use jeton_core::keep::connection::Condition;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use self::callers::OutageCalls;
use self::environment::{EnvironmentPlan, OutageEnvironment};
use self::plan::OutagePlan;
use self::round::RoundFigures;
use self::timing::Timing;
use crate::{proof, rig, tools};

/// How long after the last outage a grant whose reply was lost may take to be found dead, in use.
const FINDING_DEAD: Duration = Duration::from_mins(8);

/// The store under the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutageStore {
    /// One process on a file.
    Sqlite,
    /// Two nodes on a database, of which each makes its own trials.
    Postgres,
}

#[derive(Args)]
pub(crate) struct Options {
    /// The store under the processes
    #[arg(long, value_enum, default_value = "sqlite")]
    store: OutageStore,
    /// Decides the callers, and the kinds of the shortest outage
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many times shorter every outage and every pause is than in use
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=30))]
    scale: u32,
    /// One outage alone, with the pauses of the default settings
    #[arg(long, conflicts_with = "scale")]
    real_time: bool,
    /// How long that one is
    #[arg(long, default_value_t = 5, requires = "real_time")]
    minutes: u64,
    /// Only the outages of these numbers
    #[arg(long, value_name = "NUMBER")]
    only: Vec<usize>,
    /// How many grants there are
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(30..=1_000))]
    grants: u16,
}

/// What the test command runs.
///
/// # Errors
/// As [`proof::run`].
pub(crate) fn run_short() -> Result<()> {
    let options = Options {
        store: OutageStore::Sqlite,
        seed: 1,
        scale: 30,
        real_time: false,
        minutes: 5,
        only: Vec::new(),
        grants: 60,
    };
    carry_out(&options, plan::short())
}

/// # Errors
/// As [`proof::run`].
pub(crate) fn run(options: &Options) -> Result<()> {
    let plans = if options.real_time { plan::single(options.minutes) } else { plan::all(options.seed) };
    carry_out(options, plans)
}

fn carry_out(options: &Options, plans: Vec<OutagePlan>) -> Result<()> {
    rig::install()?;
    let name = match options.store {
        OutageStore::Sqlite => "outage",
        OutageStore::Postgres => {
            tools::postgres()?;
            "outage, postgres"
        }
    };
    proof::run(name, measure(options, plans))
}

#[derive(Serialize)]
struct OutageFigures {
    seed: u64,
    scale: u32,
    grants: u16,
    nodes: usize,
    seconds: f64,
    /// Grants whose only living refresh token was in a reply that was lost.
    lost: usize,
    /// Of these, known to be dead at the end.
    lost_known: usize,
    callers: OutageCalls,
    #[serde(flatten)]
    outages: BTreeMap<String, RoundFigures>,
}

async fn measure(options: &Options, plans: Vec<OutagePlan>) -> Result<(OutageFigures, Vec<String>)> {
    let began = Instant::now();
    let timing = Timing(if options.real_time { 1 } else { options.scale });
    let plan = EnvironmentPlan {
        timing,
        seed: options.seed,
        grants: options.grants.into(),
        postgres: options.store == OutageStore::Postgres,
    };
    let mut environment = OutageEnvironment::start(plan).await?;
    let clients = Arc::new(Mutex::new(environment.clients()));
    let callers = callers::start(options.seed, &environment.vendors, &clients);
    let (mut outages, mut findings) = (BTreeMap::new(), Vec::new());
    let chosen = |number: &usize| options.only.is_empty() || options.only.contains(number);
    for (number, plan) in (1..).zip(&plans).filter(|(number, _)| chosen(number)) {
        let (figures, found) = round::run(&mut environment, plan, &clients).await?;
        for finding in &found {
            tools::print_line(&format!("      found {finding}"));
        }
        findings.extend(found);
        outages.insert(format!("{number:02} {}", plan.name()), figures);
    }
    let calls = callers.stop().await;
    let (lost, dead) = settle_lost(&environment).await?;
    findings.extend(calls.findings());
    let told = calls.told_to_consent.iter().find(|name| !lost.contains(*name));
    findings.extend(told.map(|name| format!("callers of {name} were sent to a person")));
    findings.extend(dead.difference(&lost).map(|name| format!("{name} is dead, and its reply was not lost")));
    findings.extend(lost.difference(&dead).map(|name| format!("{name} is lost, and not known to be dead")));
    for vendor in &environment.vendors {
        let (reuses, of) = (vendor.reuses().await?, &vendor.connections);
        let own = lost.iter().filter(|name| of.contains(name)).count();
        if reuses > own as u64 {
            findings.push(format!(
                "{}: {reuses} grants were ended by reuse, and {own} replies lost",
                vendor.name
            ));
        }
    }
    let figures = OutageFigures {
        seed: options.seed,
        scale: timing.0,
        grants: options.grants,
        nodes: environment.nodes(),
        seconds: began.elapsed().as_secs_f64(),
        lost: lost.len(),
        lost_known: dead.len(),
        callers: calls,
        outages,
    };
    environment.end().await?;
    Ok((figures, findings))
}

/// Waits until the grants whose reply was lost are known to be dead; returns those, and all that are dead.
async fn settle_lost(environment: &OutageEnvironment) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let lost = round::lost(environment);
    let limit = environment.timing.of(FINDING_DEAD) + Duration::from_secs(10);
    let began = Instant::now();
    loop {
        let all = environment.statuses().await?;
        let dead = all.into_iter().filter(|(_, status)| status.condition == Condition::Dead);
        let dead: BTreeSet<String> = dead.map(|(name, _)| name).collect();
        if dead.is_superset(&lost) || began.elapsed() > limit {
            return Ok((lost, dead));
        }
        sleep(Duration::from_millis(200)).await;
    }
}
