//! Each rule finds what breaks it, and nothing that is explained.

use std::time::Duration;

use jeton_core::id::AttemptId;
use jeton_testkit::OidcStats;

use super::callers::{CallerPlan, Calls, Complaint, Wrong};
use super::evidence::{Evidence, OidcFigures};
use crate::refresh_log::Attempt;
use crate::token_reply::tests::at;

/// A refresh that began so many seconds after the start, and took one.
fn attempt(fingerprint: &str, begun: u64) -> Attempt {
    Attempt {
        id: AttemptId::from_bytes([0; 16]),
        connection: "a".to_owned(),
        act: "redeem".to_owned(),
        status: "success".to_owned(),
        fingerprint: Some(fingerprint.to_owned()),
        code: None,
        recovers: None,
        new_generation: None,
        started_at: at(begun),
        completed_at: Some(at(begun + 1)),
    }
}

fn evidence() -> Evidence {
    Evidence {
        stats: OidcStats { token_requests: 2, refresh_ok: 2, ..OidcStats::default() },
        attempts: vec![attempt("x", 10), attempt("y", 20)],
        calls: Calls { received: 200, accepted: 199, ..Calls::default() },
        generations: 4,
        seconds: 1.0,
    }
}

/// The same, but the second refresh was interrupted, and the server refused its recovery.
fn unlucky() -> Evidence {
    let mut one = evidence();
    one.attempts[1].status = "interrupted".to_owned();
    one.attempts.push(recovery("failed"));
    one.stats.token_requests = 3;
    one.stats.grant_errors.insert("invalid_grant".to_owned(), 1);
    one
}

fn recovery(status: &str) -> Attempt {
    Attempt { status: status.to_owned(), recovers: Some(AttemptId::from_bytes([1; 16])), ..attempt("y", 30) }
}

fn error() -> Wrong {
    Wrong::Error("BUSY".to_owned())
}

/// Of somebody who asked at `asked` and learned what is wrong a second later.
fn complaint(connection: &str, wrong: Wrong, asked: u64) -> Complaint {
    Complaint { connection: connection.to_owned(), wrong, asked_at: at(asked), found_at: at(asked + 1) }
}

fn finds_in(mut evidence: Evidence, change: impl FnOnce(&mut Evidence), what: &str) {
    change(&mut evidence);
    let findings = evidence.findings();
    assert!(findings.iter().any(|finding| finding.contains(what)), "{what}: {findings:#?}");
}

fn finds(change: impl FnOnce(&mut Evidence), what: &str) {
    finds_in(evidence(), change, what);
}

#[test]
fn rotations_of_fresh_tokens_are_sound_and_an_interrupted_one_is_explained() {
    assert_eq!(evidence().findings(), Vec::<String>::new());
    assert_eq!(unlucky().findings(), Vec::<String>::new());
}

#[test]
fn each_broken_promise_is_found() {
    finds(|e| e.stats.refresh_ok = 3, "rotated 3 times, and 2 are stored");
    finds(|e| e.stats.token_requests = 3, "3 token requests for 2 rotations");
    finds(|e| e.attempts[1] = attempt("x", 20), "sent the refresh token x again");
    finds(|e| _ = e.stats.grant_errors.insert("invalid_grant".to_owned(), 1), "the server refused");
    finds(|e| e.calls.complaints.push(complaint("b", Wrong::Dead, 1)), "1 dead tokens of b");
    finds(
        |e| e.calls.complaints.push(complaint("b", Wrong::Past, 1)),
        "1 tokens of b were served that were past",
    );
    finds(|e| e.calls.complaints.push(complaint("b", error(), 1)), "1 callers of b were answered BUSY");
    finds(|e| e.calls.accepted = 0, "no token was accepted");
    finds(|e| e.calls.unverified = 3, "3 could not be verified");
}

#[test]
fn an_interruption_explains_dead_tokens_and_errors_only_from_then_on_and_only_of_its_connection() {
    for wrong in [Wrong::Dead, error()] {
        let explained = |asked| {
            let mut one = unlucky();
            one.calls.complaints.push(complaint("a", wrong.clone(), asked));
            one.findings().is_empty()
        };
        // Interrupted at 20, and found out one second after having asked.
        assert_eq!([12, 18, 19, 25, 60].map(explained), [false, false, true, true, true], "{wrong:?}");
        finds_in(unlucky(), |e| e.calls.complaints.push(complaint("b", wrong.clone(), 25)), "of b were");
    }
}

#[test]
fn an_interruption_explains_nothing_once_a_refresh_has_succeeded_again() {
    let explained = |asked| {
        let mut one = unlucky();
        one.attempts[2] = recovery("success");
        one.stats.grant_errors.clear();
        one.stats.refresh_ok = 3;
        one.calls.complaints.push(complaint("a", Wrong::Dead, asked));
        one.findings().into_iter().all(|finding| !finding.contains("dead tokens"))
    };
    // The recovery had succeeded at 31.
    assert_eq!([25, 31, 32].map(explained), [true, true, false]);
}

#[test]
fn nothing_explains_a_token_that_is_past_by_its_own_words() {
    finds_in(unlucky(), |e| e.calls.complaints.push(complaint("a", Wrong::Past, 25)), "past their own");
}

#[test]
fn figures_count_what_is_explained_apart() {
    let mut one = unlucky();
    one.calls.complaints =
        [(Wrong::Dead, 5), (Wrong::Dead, 25), (error(), 25), (error(), 6), (Wrong::Past, 25)]
            .map(|(wrong, asked)| complaint("a", wrong, asked))
            .to_vec();
    let life = Duration::from_secs(1);
    let plan = CallerPlan { seed: 1, callers: 1, pause_ms: (1, 1), connections: 1, life };
    let figures = serde_json::to_value(OidcFigures::of(&one, 2, plan)).unwrap();
    let counted = [
        &figures["dead_tokens_received"],
        &figures["errors_while_a_token_lived"],
        &figures["past_tokens_received"],
        &figures["explained"],
    ];
    assert_eq!(counted, [1, 1, 1, 2]);
}

#[test]
fn without_a_disturbance_each_broken_promise_is_found() {
    assert_eq!(evidence().undisturbed_findings(2, 2), Vec::<String>::new());
    let finds = |change: fn(&mut Evidence), what: &str| {
        let mut evidence = evidence();
        change(&mut evidence);
        let findings = evidence.undisturbed_findings(2, 2);
        assert!(findings.len() == 1 && findings[0].contains(what), "{what}: {findings:#?}");
    };
    finds(|e| e.stats.grants_revoked = 1, "1 grants were revoked");
    finds(
        |e| e.attempts.push(Attempt { status: "failed".to_owned(), fingerprint: None, ..attempt("z", 30) }),
        "1 attempts",
    );
    finds(|e| e.generations = 5, "generation 5 after 2 rotations");
    finds(|e| e.calls.without_a_token = 1, "1 answers without a token");
    finds(|e| e.calls.unanswered = 1, "1 answers without a token");
    finds(|e| e.stats.api_401 = 1, "refused 1 tokens");
    finds(|e| e.calls.unverified = 1, "1 tokens could not be verified");
    finds(|e| e.calls.went_back = 1, "an older token");
    assert!(evidence().undisturbed_findings(3, 2)[0].contains("only 2 rotations"));
}
