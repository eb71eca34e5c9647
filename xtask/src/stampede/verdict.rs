//! What the provider and the tasks say of each other.

use std::collections::BTreeMap;

use jeton_emulator::{RequestRecord, Stats};
use serde::Serialize;
use serde_json::Value;

use super::{Answer, Options};
use crate::load::{Latencies, Quantiles};

/// Everything that was counted.
pub(super) struct Evidence {
    /// How many tasks asked.
    pub(super) asked: u16,
    pub(super) answers: Vec<Answer>,
    /// Whether the provider accepts the token of the first answer.
    pub(super) living: bool,
    pub(super) stats: Stats,
    pub(super) records: Vec<RequestRecord>,
    /// The refresh log.
    pub(super) logs: Value,
}

impl Evidence {
    /// What must not be.
    pub(super) fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut must = |holds: bool, finding: String| {
            if !holds {
                findings.push(finding);
            }
        };
        let (stats, good, asked) = (&self.stats, self.good(), usize::from(self.asked));
        must(good == asked, format!("{good} good answers for {asked} tasks, errors: {:?}", self.errors()));
        let token = self.answers.first().map(|answer| &answer.token);
        let others = self.answers.iter().filter(|answer| Some(&answer.token) != token).count();
        must(others == 0, format!("{others} answers with another token"));
        must(self.living, "the provider does not accept the token that was given".to_owned());
        must(
            (stats.requests, stats.rotations) == (1, 1),
            format!("{} token requests and {} spends, where one is enough", stats.requests, stats.rotations),
        );
        let redeems = self.redeems();
        must(redeems == 1, format!("{redeems} redeems in the refresh log"));
        let early = self.asked_before_the_spend();
        must(early == asked, format!("only {early} of {asked} tasks asked before the token was spent"));
        findings
    }

    fn good(&self) -> usize {
        self.answers.iter().filter(|answer| answer.status == 200 && !answer.token.is_empty()).count()
    }

    fn errors(&self) -> BTreeMap<String, usize> {
        let mut errors = BTreeMap::new();
        for answer in self.answers.iter().filter(|answer| answer.status != 200) {
            let code = answer.code.clone().unwrap_or_else(|| answer.status.to_string());
            *errors.entry(code).or_default() += 1;
        }
        errors
    }

    fn redeems(&self) -> usize {
        let rows = self.logs.as_array().map(Vec::as_slice).unwrap_or_default();
        rows.iter().filter(|row| row["act"] == "redeem").count()
    }

    fn asked_before_the_spend(&self) -> usize {
        let Some(spent_at) = self.records.iter().find_map(|record| record.accepted_at) else { return 0 };
        self.answers.iter().filter(|answer| answer.asked_at < spent_at).count()
    }
}

/// The figures of one run.
#[derive(Serialize)]
pub(super) struct Figures {
    seed: u64,
    tasks: u16,
    processes: u8,
    good_answers: usize,
    errors: BTreeMap<String, usize>,
    token_requests: u64,
    spends: u64,
    asked_before_the_spend: usize,
    /// From the first question to the last.
    asked_within_ms: f64,
    /// From the instant that the provider spent the token.
    answered_within_ms: f64,
    took: Quantiles,
}

impl Figures {
    pub(super) fn of(evidence: &Evidence, options: &Options) -> Self {
        let answers = &evidence.answers;
        let mut took = Latencies::default();
        for answer in answers {
            took.push(answer.took);
        }
        let first = answers.iter().map(|answer| answer.asked_at).min().unwrap_or_default();
        let last = answers.iter().map(|answer| answer.asked_at).max().unwrap_or_default();
        let done = answers.iter().map(|answer| answer.asked_at + answer.took).max().unwrap_or_default();
        let spent = evidence.records.iter().find_map(|record| record.accepted_at).unwrap_or(done);
        Self {
            seed: options.seed,
            tasks: options.tasks,
            processes: options.processes,
            good_answers: evidence.good(),
            errors: evidence.errors(),
            token_requests: evidence.stats.requests,
            spends: evidence.stats.rotations,
            asked_before_the_spend: evidence.asked_before_the_spend(),
            asked_within_ms: last.since(first).as_secs_f64() * 1_000.0,
            answered_within_ms: done.since(spent).as_secs_f64() * 1_000.0,
            took: took.quantiles(),
        }
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        vec![
            format!(
                "{} tasks in {} processes: {} good answers, errors: {:?}; {} token request, {} spend",
                self.tasks, self.processes, self.good_answers, self.errors, self.token_requests, self.spends
            ),
            format!(
                "all asked within {:.0} ms, {} before the spend; all were answered {:.0} ms after it",
                self.asked_within_ms, self.asked_before_the_spend, self.answered_within_ms
            ),
        ]
    }
}
