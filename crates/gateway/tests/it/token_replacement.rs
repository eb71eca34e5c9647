//! A token that died early: compare and refresh, and one retry, never two.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use http::Response;
use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::ports::AttemptFilter;
use jeton_core::keep::provider::OldAccess;
use jeton_testkit::{Received, Reply, TestApi, TestServer};
use serde_json::json;
use tokio::task::JoinSet;

use crate::fixture::{API_KEY, Fixture, Options, error_code, json_response, own_provider, raw_head};

/// An API that answers rejected tokens with `answer`, and accepts all others.
async fn rejecting_api(
    answer: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static,
) -> (TestApi, RejectedTokens) {
    let rejected = RejectedTokens::default();
    let known = rejected.clone();
    let api = TestApi::answering(move |request| {
        if known.0.lock().unwrap().iter().any(|token| token == request.bearer()) {
            answer()
        } else {
            json_response(200, &json!({ "body": String::from_utf8_lossy(&request.body) }))
        }
    })
    .await;
    (api, rejected)
}

#[derive(Clone, Default)]
struct RejectedTokens(Arc<Mutex<Vec<String>>>);

impl RejectedTokens {
    async fn add_current_token_of(&self, fixture: &Fixture) {
        let token = fixture.access_token().await;
        self.0.lock().unwrap().push(token.reveal().to_owned());
    }
}

fn unauthorized() -> Response<Body> {
    json_response(401, &json!({ "title": "Unauthorized" }))
}

/// How many refreshes followed a rejection.
async fn rejection_refreshes(fixture: &Fixture) -> usize {
    let attempts = fixture.vault.attempts(&AttemptFilter::default(), 1_000).await.unwrap();
    attempts.iter().filter(|attempt| attempt.trigger == Trigger::Rejected).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_calls_with_a_token_revoked_early_make_one_refresh_and_all_succeed() {
    let fixture = Arc::new(Fixture::with_emulated_api(Options::default()).await);
    let token = fixture.access_token().await;
    assert!(fixture.emulator.revoke_access(token.reveal()));
    let before = fixture.emulator.stats();
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let fixture = Arc::clone(&fixture);
        calls.spawn(async move { fixture.get("/leads").await });
    }
    let replies: Vec<Reply> = calls.join_all().await;
    assert!(
        replies.iter().all(|reply| reply.status == 200),
        "{:?}",
        replies.iter().find(|reply| reply.status != 200)
    );
    assert_eq!(rejection_refreshes(&fixture).await, 1);
    let after = fixture.emulator.stats();
    assert_eq!(after.api_ok - before.api_ok, 200);
    assert!(after.api_401 > before.api_401, "the token was really rejected");
}

#[tokio::test]
async fn a_token_that_dies_early_again_and_again_is_replaced_each_time() {
    let fixture = Fixture::with_emulated_api(Options::default()).await;
    for round in 1..=5 {
        let token = fixture.access_token().await;
        assert!(fixture.emulator.revoke_access(token.reveal()));
        let reply = fixture.get("/leads").await;
        assert_eq!(reply.status, 200, "round {round}: {}", reply.text());
        assert_eq!(rejection_refreshes(&fixture).await, round);
    }
}

#[tokio::test]
async fn an_api_that_answers_401_for_a_missing_permission_costs_one_refresh_in_a_thousand_calls() {
    let api = TestApi::answering(|_| json_response(401, &json!({ "title": "You may not" }))).await;
    let fixture = Fixture::new(&api.base_url()).await;
    for call in 0..1_000 {
        let reply = fixture.get("/secret").await;
        assert_eq!(reply.status, 401, "call {call}");
        assert_eq!(reply.json().unwrap(), json!({ "title": "You may not" }), "the API's own answer");
        assert!(!reply.headers.contains_key("x-jeton-error"));
    }
    assert_eq!(rejection_refreshes(&fixture).await, 1);
    assert_eq!(api.received().len(), 1_001, "one retry, and never two");
}

/// A gateway to an API that accepts the provider's tokens after a delay, and rejects every token at `/secret` after a longer
/// one.
async fn with_secret_path(emulated: jeton_emulator::Settings, delay: Duration) -> Arc<Fixture> {
    let provider: Arc<OnceLock<Arc<Fixture>>> = Arc::default();
    let accepting = Arc::clone(&provider);
    let api = TestServer::answering(move |request| {
        let accepting = Arc::clone(&accepting);
        async move {
            let secret = request.uri().path() == "/secret";
            tokio::time::sleep(delay * if secret { 3 } else { 1 }).await;
            let bearer =
                request.headers()["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
            let accepted = accepting.get().is_some_and(|fixture| fixture.emulator.accepts(bearer));
            if accepted && !secret { json_response(200, &json!({})) } else { unauthorized() }
        }
    })
    .await;
    let fixture =
        Arc::new(Fixture::with_options(&api.base_url(), Options { emulated, ..Options::default() }).await);
    assert!(provider.set(Arc::clone(&fixture)).is_ok());
    fixture
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn permission_401s_among_good_answers_cost_a_few_refreshes_however_many_there_are() {
    let old_access = OldAccess::Dies;
    let fixture = with_secret_path(
        jeton_emulator::Settings { old_access, ..Default::default() },
        Duration::from_millis(5),
    )
    .await;
    let mut calls = JoinSet::new();
    for caller in 0..12 {
        let fixture = Arc::clone(&fixture);
        let (path, count) = if caller % 3 == 0 { ("leads", 250) } else { ("secret", 125) };
        calls.spawn(async move {
            let mut statuses = Vec::new();
            for _ in 0..count {
                let reply = fixture.client().get(&format!("/api/v1/proxy/acme/{path}")).await.unwrap();
                statuses.push((path, reply.status.as_u16()));
            }
            statuses
        });
    }
    let answered: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    let (secret, leads): (Vec<_>, Vec<_>) = answered.into_iter().partition(|(path, _)| *path == "secret");
    assert!(secret.len() == 1_000 && secret.iter().all(|(_, status)| *status == 401));
    let refreshes = rejection_refreshes(&fixture).await;
    // How many there are before refreshes pause depends on the order of the calls; here it is one or two.
    assert!((1..=5).contains(&refreshes), "{refreshes} refreshes");
    let rejected = leads.iter().filter(|(_, status)| *status != 200).count();
    assert!(rejected <= 20, "the other calls succeed: {rejected} were rejected");
}

#[tokio::test]
async fn permission_401s_that_take_turns_with_good_answers_cost_one_refresh() {
    for old_access in [OldAccess::Lives, OldAccess::Dies] {
        let emulated = jeton_emulator::Settings { old_access, ..Default::default() };
        let fixture = with_secret_path(emulated, Duration::ZERO).await;
        for call in 0..1_000 {
            let (path, status) = if call % 2 == 0 { ("secret", 401) } else { ("leads", 200) };
            let reply = fixture.client().get(&format!("/api/v1/proxy/acme/{path}")).await.unwrap();
            assert_eq!(reply.status, status, "call {call}");
        }
        assert_eq!(rejection_refreshes(&fixture).await, 1);
    }
}

#[tokio::test]
async fn a_token_that_really_dies_among_permission_401s_is_replaced_and_the_401s_cost_one_refresh_more() {
    let fixture = with_secret_path(jeton_emulator::Settings::default(), Duration::ZERO).await;
    let client = fixture.client();
    for round in 1..=3 {
        assert!(fixture.emulator.revoke_access(fixture.access_token().await.reveal()));
        let reply = client.get("/api/v1/proxy/acme/leads").await.unwrap();
        assert_eq!(
            (reply.status.as_u16(), rejection_refreshes(&fixture).await),
            (200, round),
            "a refresh that helped"
        );
    }
    for call in 0..1_000 {
        let path = if call % 2 == 0 { "secret" } else { "leads" };
        let reply = client.get(&format!("/api/v1/proxy/acme/{path}")).await.unwrap();
        assert_eq!(reply.status, if call % 2 == 0 { 401 } else { 200 }, "call {call}");
    }
    assert_eq!(
        rejection_refreshes(&fixture).await,
        4,
        "refreshing had helped before, so it is tried once more"
    );
}

#[tokio::test]
async fn the_retry_sends_the_same_call_with_the_new_token() {
    let (api, rejected) = rejecting_api(unauthorized).await;
    let fixture = Fixture::new(&api.base_url()).await;
    rejected.add_current_token_of(&fixture).await;
    let client = fixture.client().with_header("x-mine", "1");
    let reply = client.post("/api/v1/proxy/acme/leads?a=1", &json!({ "name": "x" })).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json().unwrap()["body"], r#"{"name":"x"}"#);
    let [first, second] = api.received().try_into().unwrap();
    assert_ne!(first.bearer(), second.bearer());
    let same = |request: &Received| {
        let mut headers = request.headers.clone();
        headers.remove("authorization");
        (request.method.clone(), request.uri.clone(), headers, request.body.clone())
    };
    assert_eq!(same(&first), same(&second));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_sent_twice_and_the_answer_says_so() {
    let (api, rejected) = rejecting_api(unauthorized).await;
    let fixture = Fixture::new(&api.base_url()).await;
    rejected.add_current_token_of(&fixture).await;
    let large = json!({ "a": "x".repeat(1024 * 1024) });
    let reply = fixture.client().post("/api/v1/proxy/acme/leads", &large).await.unwrap();
    assert_eq!(
        (reply.status.as_u16(), &reply.headers["x-jeton-retry"]),
        (401, &"body-too-large".parse().unwrap())
    );
    assert_eq!(reply.json().unwrap(), json!({ "title": "Unauthorized" }), "the API's own answer");
    assert_eq!(api.received().len(), 1);
    assert_eq!(rejection_refreshes(&fixture).await, 1, "whoever calls next has a live token");
    let reply = fixture.client().post("/api/v1/proxy/acme/leads", &large).await.unwrap();
    assert_eq!(reply.status, 200);
    assert!(!reply.headers.contains_key("x-jeton-retry"));
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_sent_again_also_in_chunks() {
    let mut settings = jeton_gateway::Settings::default();
    settings.calls.replay_body = 8;
    for (body, status) in [("12345678", 200), ("123456789", 401)] {
        let (api, rejected) = rejecting_api(unauthorized).await;
        let fixture = Fixture::with_settings(&api.base_url(), settings.clone()).await;
        rejected.add_current_token_of(&fixture).await;
        let (left, right) = body.split_at(4);
        let answer = fixture
            .send_raw(
                raw_head(
                    "POST /api/v1/proxy/acme/x",
                    API_KEY,
                    "Connection: close\r\nTransfer-Encoding: chunked\r\n",
                ) + &format!("4\r\n{left}\r\n{:x}\r\n{right}\r\n0\r\n\r\n", right.len()),
            )
            .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(answer.contains("x-jeton-retry: body-too-large"), status == 401, "{answer}");
        assert!(api.received().iter().all(|request| request.headers["transfer-encoding"] == "chunked"));
    }
}

#[tokio::test]
async fn a_provider_that_reports_it_in_the_body_is_understood_and_large_bodies_pass_unread() {
    let provider = own_provider(
        "[api]\nbase = '${api_base}'\nexpired = [{ status = 200, path = 'error', in = ['token_expired'] }]\n",
    );
    let padding = Arc::new(AtomicUsize::new(0));
    let pad = Arc::clone(&padding);
    let (api, rejected) = rejecting_api(move || {
        let pad = "x".repeat(pad.load(Ordering::SeqCst));
        json_response(200, &json!({ "ok": false, "error": "token_expired", "pad": pad }))
    })
    .await;
    let fixture = Fixture::with_options(&api.base_url(), Options { provider, ..Options::default() }).await;
    rejected.add_current_token_of(&fixture).await;
    let reply = fixture.get("/chat").await;
    assert!(reply.json().unwrap().get("error").is_none(), "{}", reply.text());
    assert_eq!((api.received().len(), rejection_refreshes(&fixture).await), (2, 1));
    assert!(
        api.received().iter().all(|request| request.headers["accept-encoding"] == "identity"),
        "or it could not be read"
    );

    padding.store(70_000, Ordering::SeqCst);
    rejected.add_current_token_of(&fixture).await;
    let reply = fixture.get("/chat").await;
    assert_eq!(reply.json().unwrap()["error"], "token_expired");
    assert_eq!(reply.json().unwrap()["pad"].as_str().unwrap().len(), 70_000, "whole, though it was searched");
    assert_eq!((api.received().len(), rejection_refreshes(&fixture).await), (3, 1));
}

#[tokio::test]
async fn a_403_is_no_expired_token_unless_the_provider_says_so() {
    let (api, rejected) = rejecting_api(|| json_response(403, &json!({ "title": "Forbidden" }))).await;
    let fixture = Fixture::new(&api.base_url()).await;
    rejected.add_current_token_of(&fixture).await;
    assert_eq!(fixture.get("/x").await.status, 403);
    assert_eq!((api.received().len(), rejection_refreshes(&fixture).await), (1, 0));
}

#[tokio::test]
async fn a_token_that_was_refused_and_cannot_be_refreshed_is_an_error_of_the_gateway() {
    let fixture = Fixture::with_emulated_api(Options::default()).await;
    let token = fixture.access_token().await;
    fixture.emulator.revoke_access(token.reveal());
    fixture.emulator.revoke_grant(fixture.refresh_token.reveal());
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 424), "REAUTHORIZATION_REQUIRED");
}

#[tokio::test]
async fn bodies_beyond_the_budget_are_not_sent_twice_and_the_answer_says_so() {
    let settings = jeton_gateway::Settings { replay_memory: 8, ..jeton_gateway::Settings::default() };
    let (api, rejected) = rejecting_api(unauthorized).await;
    let fixture = Fixture::with_settings(&api.base_url(), settings).await;
    rejected.add_current_token_of(&fixture).await;
    let reply = fixture.client().post("/api/v1/proxy/acme/leads", &json!({ "long": "er" })).await.unwrap();
    assert_eq!(
        (reply.status.as_u16(), &reply.headers["x-jeton-retry"]),
        (401, &"body-too-large".parse().unwrap())
    );
    fixture
        .vault
        .refresh("acme", jeton_keeper::RefreshMode::ForcedByPerson, &crate::fixture::operator())
        .await
        .unwrap();
    rejected.add_current_token_of(&fixture).await;
    for _ in 0..5 {
        let reply = fixture.client().post("/api/v1/proxy/acme/leads", &json!({})).await.unwrap();
        assert_eq!(reply.status, 200, "each call releases its part of the budget");
    }
}
