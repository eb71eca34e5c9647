//! Who may force a refresh, and how often.

use std::time::Duration;

use jeton_core::keep::ports::{AttemptFilter, OperatorCommand};
use jeton_emulator::{Fault, FaultKind};
use jeton_testkit::{Client, Reply};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::app::{TestEnv, TestServer, operator};

const ACME: &str = "/api/v1/connections/acme";

async fn refresh(client: &Client, force: bool) -> Reply {
    client.post(&format!("{ACME}/refresh"), &json!({ "force": force })).await.unwrap()
}

/// The status of a refresh that went well.
async fn refreshed(client: &Client, force: bool) -> String {
    let reply = refresh(client, force).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json().unwrap()["status"].as_str().unwrap().to_owned()
}

/// How many rows the refresh log has.
async fn rows(server: &TestServer) -> usize {
    server.vault.attempts(&AttemptFilter::default(), 10_000).await.unwrap().len()
}

fn missing_scope(reply: &Reply) -> Value {
    let body = reply.json().unwrap();
    assert_eq!((reply.status.as_u16(), &body["code"]), (403, &"SCOPE_INSUFFICIENT".into()), "{body}");
    body["missing_scope"].clone()
}

#[tokio::test]
async fn a_service_that_may_see_a_token_may_neither_force_its_refresh_nor_pause_or_resume_it() {
    let (env, server) = TestEnv::start_connected().await;
    let bot = server.service("bot", "token:* proxy:* read sessions operate:shop").await;
    assert_eq!(refreshed(&bot, false).await, "done", "it is due, and whoever may see the token may ask");
    let before = (env.emulator.stats().requests, rows(&server).await);
    assert_eq!(missing_scope(&refresh(&bot, true).await), "operate:acme");
    for command in ["pause", "resume"] {
        let reply = bot.post(&format!("{ACME}/{command}"), &json!({})).await.unwrap();
        assert_eq!(missing_scope(&reply), "operate:acme");
    }
    assert_eq!((env.emulator.stats().requests, rows(&server).await), before);
}

#[tokio::test]
async fn a_service_that_operates_a_connection_forces_pauses_and_resumes_it_and_sees_no_token() {
    let (env, server) = TestEnv::start_connected().await;
    let night = server.service("night", "operate:ac*").await;
    assert_eq!(refreshed(&night, true).await, "done");
    for (command, paused) in [("pause", true), ("resume", false)] {
        let reply = night.post(&format!("{ACME}/{command}"), &json!({})).await.unwrap();
        assert_eq!(reply.json().unwrap()["paused"], paused, "{}", reply.text());
    }
    assert_eq!(missing_scope(&night.get(&format!("{ACME}/token")).await.unwrap()), "token:acme");
    assert_eq!(missing_scope(&night.get(ACME).await.unwrap()), "read");
    assert_eq!(missing_scope(&night.delete(ACME).await.unwrap()), "admin");
    assert_eq!(env.emulator.stats().accepted, 1);
}

#[tokio::test]
async fn a_loop_of_forces_by_a_service_spends_one_token_and_leaves_one_row() {
    let (env, server) = TestEnv::start_connected().await;
    let night = server.service("night", "operate:acme").await;
    let before = rows(&server).await;
    assert_eq!(refreshed(&night, true).await, "done");
    let begun = Instant::now();
    for _ in 0..100 {
        refreshed(&night, true).await;
    }
    // A machine so slow that the loop outlasts the interval may refresh once more for each.
    let most = 1 + begun.elapsed().as_secs() / 5;
    let accepted = env.emulator.stats().accepted;
    assert!(accepted <= most, "{accepted} refreshes in {:?}", begun.elapsed());
    assert_eq!(rows(&server).await - before, usize::try_from(accepted).unwrap());
}

#[tokio::test]
async fn an_administrator_forces_as_often_as_it_likes() {
    let (env, server) = TestEnv::start_connected().await;
    let admin = server.admin().await;
    for _ in 0..3 {
        assert_eq!(refreshed(&admin, true).await, "done");
    }
    assert_eq!(env.emulator.stats().accepted, 3);
}

#[tokio::test]
async fn a_loop_of_asking_for_what_is_not_due_leaves_no_row() {
    let (env, server) = TestEnv::start_connected().await;
    let bot = server.service("bot", "token:acme").await;
    assert_eq!(refreshed(&bot, false).await, "done");
    let before = rows(&server).await;
    for _ in 0..50 {
        assert_eq!(refreshed(&bot, false).await, "not_due");
    }
    assert_eq!((rows(&server).await, env.emulator.stats().accepted), (before, 1));
}

#[tokio::test]
async fn the_refresh_log_names_the_service_that_asked() {
    let (_env, server) = TestEnv::start_connected().await;
    let bot = server.service("bot", "token:acme").await;
    bot.get(&format!("{ACME}/token")).await.unwrap();
    refreshed(&server.admin().await, true).await;
    let log = server.vault.attempts(&AttemptFilter::default(), 10).await.unwrap();
    let asked: Vec<String> =
        log.iter().map(|attempt| attempt.asked_by.as_ref().unwrap().to_string()).collect();
    assert_eq!(asked, ["service:operator", "service:bot", "shell:operator@test"]);
}

#[tokio::test]
async fn what_a_provider_says_is_for_those_who_operate_a_connection_or_read_how_it_stands() {
    let (env, server) = TestEnv::start_connected().await;
    let words = async |scopes: &str| {
        env.emulator.enqueue([Fault::new(FaultKind::WrongClient)]);
        let name: String = scopes.chars().filter(char::is_ascii_lowercase).collect();
        let reply = server.service(&name, scopes).await.post(&format!("{ACME}/refresh"), &json!({})).await;
        server.vault.administer("acme", OperatorCommand::Resume, &operator()).await.unwrap();
        let body = reply.unwrap().json().unwrap();
        assert_eq!(body["code"], "REFRESH_FAILED", "{body}");
        body["provider_message"].is_string()
    };
    assert!(!words("token:acme").await);
    assert!(words("token:acme read").await);
    assert!(words("operate:acme").await);
}

#[tokio::test]
async fn a_pause_and_a_dead_grant_carry_the_words_of_the_provider_to_those_callers_alone() {
    let (env, server) = TestEnv::start_connected().await;
    let mut clients = Vec::new();
    for (name, scopes, reads) in
        [("bot", "token:acme", false), ("reader", "token:acme read", true), ("night", "operate:acme", true)]
    {
        clients.push((server.service(name, scopes).await, reads));
    }
    let assert_told = async |code: &str| {
        for (client, reads) in &clients {
            let body = refresh(client, false).await.json().unwrap();
            assert_eq!(body["code"], code, "{body}");
            let detail = body["detail"].as_str().unwrap();
            assert_eq!(
                (body["provider_message"].is_string(), detail.contains("the provider says: ")),
                (*reads, *reads),
                "{body}"
            );
        }
    };
    env.emulator.enqueue([Fault::new(FaultKind::WrongClient)]);
    assert_eq!(refresh(&clients[0].0, false).await.json().unwrap()["code"], "REFRESH_FAILED");
    assert_told("COOLING_DOWN").await;
    server.vault.administer("acme", OperatorCommand::Resume, &operator()).await.unwrap();
    // Refused and confirmed: the first caller hears of it from the provider, the others from the row.
    env.emulator.enqueue(vec![Fault::new(FaultKind::RefuseGrant); 2]);
    assert_told("REAUTHORIZATION_REQUIRED").await;
    assert_eq!(env.emulator.stats().requests, 3);
}

#[tokio::test]
async fn a_dead_grant_is_sent_again_for_an_administrator_alone_and_not_in_a_loop() {
    let (env, server) = TestEnv::start_connected().await;
    let (bot, night) =
        (server.service("bot", "token:acme").await, server.service("night", "operate:acme").await);
    let admin = server.admin().await;
    env.emulator.enqueue(vec![Fault::new(FaultKind::RefuseGrant); 2]);
    assert_eq!(refresh(&bot, false).await.json().unwrap()["code"], "REAUTHORIZATION_REQUIRED");
    let before = (env.emulator.stats().requests, rows(&server).await);
    assert_eq!(missing_scope(&refresh(&bot, true).await), "operate:acme");
    for _ in 0..5 {
        assert_eq!(refresh(&night, true).await.json().unwrap()["code"], "REAUTHORIZATION_REQUIRED");
        let spaced = refresh(&admin, true).await.json().unwrap();
        assert_eq!(spaced["code"], "COOLING_DOWN", "{spaced}");
        assert!(spaced["retry_after"].as_u64().unwrap() <= 10, "{spaced}");
    }
    assert_eq!((env.emulator.stats().requests, rows(&server).await), before);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(refreshed(&admin, true).await, "done", "the provider accepts it, and the grant lives again");
    assert_eq!(refreshed(&night, true).await, "not_due");
}
