//! The shapes of JSON answers: programs are written against them.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::fixture::{Fixture, PATIENCE, run};

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_members_of_every_answer_are_these() {
    let (fixture, _) = Fixture::connected().await;
    let token = fixture.run(["token", "acme", "--json"]).await.json().unwrap();
    let expected = ["access_token", "expires_at", "expires_in", "fingerprint", "generation", "token_type"];
    assert_eq!(members(&token), expected.into());

    let status = fixture.run(["status", "--json"]).await.json().unwrap();
    let expected = [
        "name",
        "provider",
        "condition",
        "code",
        "starts_itself",
        "paused",
        "orphaned",
        "generation",
        "fingerprint",
        "obtained_at",
        "expires_at",
        "refresh_expires_at",
        "due_at",
        "failures",
        "failing_since",
        "last_error",
        "missing_scopes",
        "granted_scopes",
        "provider_message",
        "interrupted_attempt",
        "strays",
        "unavailable",
    ];
    assert_eq!(members(&status[0]), expected.into());
    assert_eq!(status[0]["condition"], "live");
    assert_eq!(status[0]["generation"], token["generation"]);

    let logs = fixture.run(["logs", "--json", "--lines", "1"]).await.json().unwrap();
    assert_eq!(logs.as_array().unwrap().len(), 1);
    assert_eq!(
        (&logs[0]["act"], &logs[0]["status"], &logs[0]["trigger"]),
        (&"redeem".into(), &"success".into(), &"on_demand".into())
    );

    let refreshed = fixture.run(["refresh", "--force", "--json"]).await.json().unwrap();
    assert_eq!(members(&refreshed[0]), ["connection", "expires_at", "generation", "status"].into());
    assert_eq!(refreshed[0]["status"], "done");
    let refreshed = fixture.run(["refresh", "--json"]).await.json().unwrap();
    assert_eq!(refreshed[0]["status"], "not_due");

    let paused = fixture.run(["pause", "acme", "--json"]).await.json().unwrap();
    assert_eq!(paused, serde_json::json!({ "connection": "acme", "result": "paused" }));
    let checked = fixture.run(["config", "check", "--json"]).await.json().unwrap();
    assert_eq!(members(&checked), ["faults", "ok", "warnings"].into());
    assert_eq!(checked["ok"], true);
}

#[tokio::test]
async fn an_error_is_a_problem_document_on_standard_error() {
    let fixture = Fixture::new().await;
    fixture.home.service_token("first", &[]).await.unwrap();
    let finished = fixture.run(["token", "acme", "--json"]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""));
    let problem: Value = serde_json::from_str(&finished.stderr).unwrap();
    assert_eq!(problem["code"], "NOT_CONNECTED");
    assert_eq!(problem["type"], "urn:jeton:error:NOT_CONNECTED");
    assert!(problem["detail"].as_str().unwrap().contains("`jeton connect acme`"));
}

#[tokio::test]
async fn what_is_in_force_is_shown_with_its_origin_and_without_secrets() {
    let fixture = Fixture::new().await;
    let show = fixture.home.command(["config", "show", "--json"]).unwrap().env("JETON__KEEPER__WAIT", "7s");
    let finished = show.run(PATIENCE).await.unwrap();
    assert!(!finished.stdout.contains("emulated-secret"));
    let shown = finished.json().unwrap();
    let find = |name: &str| shown.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    let wait = find("keeper.wait");
    assert_eq!((&wait["value"], &wait["origin"]["variable"]), (&"7s".into(), &"JETON__KEEPER__WAIT".into()));
    let secret = find("connections.acme.client.secret");
    assert_eq!((&secret["value"], &secret["hidden"]), (&Value::Null, &true.into()));
    assert_eq!(secret["origin"]["source"], "file");
    assert_eq!(find("API_KEY")["hidden"], true);
    let text = fixture.run(["config", "show"]).await.success().unwrap();
    assert!(
        text.contains("connections.acme.client.secret = [hidden]") && !text.contains("emulated-secret"),
        "{text}"
    );
}

#[tokio::test]
async fn provider_files_are_listed_shown_and_tested() {
    let mut home = jeton_testkit::TestInstallation::new().unwrap();
    let listed = run(&home, ["provider", "list", "--json"]).await.json().unwrap();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"amocrm") && names.contains(&"oauth2"), "{names:?}");
    let shown = run(&home, ["provider", "show", "amocrm", "--json"]).await.json().unwrap();
    assert!(shown["hosts"].as_array().unwrap().contains(&"*.amocrm.ru".into()));
    assert_eq!(shown["confidence"]["policy.idle_keepalive"], "unverified");
    let shown = run(&home, ["provider", "show", "amocrm"]).await.success().unwrap();
    let unsure = shown.lines().find(|line| line.starts_with("unverified: ")).unwrap();
    assert!(unsure.contains("policy.idle_keepalive") && !unsure.contains("policy.rotation"), "{shown}");
    let tested = run(&home, ["provider", "test", "--json"]).await.json().unwrap();
    assert!(
        tested.as_array().unwrap().len() > 20
            && tested.as_array().unwrap().iter().all(|one| one["passed"] == true)
    );

    let file = home.path().join("mine.toml");
    let text = "name = 'mine'\ntitle = 'Mine'\nhosts = ['login.example.com']\n[refresh]\nurl = 'https://login.example.com/t'\n\
                form = { grant_type = 'refresh_token', refresh_token = '${refresh}' }\n[client]\nauth = 'none'\n\
                [[tests]]\nname = 'a promise'\nstep = 'refresh'\nslots = { refresh = 'r' }\n\
                reply = { status = 400, json = { error = 'invalid_grant' } }\nexpect = { outcome = 'tokens' }\n";
    fs::write(&file, text).unwrap();
    let broken = run(&home, ["provider", "test", file.to_str().unwrap()]).await;
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(broken.stdout.contains("mine: wrong: a promise (line 9)"), "{broken:?}");
    assert!(broken.stdout.ends_with("1 vectors, 1 wrong\n"), "{broken:?}");
    home.set("providers", "paths", vec![toml::Value::from("mine.toml")]).unwrap();
    let listed = run(&home, ["provider", "list"]).await.success().unwrap();
    assert!(listed.lines().any(|line| line.starts_with("mine ") && line.contains(" file ")), "{listed}");
}

#[tokio::test]
async fn what_was_typed_or_written_is_shown_without_what_a_terminal_would_obey() {
    let (fixture, _) = Fixture::connected().await;
    let evil = "\u{1b}]0;x\u{7}\u{202e}\u{9b}31m";
    for arguments in [
        vec!["token", evil],
        vec!["refresh", "--connection", evil],
        vec!["status", evil],
        vec!["logs", evil],
        vec!["connect", evil],
        vec!["pause", evil],
        vec![evil],
        vec!["token", "acme", "--min-ttl", evil],
        vec!["provider", "show", evil],
        vec!["service-token", "create", evil],
        vec!["service-token", "revoke", evil],
        vec!["--set", evil, "status"],
    ] {
        let finished = fixture.home.command(arguments.clone()).unwrap().run(PATIENCE).await.unwrap();
        for written in [&finished.stdout, &finished.stderr] {
            let is_bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!written.contains(is_bad), "{arguments:?}: {written:?}");
        }
    }
    let notes = format!("of the shop {evil}");
    let create = ["service-token", "create", "bot1", "--notes", notes.as_str()];
    fixture.run(create).await.success().unwrap();
    let listed = fixture.run(["service-token", "list"]).await.success().unwrap();
    assert!(listed.contains("of the shop \\u{1b}]0;x\\u{7}\\u{202e}\\u{9b}31m"), "{listed:?}");
    let json = fixture.run(["service-token", "list", "--json"]).await.json().unwrap();
    assert_eq!(json[0]["notes"], notes.as_str(), "programs get what was written");
}

#[tokio::test]
async fn a_command_says_once_what_is_wrong() {
    let (fixture, token) = Fixture::connected().await;
    fixture.emulator.revoke_grant(token.reveal());
    for _ in 0..4 {
        fixture.run(["refresh", "--connection", "acme", "--force", "--sync"]).await;
    }
    let finished = fixture.run(["token", "acme"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1, "no log line above it: {finished:?}");
    assert!(finished.stderr.starts_with("error: "), "{finished:?}");
}
