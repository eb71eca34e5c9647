//! What is done, and when: one act from its first connection to its verdict.

use std::time::Duration;

use anyhow::Result;
use jeton_core::time::{Clock, SystemClock};
use jeton_emulator::{Behaviour, Emulator, Fault, FaultKind, SeededEntropy};
use tokio::time::{Instant, sleep};

use super::callers::Callers;
use super::judge::{Evidence, Span, judge};
use super::scene::{LEASE, Scene};
use super::summary::Summary;

const CALLERS: u64 = 8;
/// How long the last unknown outcomes may take to be settled once the weather is calm.
const SETTLING: Duration = Duration::from_secs(30);

/// How long a moment that hurts is waited for.
const LONGEST_AIM: Duration = Duration::from_secs(2);

/// One act: a provider that forgives or one that does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    pub(super) grace: bool,
    pub(super) seed: u64,
    /// How many rounds; `None` goes by `length`.
    pub(super) rounds: Option<u32>,
    pub(super) length: Option<Duration>,
    pub(super) connections: u16,
    pub(super) processes: u8,
    pub(super) life: Duration,
}

impl Act {
    pub(super) fn name(&self) -> String {
        format!("seed {}, {}", self.seed, if self.grace { "grace" } else { "strict" })
    }

    /// Plays it; answers the figures and what no rule explains.
    pub(super) async fn play(&self) -> Result<(Summary, Vec<String>)> {
        let begun = Instant::now();
        let mut scene = Scene::set(self).await?;
        let mut summary = Summary {
            seed: self.seed,
            grace: self.grace,
            connections: self.connections,
            processes: self.processes,
            life_seconds: self.life.as_secs(),
            ..Summary::default()
        };
        let random = SeededEntropy::new(self.seed ^ u64::from(self.grace));
        let (mut disturbances, mut given_up) = (Vec::new(), Vec::new());
        scene.emulator.set_behaviour(weather());
        while self.goes_on(summary.rounds, begun) {
            summary.rounds += 1;
            let (names, doors) = scene.doors();
            let callers = Callers::start(CALLERS, random.bits(), &names, &doors, &scene.emulator);
            sleep(Duration::from_millis(random.between(200, 1_500))).await;
            let disturbed = disturb(&mut scene, &random, &mut summary).await;
            summary.callers.add(&callers.stop().await);
            disturbances.push(disturbed?);
            reconnect(&mut scene, &mut summary, &mut given_up).await?;
        }
        settle(&mut scene, &mut summary, &mut given_up).await?;
        scene.end_processes().await?;
        anyhow::ensure!(
            scene.emulator.wait_until_idle(SETTLING).await,
            "token requests are still under way at the end"
        );
        let evidence = Evidence {
            records: scene.emulator.records(),
            attempts: scene.attempts().await?,
            owners: scene.owners.clone(),
            disturbances,
            grants: scene.emulator.grants(),
            grace: self.grace,
        };
        let mut verdict = judge(&evidence);
        verdict.findings.extend(summary.callers.findings());
        if self.grace {
            let asked = |name| format!("{name} was given up for a person though the provider forgives");
            verdict.findings.extend(given_up.iter().map(asked));
        }
        summary.provider = scene.emulator.stats();
        summary.losses_named = verdict.losses_named;
        summary.losses_of_disturbed = verdict.losses_of_disturbed;
        summary.recoveries = verdict.recoveries;
        summary.findings = verdict.findings.len();
        summary.seconds = begun.elapsed().as_secs_f64();
        Ok((summary, verdict.findings))
    }

    fn goes_on(&self, rounds: u32, begun: Instant) -> bool {
        self.rounds.is_some_and(|limit| rounds < limit)
            || self.length.is_some_and(|length| begun.elapsed() < length)
    }
}

/// What the provider does of its own accord.
fn weather() -> Behaviour {
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
enum Deed {
    Kill,
    Pause,
    End,
}

impl Deed {
    /// Every fifth is a pause, so that the shortest act has one; of the others most are kills.
    fn of(round: u32, random: &SeededEntropy) -> Self {
        match random.between(0, 8) {
            _ if round % 5 == 3 => Self::Pause,
            0 => Self::End,
            _ => Self::Kill,
        }
    }
}

/// Kills, pauses or ends one process, and leaves as many running as there were.
async fn disturb(scene: &mut Scene, random: &SeededEntropy, summary: &mut Summary) -> Result<Span> {
    let deed = Deed::of(summary.rounds, random);
    if random.between(0, 4) > 0 {
        aim(&scene.emulator, random).await;
    }
    let (place, process) = scene.pick(random);
    let from = SystemClock.now();
    match deed {
        Deed::Kill => {
            process.kill().await?;
            summary.kills += 1;
        }
        Deed::Pause => {
            process.pause()?;
            sleep(LEASE + Duration::from_millis(random.between(200, 1_500))).await;
            process.resume()?;
            summary.pauses += 1;
        }
        Deed::End => {
            process.terminate()?;
            let status = process.wait(Duration::from_mins(1)).await?;
            anyhow::ensure!(
                status.success(),
                "a process ended with {status} after SIGTERM\n{}",
                process.output()?
            );
            summary.ends += 1;
        }
    }
    let to = SystemClock.now();
    if deed != Deed::Pause {
        scene.replace(place).await?;
    }
    Ok(Span { from, to })
}

/// Waits for a moment that hurts: a token request is under way, or its reply is on its way into the store.
async fn aim(emulator: &Emulator, random: &SeededEntropy) {
    let begun = Instant::now();
    while emulator.stats().in_flight == 0 && begun.elapsed() < LONGEST_AIM {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(random.between(0, 60))).await;
}

/// Gives new grants to the connections that need them, and writes their names down.
async fn reconnect(scene: &mut Scene, summary: &mut Summary, given_up: &mut Vec<String>) -> Result<usize> {
    let dead = scene.reconnect_the_dead().await?;
    summary.reconnects += u32::try_from(dead.len()).unwrap_or(u32::MAX);
    let count = dead.len();
    given_up.extend(dead);
    Ok(count)
}

/// Calm weather until every connection works again, with callers at work.
async fn settle(scene: &mut Scene, summary: &mut Summary, given_up: &mut Vec<String>) -> Result<()> {
    scene.emulator.set_behaviour(Behaviour::faultless());
    let begun = Instant::now();
    loop {
        let (names, doors) = scene.doors();
        let rotations = scene.emulator.stats().rotations;
        let callers = Callers::start(CALLERS, summary.seed, &names, &doors, &scene.emulator);
        sleep(Duration::from_secs(4)).await;
        let calls = callers.stop().await;
        summary.callers.add(&calls);
        let reconnected = reconnect(scene, summary, given_up).await?;
        // Settled when the time in which everything is refreshed has passed with good answers only, and rotations went on.
        let quiet = calls.errors.is_empty() && calls.killed == 0 && calls.unanswered == 0;
        if quiet && reconnected == 0 && scene.emulator.stats().rotations > rotations {
            return Ok(());
        }
        anyhow::ensure!(
            begun.elapsed() < SETTLING,
            "{:?} after the weather turned calm, callers are still answered {calls:?}",
            begun.elapsed()
        );
    }
}
