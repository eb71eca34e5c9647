//! The figures of one act.

use std::collections::BTreeMap;

use jeton_core::time::Timestamp;
use jeton_emulator::Stats;
use serde::Serialize;

use super::given::Given;

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

/// What the provider says of a token that was given to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Good,
    /// Its grant was killed.
    Killed,
    Dead,
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
    /// A token that was past its own `expires_at` before it was asked for, and no warning said so.
    pub(super) past: u64,
    /// The first of those.
    pub(super) first_past: Option<String>,
    /// A token whose grant the provider had killed a moment before.
    pub(super) killed: u64,
    /// No answer, because the process had been killed or paused.
    pub(super) unanswered: u64,
    /// Errors by code.
    pub(super) errors: BTreeMap<String, u64>,
}

impl Calls {
    /// Counts a token of the connection `name` that was asked for at `asked_at`, and tried at `tried_at`.
    pub(super) fn take(
        &mut self,
        name: &str,
        given: &Given,
        fate: Fate,
        asked_at: Timestamp,
        tried_at: Timestamp,
    ) {
        let told = || format!("{name}, {given}, asked for at {asked_at}, tried at {tried_at}");
        if given.was_past(asked_at) {
            self.past += 1;
            self.first_past.get_or_insert_with(told);
            return;
        }
        match fate {
            Fate::Good => self.good += 1,
            // It has died of age between the answer and the try.
            _ if given.expires_at() <= tried_at => self.good += 1,
            // Nobody can know that a grant was killed before trying.
            Fate::Killed => self.killed += 1,
            Fate::Dead => {
                self.dead += 1;
                self.first_dead.get_or_insert_with(told);
            }
        }
    }

    /// What must not be, whatever was done.
    pub(super) fn findings(&self) -> Vec<String> {
        let dead = self
            .first_dead
            .iter()
            .map(|first| format!("{} dead tokens of living grants were given, first: {first}", self.dead));
        let past = self.first_past.iter().map(|first| {
            format!("{} tokens were given that were past their own expires_at, first: {first}", self.past)
        });
        dead.chain(past).collect()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.good += other.good;
        self.dead += other.dead;
        if self.first_dead.is_none() {
            self.first_dead.clone_from(&other.first_dead);
        }
        self.past += other.past;
        if self.first_past.is_none() {
            self.first_past.clone_from(&other.first_past);
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
                "callers: {} good answers, {} dead tokens, {} past their own expires_at, {} of grants just killed, {} \
                 unanswered; errors: {errors}",
                self.callers.good,
                self.callers.dead,
                self.callers.past,
                self.callers.killed,
                self.callers.unanswered
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::given::tests::{at, token};
    use super::*;

    /// What is counted of a token that dies at 5 s: good ones, killed ones, dead ones, past ones.
    #[track_caller]
    fn counts(fate: Fate, asked: u64, tried: u64, counted: [u64; 4]) {
        let mut calls = Calls::default();
        calls.take("a", &token(5), fate, at(asked), at(tried));
        assert_eq!([calls.good, calls.killed, calls.dead, calls.past], counted, "{fate:?}, {asked}, {tried}");
        let mut sum = Calls::default();
        sum.add(&calls);
        let (findings, broken) = (sum.findings(), counted[2] + counted[3] > 0);
        assert_eq!(findings.len(), usize::from(broken), "{findings:?}");
        assert!(findings.iter().all(|finding| finding.contains("first: a, generation 3")), "{findings:?}");
    }

    #[test]
    fn a_token_may_die_of_age_only_after_it_was_asked_for() {
        counts(Fate::Good, 4, 4, [1, 0, 0, 0]);
        counts(Fate::Dead, 4, 6, [1, 0, 0, 0]);
        counts(Fate::Killed, 4, 4, [0, 1, 0, 0]);
        counts(Fate::Dead, 4, 4, [0, 0, 1, 0]);
        for fate in [Fate::Good, Fate::Killed, Fate::Dead] {
            counts(fate, 5, 6, [0, 0, 0, 1]);
        }
    }
}
