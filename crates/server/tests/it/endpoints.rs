//! What each endpoint does.

use jeton_server::Limits;
use jeton_testkit::Reply;
use serde_json::{Value, json};

use crate::app::{TestEnv, TestServer};
use crate::consent_app::page;

const TOKEN: &str = "/api/v1/connections/acme/token";
const REJECT: &str = "/api/v1/connections/acme/token/reject";
const REFRESH: &str = "/api/v1/connections/acme/refresh";

fn ok(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(reply.headers["cache-control"], "no-store");
    reply.json().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[tokio::test]
async fn health_answers_in_the_format_of_the_older_gateway() {
    let env = TestEnv::new().await;
    let client = env.serve(&[], Limits::default()).await.anonymous();
    let health = client.get("/health").await.unwrap();
    assert_eq!(health.status, 200);
    assert_eq!(health.text(), r#"{"success":true,"message":"Gateway is running","data":{"status":"ok"}}"#);
    assert_eq!(ok(&client.get("/healthz").await.unwrap()), json!({"status": "ok"}));
    assert_eq!(ok(&client.get("/readyz").await.unwrap()), json!({"status": "ok", "hold": false}));
}

#[tokio::test]
async fn a_browser_at_the_servers_address_gets_a_page_and_no_error() {
    let env = TestEnv::new().await;
    let client = env.serve(&[], Limits::default()).await.anonymous();
    page(&client.get("/").await.unwrap(), 200, "jeton is running");
    assert_eq!(client.get("/favicon.ico").await.unwrap().status, 204);
}

#[tokio::test]
async fn it_is_not_ready_while_the_store_does_not_answer() {
    let env = TestEnv::new().await;
    let vault = env.vault(&env.data_dir("data"), Some(env.broken_feed()), &[]).await;
    let client = TestServer::open(vault, env.access().await, Limits::default()).await.anonymous();
    let ready = client.get("/readyz").await.unwrap();
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json().unwrap()["code"], "STORE_UNAVAILABLE");
    assert_eq!(ready.headers["retry-after"], "1");
    assert_eq!(client.get("/healthz").await.unwrap().status, 200, "the process lives all the same");
}

#[tokio::test]
async fn an_installation_on_hold_serves_valid_tokens_spends_nothing_and_is_ready() {
    let env = TestEnv::new().await;
    let original = env.serve(&["acme"], Limits::default()).await;
    original.connect(&env, "acme").await;
    let given = ok(&original.client().get(TOKEN).await.unwrap());

    let copy = env.vault(&env.data_dir("elsewhere"), None, &["acme"]).await;
    let copy = TestServer::open(copy, env.access().await, Limits::default()).await;
    let ready = ok(&copy.anonymous().get("/readyz").await.unwrap());
    assert_eq!(ready, json!({"status": "ok", "hold": true}));
    assert_eq!(ok(&copy.client().get(TOKEN).await.unwrap())["access_token"], given["access_token"]);
    let refused = copy.admin().await.post(REFRESH, &json!({"force": true})).await.unwrap();
    assert_eq!((refused.status.as_u16(), text(&refused.json().unwrap()["code"])), (503, "ON_HOLD"));
    assert_eq!(env.emulator.stats().accepted, 1);
}

#[tokio::test]
async fn a_valid_token_comes_with_all_that_a_caller_needs() {
    let (env, server) = TestEnv::start_connected().await;
    let first = ok(&server.client().get(TOKEN).await.unwrap());
    assert!(env.emulator.accepts(text(&first["access_token"])));
    assert_eq!(first["token_type"], "Bearer");
    assert_eq!(text(&first["fingerprint"]).len(), 32);
    assert!(text(&first["expires_at"]).ends_with('Z'));
    let left = first["expires_in"].as_u64().unwrap();
    assert!((50..60).contains(&left), "whole seconds, never more than the token holds: {left}");
    assert!(first.get("warning").is_none());

    for query in ["", "?min_ttl=10", "?min_ttl=10s&wait=1s"] {
        let again = ok(&server.client().get(&format!("{TOKEN}{query}")).await.unwrap());
        assert_eq!(again["access_token"], first["access_token"]);
        assert_eq!(again["generation"], first["generation"]);
    }
    assert_eq!(env.emulator.stats().accepted, 1);
}

#[tokio::test]
async fn a_rejected_token_is_replaced_once_however_it_is_reported() {
    let (env, server) = TestEnv::start_connected().await;
    let client = server.client();
    let first = ok(&client.get(TOKEN).await.unwrap());

    let by_token = json!({"access_token": first["access_token"]});
    let second = ok(&client.post(REJECT, &by_token).await.unwrap());
    assert_ne!(second["access_token"], first["access_token"]);
    assert!(env.emulator.accepts(text(&second["access_token"])));

    let by_fingerprint = json!({"fingerprint": first["fingerprint"]});
    let late = ok(&client.post(REJECT, &by_fingerprint).await.unwrap());
    assert_eq!(late["access_token"], second["access_token"], "a late report gets the newer token");
    assert_eq!(env.emulator.stats().accepted, 2);

    let again = client.post(REJECT, &json!({"fingerprint": second["fingerprint"]})).await.unwrap();
    assert_eq!((again.status.as_u16(), text(&again.json().unwrap()["code"])), (409, "REJECTED_AGAIN"));
    assert!(again.headers.contains_key("retry-after"));
    assert_eq!(env.emulator.stats().accepted, 2);
}

#[tokio::test]
async fn a_refresh_is_made_when_it_is_due_or_forced() {
    let (env, server) = TestEnv::start_connected().await;
    let client = server.client();
    let first = ok(&client.get(TOKEN).await.unwrap());

    let not_due = ok(&client.post(REFRESH, &json!({})).await.unwrap());
    assert_eq!(not_due, json!({"status": "not_due", "expires_at": first["expires_at"]}));
    let admin = server.admin().await;
    let forced = ok(&admin.post(REFRESH, &json!({"force": true})).await.unwrap());
    assert_eq!(forced["status"], "done");
    assert_eq!(forced["generation"].as_u64(), first["generation"].as_u64().map(|before| before + 1));
    assert!(forced["expires_at"].is_string());
    let without_body = format!(
        "POST {REFRESH} HTTP/1.1\r\nHost: x\r\nX-API-KEY: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        crate::app::API_KEY
    );
    assert!(server.raw(without_body).await.contains("not_due"));
    assert_eq!(env.emulator.stats().accepted, 2);
}

#[tokio::test]
async fn connections_are_listed_page_by_page() {
    let (env, server) = TestEnv::start(&["a", "b", "c", "d", "e"]).await;
    server.connect(&env, "b").await;
    let client = server.client();
    let mut names = Vec::new();
    let mut path = "/api/v1/connections?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = ok(&client.get(&path).await.unwrap());
        let items = page["items"].as_array().unwrap();
        names.extend(items.iter().map(|item| text(&item["name"]).to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/connections?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!((names.join(""), pages), ("abcde".to_owned(), 3));

    let all = ok(&client.get("/api/v1/connections").await.unwrap());
    assert_eq!(all["next"], Value::Null);
    assert_eq!(all["items"][0]["condition"], "pending");
    assert_eq!(all["items"][1]["provider"], "oauth2");
    // A page that ends with the last item has no next one.
    let exact = ok(&client.get("/api/v1/connections?limit=5").await.unwrap());
    assert_eq!(exact["next"], Value::Null);
}

#[tokio::test]
async fn an_operator_pauses_resumes_and_disconnects() {
    let (env, server) = TestEnv::start_connected().await;
    let (client, operator) = (server.client(), server.admin().await);
    let one = "/api/v1/connections/acme";

    let paused = ok(&operator.post(&format!("{one}/pause"), &json!({})).await.unwrap());
    assert_eq!(paused["paused"], true);
    let refused = client.get(TOKEN).await.unwrap();
    assert_eq!((refused.status.as_u16(), text(&refused.json().unwrap()["code"])), (409, "PAUSED"));
    assert_eq!(env.emulator.stats().accepted, 0);

    let resumed = ok(&operator.post(&format!("{one}/resume"), &json!({})).await.unwrap());
    assert_eq!(resumed["paused"], false);
    ok(&client.get(TOKEN).await.unwrap());
    assert_eq!(ok(&client.get(one).await.unwrap())["condition"], "live");

    let gone = operator.delete(one).await.unwrap();
    assert_eq!((gone.status.as_u16(), gone.text().as_str()), (204, ""));
    assert_eq!(ok(&client.get(one).await.unwrap())["condition"], "pending");
    let refused = client.get(TOKEN).await.unwrap();
    assert_eq!((refused.status.as_u16(), text(&refused.json().unwrap()["code"])), (424, "NOT_CONNECTED"));
}
