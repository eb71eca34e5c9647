//! In the place of an amoCRM gateway: its URLs answer its clients to the letter.

use jeton_server::Limits;
use jeton_testkit::{Client, Reply};
use serde_json::json;

use crate::app::{TestEnv, TestServer};

const INVALID_KEY: &str = r#"{"success":false,"error":"Invalid or missing API key","message":"Please provide valid X-API-KEY header"}"#;

/// A server with `amocrm` in the place of that gateway's connection, and another connection beside it.
async fn start() -> (TestEnv, TestServer) {
    let env = TestEnv::new().await;
    let vault = env.vault(&env.data_dir("data"), None, &["aaa", "amocrm"]).await;
    let old_gateway = Some("amocrm".parse().unwrap());
    let server = TestServer::open_as(vault, env.access().await, Limits::default(), old_gateway).await;
    (env, server)
}

async fn get(client: &Client, path: &str) -> Reply {
    client.get(path).await.unwrap()
}

#[tokio::test]
async fn a_missing_or_wrong_key_is_401_in_its_words_on_all_of_api_v1() {
    let (_env, server) = start().await;
    let wrong = [("x-api-key", "wrong"), ("authorization", "Bearer wrong"), ("x-service-token", "")];
    let clients = wrong.map(|(name, value)| server.anonymous().with_header(name, value));
    for client in [&[server.anonymous()][..], &clients].concat() {
        for path in [
            "/api/v1/diagnostics/token-status",
            "/api/v1/diagnostics/config/",
            "/api/v1/connections",
            "/api/v1/connections/amocrm/token",
            "/api/v1/audit",
            "/api/v1/nothing/here",
        ] {
            let reply = get(&client, path).await;
            assert_eq!((reply.status.as_u16(), reply.text().as_str()), (401, INVALID_KEY), "{path}");
            assert_eq!(reply.headers["content-type"], "application/json");
        }
    }
    let posted = server.anonymous().post("/api/v1/connections/amocrm/refresh", &json!({})).await.unwrap();
    assert_eq!(posted.text(), INVALID_KEY);
}

#[tokio::test]
async fn a_wrong_service_token_and_the_check_of_one_are_403_as_before() {
    let (_env, server) = start().await;
    let service = server.anonymous().with_header("x-service-token", "wrong");
    for path in ["/api/v1/connections", "/api/v1/verify", "/api/v1/nothing/here"] {
        let reply = get(&service, path).await;
        assert_eq!(reply.status, 403, "{path}");
        assert_eq!(reply.json().unwrap()["error"]["code"], "SERVICE_TOKEN_INVALID");
    }
    let missing = get(&server.anonymous(), "/api/v1/verify").await;
    assert_eq!(
        (missing.status.as_u16(), &missing.json().unwrap()["code"]),
        (403, &json!("SERVICE_TOKEN_REQUIRED"))
    );
    let limited = server.service("bot1", "token:aaa").await;
    assert_eq!(get(&limited, "/api/v1/connections").await.json().unwrap()["code"], "SCOPE_INSUFFICIENT");
}

#[tokio::test]
async fn an_unknown_url_is_its_404_and_a_slash_at_the_end_is_ignored() {
    let (_env, server) = start().await;
    for (path, named) in [
        ("/api/v1/nothing/here", "/api/v1/nothing/here"),
        ("/api/v1/nothing/?a=b", "/api/v1/nothing"),
        ("/api/v1", "/api/v1"),
        ("/other//", "/other"),
        ("/quote%22", "/quote%22"),
    ] {
        let reply = get(&server.client(), path).await;
        assert_eq!(reply.status, 404, "{path}");
        let expected = json!({ "success": false, "error": format!("Endpoint not found: {named}") });
        assert_eq!(reply.json().unwrap(), expected);
    }
    assert_eq!(get(&server.anonymous(), "/other").await.status, 404, "only /api/v1 asks for a key");
    for path in ["/health/", "/", "/oauth/status/", "/openapi.json/"] {
        assert_eq!(get(&server.anonymous(), path).await.status, 200, "{path}");
    }
    let named = get(&server.client(), "/api/v1/diagnostics/token-status/?connection=aaa").await;
    assert_eq!(named.json().unwrap()["success"], true);
}

#[tokio::test]
async fn the_diagnostics_are_about_its_connection_whatever_others_there_are() {
    let (env, server) = start().await;
    server.connect(&env, "aaa").await;
    let none = server.client().get_json("/api/v1/diagnostics/token-status").await.unwrap();
    assert_eq!(none["data"]["token_validation"]["valid"], false);
    server.connect(&env, "amocrm").await;
    server.client().get_json("/api/v1/connections/amocrm/token").await.unwrap();
    let found = server.client().get_json("/api/v1/diagnostics/token-status").await.unwrap();
    assert_eq!(found["data"]["token_validation"]["valid"], true, "{found}");
    let config = server.client().get_json("/api/v1/diagnostics/config").await.unwrap();
    assert_eq!(config["data"]["client_id"], "emulated...");
}

#[tokio::test]
async fn whether_it_is_connected_is_told_to_everyone_and_nothing_else() {
    let (env, server) = start().await;
    let status = async || get(&server.anonymous(), "/oauth/status").await.text();
    assert_eq!(status().await, r#"{"has_token":false,"status":"not_authorized"}"#);
    let refresh = server.connect(&env, "amocrm").await;
    assert_eq!(status().await, r#"{"has_token":true,"status":"authorized"}"#);
    assert!(env.emulator.revoke_grant(refresh.reveal()));
    assert_eq!(get(&server.client(), "/api/v1/connections/amocrm/token").await.status, 424);
    assert_eq!(status().await, r#"{"has_token":false,"status":"not_authorized"}"#);
    assert_eq!(get(&server.anonymous(), "/oauth/status?limit=1").await.status, 403);
    let all = server.client().get_json("/oauth/status?limit=10").await.unwrap();
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
}
