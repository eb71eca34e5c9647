//! What the logs contain at the most verbose level.

use jeton_testkit::CapturedLog;
use serde_json::json;
use tracing::Level;

use crate::app::{API_KEY, TestEnv};

#[tokio::test]
async fn the_access_log_has_each_request_and_no_secret() {
    let (captured, _guard) = CapturedLog::of_this_thread(Level::TRACE);

    let (env, server) = TestEnv::start(&["acme"]).await;
    let refresh = server.connect(&env, "acme").await;
    let client = server.client();
    let token = client.get_json("/api/v1/connections/acme/token?min_ttl=5").await.unwrap();
    let access = token["access_token"].as_str().unwrap().to_owned();
    let rejected = json!({"access_token": access});
    let newer =
        client.post("/api/v1/connections/acme/token/reject", &rejected).await.unwrap().json().unwrap();
    let named = server.client().with_header("x-request-id", "order-4711");
    let answer = named.get("/api/v1/connections/acme").await.unwrap();
    assert_eq!(answer.headers["x-request-id"], "order-4711");
    let planted = "planted-connection-77aa";
    assert_eq!(client.get(&format!("/api/v1/connections/{planted}/token")).await.unwrap().status, 404);
    let wrong = server.anonymous().with_header("x-api-key", "planted-key-77aa");
    assert_eq!(wrong.get("/api/v1/connections").await.unwrap().status, 403);
    assert_eq!(client.get("/planted-path-77aa?q=planted-query-77aa").await.unwrap().status, 404);

    let log = captured.text();
    let line = |route: &str, connection: &str, status: u16, service: &str| {
        log.lines().any(|line| {
            let request = format!(
                "route=\"{route}\" connection=\"{connection}\" status={status} service=\"{service}\""
            );
            line.contains(" INFO jeton_access:")
                && line.contains(&request)
                && ["method=\"", "client=127.0.0.1", "request_id=\"", "ms="]
                    .iter()
                    .all(|part| line.contains(part))
        })
    };
    assert!(line("/api/v1/connections/{name}/token", "acme", 200, "api-key"), "{log}");
    assert!(line("/api/v1/connections/{name}/token/reject", "acme", 200, "api-key"), "{log}");
    assert!(line("/api/v1/connections/{name}", "acme", 200, "api-key"), "{log}");
    assert!(log.contains("request_id=\"order-4711\""), "{log}");
    assert!(line("/api/v1/connections/{name}/token", "-", 404, "api-key"), "{log}");
    assert!(line("/api/v1/connections", "-", 403, "-"), "{log}");
    assert!(line("-", "-", 404, "-"), "{log}");
    let newer = newer["access_token"].as_str().unwrap();
    for secret in [access.as_str(), newer, refresh.reveal(), API_KEY, "emulated-secret", "77aa"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
