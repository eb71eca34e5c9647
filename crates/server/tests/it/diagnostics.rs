//! Diagnostics in the format of the older gateway.

use jeton_core::secret::Secret;
use jeton_core::time::{Clock as _, SystemClock};
use jeton_keeper::Grant;
use serde_json::{Value, json};

use crate::app::{TestEnv, operator};
use crate::consent_app::ConsentApp;

const STATUS: &str = "/api/v1/diagnostics/token-status";
const CONFIG: &str = "/api/v1/diagnostics/config";

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_state_of_the_tokens_is_shown_to_the_letter() {
    let app = ConsentApp::of("amocrm").await;
    let access = format!("{}.{}.{}", "eyJ0eXAiOiJKV1Qi", "b".repeat(40), "c".repeat(20));
    let grant = Grant {
        access: Some(Secret::new(access.clone())),
        access_expires_at: Some(SystemClock.now() + std::time::Duration::from_hours(3)),
        refresh: Some(Secret::new("r".repeat(60))),
        refresh_expires_at: None,
    };
    app.server.vault.connect("acme", grant, &operator()).await.unwrap();
    let answer = app.server.client().get_json(STATUS).await.unwrap();
    assert_eq!(keys(&answer), ["data", "success"]);
    assert_eq!(answer["success"], true);
    let data = &answer["data"];
    let names = [
        "access_token_preview",
        "current_datetime",
        "current_time",
        "expires_datetime",
        "refresh_token_length",
        "storage_path",
        "token_validation",
    ];
    assert_eq!(keys(data), names);
    let validation = &data["token_validation"];
    assert_eq!(keys(validation), ["expired", "expires_at", "expires_in", "valid"]);
    assert_eq!((&validation["valid"], &validation["expired"]), (&json!(true), &json!(false)));
    let (at, left) = (validation["expires_at"].as_i64().unwrap(), validation["expires_in"].as_i64().unwrap());
    assert_eq!(at - left, data["current_time"].as_i64().unwrap());
    assert!((10_700..=10_800).contains(&left), "{left}");
    assert_eq!(data["access_token_preview"], "eyJ0eXAiOiJK...");
    assert_eq!((&data["refresh_token_length"], &data["storage_path"]), (&json!(60), &json!("the-store")));
    for name in ["current_datetime", "expires_datetime"] {
        let shape: String = data[name].as_str().unwrap().replace(|c: char| c.is_ascii_digit(), "9");
        assert_eq!(shape, "9999-99-99 99:99:99", "{name}");
    }
    assert!(!answer.to_string().contains(&access) && !answer.to_string().contains("rrrr"), "{answer}");
}

#[tokio::test]
async fn the_background_tasks_of_a_started_vault_are_listed() {
    let app = ConsentApp::of("amocrm").await;
    app.server.vault.start().await.unwrap();
    app.server.vault.loaded().await;
    let answer = app.server.client().get_json("/api/v1/diagnostics/background-tasks").await.unwrap();
    let tasks = answer["tasks"].as_array().unwrap();
    let names: Vec<_> = tasks.iter().map(|task| task["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "follow_changes",
            "refresh_due",
            "compare_clocks",
            "return_spilled",
            "load_connections",
            "start_connections"
        ]
    );
    assert!(tasks.iter().all(|task| task["last_error"].is_null() && task["panics"] == 0), "{answer}");
    app.server.vault.drain().await;
}

#[tokio::test]
async fn what_is_wrong_with_the_tokens_is_listed() {
    let app = ConsentApp::of("amocrm").await;
    let grant = Grant {
        access: Some(Secret::new("no-jwt-at-all-but-long-enough-to-be-cut")),
        access_expires_at: Some(SystemClock.now() - std::time::Duration::from_mins(1)),
        ..Grant::default()
    };
    app.server.vault.connect("acme", grant, &operator()).await.unwrap();
    let answer = app.server.client().get_json(STATUS).await.unwrap();
    let validation = &answer["data"]["token_validation"];
    assert_eq!((&validation["valid"], &validation["expired"]), (&json!(false), &json!(true)));
    assert!(validation["expires_in"].as_i64().unwrap() < 0);
    let wrong = ["the access token is no JWT of three parts", "there is no refresh token"];
    assert_eq!(validation["errors"], json!(wrong));
}

#[tokio::test]
async fn what_is_not_connected_and_what_is_dead_is_told_in_the_same_shape() {
    let (env, server) = TestEnv::start(&["acme"]).await;
    let names = [
        "access_token_preview",
        "current_datetime",
        "current_time",
        "expires_datetime",
        "refresh_token_length",
        "storage_path",
        "token_validation",
    ];
    let before = server.client().get_json(STATUS).await.unwrap();
    assert_eq!(keys(&before["data"]), names);
    let expected = json!({ "valid": false, "expired": true, "expires_at": null, "expires_in": null,
        "errors": ["nothing is connected: there are no tokens"] });
    assert_eq!(before["data"]["token_validation"], expected);
    assert_eq!(before["data"]["refresh_token_length"], 0);

    let refresh = server.connect(&env, "acme").await;
    assert!(env.emulator.revoke_grant(refresh.reveal()));
    let refused = server.client().get("/api/v1/connections/acme/token").await.unwrap();
    assert_eq!(refused.status, 424, "{}", refused.text());
    let dead = server.client().get_json(STATUS).await.unwrap();
    assert_eq!(keys(&dead["data"]), names);
    let validation = &dead["data"]["token_validation"];
    assert_eq!((&validation["valid"], &validation["expired"]), (&json!(false), &json!(true)));
    let why = validation["errors"][0].as_str().unwrap();
    assert!(why.starts_with("the grant is dead (invalid_grant)"), "{dead}");
}

#[tokio::test]
async fn the_configuration_is_shown_to_the_letter_and_without_secrets() {
    let app = ConsentApp::of("amocrm").await;
    let before = app.server.client().get_json(CONFIG).await.unwrap();
    assert_eq!(keys(&before["data"]), ["client_id", "domain", "redirect_uri", "token_storage_path"]);
    crate::consent_app::page(&app.call_back(&app.consent().await).await, 200, "Connected");
    let answer = app.server.client().get_json(CONFIG).await.unwrap();
    let data = &answer["data"];
    assert_eq!(data["domain"], "acme.amocrm.ru", "as the callback captured it: {data}");
    assert!(data["client_id"].as_str().unwrap().ends_with("..."), "{data}");
    assert!(data["redirect_uri"].as_str().unwrap().ends_with("/oauth/callback"), "{data}");
    assert_eq!(data["token_storage_path"], "the-store");
    assert!(!answer.to_string().contains("hush"), "{answer}");
}

#[tokio::test]
async fn with_more_than_one_connection_the_caller_names_one() {
    let (env, server) = TestEnv::start(&["acme", "other"]).await;
    server.connect(&env, "other").await;
    let asked = server.client().get(STATUS).await.unwrap();
    assert_eq!(asked.status, 400);
    assert!(asked.text().contains("?connection=NAME"), "{}", asked.text());
    let named = server.client().get_json(&format!("{STATUS}?connection=other")).await.unwrap();
    assert_eq!(named["data"]["token_validation"]["errors"], json!(["there is no access token"]));
    assert_eq!(server.client().get(&format!("{CONFIG}?connection=nobody")).await.unwrap().status, 404);
    assert_eq!(server.anonymous().get(STATUS).await.unwrap().status, 403);
}
