//! The figures of one run.

use std::collections::BTreeMap;

use jeton_core::time::Timestamp;
use jeton_emulator::Stats;
use serde::Serialize;

use super::environment::SoakProvider;
use crate::token_reply::TokenReply;

/// What happened in one run.
#[derive(Debug, Default, Serialize)]
pub(super) struct SoakFigures {
    pub(super) seed: u64,
    pub(super) provider_is: SoakProvider,
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
    /// New grants of connections that a person would have had to connect again.
    pub(super) reconnects: u32,
    pub(super) provider: Stats,
    pub(super) losses_named: u64,
    /// Those among them that a kill or a pause caused, and not the provider.
    pub(super) losses_of_disturbed: u64,
    pub(super) recoveries: u64,
    pub(super) findings: usize,
    pub(super) callers: SoakCalls,
}

/// Whether the provider accepts a token that a caller received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenState {
    Good,
    /// Its grant was ended.
    Killed,
    Dead,
}

/// What the callers were answered.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SoakCalls {
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

impl SoakCalls {
    /// Counts a token of the connection `name` that was asked for at `asked_at`, and used at `used_at`.
    pub(super) fn receive(
        &mut self,
        name: &str,
        token: &TokenReply,
        state: TokenState,
        asked_at: Timestamp,
        used_at: Timestamp,
    ) {
        let describe = || format!("{name}, {token}, asked for at {asked_at}, used at {used_at}");
        if token.was_past(asked_at) {
            self.past += 1;
            self.first_past.get_or_insert_with(describe);
            return;
        }
        match state {
            TokenState::Good => self.good += 1,
            // It expired between the answer and its use.
            _ if token.expires_at() <= used_at => self.good += 1,
            // A grant that was ended a moment ago looks alive until its token is used.
            TokenState::Killed => self.killed += 1,
            TokenState::Dead => {
                self.dead += 1;
                self.first_dead.get_or_insert_with(describe);
            }
        }
    }

    /// What must not be, whatever was done to processes.
    pub(super) fn findings(&self) -> Vec<String> {
        let dead = self
            .first_dead
            .iter()
            .map(|first| format!("{} dead tokens of living grants were served, first: {first}", self.dead));
        let past = self.first_past.iter().map(|first| {
            format!("{} tokens were served that were past their own expires_at, first: {first}", self.past)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token_reply::tests::{at, token};

    /// What is counted of a token that expires at 5 s: good ones, killed ones, dead ones, past ones.
    #[track_caller]
    fn counts(state: TokenState, asked: u64, used: u64, counted: [u64; 4]) {
        let mut calls = SoakCalls::default();
        calls.receive("a", &token(5), state, at(asked), at(used));
        assert_eq!([calls.good, calls.killed, calls.dead, calls.past], counted, "{state:?}, {asked}, {used}");
        let mut sum = SoakCalls::default();
        sum.add(&calls);
        let (findings, broken) = (sum.findings(), counted[2] + counted[3] > 0);
        assert_eq!(findings.len(), usize::from(broken), "{findings:?}");
        assert!(findings.iter().all(|finding| finding.contains("first: a, generation 3")), "{findings:?}");
    }

    #[test]
    fn a_token_may_expire_only_after_it_was_asked_for() {
        counts(TokenState::Good, 4, 4, [1, 0, 0, 0]);
        counts(TokenState::Dead, 4, 6, [1, 0, 0, 0]);
        counts(TokenState::Killed, 4, 4, [0, 1, 0, 0]);
        counts(TokenState::Dead, 4, 4, [0, 0, 1, 0]);
        for state in [TokenState::Good, TokenState::Killed, TokenState::Dead] {
            counts(state, 5, 6, [0, 0, 0, 1]);
        }
    }
}
