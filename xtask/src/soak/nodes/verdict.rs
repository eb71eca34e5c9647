//! What the server, the callers and the refresh log say of each other.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use jeton_core::time::Timestamp;
use jeton_testkit::OidcStats;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Plan;
use super::callers::{Calls, Complaint, Wrong};
use crate::load::Quantiles;

/// What the verdict needs of one row of the refresh log.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Attempt {
    connection: String,
    act: String,
    status: String,
    fingerprint: Option<String>,
    code: Option<String>,
    recovers: Option<String>,
    started_at: Timestamp,
    completed_at: Option<Timestamp>,
}

impl Attempt {
    fn succeeded(&self) -> bool {
        self.status == "success"
    }

    /// Whether nobody could know its outcome, or it was to settle such a one and did not succeed: here the recovery of a token
    /// that was accepted ends its grant.
    fn is_unlucky(&self) -> bool {
        self.status == "interrupted" || (self.recovers.is_some() && !self.succeeded())
    }
}

/// The redeems of a page.
pub(super) fn read(printed: Value) -> Result<Vec<Attempt>> {
    let attempts: Vec<Attempt> = serde_json::from_value(printed).context("reading the refresh log")?;
    Ok(attempts.into_iter().filter(|attempt| attempt.act == "redeem").collect())
}

/// Everything that was counted.
pub(super) struct Evidence {
    /// By the server.
    pub(super) stats: OidcStats,
    pub(super) attempts: Vec<Attempt>,
    pub(super) calls: Calls,
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
        let unlucky = of().filter(|attempt| attempt.is_unlucky() && attempt.started_at <= complaint.found_at);
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

    /// What must not be.
    pub(super) fn findings(&self) -> Vec<String> {
        let (stats, calls) = (&self.stats, &self.calls);
        let (succeeded, interrupted) = (self.succeeded(), self.interrupted());
        let refused: u64 = stats.grant_errors.values().sum();
        let mut findings = Vec::new();
        let mut must = |holds: bool, finding: String| {
            if !holds {
                findings.push(finding);
            }
        };
        must(succeeded > 0, "nothing was refreshed".to_owned());
        must(
            (succeeded..=succeeded + interrupted).contains(&stats.refresh_ok),
            format!(
                "the server rotated {} times, and {succeeded} are stored and {interrupted} named interrupted",
                stats.refresh_ok
            ),
        );
        must(
            (stats.refresh_ok..=stats.refresh_ok + interrupted).contains(&self.fresh()),
            format!("{} different refresh tokens were spent in {} rotations", self.fresh(), stats.refresh_ok),
        );
        must(
            stats.token_requests <= stats.refresh_ok + refused,
            format!(
                "{} token requests for {} rotations and {refused} refusals",
                stats.token_requests, stats.refresh_ok
            ),
        );
        must(
            refused <= self.recoveries(),
            format!(
                "the server refused {:?}, and {} recoveries are on record",
                stats.grant_errors,
                self.recoveries()
            ),
        );
        for (fingerprint, connection) in self.spent_again() {
            must(
                false,
                format!("{connection} sent the refresh token {fingerprint} again, and it was no recovery"),
            );
        }
        must(calls.accepted > 0, "no caller got through to the resource".to_owned());
        must(
            calls.untried <= calls.given / 100,
            format!("of {} tokens that were given, {} could not be tried", calls.given, calls.untried),
        );
        findings.extend(self.told());
        findings
    }

    /// The complaints that nothing explains, alike ones together.
    fn told(&self) -> Vec<String> {
        let mut alike: BTreeMap<_, (u64, Timestamp)> = BTreeMap::new();
        for Complaint { connection, wrong, asked_at, .. } in self.unexplained() {
            alike.entry((wrong, connection)).or_insert((0, *asked_at)).0 += 1;
        }
        let told = alike.into_iter().map(|((wrong, name), (count, first))| {
            let what = match wrong {
                Wrong::Dead => format!("{count} dead tokens of {name} were given as living"),
                Wrong::Past => {
                    format!("{count} tokens of {name} were given that were past their own expires_at")
                }
                Wrong::Error(code) => {
                    format!("{count} callers of {name} were answered {code} while its token lived")
                }
            };
            format!("{what}, the first asked for at {first}")
        });
        told.collect()
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
pub(super) struct Figures {
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
    tokens_given: u64,
    tokens_accepted: u64,
    tokens_untried: u64,
    dead_tokens_given: u64,
    past_tokens_given: u64,
    errors_while_a_token_lived: u64,
    /// Dead tokens and errors that an attempt of unknown outcome explains.
    explained: u64,
    answers_without_a_token: u64,
    unanswered_by_a_killed_or_stopped_node: u64,
    waited: Quantiles,
}

impl Figures {
    pub(super) fn of(evidence: &Evidence, plan: Plan) -> Self {
        let (stats, calls) = (&evidence.stats, &evidence.calls);
        let count = |all: usize| u64::try_from(all).unwrap_or(u64::MAX);
        let wrong = |is: fn(&Wrong) -> bool| {
            count(evidence.unexplained().filter(|complaint| is(&complaint.wrong)).count())
        };
        Self {
            seed: plan.seed,
            nodes: plan.nodes,
            connections: plan.connections,
            callers: plan.callers,
            life_seconds: plan.life.as_secs(),
            seconds: evidence.seconds,
            rotations: stats.refresh_ok,
            different_tokens_spent: evidence.fresh(),
            interrupted: evidence.interrupted(),
            recoveries: evidence.recoveries(),
            grants_revoked: stats.grants_revoked,
            tokens_given: calls.given,
            tokens_accepted: calls.accepted,
            tokens_untried: calls.untried,
            dead_tokens_given: wrong(|wrong| *wrong == Wrong::Dead),
            past_tokens_given: wrong(|wrong| *wrong == Wrong::Past),
            errors_while_a_token_lived: wrong(|wrong| matches!(wrong, Wrong::Error(_))),
            explained: count(calls.complaints.len() - evidence.unexplained().count()),
            answers_without_a_token: calls.without_a_token,
            unanswered_by_a_killed_or_stopped_node: calls.unanswered,
            waited: calls.waited.clone().quantiles(),
        }
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        vec![
            format!(
                "{} nodes, {} connections whose tokens live {} s, {} callers, {:.0} s; one node killed, one stopped for twice \
                 the lease, PostgreSQL stopped once and killed once",
                self.nodes, self.connections, self.life_seconds, self.callers, self.seconds
            ),
            format!(
                "{} rotations by the server's own count, {} different refresh tokens spent, {} attempts interrupted, {} \
                 recoveries, {} grants revoked",
                self.rotations,
                self.different_tokens_spent,
                self.interrupted,
                self.recoveries,
                self.grants_revoked
            ),
            format!(
                "callers: {} tokens, {} accepted by the resource ({} could not be tried), {} dead ones, {} past their own \
                 expires_at, {} errors while a token lived; {} more dead ones and errors that an attempt of unknown outcome \
                 explains; {} answers without a token, {} unanswered by a killed or stopped node",
                self.tokens_given,
                self.tokens_accepted,
                self.tokens_untried,
                self.dead_tokens_given,
                self.past_tokens_given,
                self.errors_while_a_token_lived,
                self.explained,
                self.answers_without_a_token,
                self.unanswered_by_a_killed_or_stopped_node
            ),
            format!(
                "answers of undisturbed nodes: p50 {:.2} ms, p99 {:.2} ms, at most {:.0} ms",
                self.waited.p50, self.waited.p99, self.waited.max
            ),
        ]
    }
}

#[cfg(test)]
mod tests;
