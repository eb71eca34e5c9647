//! What the server, the clients and the refresh log say of each other.

use std::collections::{BTreeMap, BTreeSet};

use jeton_testkit::OidcStats;
use serde::Serialize;

use super::clients::Calls;
use super::{Attempt, Options};
use crate::load::Quantiles;

/// Everything that was counted.
pub(super) struct Evidence {
    /// By the server.
    pub(super) stats: OidcStats,
    /// By the clients.
    pub(super) calls: Calls,
    /// The redeems in the refresh log.
    pub(super) attempts: Vec<Attempt>,
    /// Of the connection at the end.
    pub(super) generation: u64,
    pub(super) seconds: f64,
}

impl Evidence {
    /// What must not be.
    pub(super) fn findings(&self, rotations: u64) -> Vec<String> {
        let (stats, calls) = (&self.stats, &self.calls);
        let fresh = u64::try_from(self.fresh()).unwrap_or(u64::MAX);
        let mut findings = Vec::new();
        let mut must = |holds: bool, finding: String| {
            if !holds {
                findings.push(finding);
            }
        };
        must(stats.refresh_ok >= rotations, format!("only {} rotations", stats.refresh_ok));
        must(
            stats.token_requests == stats.refresh_ok,
            format!("{} token requests for {} rotations", stats.token_requests, stats.refresh_ok),
        );
        must(stats.grant_errors.is_empty(), format!("the server refused: {:?}", stats.grant_errors));
        must(stats.grants_revoked == 0, format!("{} grants were revoked", stats.grants_revoked));
        must(
            fresh == stats.refresh_ok,
            format!("{fresh} different refresh tokens were spent in {} rotations", stats.refresh_ok),
        );
        for attempt in self.attempts.iter().filter(|attempt| attempt.status != "success") {
            must(false, format!("an attempt is {} ({:?})", attempt.status, attempt.code));
        }
        // The grant that was taken over is the first generation.
        must(
            self.generation == stats.refresh_ok + 1,
            format!("generation {} after {} rotations", self.generation, stats.refresh_ok),
        );
        must(calls.accepted > 0, "no client got through to the resource".to_owned());
        must(calls.errors.is_empty(), format!("clients were given errors: {:?}", calls.errors));
        must(calls.dead == 0, format!("{} dead tokens were given as living", calls.dead));
        must(calls.late == 0, format!("{} tokens died on the way to the resource", calls.late));
        must(calls.strange.is_empty(), format!("the resource answered strangely: {:?}", calls.strange));
        must(
            calls.went_back == 0,
            format!("{} times an older token came after a newer one", calls.went_back),
        );
        findings
    }

    /// How many different refresh tokens were spent.
    fn fresh(&self) -> usize {
        self.attempts
            .iter()
            .filter_map(|attempt| attempt.fingerprint.as_deref())
            .collect::<BTreeSet<_>>()
            .len()
    }
}

/// The figures of one run.
#[derive(Serialize)]
pub(super) struct Figures {
    seed: u64,
    life_seconds: u64,
    clients: u16,
    seconds: f64,
    /// By the server's own count.
    rotations: u64,
    different_tokens_spent: usize,
    refusals_of_the_server: BTreeMap<String, u64>,
    grants_revoked: u64,
    tokens_given: u64,
    given_with_a_warning: u64,
    accepted_by_the_resource: u64,
    refused_by_the_resource: u64,
    dead_tokens_given: u64,
    errors_of_clients: u64,
    waited_for_a_token: Quantiles,
}

impl Figures {
    pub(super) fn of(evidence: &Evidence, options: &Options) -> Self {
        let (stats, calls) = (&evidence.stats, &evidence.calls);
        Self {
            seed: options.seed,
            life_seconds: options.life.0.as_secs(),
            clients: options.clients,
            seconds: evidence.seconds,
            rotations: stats.refresh_ok,
            different_tokens_spent: evidence.fresh(),
            refusals_of_the_server: stats.grant_errors.clone(),
            grants_revoked: stats.grants_revoked,
            tokens_given: calls.given,
            given_with_a_warning: calls.warned,
            accepted_by_the_resource: stats.api_ok,
            refused_by_the_resource: stats.api_401,
            dead_tokens_given: calls.dead,
            errors_of_clients: calls.errors.values().sum(),
            waited_for_a_token: calls.waited.clone().quantiles(),
        }
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let waited = self.waited_for_a_token;
        vec![
            format!(
                "{} rotations of a token that lives {} s, {} different refresh tokens spent, in {:.0} s; \
                 refused by the server: {:?}; grants revoked: {}",
                self.rotations,
                self.life_seconds,
                self.different_tokens_spent,
                self.seconds,
                self.refusals_of_the_server,
                self.grants_revoked
            ),
            format!(
                "{} clients were given {} tokens ({} with a warning), {} dead ones, {} errors; the resource accepted {} \
                 and refused {}",
                self.clients,
                self.tokens_given,
                self.given_with_a_warning,
                self.dead_tokens_given,
                self.errors_of_clients,
                self.accepted_by_the_resource,
                self.refused_by_the_resource
            ),
            format!(
                "waited for a token: p50 {:.2} ms, p99 {:.2} ms, at most {:.0} ms",
                waited.p50, waited.p99, waited.max
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence() -> Evidence {
        let attempt = |fingerprint: &str| Attempt {
            act: "redeem".to_owned(),
            status: "success".to_owned(),
            fingerprint: Some(fingerprint.to_owned()),
            code: None,
        };
        Evidence {
            stats: OidcStats { token_requests: 2, refresh_ok: 2, ..OidcStats::default() },
            calls: Calls { given: 9, accepted: 9, ..Calls::default() },
            attempts: vec![attempt("a"), attempt("b")],
            generation: 3,
            seconds: 1.0,
        }
    }

    #[track_caller]
    fn finds(change: impl FnOnce(&mut Evidence), what: &str) {
        let mut evidence = evidence();
        change(&mut evidence);
        let findings = evidence.findings(2);
        assert!(findings.len() == 1 && findings[0].contains(what), "{findings:#?}");
    }

    #[test]
    fn two_rotations_of_fresh_tokens_are_sound() {
        assert_eq!(evidence().findings(2), Vec::<String>::new());
    }

    #[test]
    fn each_broken_promise_is_found() {
        finds(|e| e.stats.token_requests = 3, "3 token requests for 2 rotations");
        finds(|e| e.stats.grant_errors = BTreeMap::from([("invalid_grant".to_owned(), 1)]), "invalid_grant");
        finds(|e| e.stats.grants_revoked = 1, "1 grants were revoked");
        finds(|e| e.attempts[1].fingerprint = Some("a".to_owned()), "1 different refresh tokens");
        finds(|e| e.attempts[0].status = "interrupted".to_owned(), "is interrupted");
        finds(|e| e.generation = 4, "generation 4 after 2 rotations");
        finds(|e| e.calls.accepted = 0, "no client got through");
        finds(|e| e.calls.errors = BTreeMap::from([("BUSY".to_owned(), 1)]), "BUSY");
        finds(|e| e.calls.dead = 1, "dead tokens");
        finds(|e| e.calls.went_back = 1, "an older token");
    }
}
