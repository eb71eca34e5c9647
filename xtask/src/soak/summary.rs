//! The figures of one act.

use std::collections::BTreeMap;

use jeton_emulator::Stats;
use serde::Serialize;

/// What happened in one act.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    pub(super) seed: u64,
    pub(super) grace: bool,
    pub(super) seconds: f64,
    pub(super) rounds: u32,
    pub(super) connections: u16,
    pub(super) processes: u8,
    pub(super) life_seconds: u64,
    /// `kill -9`.
    pub(super) kills: u32,
    /// `SIGSTOP` for longer than the lease, then `SIGCONT`.
    pub(super) pauses: u32,
    /// `SIGTERM`.
    pub(super) ends: u32,
    /// New grants given to connections that asked for one.
    pub(super) reconnects: u32,
    pub(super) provider: Stats,
    pub(super) losses_named: u64,
    /// Those among them that a kill or a pause caused, and not the provider.
    pub(super) losses_of_disturbed: u64,
    pub(super) recoveries: u64,
    pub(super) findings: usize,
    pub(super) callers: Calls,
}

/// What the callers were answered.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Calls {
    /// A token that the provider accepted.
    pub(super) good: u64,
    /// A token that the provider did not accept though its grant lived and it had not expired.
    pub(super) dead: u64,
    /// The first of those.
    pub(super) first_dead: Option<String>,
    /// A token whose grant the provider had killed a moment before.
    pub(super) killed: u64,
    /// No answer, because the process had been killed or paused.
    pub(super) unanswered: u64,
    /// Errors by code.
    pub(super) errors: BTreeMap<String, u64>,
}

impl Calls {
    pub(super) fn add(&mut self, other: &Self) {
        self.good += other.good;
        self.dead += other.dead;
        if self.first_dead.is_none() {
            self.first_dead.clone_from(&other.first_dead);
        }
        self.killed += other.killed;
        self.unanswered += other.unanswered;
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
    }
}

impl Summary {
    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let p = &self.provider;
        let errors: Vec<String> =
            self.callers.errors.iter().map(|(code, count)| format!("{code} {count}")).collect();
        let errors = if errors.is_empty() { "none".to_owned() } else { errors.join(", ") };
        vec![
            format!(
                "{} rounds in {:.0} s: {} kills, {} pauses beyond the lease, {} orderly ends, {} new grants",
                self.rounds, self.seconds, self.kills, self.pauses, self.ends, self.reconnects
            ),
            format!(
                "provider: {} requests, {} rotations, {} replies lost, {} overlaps, {} replays, {} grants killed by reuse",
                p.requests, p.rotations, p.lost, p.overlaps, p.replays, p.reuse_kills
            ),
            format!(
                "jeton: {} replies not stored ({} of them by a kill or a pause), all explained and named interrupted but \
                 for {} findings; {} recoveries on record",
                self.losses_named, self.losses_of_disturbed, self.findings, self.recoveries
            ),
            format!(
                "callers: {} good answers, {} dead tokens, {} of grants just killed, {} unanswered; errors: {errors}",
                self.callers.good, self.callers.dead, self.callers.killed, self.callers.unanswered
            ),
        ]
    }
}
