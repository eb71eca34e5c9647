//! Which callers are admitted, and what they may call.

use jeton_core::audit::{AuditAction, AuditFilter};

use crate::fixture::{API_KEY, Fixture, Options, error_code};

#[tokio::test]
async fn a_call_without_a_key_or_with_a_wrong_one_reaches_no_api() {
    let (api, fixture) = Fixture::with_echo().await;
    let reply = fixture.client_without_key().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(error_code(&reply, 403), "SERVICE_TOKEN_REQUIRED");
    let wrong = fixture.client_without_key().with_header("x-service-token", "wrong");
    assert_eq!(error_code(&wrong.get("/api/v1/proxy/acme/x").await.unwrap(), 403), "SERVICE_TOKEN_INVALID");
    let both = fixture.client().with_header("x-service-token", "wrong");
    assert_eq!(error_code(&both.get("/api/v1/proxy/acme/x").await.unwrap(), 400), "CONFLICTING_CREDENTIALS");
    assert!(api.received().is_empty());
}

#[tokio::test]
async fn the_key_may_come_in_any_of_the_three_headers_and_goes_no_further() {
    let (api, fixture) = Fixture::with_echo().await;
    let bearer = format!("Bearer {API_KEY}");
    for (name, value) in [("x-api-key", API_KEY), ("x-service-token", API_KEY), ("authorization", &bearer)] {
        let reply =
            fixture.client_without_key().with_header(name, value).get("/api/v1/proxy/acme/x").await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(!reply.text().contains(API_KEY), "{}", reply.text());
    }
    let token = fixture.access_token().await;
    assert!(api.received().iter().all(|request| request.bearer() == token.reveal()));
}

#[tokio::test]
async fn a_missing_scope_is_named_and_limits_of_method_and_path_hold() {
    let (api, fixture) = Fixture::with_echo().await;
    let bot1 = fixture.service("bot1", "token:acme proxy:other").await;
    let reply = bot1.get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(error_code(&reply, 403), "SCOPE_INSUFFICIENT");
    assert!(reply.json().unwrap()["missing_scope"].as_str().unwrap().starts_with("proxy:acme"));

    let bot2 = fixture.service("bot2", "proxy:acme:GET:/v4/**").await;
    assert_eq!(bot2.get("/api/v1/proxy/acme/v4/leads").await.unwrap().status, 200);
    assert_eq!(bot2.get("/api/v1/proxy/acme/v4/leads?limit=1").await.unwrap().status, 200);
    for path in ["/api/v1/proxy/acme/v5/leads", "/api/v1/proxy/acme/v4%2Fleads"] {
        assert_eq!(error_code(&bot2.get(path).await.unwrap(), 403), "SCOPE_INSUFFICIENT", "{path}");
    }
    let refused = bot2.get("/api/v1/proxy/acme/v4%2Fleads").await.unwrap();
    assert!(refused.text().contains("whether `%2F` in it is read as a slash or not"), "{}", refused.text());
    assert_eq!(bot2.get("/api/v1/proxy/acme/v4/group%2Fname").await.unwrap().status, 200);
    let posted = bot2.post("/api/v1/proxy/acme/v4/leads", &serde_json::json!({})).await.unwrap();
    assert_eq!(error_code(&posted, 403), "SCOPE_INSUFFICIENT");
    assert_eq!(api.received().len(), 3);
}

#[tokio::test]
async fn a_connection_that_the_caller_may_not_see_is_answered_like_one_that_does_not_exist() {
    let (api, fixture) = Fixture::with_echo().await;
    let bot = fixture.service("bot", "proxy:other token:other").await;
    for path in ["/x", "/..%2Fx", ""] {
        let foreign = bot.get(&format!("/api/v1/proxy/acme{path}")).await.unwrap();
        let unknown = bot.get(&format!("/api/v1/proxy/none{path}")).await.unwrap();
        assert_eq!(error_code(&foreign, 404), "UNKNOWN_CONNECTION");
        assert_eq!(foreign.text().replace("acme", "none"), unknown.text(), "{path}");
    }
    assert_eq!(api.received().len(), 0);
}

#[tokio::test]
async fn an_unknown_connection_is_404_with_the_near_names_that_the_caller_may_see() {
    let (_api, fixture) = Fixture::with_echo().await;
    let reply = fixture.client().get("/api/v1/proxy/acmee/x").await.unwrap();
    assert_eq!(error_code(&reply, 404), "UNKNOWN_CONNECTION");
    assert!(reply.text().contains("did you mean acme?"), "{}", reply.text());
    let bot = fixture.service("bot", "proxy:acne").await;
    let reply = bot.get("/api/v1/proxy/acmee/x").await.unwrap();
    assert_eq!(error_code(&reply, 404), "UNKNOWN_CONNECTION");
    assert!(reply.text().contains("did you mean acne?"), "{}", reply.text());
}

#[tokio::test]
async fn a_dead_grant_is_424_and_says_what_to_do() {
    let fixture = Fixture::with_emulated_api(Options::default()).await;
    fixture.emulator.revoke_grant(fixture.refresh_token.reveal());
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 424), "REAUTHORIZATION_REQUIRED");
    assert!(
        reply.json().unwrap().get("consent_link").is_none(),
        "no link for callers that are not administrators"
    );
    let reply = fixture.client().get("/api/v1/proxy/acne/x").await.unwrap();
    assert_eq!(error_code(&reply, 424), "NOT_CONNECTED");
}

#[tokio::test]
async fn an_administrator_gets_a_consent_link() {
    let vars = vec![("authorize_url", "https://login.example.com/authorize".to_owned())];
    let fixture = Fixture::with_emulated_api(Options { vars, ..Options::default() }).await;
    fixture.emulator.revoke_grant(fixture.refresh_token.reveal());
    let ops = fixture.service("ops", "admin proxy:*").await;
    let reply = ops.get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(error_code(&reply, 424), "REAUTHORIZATION_REQUIRED");
    let link = reply.json().unwrap()["consent_link"].as_str().unwrap_or_default().to_owned();
    assert!(link.starts_with("https://jeton.example.com/oauth/authorize?"), "{}", reply.text());
    let again = ops.get("/api/v1/proxy/acme/x").await.unwrap().json().unwrap();
    assert_eq!(again["consent_link"], link, "a link is a row in the store: not one a call");
    let other = fixture.get("/x").await.json().unwrap();
    assert!(other.get("consent_link").is_none());
    let rows = fixture.access.list_audit_rows(AuditFilter::default(), 10).await.unwrap();
    let invited = rows.iter().find(|row| row.action == AuditAction::Invited).unwrap();
    assert_eq!((invited.actor.to_string().as_str(), invited.subject.as_str()), ("service:ops", "acme"));
}

#[tokio::test]
async fn a_provider_that_is_down_is_503_with_retry_after() {
    let mut fixture = Fixture::with_emulated_api(Options::default()).await;
    fixture.emulator.refuse_connections().await;
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 503), "REFRESH_FAILED");
    let wait: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
}
