//! No secret in anything that is written, at the most talkative level.

use std::time::Duration;

use jeton_emulator::{Ending, Mood, Settings, Temper};
use jeton_testkit::{Client, TempHome, grep_tree};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::house::{House, PATIENCE};

#[tokio::test]
async fn no_secret_is_written_at_trace_level() {
    let settings = Settings { access_ttl: Duration::from_secs(2), ..Settings::default() };
    let house = House::with(settings).await;
    let first = house.connect("acme").await;
    // A good reply, then one that cannot be read and is kept, then the one recovery, which the provider refuses.
    house.emulator.set_temper(Temper::next([Mood::default(), Mood::ending(Ending::Garbage)]));
    let serve =
        house.home.command(["serve"]).unwrap().env("JETON__LOG__LEVEL", "trace,hyper=trace,rustls=trace");
    let serve = serve.env("JETON__CONNECTIONS__ACME__POLICY__UNKNOWN_HOLD", "100ms");
    let mut server = serve.serve().unwrap();
    server.ready(PATIENCE).await.unwrap();
    let mut seen = Vec::new();
    let begun = Instant::now();
    while house.emulator.stats().requests < 3 {
        assert!(begun.elapsed() < PATIENCE, "{}", server.written().unwrap());
        seen.extend(ask(&server.client()).await);
        sleep(Duration::from_millis(50)).await;
    }
    server.terminate().unwrap();
    server.wait(PATIENCE).await.unwrap();
    assert!(!seen.is_empty(), "{}", server.written().unwrap());

    let second = house.connect("acme").await;
    house.emulator.set_temper(Temper::next([Mood::ending(Ending::WrongClient)]));
    let refresh = house.home.command(["refresh", "--force"]).unwrap().env("JETON__LOG__LEVEL", "trace");
    assert!(refresh.run(PATIENCE).await.unwrap().stdout.contains("failed"));

    let written = server.written().unwrap();
    assert!(written.contains("TRACE jeton") || written.contains("DEBUG jeton"), "the level is in force");
    assert!(!written.contains("TRACE hyper") && !written.contains("DEBUG hyper"), "others are held at info");
    seen.sort_unstable();
    seen.dedup();
    let secrets = seen.iter().map(String::as_str).chain([first.reveal(), second.reveal(), TempHome::API_KEY]);
    for secret in secrets {
        assert_eq!(grep_tree(house.home.path(), secret).unwrap(), [], "a secret is written in clear");
    }
    // The settings file is where the client secret was written by its owner.
    let leaks = grep_tree(house.home.path(), "emulated-secret").unwrap();
    assert!(leaks.iter().all(|leak| leak.file == house.home.settings()), "{leaks:?}");
}

/// Asks for a token and reports it as refused; gives it.
async fn ask(client: &Client) -> Option<String> {
    let reply = client.get("/api/v1/connections/acme/token").await.unwrap();
    let token = reply.json().unwrap()["access_token"].as_str()?.to_owned();
    client.post("/api/v1/connections/acme/token/reject", &json!({ "access_token": token })).await.unwrap();
    Some(token)
}
