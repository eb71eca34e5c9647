//! What the server, the callers and the refresh log counted, and whether it fits together.

use std::collections::{BTreeMap, BTreeSet};

use jeton_core::time::Timestamp;
use jeton_testkit::OidcStats;
use serde::Serialize;

use super::callers::{CallerPlan, Calls, Complaint, Wrong};
use crate::latency::Quantiles;
use crate::proof;
use crate::refresh_log::Attempt;

/// Whether nobody could know the outcome, or the attempt was to settle such a one and did not succeed: here the recovery of a
/// token that was accepted ends its grant.
fn is_unlucky(attempt: &Attempt) -> bool {
    attempt.status == "interrupted" || (attempt.recovers.is_some() && !attempt.succeeded())
}

/// Everything that was counted.
pub(crate) struct Evidence {
    /// By the server.
    pub(super) stats: OidcStats,
    pub(super) attempts: Vec<Attempt>,
    pub(super) calls: Calls,
    /// The sum of the generations of all connections at the end.
    pub(super) generations: u64,
    pub(super) seconds: f64,
}

impl Evidence {
    fn count(&self, holds: impl Fn(&Attempt) -> bool) -> u64 {
        u64::try_from(self.attempts.iter().filter(|attempt| holds(attempt)).count()).unwrap_or(u64::MAX)
    }

    fn succeeded(&self) -> u64 {
        self.count(Attempt::succeeded)
    }

    /// Attempts whose outcome nobody could know: a node was killed with the reply on its way.
    fn interrupted(&self) -> u64 {
        self.count(|attempt| attempt.status == "interrupted")
    }

    fn recoveries(&self) -> u64 {
        self.count(|attempt| attempt.recovers.is_some())
    }

    /// Whether the refresh log explains what a caller was answered: the outcome of a refresh was not known, and none had
    /// succeeded since when the caller asked. Nothing explains a token that is past by its own words.
    fn explains(&self, complaint: &Complaint) -> bool {
        let of = || self.attempts.iter().filter(|attempt| attempt.connection == complaint.connection);
        let unlucky = of().filter(|attempt| is_unlucky(attempt) && attempt.started_at <= complaint.found_at);
        let Some(since) = unlucky.map(|attempt| attempt.started_at).max() else { return false };
        let is_over = |attempt: &Attempt| {
            attempt.succeeded()
                && attempt.started_at > since
                && attempt.completed_at.is_some_and(|at| at < complaint.asked_at)
        };
        complaint.wrong != Wrong::Past && !of().any(is_over)
    }

    /// Complaints that nothing explains.
    fn unexplained(&self) -> impl Iterator<Item = &Complaint> {
        self.calls.complaints.iter().filter(|complaint| !self.explains(complaint))
    }

    /// How many different refresh tokens were spent.
    fn fresh(&self) -> u64 {
        let spent = self.attempts.iter().filter(|attempt| attempt.code.as_deref() != Some("not_sent"));
        let fresh: BTreeSet<_> = spent.filter_map(|attempt| attempt.fingerprint.as_deref()).collect();
        u64::try_from(fresh.len()).unwrap_or(u64::MAX)
    }

    /// What must not be, whatever is done to nodes and to the store.
    pub(crate) fn findings(&self) -> Vec<String> {
        let (stats, calls) = (&self.stats, &self.calls);
        let (succeeded, interrupted) = (self.succeeded(), self.interrupted());
        let refused: u64 = stats.grant_errors.values().sum();
        let rules = [
            (succeeded > 0, "nothing was refreshed".to_owned()),
            (
                (succeeded..=succeeded + interrupted).contains(&stats.refresh_ok),
                format!(
                    "the server rotated {} times, and {succeeded} are stored and {interrupted} named interrupted",
                    stats.refresh_ok
                ),
            ),
            (
                (stats.refresh_ok..=stats.refresh_ok + interrupted).contains(&self.fresh()),
                format!(
                    "{} different refresh tokens were spent in {} rotations",
                    self.fresh(),
                    stats.refresh_ok
                ),
            ),
            (
                stats.token_requests <= stats.refresh_ok + refused,
                format!(
                    "{} token requests for {} rotations and {refused} refusals",
                    stats.token_requests, stats.refresh_ok
                ),
            ),
            (
                refused <= self.recoveries(),
                format!(
                    "the server refused {:?}, and the log has {} recoveries",
                    stats.grant_errors,
                    self.recoveries()
                ),
            ),
            (calls.accepted > 0, "no token was accepted by the resource".to_owned()),
            (
                calls.unverified <= calls.received / 100,
                format!("of {} tokens, {} could not be verified", calls.received, calls.unverified),
            ),
        ];
        let mut findings = proof::broken(rules);
        findings.extend(self.spent_again().into_iter().map(|(fingerprint, connection)| {
            format!("{connection} sent the refresh token {fingerprint} again, and it was no recovery")
        }));
        findings.extend(self.describe_complaints());
        findings
    }

    /// What must not be where nothing is done to nodes and to the store.
    pub(crate) fn undisturbed_findings(&self, rotations: u64, connections: u64) -> Vec<String> {
        let (stats, calls) = (&self.stats, &self.calls);
        let unsuccessful = self.count(|attempt| !attempt.succeeded());
        let errors = calls.without_a_token + calls.unanswered;
        // The grant that a connection was given is its first generation.
        let expected = stats.refresh_ok + connections;
        let rules = [
            (stats.refresh_ok >= rotations, format!("only {} rotations", stats.refresh_ok)),
            (stats.grants_revoked == 0, format!("{} grants were revoked", stats.grants_revoked)),
            (unsuccessful == 0, format!("{unsuccessful} attempts did not succeed")),
            (
                self.generations == expected,
                format!("generation {} after {} rotations", self.generations, stats.refresh_ok),
            ),
            (errors == 0, format!("{errors} answers without a token")),
            (stats.api_401 == 0, format!("the resource refused {} tokens", stats.api_401)),
            (calls.unverified == 0, format!("{} tokens could not be verified", calls.unverified)),
            (
                calls.went_back == 0,
                format!("{} times an older token came after a newer one", calls.went_back),
            ),
        ];
        let mut findings = self.findings();
        findings.extend(proof::broken(rules));
        findings
    }

    /// The complaints that nothing explains, alike ones together.
    fn describe_complaints(&self) -> Vec<String> {
        let mut alike: BTreeMap<_, (u64, Timestamp)> = BTreeMap::new();
        for Complaint { connection, wrong, asked_at, .. } in self.unexplained() {
            alike.entry((wrong, connection)).or_insert((0, *asked_at)).0 += 1;
        }
        let described = alike.into_iter().map(|((wrong, name), (count, first))| {
            let what = match wrong {
                Wrong::Dead => format!("{count} dead tokens of {name} were served as living"),
                Wrong::Past => {
                    format!("{count} tokens of {name} were served that were past their own expires_at")
                }
                Wrong::Error(code) => {
                    format!("{count} callers of {name} were answered {code} while its token lived")
                }
            };
            format!("{what}, the first asked for at {first}")
        });
        described.collect()
    }

    /// Refresh tokens of two attempts that both may have sent them, the later not being the recovery of the earlier.
    fn spent_again(&self) -> BTreeMap<&str, &str> {
        let mut seen = BTreeSet::new();
        let sent = self.attempts.iter().filter(|attempt| {
            attempt.recovers.is_none() && matches!(attempt.status.as_str(), "success" | "interrupted")
        });
        let named =
            sent.filter_map(|attempt| Some((attempt.fingerprint.as_deref()?, attempt.connection.as_str())));
        named.filter(|(fingerprint, _)| !seen.insert(*fingerprint)).collect()
    }
}

/// The figures of one run.
#[derive(Serialize)]
pub(crate) struct OidcFigures {
    seed: u64,
    nodes: u8,
    connections: u16,
    callers: u16,
    life_seconds: u64,
    seconds: f64,
    /// By the server's own count.
    rotations: u64,
    different_tokens_spent: u64,
    interrupted: u64,
    recoveries: u64,
    grants_revoked: u64,
    tokens_received: u64,
    tokens_accepted: u64,
    tokens_unverified: u64,
    dead_tokens_received: u64,
    past_tokens_received: u64,
    errors_while_a_token_lived: u64,
    /// Dead tokens and errors that an attempt of unknown outcome explains.
    explained: u64,
    answers_without_a_token: u64,
    unanswered_by_a_killed_or_stopped_node: u64,
    waited: Quantiles,
}

impl OidcFigures {
    pub(crate) fn of(evidence: &Evidence, nodes: u8, plan: CallerPlan) -> Self {
        let (stats, calls) = (&evidence.stats, &evidence.calls);
        let count = |all: usize| u64::try_from(all).unwrap_or(u64::MAX);
        let wrong = |is: fn(&Wrong) -> bool| {
            count(evidence.unexplained().filter(|complaint| is(&complaint.wrong)).count())
        };
        Self {
            seed: plan.seed,
            nodes,
            connections: plan.connections,
            callers: plan.callers,
            life_seconds: plan.life.as_secs(),
            seconds: evidence.seconds,
            rotations: stats.refresh_ok,
            different_tokens_spent: evidence.fresh(),
            interrupted: evidence.interrupted(),
            recoveries: evidence.recoveries(),
            grants_revoked: stats.grants_revoked,
            tokens_received: calls.received,
            tokens_accepted: calls.accepted,
            tokens_unverified: calls.unverified,
            dead_tokens_received: wrong(|wrong| *wrong == Wrong::Dead),
            past_tokens_received: wrong(|wrong| *wrong == Wrong::Past),
            errors_while_a_token_lived: wrong(|wrong| matches!(wrong, Wrong::Error(_))),
            explained: count(calls.complaints.len() - evidence.unexplained().count()),
            answers_without_a_token: calls.without_a_token,
            unanswered_by_a_killed_or_stopped_node: calls.unanswered,
            waited: calls.waited.clone().quantiles(),
        }
    }
}
