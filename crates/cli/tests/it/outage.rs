//! A provider that is down: what status, doctor, API and log say of it, while it is and afterwards.

use jeton_emulator::{Behaviour, Fault, FaultKind};
use jeton_testkit::ServerProcess;
use serde_json::Value;

use crate::fixture::{Fixture, PATIENCE, connection, until};

const NAMES: [&str; 4] = ["acme", "beta", "gamma", "delta"];

/// Four connections whose tokens have died, and a server. The provider answers with the page of a front end.
async fn down() -> (Fixture, ServerProcess) {
    let mut fixture = Fixture::new().await;
    fixture.home.set("keeper", "cooldown", "300ms").unwrap();
    fixture.home.set("keeper", "outage_retry", "2s").unwrap();
    for name in &NAMES[1..] {
        fixture.home.add_connection(name, connection(&fixture.emulator)).unwrap();
    }
    for name in NAMES {
        fixture.connect(name).await;
    }
    let fault = Fault::new(FaultKind::FrontEnd { status: 503, retry_after_secs: None });
    fixture.emulator.set_behaviour(Behaviour::faultless().with_chance(1.0, fault));
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    (fixture, server)
}

async fn status(fixture: &Fixture) -> Value {
    fixture.run(["status", "--json"]).await.json().unwrap()
}

fn host(fixture: &Fixture) -> String {
    fixture.emulator.token_url().split('/').nth(2).unwrap().to_owned()
}

/// What is said of the endpoint of a connection is the truth.
#[track_caller]
fn assert_told(outage: &Value, host: &str) {
    assert_eq!((&outage["client"], &outage["server"]), (&"emulated".into(), &host.into()), "{outage}");
    let instant = |name: &str| outage[name].as_str().unwrap().to_owned();
    assert!(instant("since") < instant("next_trial"), "{outage}");
    let failure = &outage["last_failure"];
    assert_eq!(failure["http_status"], 503, "{outage}");
    assert!(failure["message"].as_str().unwrap().contains("503"), "{outage}");
    let summary = outage["summary"].as_str().unwrap();
    assert!(summary.contains("has not answered since") && summary.contains("nobody needs to do anything"));
}

#[tokio::test]
async fn an_outage_is_told_with_its_begin_its_cause_and_the_next_trial_until_it_ends() {
    let (fixture, server) = down().await;
    let client = server.client();
    until("the commands hear of the outage", async || !status(&fixture).await[3]["unavailable"].is_null())
        .await;
    let host = host(&fixture);
    for connection in status(&fixture).await.as_array().unwrap() {
        assert_told(&connection["unavailable"], &host);
    }
    let text = fixture.run(["status"]).await;
    assert!(
        text.stderr.contains(&format!("unavailable: the token endpoint at `{host}` for the client")),
        "{text:?}"
    );
    assert!(text.stderr.contains("503") && text.stderr.contains("nobody needs to do anything"), "{text:?}");
    let rows: Vec<&str> = text.stdout.lines().skip(1).collect();
    let said = |row: &&str| {
        row.contains(&format!("`{host}` unavailable since ")) && row.contains("nobody is needed")
    };
    assert!(rows.len() == 4 && rows.iter().all(said), "{text:?}");
    assert!(!text.stdout.contains("jeton serve"), "a server runs: {text:?}");
    let nodes = fixture.run(["status", "--nodes"]).await.success().unwrap();
    assert!(nodes.contains("UNAVAILABLE") && nodes.contains(&host), "{nodes}");

    let doctor = fixture.run(["doctor"]).await.stdout;
    let line = doctor.lines().find(|line| line.contains("  token endpoint  ")).unwrap();
    assert!(
        line.starts_with("warning") && line.contains(&host) && line.contains("4 connections"),
        "{doctor}"
    );
    assert!(doctor.contains("4 of 4 wait for a token endpoint that does not answer"), "{doctor}");
    assert!(!doctor.contains("warning  grant") && !doctor.contains("jeton connect"), "{doctor}");

    let shown = client.get_json("/api/v1/connections/beta").await.unwrap();
    assert_told(&shown["unavailable"], &host);
    let listed = client.get_json("/api/v1/connections").await.unwrap();
    assert_told(&listed["items"][0]["unavailable"], &host);
    let endpoints = client.get_json("/api/v1/diagnostics/token-endpoints").await.unwrap();
    assert_told(&endpoints["unavailable"][0], &host);
    let refused = client.get("/api/v1/connections/acme/token").await.unwrap().json().unwrap();
    assert_eq!(refused["code"], "PROVIDER_UNAVAILABLE", "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains(&format!("`{host}` for the client `emulated` has not answered since")),
        "{detail}"
    );
    assert!(detail.ends_with("nobody needs to do anything"), "{detail}");

    let log = server.output().unwrap();
    let opened = log.lines().find(|line| line.contains("the token endpoint is unavailable")).unwrap();
    for part in [
        "client=\"emulated\"",
        &format!("server=\"{host}\""),
        "since=",
        "next_trial=",
        "status=503",
        "reason=",
    ] {
        assert!(opened.contains(part), "{part}: {opened}");
    }

    fixture.emulator.set_behaviour(Behaviour::faultless());
    until("all is well again", async || {
        let all = status(&fixture).await;
        all.as_array().unwrap().iter().all(|one| one["condition"] == "live" && one["unavailable"].is_null())
    })
    .await;
    let doctor = fixture.run(["doctor"]).await.stdout;
    assert!(!doctor.contains("token endpoint") && doctor.contains("4 of 4 are alive"), "{doctor}");
    assert!(server.output().unwrap().contains("the token endpoint answers again"));
    let endpoints = client.get_json("/api/v1/diagnostics/token-endpoints").await.unwrap();
    assert_eq!(endpoints["unavailable"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn without_a_running_server_nobody_is_said_to_try_again() {
    let (fixture, mut server) = down().await;
    until("a refresh has failed", async || status(&fixture).await[0]["failures"] != 0).await;
    server.terminate().unwrap();
    server.wait(PATIENCE).await.unwrap();
    let text = fixture.run(["status"]).await.success().unwrap();
    for row in text.lines().skip(1) {
        assert!(row.contains("nobody tries again until `jeton serve` runs"), "{text}");
        assert!(!row.contains("next trial") && !row.contains("nobody is needed"), "{text}");
    }
    let doctor = fixture.run(["doctor", "--offline"]).await.stdout;
    assert!(doctor.contains("`jeton serve` tries again, and none runs: start it"), "{doctor}");
    assert!(!doctor.contains("nobody needs to do anything"), "{doctor}");
    let since = status(&fixture).await[0]["failing_since"].as_str().unwrap().to_owned();
    assert!(
        doctor.contains(&format!("its refreshes have failed since {}", &since[..19])),
        "{since}: {doctor}"
    );
}
