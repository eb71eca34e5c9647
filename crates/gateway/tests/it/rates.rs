//! Fewer calls: what follows a 429 of an API, and the rate that a provider's file says.

use std::time::Duration;

use axum::body::Body;
use http::Response;
use jeton_core::keep::provider::RateLimitReach;
use jeton_gateway::Settings;
use jeton_testkit::TestApi;
use serde_json::json;
use tokio::time::Instant;

use crate::fixture::{Fixture, Options, echo_api, error_code, own_provider};

/// An API that answers `/search` with 429 for this many seconds, and everything else.
async fn limiting_api(seconds: u64) -> TestApi {
    TestApi::answering(move |request| match request.uri.path() {
        "/search" => {
            let limited = Response::builder().status(429).header("retry-after", seconds);
            limited.body(Body::from("slow down")).unwrap()
        }
        "/vague" => Response::builder().status(429).body(Body::from("slow down")).unwrap(),
        _ => Response::new(Body::from("ok")),
    })
    .await
}

async fn with_reach(api: &TestApi, reach: Option<RateLimitReach>, file: &str) -> Fixture {
    let mut settings = Settings::default();
    settings.calls.rate_limit_reach = reach;
    let provider = own_provider(&format!("[api]\nbase = '${{api_base}}'\n{file}"));
    Fixture::with_options(&api.base_url(), Options { settings, provider, ..Options::default() }).await
}

#[tokio::test]
async fn a_429_holds_for_the_route_and_the_service_that_met_it() {
    let api = limiting_api(3_600).await;
    let fixture = with_reach(&api, None, "").await;
    let searcher = fixture.service("searcher", "proxy:acme:GET:/search").await;
    let payer = fixture.service("payer", "proxy:acme:POST:/pay proxy:acme:GET:/search").await;
    let search = "/api/v1/proxy/acme/search";
    let reply = searcher.get(search).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (429, "slow down"), "the API's own answer");
    assert!(!reply.headers.contains_key("x-jeton-error"));
    let calls = api.received().len();
    let reply = searcher.get(&format!("{search}?page=2")).await.unwrap();
    assert_eq!(error_code(&reply, 429), "UPSTREAM_RATE_LIMITED");
    assert_eq!(api.received().len(), calls, "the API is left alone");
    assert_eq!(payer.post("/api/v1/proxy/acme/pay", &json!({})).await.unwrap().status, 200);
    let reply = payer.get(search).await.unwrap();
    assert!(!reply.headers.contains_key("x-jeton-error"), "another service is not held to it");
}

#[tokio::test]
async fn a_429_reaches_as_far_as_the_provider_or_the_settings_say() {
    for (reach, file, pay, search) in [
        (None, "rate_limit_reach = 'connection'", 429, true),
        (Some(RateLimitReach::Connection), "", 429, true),
        (Some(RateLimitReach::Route), "rate_limit_reach = 'connection'", 200, true),
        (Some(RateLimitReach::None), "rate_limit_reach = 'connection'", 200, false),
    ] {
        let api = limiting_api(3_600).await;
        let fixture = with_reach(&api, reach, file).await;
        assert_eq!(fixture.get("/search").await.status, 429);
        assert_eq!(fixture.get("/pay").await.status, pay, "{reach:?} {file}");
        let again = fixture.get("/search").await;
        assert_eq!(again.headers.contains_key("x-jeton-error"), search, "{reach:?} {file}");
    }
}

#[tokio::test]
async fn a_429_is_remembered_for_its_time_and_without_one_not_at_all() {
    let api = limiting_api(2).await;
    let fixture = with_reach(&api, None, "").await;
    for _ in 0..2 {
        let reply = fixture.get("/vague").await;
        assert!(reply.status == 429 && !reply.headers.contains_key("x-jeton-error"), "nothing to remember");
    }
    fixture.get("/search").await;
    let reply = fixture.get("/search").await;
    assert_eq!(error_code(&reply, 429), "UPSTREAM_RATE_LIMITED");
    let wait: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert!(!fixture.get("/search").await.headers.contains_key("x-jeton-error"), "the API is asked again");
}

#[tokio::test]
async fn a_long_retry_after_is_cut_to_the_limit_and_an_operator_ends_it() {
    let api = limiting_api(1_000_000).await;
    let mut settings = Settings::default();
    settings.calls.max_retry_after = Duration::from_secs(30);
    let fixture = Fixture::with_settings(&api.base_url(), settings).await;
    fixture.get("/search").await;
    let reply = fixture.get("/search").await;
    let wait: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((20..=30).contains(&wait), "{wait}");

    let limits = "/api/v1/connections/acme/rate-limits";
    let caller = fixture.service("caller", "proxy:acme token:acme").await;
    assert_eq!(error_code(&caller.delete(limits).await.unwrap(), 403), "SCOPE_INSUFFICIENT");
    let operator = fixture.service("operator", "operate:acme").await;
    let unknown = operator.delete("/api/v1/connections/none/rate-limits").await.unwrap();
    assert_eq!(error_code(&unknown, 404), "UNKNOWN_CONNECTION");
    assert_eq!(operator.delete(limits).await.unwrap().status, 204);
    assert!(!fixture.get("/search").await.headers.contains_key("x-jeton-error"), "the API is asked again");
}

#[tokio::test]
async fn calls_beyond_the_rate_of_the_api_wait_for_their_turn_or_are_refused() {
    let api = echo_api().await;
    let file = "rate = { max = 2, in = '600ms' }";
    let fixture = with_reach(&api, None, file).await;
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(fixture.get("/x").await.status, 200);
    }
    assert!(begun.elapsed() >= Duration::from_millis(1_200), "{:?}", begun.elapsed());

    let mut settings = Settings::default();
    settings.calls.rate_wait = Duration::ZERO;
    let file = "rate = { max = 2, in = '1h' }";
    let provider = own_provider(&format!("[api]\nbase = '${{api_base}}'\n{file}"));
    let options = Options { settings, provider, ..Options::default() };
    let fixture = Fixture::with_options(&api.base_url(), options).await;
    for _ in 0..2 {
        assert_eq!(fixture.get("/x").await.status, 200);
    }
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 429), "CALL_RATE_EXCEEDED");
    assert!(reply.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 3_500);
    assert_eq!(api.received().len(), 7);
}
