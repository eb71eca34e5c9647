//! What the two records, the provider's and jeton's, say of each other.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jeton_core::time::Timestamp;
use jeton_emulator::{EmulatedGrant, EmulatedGrantId, FaultKind, RequestOutcome, RequestRecord};

use super::attempts::Attempt;

/// How long after its last byte left the provider a reply may be on its way into the store: a process that is killed later
/// than this has no excuse.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// When something was done to a process: from before it until its end was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// Everything that was written down by either side.
#[derive(Debug, Default)]
pub(super) struct Evidence {
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

/// What the judge counted, and what no rule explains.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Tokens that were spent and whose successor is not in the store, each explained and named.
    pub(super) losses_named: u64,
    /// Those among them whose whole reply had left the provider: the process was killed or paused before it was stored.
    pub(super) losses_of_disturbed: u64,
    /// Sends of a token that may have been accepted before, each recorded as the recovery of an interrupted attempt.
    pub(super) recoveries: u64,
    /// What no rule explains.
    pub(super) findings: Vec<String>,
}

/// Judges the evidence.
pub(super) fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    let case = Case {
        evidence,
        attempt_of: evidence.records.iter().map(|record| attempt_of(evidence, record)).collect(),
    };
    for place in 0..evidence.records.len() {
        case.never_overlaps(place, &mut verdict);
        case.is_on_record(place, &mut verdict);
        case.is_stored_or_named(place, &mut verdict);
        case.is_sent_again_only_as_recovery(place, &mut verdict);
    }
    case.successes_were_given(&mut verdict);
    case.nothing_was_overwritten(&mut verdict);
    case.grace_loses_nothing(&mut verdict);
    verdict
}

struct Case<'a> {
    evidence: &'a Evidence,
    /// For each record, the place of the attempt that sent it.
    attempt_of: Vec<Option<usize>>,
}

/// The attempt that sent a request: the last of its connection that was claimed before the request arrived. Attempts of one
/// connection follow one another, because each holds the lease.
fn attempt_of(evidence: &Evidence, record: &RequestRecord) -> Option<usize> {
    let connection = evidence.owners.get(&record.grant?)?;
    let before = |a: &Attempt| a.redeems() && a.connection == *connection && a.started_at <= record.at;
    evidence.attempts.iter().rposition(before)
}

impl Case<'_> {
    fn attempt(&self, place: usize) -> Option<&Attempt> {
        self.attempt_of[place].map(|attempt| &self.evidence.attempts[attempt])
    }

    fn never_overlaps(&self, place: usize, verdict: &mut Verdict) {
        let record = &self.evidence.records[place];
        if record.overlapping {
            verdict.findings.push(format!("two sends of one token overlap: {}", told(record)));
        }
    }

    fn is_on_record(&self, place: usize, verdict: &mut Verdict) {
        let record = &self.evidence.records[place];
        if record.grant.is_some() && self.attempt(place).is_none() {
            verdict.findings.push(format!("a token was sent with no attempt on record: {}", told(record)));
        }
    }

    /// A token that was spent has its successor in the store, or the provider or a disturbance explains why not, and the
    /// attempt is named interrupted.
    fn is_stored_or_named(&self, place: usize, verdict: &mut Verdict) {
        let record = &self.evidence.records[place];
        let Some(attempt) = self.attempt(place) else { return };
        if record.outcome != RequestOutcome::Rotated || attempt.succeeded() {
            return;
        }
        if !(is_withheld(record) || self.was_disturbed(record)) {
            verdict.findings.push(format!(
                "a whole reply was written, nobody was killed, and the attempt {} is {}: {}",
                attempt.id,
                attempt.status,
                told(record)
            ));
        } else if attempt.is_named_interrupted() {
            verdict.losses_named += 1;
            verdict.losses_of_disturbed += u64::from(!is_withheld(record));
        } else {
            verdict.findings.push(format!(
                "a loss is not named interrupted: the attempt {} is {} ({}): {}",
                attempt.id,
                attempt.status,
                attempt.code.as_deref().unwrap_or("no code"),
                told(record)
            ));
        }
    }

    fn was_disturbed(&self, record: &RequestRecord) -> bool {
        let until = record.finished_at.map_or(record.at, |finished| finished) + ON_ITS_WAY;
        self.evidence.disturbances.iter().any(|span| span.from <= until && record.at <= span.to)
    }

    /// A token that may have been accepted is sent again only as a recovery that is on record, and without a grace only once.
    fn is_sent_again_only_as_recovery(&self, place: usize, verdict: &mut Verdict) {
        let record = &self.evidence.records[place];
        let earlier = self.evidence.records[..place].iter().enumerate();
        let same =
            earlier.filter(|(_, other)| other.presented.is_some() && other.presented == record.presented);
        let mut sends: Vec<usize> =
            same.filter(|(_, other)| may_be_accepted(other)).map(|(place, _)| place).collect();
        if sends.is_empty() {
            return;
        }
        if self.attempt(place).is_none_or(|attempt| attempt.recovers.is_none()) {
            verdict
                .findings
                .push(format!("a token was sent again and no recovery is on record: {}", told(record)));
            return;
        }
        verdict.recoveries += 1;
        sends.retain(|place| self.attempt(*place).is_some_and(|attempt| attempt.recovers.is_some()));
        if !self.evidence.grace && !sends.is_empty() {
            verdict.findings.push(format!("a token was sent a third time: {}", told(record)));
        }
    }

    /// An attempt that says success was given a token by the provider.
    fn successes_were_given(&self, verdict: &mut Verdict) {
        for (place, attempt) in self.evidence.attempts.iter().enumerate() {
            if !(attempt.redeems() && attempt.succeeded()) {
                continue;
            }
            let mut sent =
                self.evidence.records.iter().zip(&self.attempt_of).filter(|(_, of)| **of == Some(place));
            if !sent.any(|(record, _)| record.accepted && !is_withheld(record)) {
                verdict
                    .findings
                    .push(format!("the attempt {} says success, and no token was given", attempt.id));
            }
        }
    }

    /// No two attempts brought the same generation: a reply that comes late is kept beside the newer token set.
    fn nothing_was_overwritten(&self, verdict: &mut Verdict) {
        let mut brought = HashSet::new();
        for attempt in &self.evidence.attempts {
            let Some(generation) = attempt.new_generation else { continue };
            if !brought.insert((attempt.connection.as_str(), generation)) {
                verdict.findings.push(format!(
                    "the attempt {} of {} brought generation {generation}, which was there",
                    attempt.id, attempt.connection
                ));
            }
        }
    }

    fn grace_loses_nothing(&self, verdict: &mut Verdict) {
        if !self.evidence.grace {
            return;
        }
        for grant in self.evidence.grants.iter().filter(|grant| !grant.is_alive()) {
            verdict.findings.push(format!("{} was lost although the provider forgives", grant.id));
        }
    }
}

/// Whether the provider itself kept the reply from its client.
fn is_withheld(record: &RequestRecord) -> bool {
    let spoiled = !matches!(record.fault, FaultKind::None | FaultKind::Trickle { .. });
    !record.reply_written || spoiled
}

/// Whether the sender cannot know that nothing was spent.
fn may_be_accepted(record: &RequestRecord) -> bool {
    record.accepted || matches!(record.fault, FaultKind::CutBefore | FaultKind::FailBefore { .. })
}

fn told(record: &RequestRecord) -> String {
    let grant = record.grant.map_or_else(|| "unknown grant".to_owned(), |grant| grant.to_string());
    let token = record.presented.as_deref().unwrap_or("no token");
    format!(
        "request {} at {} of {grant} with {token}, {:?}, {:?}, written: {}",
        record.sequence, record.at, record.outcome, record.fault, record.reply_written
    )
}
