//! What the server, the callers and the refresh log say of each other.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use jeton_testkit::OidcStats;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Plan;
use super::callers::Calls;
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
        self.count(|attempt| attempt.status == "success")
    }

    /// Attempts whose outcome nobody could know: a node was killed with the reply on its way.
    fn interrupted(&self) -> u64 {
        self.count(|attempt| attempt.status == "interrupted")
    }

    fn recoveries(&self) -> u64 {
        self.count(|attempt| attempt.recovers.is_some())
    }

    /// Connections that such an attempt is on record of: the recovery of a token that was accepted ends its grant here.
    fn unlucky(&self) -> BTreeSet<&str> {
        let unknown = |attempt: &&Attempt| attempt.status == "interrupted" || attempt.recovers.is_some();
        self.attempts.iter().filter(unknown).map(|attempt| attempt.connection.as_str()).collect()
    }

    /// How many different refresh tokens were spent.
    fn fresh(&self) -> u64 {
        let spent = self.attempts.iter().filter(|attempt| attempt.code.as_deref() != Some("not_sent"));
        let fresh: BTreeSet<_> = spent.filter_map(|attempt| attempt.fingerprint.as_deref()).collect();
        u64::try_from(fresh.len()).unwrap_or(u64::MAX)
    }

    /// What must not be.
    pub(super) fn findings(&self) -> Vec<String> {
        let (stats, calls, unlucky) = (&self.stats, &self.calls, self.unlucky());
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
        for ((name, code), count) in
            calls.errors.iter().filter(|((name, _), _)| !unlucky.contains(name.as_str()))
        {
            must(false, format!("{count} callers of {name} were answered {code} while its token lived"));
        }
        for (name, count) in calls.dead.iter().filter(|(name, _)| !unlucky.contains(name.as_str())) {
            must(false, format!("{count} dead tokens of {name} were given as living"));
        }
        must(calls.accepted > 0, "no caller got through to the resource".to_owned());
        findings
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
    dead_tokens_given: u64,
    errors_while_a_token_lived: u64,
    of_unlucky_connections: u64,
    answers_without_a_token: u64,
    unanswered_by_a_killed_or_stopped_node: u64,
    waited: Quantiles,
}

impl Figures {
    pub(super) fn of(evidence: &Evidence, plan: Plan) -> Self {
        let (stats, calls, unlucky) = (&evidence.stats, &evidence.calls, evidence.unlucky());
        let errors = |lucky: bool| -> u64 {
            let of = calls.errors.iter().filter(|((name, _), _)| unlucky.contains(name.as_str()) != lucky);
            of.map(|(_, count)| count).sum()
        };
        let dead = calls.dead.iter().filter(|(name, _)| !unlucky.contains(name.as_str()));
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
            dead_tokens_given: dead.map(|(_, count)| count).sum(),
            errors_while_a_token_lived: errors(true),
            of_unlucky_connections: errors(false),
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
                "callers: {} tokens, {} dead ones, {} errors while a token lived ({} of connections that a kill had left \
                 unknown), {} answers without a token, {} unanswered by a killed or stopped node",
                self.tokens_given,
                self.dead_tokens_given,
                self.errors_while_a_token_lived,
                self.of_unlucky_connections,
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
mod tests {
    use super::*;

    fn attempt(fingerprint: &str) -> Attempt {
        Attempt {
            connection: "a".to_owned(),
            act: "redeem".to_owned(),
            status: "success".to_owned(),
            fingerprint: Some(fingerprint.to_owned()),
            code: None,
            recovers: None,
        }
    }

    fn evidence() -> Evidence {
        Evidence {
            stats: OidcStats { token_requests: 2, refresh_ok: 2, ..OidcStats::default() },
            attempts: vec![attempt("x"), attempt("y")],
            calls: Calls { given: 8, accepted: 2, ..Calls::default() },
            seconds: 1.0,
        }
    }

    #[track_caller]
    fn finds(change: impl FnOnce(&mut Evidence), what: &str) {
        let mut evidence = evidence();
        change(&mut evidence);
        let findings = evidence.findings();
        assert!(findings.iter().any(|finding| finding.contains(what)), "{findings:#?}");
    }

    #[test]
    fn rotations_of_fresh_tokens_are_sound_and_an_interrupted_one_is_explained() {
        assert_eq!(evidence().findings(), Vec::<String>::new());
        let mut one = evidence();
        one.attempts[1].status = "interrupted".to_owned();
        one.calls.errors.insert(("a".to_owned(), "REAUTHORIZATION_REQUIRED".to_owned()), 3);
        one.attempts.push(Attempt {
            status: "failed".to_owned(),
            recovers: Some("1".to_owned()),
            ..attempt("y")
        });
        one.stats.token_requests = 3;
        one.stats.grant_errors.insert("invalid_grant".to_owned(), 1);
        assert_eq!(one.findings(), Vec::<String>::new());
    }

    #[test]
    fn each_broken_promise_is_found() {
        finds(|e| e.stats.refresh_ok = 3, "rotated 3 times, and 2 are stored");
        finds(|e| e.stats.token_requests = 3, "3 token requests for 2 rotations");
        finds(|e| e.attempts[1] = attempt("x"), "sent the refresh token x again");
        finds(|e| _ = e.stats.grant_errors.insert("invalid_grant".to_owned(), 1), "the server refused");
        finds(|e| _ = e.calls.dead.insert("b".to_owned(), 1), "dead tokens of b");
        finds(|e| _ = e.calls.errors.insert(("b".to_owned(), "BUSY".to_owned()), 1), "answered BUSY");
        finds(|e| e.calls.accepted = 0, "no caller got through");
    }
}
