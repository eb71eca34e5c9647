//! Service tokens, for callers and administrators.

use jeton_testkit::{Client, Reply};
use serde_json::{Value, json};

use crate::app::{API_KEY, TestEnv, TestServer};

const TOKENS: &str = "/api/v1/service-tokens";
const TOKEN: &str = "/api/v1/connections/acme/token";

fn answered(reply: &Reply) -> (u16, Value) {
    let body = if reply.body.is_empty() { Value::Null } else { reply.json().unwrap() };
    (reply.status.as_u16(), body)
}

fn code(reply: &Reply) -> (u16, String) {
    let (status, body) = answered(reply);
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn with(server: &TestServer, header: &str, value: &str) -> Client {
    server.anonymous().with_header(header, value)
}

#[tokio::test]
async fn missing_and_invalid_tokens_are_answered_to_the_letter() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let missing = server.anonymous().get(TOKEN).await.unwrap();
    assert_eq!(missing.headers["content-type"], "application/problem+json");
    assert_eq!(
        answered(&missing),
        (
            403,
            json!({
                "type": "urn:jeton:error:SERVICE_TOKEN_REQUIRED",
                "title": "A service token is needed",
                "status": 403,
                "code": "SERVICE_TOKEN_REQUIRED",
                "detail": "X-SERVICE-TOKEN header is required.",
                "error": {"code": "SERVICE_TOKEN_REQUIRED", "detail": "X-SERVICE-TOKEN header is required.",
                    "message": "X-SERVICE-TOKEN header is required."},
            })
        )
    );
    let text = "Invalid service token.";
    let invalid = json!({"code": "SERVICE_TOKEN_INVALID", "detail": text, "message": text});
    for wrong in ["my-secure-bot1-token-2024", "jts_0000", "Bearer"] {
        let (status, body) = answered(&with(&server, "x-service-token", wrong).get(TOKEN).await.unwrap());
        assert_eq!((status, &body["error"], &body["code"]), (403, &invalid, &invalid["code"]), "{wrong}");
    }
}

#[tokio::test]
async fn a_credential_is_accepted_in_any_header_and_two_different_ones_are_rejected() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let made = server.admin().await.post(TOKENS, &json!({"name": "bot1", "scopes": ["read"]})).await.unwrap();
    let (status, made) = answered(&made);
    assert_eq!(status, 201, "{made}");
    let raw = made["token"].as_str().unwrap();
    let bearer = format!("Bearer {raw}");
    for (header, value) in [("x-service-token", raw), ("x-api-key", raw), ("authorization", &bearer)] {
        assert_eq!(
            with(&server, header, value).get("/api/v1/connections").await.unwrap().status,
            200,
            "{header}"
        );
    }
    let both = with(&server, "x-service-token", raw).with_header("x-api-key", API_KEY);
    assert_eq!(code(&both.get(TOKEN).await.unwrap()), (400, "CONFLICTING_CREDENTIALS".into()));
    let same = with(&server, "x-service-token", raw).with_header("authorization", &bearer);
    assert_eq!(same.get("/api/v1/connections").await.unwrap().status, 200);
}

#[tokio::test]
async fn each_endpoint_requires_its_scope_and_names_it() {
    let (env, server) = TestEnv::start(&["acme", "shop"]).await;
    server.connect(&env, "acme").await;
    let bot = server.service("bot1", "token:acme proxy:shop").await;
    assert_eq!(bot.get(TOKEN).await.unwrap().status, 200);
    assert_eq!(bot.post("/api/v1/connections/acme/refresh", &json!({})).await.unwrap().status, 200);
    let none = json!({});
    for (reply, missing) in [
        (bot.get("/api/v1/connections").await, "read"),
        (bot.get("/api/v1/connections/acme").await, "read"),
        (bot.get("/oauth/status").await, "read"),
        (bot.get("/api/v1/connections/shop/token").await, "token:shop"),
        (bot.post("/api/v1/connections/shop/token/reject", &none).await, "token:shop"),
        (bot.post("/api/v1/connections/shop/refresh", &none).await, "token:shop"),
        (bot.post("/api/v1/connections/acme/pause", &none).await, "operate:acme"),
        (bot.post("/api/v1/connections/acme/resume", &none).await, "operate:acme"),
        (bot.delete("/api/v1/connections/acme").await, "admin"),
        (bot.get(TOKENS).await, "admin"),
        (bot.post(TOKENS, &json!({"name": "bot1", "scopes": ["admin"]})).await, "admin"),
        (server.client().get(TOKENS).await, "admin"),
        (server.admin().await.get(TOKEN).await, "token:acme"),
    ] {
        let (status, body) = answered(&reply.unwrap());
        assert_eq!((status, &body["code"]), (403, &"SCOPE_INSUFFICIENT".into()), "{body}");
        assert_eq!(body["missing_scope"], missing, "{body}");
        assert!(body["detail"].as_str().unwrap().contains(missing), "{body}");
    }
    assert_eq!(
        server.client().get(TOKEN).await.unwrap().status,
        200,
        "the API key has every scope but admin"
    );
    assert_eq!(server.admin().await.get("/api/v1/connections").await.unwrap().status, 200, "admin reads");
}

#[tokio::test]
async fn a_connection_that_the_caller_may_not_see_is_answered_like_one_that_does_not_exist() {
    let (_env, server) = TestEnv::start(&["acme", "shop"]).await;
    let bot = server.service("bot1", "token:acme").await;
    for (path, method) in [("token", "GET"), ("token/reject", "POST"), ("refresh", "POST")] {
        let ask = async |name: &str| {
            let path = format!("/api/v1/connections/{name}/{path}");
            let reply =
                if method == "GET" { bot.get(&path).await } else { bot.post(&path, &json!({})).await };
            reply.unwrap()
        };
        let (foreign, unknown) = (ask("shop").await, ask("none").await);
        assert_eq!((foreign.status.as_u16(), unknown.status.as_u16()), (404, 404), "{path}");
        assert_eq!(foreign.text().replace("shop", "none"), unknown.text());
    }
}

#[tokio::test]
async fn only_connections_that_the_caller_may_see_are_suggested() {
    let (_env, server) = TestEnv::start(&["acme", "acme-secret"]).await;
    let told = async |client: Client, name: &str| {
        let reply = client.get(&format!("/api/v1/connections/{name}/token")).await.unwrap();
        let (status, body) = answered(&reply);
        assert_eq!((status, &body["code"]), (404, &"UNKNOWN_CONNECTION".into()), "{body}");
        body["detail"].as_str().unwrap().to_owned()
    };
    let bot = server.service("bot1", "token:acme").await;
    assert!(told(bot.clone(), "acmee").await.contains("did you mean acme?"));
    assert!(!told(bot, "acme-secrets").await.contains("acme-secret ("), "a name that it may not see");
    let blind = server.service("bot2", "token:acme-secrets proxy:other").await;
    assert!(!told(blind, "acme-secrets").await.contains("did you mean"));
    assert!(told(server.client(), "acme-secrets").await.contains("did you mean acme-secret?"));
}

#[tokio::test]
async fn a_token_is_shown_once_listed_without_it_and_revoked_at_once() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let admin = server.admin().await;
    let wanted =
        json!({"name": "bot1", "scopes": ["read", "token:*"], "expires_in": "90d", "notes": "of the shop"});
    let (status, made) = answered(&admin.post(TOKENS, &wanted).await.unwrap());
    assert_eq!((status, &made["name"], &made["active"]), (201, &"bot1".into(), &true.into()), "{made}");
    assert_eq!((&made["notes"], &made["scopes"]), (&"of the shop".into(), &json!(["token:*", "read"])));
    let raw = made["token"].as_str().unwrap();
    assert!(raw.starts_with("jts_") && raw.len() == 50);

    let listed = admin.get(TOKENS).await.unwrap();
    assert!(!listed.text().contains(raw) && !listed.text().contains("hash"), "{}", listed.text());
    let (_, page) = answered(&admin.get(&format!("{TOKENS}?limit=1")).await.unwrap());
    assert_eq!(page["items"][0]["name"], "operator");
    let (_, page) =
        answered(&admin.get(&format!("{TOKENS}?after={}", page["next"].as_str().unwrap())).await.unwrap());
    assert_eq!(
        (&page["items"][0]["id"], &page["items"][0]["expires_at"]),
        (&made["id"], &made["expires_at"])
    );
    assert_eq!(page["next"], Value::Null);

    let bot = with(&server, "x-service-token", raw);
    assert_eq!(bot.get("/api/v1/connections").await.unwrap().status, 200);
    let one = format!("{TOKENS}/{}", made["id"].as_str().unwrap());
    assert_eq!(admin.delete(&one).await.unwrap().status, 204);
    assert_eq!(code(&bot.get("/api/v1/connections").await.unwrap()), (403, "SERVICE_TOKEN_INVALID".into()));
    assert_eq!(admin.delete(&one).await.unwrap().status, 204, "revoking again changes nothing");
    assert_eq!(
        code(&admin.post(&format!("{one}/rotate"), &json!({})).await.unwrap()),
        (409, "SERVICE_TOKEN_CONFLICT".into())
    );
}

#[tokio::test]
async fn both_tokens_are_accepted_during_the_overlap_of_a_rotation() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let admin = server.admin().await;
    let (_, made) =
        answered(&admin.post(TOKENS, &json!({"name": "bot1", "scopes": ["read"]})).await.unwrap());
    let rotate = |id: &Value| format!("{TOKENS}/{}/rotate", id.as_str().unwrap());
    let (status, second) =
        answered(&admin.post(&rotate(&made["id"]), &json!({"overlap": 60})).await.unwrap());
    assert_eq!(
        (status, &second["replaces"]["id"], &second["name"]),
        (200, &made["id"], &"bot1".into()),
        "{second}"
    );
    assert_eq!(second["replaces"]["successor"], second["id"]);
    for token in [&made["token"], &second["token"]] {
        let bot = with(&server, "x-service-token", token.as_str().unwrap());
        assert_eq!(bot.get("/api/v1/connections").await.unwrap().status, 200);
    }
    let (_, third) = answered(&admin.post(&rotate(&second["id"]), &json!({"overlap": "0s"})).await.unwrap());
    assert_eq!(third["replaces"]["standing"], "expired");
    let old = with(&server, "x-service-token", second["token"].as_str().unwrap());
    assert_eq!(code(&old.get("/api/v1/connections").await.unwrap()), (403, "SERVICE_TOKEN_INVALID".into()));
}

#[tokio::test]
async fn whole_seconds_may_be_written_as_a_language_without_integers_writes_them() {
    let (_env, server) = TestEnv::start(&[]).await;
    let admin = server.admin().await;
    let wanted = json!({"name": "bot1", "scopes": vec!["read"; 64], "expires_in": 7_776_000.0});
    let (status, made) = answered(&admin.post(TOKENS, &wanted).await.unwrap());
    assert_eq!((status, &made["scopes"]), (201, &json!(["read"])), "{made}");
    assert!(made["expires_at"].is_string(), "{made}");
    // A life beyond the calendar ends with it.
    let wanted = json!({"name": "bot1", "scopes": [], "expires_in": u64::MAX});
    let (status, made) = answered(&admin.post(TOKENS, &wanted).await.unwrap());
    assert_eq!((status, &made["active"]), (201, &json!(true)), "{made}");
    assert!(made["expires_at"].as_str().unwrap().starts_with("9999-12-"), "{made}");
}

#[tokio::test]
async fn bad_requests_are_rejected_and_not_repeated() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let admin = server.admin().await;
    for (body, status, expected) in [
        (json!({}), 422, "UNPROCESSABLE_BODY"),
        (json!({"name": "Bot", "scopes": []}), 422, "UNPROCESSABLE_BODY"),
        (json!({"name": "bot1", "scopes": ["planted-5f1c"]}), 422, "UNPROCESSABLE_BODY"),
        (json!({"name": "bot1", "scopes": [], "expires_in": "planted-5f1c"}), 422, "UNPROCESSABLE_BODY"),
        (json!({"name": "bot1", "scopes": [], "hash": "planted-5f1c"}), 422, "UNPROCESSABLE_BODY"),
        (json!({"name": "bot1", "scopes": [], "notes": "x".repeat(501)}), 422, "UNPROCESSABLE_BODY"),
        (json!({"name": "bot1", "scopes": [], "notes": "planted-5f1c\0"}), 422, "UNPROCESSABLE_BODY"),
        (json!({"name": "bot1", "scopes": vec!["read"; 65]}), 422, "UNPROCESSABLE_BODY"),
        (json!({"name": "bot1", "scopes": [], "expires_in": 60.5}), 422, "UNPROCESSABLE_BODY"),
        (json!({"name": "bot1", "scopes": [], "expires_in": -60.0}), 422, "UNPROCESSABLE_BODY"),
        (json!({"name": "bot1", "scopes": [], "expires_in": 0}), 400, "BAD_REQUEST"),
        (json!({"name": "bot1", "scopes": [], "expires_in": 0.0}), 400, "BAD_REQUEST"),
        (json!({"name": "bot1", "scopes": [], "expires_in": "0s"}), 400, "BAD_REQUEST"),
        (json!({"name": "bot1", "scopes": [], "expires_in": "999ms"}), 400, "BAD_REQUEST"),
        (json!({"name": "api-key", "scopes": []}), 409, "SERVICE_TOKEN_CONFLICT"),
    ] {
        let reply = admin.post(TOKENS, &body).await.unwrap();
        assert_eq!(code(&reply), (status, expected.to_owned()), "{body}");
        assert!(!reply.text().contains("planted"), "{}", reply.text());
        assert_eq!(reply.text().contains("`expires_in` is shorter"), status == 400, "{}", reply.text());
    }
    let id = server.create_token("bot1", "read").await.0;
    let rotated = admin.post(&format!("{TOKENS}/{id}/rotate"), &json!({"expires_in": 0})).await.unwrap();
    assert_eq!(code(&rotated), (400, "BAD_REQUEST".into()));
    for id in ["planted-5f1c", "00000000-0000-7000-8000-000000000000"] {
        let reply = admin.delete(&format!("{TOKENS}/{id}")).await.unwrap();
        assert_eq!(code(&reply), (404, "UNKNOWN_SERVICE_TOKEN".into()), "{id}");
    }
    assert_eq!(code(&admin.get(&format!("{TOKENS}?after=x")).await.unwrap()), (400, "BAD_REQUEST".into()));
}
