//! What the audit log says of what operators do over HTTP.

use serde_json::{Value, json};

use crate::app::{TestEnv, TestServer};

async fn acts(server: &TestServer, query: &str) -> Vec<Value> {
    let page = server.admin().await.get_json(&format!("/api/v1/audit?{query}")).await.unwrap();
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_an_operator_does_over_http_is_audited_under_its_name() {
    let (env, server) = TestEnv::start(&["acme", "shop"]).await;
    let refresh = server.connect(&env, "acme").await;
    server.connect(&env, "shop").await;
    let night = server.service("night-shift", "admin").await;
    for act in ["pause", "pause", "resume"] {
        let done = night.post(&format!("/api/v1/connections/acme/{act}"), &json!({})).await.unwrap();
        assert_eq!(done.status, 200, "{act}: {}", done.text());
    }
    assert_eq!(night.delete("/api/v1/connections/acme").await.unwrap().status, 204);
    assert_eq!(night.delete("/api/v1/connections/nobody").await.unwrap().status, 404);

    let rows = acts(&server, "subject=acme").await;
    let told: Vec<_> =
        rows.iter().map(|row| (row["deed"].as_str().unwrap(), row["actor"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        [
            ("connection.disconnected", "service:night-shift"),
            ("connection.resumed", "service:night-shift"),
            ("connection.paused", "service:night-shift"),
            ("connection.connected", "shell:operator@test"),
        ]
    );
    let details = rows[3]["details"].as_object().unwrap();
    assert_eq!(
        (&details["provider"], &details["generation"], &details["replaced"]),
        (&"oauth2".into(), &1.into(), &false.into())
    );
    assert!(rows[..3].iter().all(|row| row["details"] == json!({})), "{rows:?}");
    assert!(!Value::from(rows).to_string().contains(refresh.reveal()));
    assert_eq!(acts(&server, "subject=shop").await.len(), 1);
    assert!(acts(&server, "subject=nobody").await.is_empty());
}

#[tokio::test]
async fn a_rejected_request_leaves_no_audit_entry() {
    let (_env, server) = TestEnv::start_connected().await;
    let bot = server.service("bot", "token:acme").await;
    let before = acts(&server, "subject=acme").await;
    let refused = bot.post("/api/v1/connections/acme/pause", &json!({})).await.unwrap();
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(acts(&server, "subject=acme").await, before);
}
