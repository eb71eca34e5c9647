//! One run, from its first connection to its findings.

use std::time::Duration;

use anyhow::{Result, ensure};
use jeton_core::time::{Clock, SystemClock};
use jeton_emulator::{Behaviour, Emulator, Fault, FaultKind, SeededEntropy};
use tokio::time::{Instant, sleep};

use super::callers;
use super::check::{SoakRecords, Span, check_results};
use super::environment::{Environment, LEASE, SoakPlan, SoakProvider};
use super::figures::SoakFigures;
use crate::proof;

/// How long the last unknown outcomes may take to be settled once the provider has no more faults.
const SETTLING: Duration = Duration::from_secs(30);

/// How long a token request is waited for before a process is disturbed.
const LONGEST_AIM: Duration = Duration::from_secs(2);

/// Returns the figures, and what no rule explains.
pub(super) async fn run(plan: &SoakPlan) -> Result<(SoakFigures, Vec<String>)> {
    let begun = Instant::now();
    let grace = plan.provider == SoakProvider::Grace;
    let mut environment = Environment::start(plan).await?;
    let mut figures = SoakFigures {
        seed: plan.seed,
        provider_is: plan.provider,
        connections: plan.connections,
        processes: plan.processes,
        life_seconds: plan.life.as_secs(),
        ..SoakFigures::default()
    };
    let random = SeededEntropy::new(plan.seed ^ plan.provider as u64);
    let (mut disturbances, mut given_up) = (Vec::new(), Vec::new());
    environment.emulator.set_behaviour(provider_faults());
    while goes_on(plan, figures.rounds, begun) {
        figures.rounds += 1;
        let (names, clients) = environment.targets();
        let callers = callers::start(random.bits(), &names, &clients, &environment.emulator);
        sleep(Duration::from_millis(random.between(200, 1_500))).await;
        let disturbed = disturb(&mut environment, &random, &mut figures).await;
        figures.callers.add(&callers.stop().await);
        disturbances.push(disturbed?);
        reconnect(&mut environment, &mut figures, &mut given_up).await?;
    }
    settle(&mut environment, &mut figures, &mut given_up).await?;
    environment.end_processes().await?;
    ensure!(
        environment.emulator.wait_until_idle(SETTLING).await,
        "token requests are still in progress at the end"
    );
    let records = SoakRecords {
        records: environment.emulator.records(),
        attempts: environment.attempts().await?,
        owners: environment.owners.clone(),
        disturbances,
        grants: environment.emulator.grants(),
        grace,
    };
    let mut results = check_results(&records);
    results.findings.extend(figures.callers.findings());
    if grace {
        let lost = |name| format!("{name} needed a person though the provider forgives");
        results.findings.extend(given_up.iter().map(lost));
    }
    figures.provider = environment.emulator.stats();
    figures.losses_named = results.losses_named;
    figures.losses_of_disturbed = results.losses_of_disturbed;
    figures.recoveries = results.recoveries;
    figures.findings = results.findings.len();
    figures.seconds = begun.elapsed().as_secs_f64();
    Ok((figures, results.findings))
}

fn goes_on(plan: &SoakPlan, rounds: u32, begun: Instant) -> bool {
    plan.rounds.is_some_and(|limit| rounds < limit)
        || plan.length.is_some_and(|length| begun.elapsed() < length)
}

fn provider_faults() -> Behaviour {
    let slow = |millis| Fault::none().slow_after(Duration::from_millis(millis));
    Behaviour::faultless()
        .with_chance(0.20, slow(60))
        .with_chance(0.10, slow(400))
        .with_chance(0.05, Fault::none().slow_before(Duration::from_millis(150)))
        .with_chance(0.04, Fault::lose_reply())
        .with_chance(0.03, Fault::new(FaultKind::CutReply))
        .with_chance(0.02, Fault::new(FaultKind::FailAfter { status: 502 }))
        .with_chance(0.02, Fault::new(FaultKind::FailBefore { status: 503 }))
        .with_chance(0.02, Fault::new(FaultKind::CutBefore))
        .with_chance(0.02, Fault::new(FaultKind::RateLimited { retry_after_secs: 1 }))
        .with_chance(0.02, Fault::new(FaultKind::Trickle { pause_ms: 2 }))
}

/// What is done to a process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    Kill,
    Pause,
    End,
}

impl Disturbance {
    /// Every fifth is a pause, so that the shortest run has one; of the others most are kills.
    fn of(round: u32, random: &SeededEntropy) -> Self {
        match random.between(0, 8) {
            _ if round % 5 == 3 => Self::Pause,
            0 => Self::End,
            _ => Self::Kill,
        }
    }
}

/// Kills, pauses or ends one process, and leaves as many running as there were.
async fn disturb(
    environment: &mut Environment,
    random: &SeededEntropy,
    figures: &mut SoakFigures,
) -> Result<Span> {
    let disturbance = Disturbance::of(figures.rounds, random);
    if random.between(0, 4) > 0 {
        aim(&environment.emulator, random).await;
    }
    let (index, process) = environment.pick(random);
    let from = SystemClock.now();
    match disturbance {
        Disturbance::Kill => {
            process.kill().await?;
            figures.kills += 1;
        }
        Disturbance::Pause => {
            process.pause()?;
            sleep(LEASE + Duration::from_millis(random.between(200, 1_500))).await;
            process.resume()?;
            figures.pauses += 1;
        }
        Disturbance::End => {
            proof::end(process).await?;
            figures.ends += 1;
        }
    }
    let to = SystemClock.now();
    if disturbance != Disturbance::Pause {
        environment.replace(index).await?;
    }
    Ok(Span { from, to })
}

/// Waits until a token request is in progress, or its reply is on its way into the store.
async fn aim(emulator: &Emulator, random: &SeededEntropy) {
    let begun = Instant::now();
    while emulator.stats().in_flight == 0 && begun.elapsed() < LONGEST_AIM {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(random.between(0, 60))).await;
}

/// Gives new grants to the connections that need them, and adds their names to `given_up`.
async fn reconnect(
    environment: &mut Environment,
    figures: &mut SoakFigures,
    given_up: &mut Vec<String>,
) -> Result<usize> {
    let dead = environment.reconnect_the_dead().await?;
    figures.reconnects += u32::try_from(dead.len()).unwrap_or(u32::MAX);
    let count = dead.len();
    given_up.extend(dead);
    Ok(count)
}

/// Runs the provider without faults until every connection works again, with callers at work.
async fn settle(
    environment: &mut Environment,
    figures: &mut SoakFigures,
    given_up: &mut Vec<String>,
) -> Result<()> {
    environment.emulator.set_behaviour(Behaviour::faultless());
    let begun = Instant::now();
    loop {
        let (names, clients) = environment.targets();
        let rotations = environment.emulator.stats().rotations;
        let callers = callers::start(figures.seed, &names, &clients, &environment.emulator);
        sleep(Duration::from_secs(4)).await;
        let calls = callers.stop().await;
        figures.callers.add(&calls);
        let reconnected = reconnect(environment, figures, given_up).await?;
        // Settled when the time in which everything is refreshed has passed with good answers only, and rotations went on.
        let quiet = calls.errors.is_empty() && calls.killed == 0 && calls.unanswered == 0;
        if quiet && reconnected == 0 && environment.emulator.stats().rotations > rotations {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < SETTLING,
            "{:?} after the last fault, callers are still answered {calls:?}",
            begun.elapsed()
        );
    }
}
