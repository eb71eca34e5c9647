//! Compares the provider's record with jeton's refresh log: every loss is explained, or it is a finding.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jeton_core::time::Timestamp;
use jeton_emulator::{EmulatedGrant, EmulatedGrantId, FaultKind, RequestOutcome, RequestRecord};

use crate::refresh_log::Attempt;

/// How long after its last byte left the provider a reply may be on its way into the store. A process that is killed later than
/// this must have stored it.
const STORE_DELAY: Duration = Duration::from_millis(500);

/// When something was done to a process: from before it until its end was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// What both sides recorded.
#[derive(Debug, Default)]
pub(super) struct SoakRecords {
    /// The provider's record, in order.
    pub(super) records: Vec<RequestRecord>,
    /// The refresh log, oldest first.
    pub(super) attempts: Vec<Attempt>,
    /// Which connection each grant was given to.
    pub(super) owners: HashMap<EmulatedGrantId, String>,
    /// Kills and pauses.
    pub(super) disturbances: Vec<Span>,
    /// How the grants stand at the end.
    pub(super) grants: Vec<EmulatedGrant>,
    /// Whether the provider forgives a second use within a grace that both sides know.
    pub(super) grace: bool,
}

/// What was counted, and what no rule explains.
#[derive(Debug, Default)]
pub(super) struct SoakResults {
    /// Tokens that were spent and whose successor is not in the store, each explained and named.
    pub(super) losses_named: u64,
    /// Those among them whose whole reply had left the provider: the process was killed or paused before it was stored.
    pub(super) losses_of_disturbed: u64,
    /// Sends of a token that may have been accepted before, each recorded as the recovery of an interrupted attempt.
    pub(super) recoveries: u64,
    /// What no rule explains.
    pub(super) findings: Vec<String>,
}

/// Checks every request of the provider's record and every attempt of the log.
pub(super) fn check_results(both: &SoakRecords) -> SoakResults {
    let mut results = SoakResults::default();
    let comparison =
        Comparison { both, attempt_of: both.records.iter().map(|record| attempt_of(both, record)).collect() };
    for index in 0..both.records.len() {
        comparison.never_overlaps(index, &mut results);
        comparison.has_attempt(index, &mut results);
        comparison.is_stored_or_named(index, &mut results);
        comparison.is_sent_again_only_as_recovery(index, &mut results);
    }
    comparison.successes_had_replies(&mut results);
    comparison.nothing_was_overwritten(&mut results);
    comparison.grace_loses_nothing(&mut results);
    results
}

struct Comparison<'a> {
    both: &'a SoakRecords,
    /// For each record, the index of the attempt that sent it.
    attempt_of: Vec<Option<usize>>,
}

/// The attempt that sent a request: the last of its connection that was claimed before the request arrived. Attempts of one
/// connection follow one another, because each holds the lease.
fn attempt_of(both: &SoakRecords, record: &RequestRecord) -> Option<usize> {
    let connection = both.owners.get(&record.grant?)?;
    let before = |a: &Attempt| a.redeems() && a.connection == *connection && a.started_at <= record.at;
    both.attempts.iter().rposition(before)
}

impl Comparison<'_> {
    fn attempt(&self, index: usize) -> Option<&Attempt> {
        self.attempt_of[index].map(|attempt| &self.both.attempts[attempt])
    }

    fn never_overlaps(&self, index: usize, results: &mut SoakResults) {
        let record = &self.both.records[index];
        if record.overlapping {
            results.findings.push(format!("two sends of one token overlap: {}", describe(record)));
        }
    }

    fn has_attempt(&self, index: usize, results: &mut SoakResults) {
        let record = &self.both.records[index];
        if record.grant.is_some() && self.attempt(index).is_none() {
            results
                .findings
                .push(format!("a token was sent with no attempt in the log: {}", describe(record)));
        }
    }

    /// A token that was spent has its successor in the store, or the provider or a disturbance explains why not, and the
    /// attempt is named interrupted.
    fn is_stored_or_named(&self, index: usize, results: &mut SoakResults) {
        let record = &self.both.records[index];
        let Some(attempt) = self.attempt(index) else { return };
        if record.outcome != RequestOutcome::Rotated || attempt.succeeded() {
            return;
        }
        if !(is_withheld(record) || self.was_disturbed(record)) {
            results.findings.push(format!(
                "a whole reply was written, no process was killed, and the attempt {} is {}: {}",
                attempt.id,
                attempt.status,
                describe(record)
            ));
        } else if attempt.is_interrupted() {
            results.losses_named += 1;
            results.losses_of_disturbed += u64::from(!is_withheld(record));
        } else {
            results.findings.push(format!(
                "a loss is not named interrupted: the attempt {} is {} ({}): {}",
                attempt.id,
                attempt.status,
                attempt.code.as_deref().unwrap_or("no code"),
                describe(record)
            ));
        }
    }

    fn was_disturbed(&self, record: &RequestRecord) -> bool {
        let until = record.finished_at.map_or(record.at, |finished| finished) + STORE_DELAY;
        self.both.disturbances.iter().any(|span| span.from <= until && record.at <= span.to)
    }

    /// A token that may have been accepted is sent again only as a recovery that is in the log, and not after two refusals
    /// that were read.
    fn is_sent_again_only_as_recovery(&self, index: usize, results: &mut SoakResults) {
        let record = &self.both.records[index];
        let earlier = self.both.records[..index].iter().enumerate();
        let same =
            earlier.filter(|(_, other)| other.presented.is_some() && other.presented == record.presented);
        let sends: Vec<&RequestRecord> = same.map(|(_, other)| other).collect();
        if !sends.iter().any(|other| may_be_accepted(other)) {
            return;
        }
        if self.attempt(index).is_none_or(|attempt| attempt.recovers.is_none()) {
            results
                .findings
                .push(format!("a token was sent again and no recovery is in the log: {}", describe(record)));
            return;
        }
        results.recoveries += 1;
        // A refusal whose reply was lost was never read, and one that came while a process was killed or paused may not have been.
        let refused = |other: &&&RequestRecord| {
            matches!(other.outcome, RequestOutcome::Reuse | RequestOutcome::DeadGrant)
                && !(is_withheld(other) || self.was_disturbed(other))
        };
        if sends.iter().filter(refused).count() > 1 {
            let earlier: Vec<_> = sends.iter().map(|other| describe(other)).collect();
            results.findings.push(format!(
                "a token was sent again after two refusals: {}; before that: {}",
                describe(record),
                earlier.join("; ")
            ));
        }
    }

    /// An attempt that says success received a token from the provider.
    fn successes_had_replies(&self, results: &mut SoakResults) {
        for (index, attempt) in self.both.attempts.iter().enumerate() {
            if !(attempt.redeems() && attempt.succeeded()) {
                continue;
            }
            let mut sent =
                self.both.records.iter().zip(&self.attempt_of).filter(|(_, of)| **of == Some(index));
            if !sent.any(|(record, _)| record.accepted && !is_withheld(record)) {
                results
                    .findings
                    .push(format!("the attempt {} says success, and the provider sent no token", attempt.id));
            }
        }
    }

    /// No two attempts brought the same generation: a reply that comes late is kept beside the newer token set.
    fn nothing_was_overwritten(&self, results: &mut SoakResults) {
        let mut brought = HashSet::new();
        for attempt in &self.both.attempts {
            let Some(generation) = attempt.new_generation else { continue };
            if !brought.insert((attempt.connection.as_str(), generation)) {
                results.findings.push(format!(
                    "the attempt {} of {} brought generation {generation}, which existed",
                    attempt.id, attempt.connection
                ));
            }
        }
    }

    fn grace_loses_nothing(&self, results: &mut SoakResults) {
        if !self.both.grace {
            return;
        }
        for grant in self.both.grants.iter().filter(|grant| !grant.is_alive()) {
            results.findings.push(format!("{} was lost although the provider forgives", grant.id));
        }
    }
}

/// Whether the provider itself withheld the reply from its client.
fn is_withheld(record: &RequestRecord) -> bool {
    let spoiled = !matches!(record.fault, FaultKind::None | FaultKind::Trickle { .. });
    !record.reply_written || spoiled
}

/// Whether the sender cannot know that nothing was spent.
fn may_be_accepted(record: &RequestRecord) -> bool {
    record.accepted || matches!(record.fault, FaultKind::CutBefore | FaultKind::FailBefore { .. })
}

fn describe(record: &RequestRecord) -> String {
    let grant = record.grant.map_or_else(|| "unknown grant".to_owned(), |grant| grant.to_string());
    let token = record.presented.as_deref().unwrap_or("no token");
    format!(
        "request {} at {} of {grant} with {token}, {:?}, {:?}, written: {}",
        record.sequence, record.at, record.outcome, record.fault, record.reply_written
    )
}
