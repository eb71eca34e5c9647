//! Who may call what.

use jeton_core::audit::{AuditAction, AuditFilter};

use crate::api::Api;
use crate::place::{API_KEY, Place, Plan, refusal};

#[tokio::test]
async fn a_call_without_a_key_or_with_a_wrong_one_reaches_no_api() {
    let api = Api::echo().await;
    let place = Place::at(&api.base()).await;
    let reply = place.stranger().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(refusal(&reply, 403), "SERVICE_TOKEN_REQUIRED");
    let wrong = place.stranger().with_header("x-service-token", "wrong");
    assert_eq!(refusal(&wrong.get("/api/v1/proxy/acme/x").await.unwrap(), 403), "SERVICE_TOKEN_INVALID");
    let both = place.client().with_header("x-service-token", "wrong");
    assert_eq!(refusal(&both.get("/api/v1/proxy/acme/x").await.unwrap(), 400), "CONFLICTING_CREDENTIALS");
    assert!(api.got().is_empty());
}

#[tokio::test]
async fn the_key_may_come_in_any_of_the_three_headers_and_goes_no_further() {
    let api = Api::echo().await;
    let place = Place::at(&api.base()).await;
    let bearer = format!("Bearer {API_KEY}");
    for (name, value) in [("x-api-key", API_KEY), ("x-service-token", API_KEY), ("authorization", &bearer)] {
        let reply = place.stranger().with_header(name, value).get("/api/v1/proxy/acme/x").await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(!reply.text().contains(API_KEY), "{}", reply.text());
    }
    let token = place.access_token().await;
    assert!(api.got().iter().all(|got| got.bearer() == token.reveal()));
}

#[tokio::test]
async fn a_missing_scope_is_named_and_limits_of_method_and_path_hold() {
    let api = Api::echo().await;
    let services = vec![
        ("bot1", "raw-token-of-bot1-0123456789abcdef", vec!["token:acme", "proxy:other"]),
        ("bot2", "raw-token-of-bot2-0123456789abcdef", vec!["proxy:acme:GET:/v4/**"]),
    ];
    let place = Place::built(&api.base(), Plan { services, ..Plan::default() }).await;
    let bot1 = place.stranger().with_header("x-service-token", "raw-token-of-bot1-0123456789abcdef");
    let reply = bot1.get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(refusal(&reply, 403), "SCOPE_INSUFFICIENT");
    assert!(reply.json().unwrap()["missing_scope"].as_str().unwrap().starts_with("proxy:acme"));

    let bot2 = place.stranger().with_header("x-service-token", "raw-token-of-bot2-0123456789abcdef");
    assert_eq!(bot2.get("/api/v1/proxy/acme/v4/leads").await.unwrap().status, 200);
    assert_eq!(bot2.get("/api/v1/proxy/acme/v4/leads?limit=1").await.unwrap().status, 200);
    for path in ["/api/v1/proxy/acme/v5/leads", "/api/v1/proxy/acme/v4%2Fleads"] {
        assert_eq!(refusal(&bot2.get(path).await.unwrap(), 403), "SCOPE_INSUFFICIENT", "{path}");
    }
    let posted = bot2.post("/api/v1/proxy/acme/v4/leads", &serde_json::json!({})).await.unwrap();
    assert_eq!(refusal(&posted, 403), "SCOPE_INSUFFICIENT");
    assert_eq!(api.got().len(), 2);
}

#[tokio::test]
async fn an_unknown_connection_is_404_with_the_near_names_that_the_caller_may_see() {
    let api = Api::echo().await;
    let services = vec![("bot", "raw-token-of-bot-0123456789abcdef", vec!["proxy:acne"])];
    let place = Place::built(&api.base(), Plan { services, ..Plan::default() }).await;
    let reply = place.client().get("/api/v1/proxy/acmee/x").await.unwrap();
    assert_eq!(refusal(&reply, 404), "UNKNOWN_CONNECTION");
    assert!(reply.text().contains("did you mean acme?"), "{}", reply.text());
    let bot = place.stranger().with_header("x-service-token", "raw-token-of-bot-0123456789abcdef");
    let reply = bot.get("/api/v1/proxy/acmee/x").await.unwrap();
    assert_eq!(refusal(&reply, 404), "UNKNOWN_CONNECTION");
    assert!(reply.text().contains("did you mean acne?"), "{}", reply.text());
}

#[tokio::test]
async fn a_dead_grant_is_424_and_says_how_to_go_on() {
    let place = Place::emulated(Plan::default()).await;
    place.emulator.revoke_grant(place.refresh_token.reveal());
    let reply = place.client().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(refusal(&reply, 424), "REAUTHORIZATION_REQUIRED");
    assert!(reply.json().unwrap().get("consent_link").is_none(), "no link for who is no administrator");
    let reply = place.client().get("/api/v1/proxy/acne/x").await.unwrap();
    assert_eq!(refusal(&reply, 424), "NOT_CONNECTED");
}

#[tokio::test]
async fn an_administrator_is_told_the_link_for_a_consent() {
    let services = vec![("ops", "raw-token-of-ops-0123456789abcdef", vec!["admin", "proxy:*"])];
    let vars = vec![("authorize_url", "https://login.example.com/authorize".to_owned())];
    let place = Place::emulated(Plan { vars, services, ..Plan::default() }).await;
    place.emulator.revoke_grant(place.refresh_token.reveal());
    let ops = place.stranger().with_header("x-service-token", "raw-token-of-ops-0123456789abcdef");
    let reply = ops.get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(refusal(&reply, 424), "REAUTHORIZATION_REQUIRED");
    let link = reply.json().unwrap()["consent_link"].as_str().unwrap_or_default().to_owned();
    assert!(link.starts_with("https://jeton.example.com/oauth/authorize?"), "{}", reply.text());
    let again = ops.get("/api/v1/proxy/acme/x").await.unwrap().json().unwrap();
    assert_eq!(again["consent_link"], link, "a link is a row in the store: not one a call");
    let other = place.client().get("/api/v1/proxy/acme/x").await.unwrap().json().unwrap();
    assert!(other.get("consent_link").is_none());
    let rows = place.access.audit(AuditFilter::default(), 10).await.unwrap();
    let invited = rows.iter().find(|row| row.action == AuditAction::Invited).unwrap();
    assert_eq!((invited.actor.to_string().as_str(), invited.subject.as_str()), ("service:ops", "acme"));
}

#[tokio::test]
async fn a_provider_that_is_away_is_503_with_retry_after() {
    let mut place = Place::emulated(Plan::default()).await;
    place.emulator.refuse_connections().await.unwrap();
    let reply = place.client().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(refusal(&reply, 503), "REFRESH_FAILED");
    let wait: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
}
