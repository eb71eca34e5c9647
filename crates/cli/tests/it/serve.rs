//! `jeton serve`: the key, the signals, and commands beside it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use jeton_emulator::{Behaviour, Fault, Settings};
use jeton_testkit::{Client, TestInstallation, grep_tree};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::fixture::{Fixture, PATIENCE};
use crate::terminal::Person;

async fn token(client: &Client) -> Option<Value> {
    let reply = client.get("/api/v1/connections/acme/token").await.unwrap();
    reply.status.is_success().then(|| reply.json().unwrap())
}

#[tokio::test]
async fn what_is_connected_beside_a_running_server_is_served_by_it() {
    let fixture = Fixture::new().await;
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let log = server.output().unwrap();
    let migrated: Vec<&str> = log.lines().filter(|line| line.contains("the schema of the store")).collect();
    // The database that a test has on PostgreSQL is migrated already.
    let expected = usize::from(fixture.home.postgres().is_none());
    assert_eq!(migrated.len(), expected, "{log}");
    assert!(migrated.iter().all(|line| line.contains("from=0 to=")), "{log}");
    assert_eq!(token(&server.client()).await, None);
    fixture.connect("acme").await;
    let begun = Instant::now();
    let given = loop {
        if let Some(given) = token(&server.client()).await {
            break given;
        }
        assert!(begun.elapsed() < PATIENCE, "{}", server.output().unwrap());
        sleep(Duration::from_millis(20)).await;
    };
    assert!(fixture.emulator.accepts(given["access_token"].as_str().unwrap()));
    let printed = fixture.run(["token", "acme"]).await.success().unwrap();
    assert_eq!(
        printed.trim_end(),
        given["access_token"],
        "the command finds the token that the server fetched"
    );
    assert_eq!(fixture.spent(), 1);
}

#[tokio::test]
async fn connections_are_kept_alive_with_nobody_asking_and_nothing_being_logged() {
    let settings = Settings { access_ttl: Duration::from_secs(2), ..Settings::default() };
    let fixture = Fixture::with(settings).await;
    fixture.connect("acme").await;
    let serve = fixture.home.command(["serve"]).unwrap().env("JETON__LOG__LEVEL", "error");
    let mut server = serve.serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let begun = Instant::now();
    while fixture.spent() < 3 {
        assert!(begun.elapsed() < PATIENCE, "{}", server.output().unwrap());
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(fixture.emulator.stats().accepted, fixture.spent());
}

#[tokio::test]
async fn a_key_is_made_at_the_first_start_given_once_in_a_private_file_and_kept_as_a_hash() {
    let (fixture, _) = Fixture::connected().await;
    let start = || fixture.home.command(["serve"]).unwrap().without_env("API_KEY").serve().unwrap();
    let mut server = start();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let file = fixture.home.data_dir().join("api-key");
    let key = fs::read_to_string(&file).unwrap().trim_end().to_owned();
    assert!(key.starts_with("jtk_"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let written = server.output().unwrap();
    assert!(!written.contains("jtk_"), "standard output may be a log: {written}");
    assert!(written.contains(&format!("file={}", file.display())), "{written}");
    let left = fs::read_dir(fixture.home.data_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().contains("api-key")).count(), 1);
    let client = |key: &str, base: &str| Client::new(base).with_header("x-api-key", key);
    let get =
        async |key: &str, base: &str| client(key, base).get("/api/v1/connections").await.unwrap().status;
    assert_eq!(get(&key, &server.base_url()).await, 200);
    assert_eq!(get("jtk_wrong", &server.base_url()).await, 403);
    server.terminate().unwrap();
    server.wait(PATIENCE).await.unwrap();

    fs::remove_file(&file).unwrap();
    let mut server = start();
    server.wait_until_ready(PATIENCE).await.unwrap();
    assert!(!file.exists(), "it is given once");
    assert_eq!(get(&key, &server.base_url()).await, 200);
    assert_eq!(grep_tree(&fixture.home.data_dir(), &key).unwrap(), []);
}

#[test]
fn at_a_terminal_the_first_key_is_shown_there_and_written_nowhere() {
    let home = TestInstallation::new().unwrap();
    let mut person = Person::run(&home, &["serve", "--listen", "127.0.0.1:0"]);
    person.reads("shown only now");
    person.reads("X-API-KEY");
    let key = person.seen.split_whitespace().find(|word| word.starts_with("jtk_")).expect("it is shown");
    person.child.kill().unwrap();
    person.child.wait().unwrap();
    assert!(!home.data_dir().join("api-key").exists());
    assert_eq!(grep_tree(&home.data_dir(), key).unwrap(), []);
}

#[tokio::test]
async fn a_key_that_no_header_can_carry_is_refused() {
    let fixture = Fixture::new().await;
    let serve = fixture.home.command(["serve"]).unwrap().env("API_KEY", "with spaces");
    let sentence = crate::fixture::error_line(&serve.run(PATIENCE).await.unwrap(), 1);
    assert!(
        sentence.starts_with(
            "environment API_KEY: a key or service token is one or more visible ASCII characters"
        ),
        "{sentence}"
    );
}

#[tokio::test]
async fn a_key_that_can_be_guessed_is_refused_at_the_start_and_by_the_doctor_with_the_cure() {
    let fixture = Fixture::new().await;
    for weak in ["a", "short", "0123456789abcdef0123456789abcdef", "my-secure-bot1-token-2024"] {
        let serve = fixture.home.command(["serve"]).unwrap().env("API_KEY", weak);
        let sentence = crate::fixture::error_line(&serve.run(PATIENCE).await.unwrap(), 1);
        assert!(sentence.starts_with("environment API_KEY: a key that can be guessed"), "{sentence}");
        assert!(sentence.contains("`openssl rand -hex 32`"), "{sentence}");
        assert!(weak.len() == 1 || !sentence.contains(weak), "{sentence}");
        let doctor = fixture.home.command(["doctor", "--offline"]).unwrap().env("API_KEY", weak);
        let found = doctor.run(PATIENCE).await.unwrap();
        assert_eq!(found.code, Some(1), "{found:?}");
        assert!(found.stdout.contains("environment API_KEY: a key that can be guessed"), "{found:?}");
    }
}

#[tokio::test]
async fn a_refresh_under_way_goes_to_its_end_before_the_server_ends() {
    let (fixture, _) = Fixture::connected().await;
    fixture
        .emulator
        .set_behaviour(Behaviour::from_queue([Fault::none().slow_after(Duration::from_millis(1500))]));
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    under_way(&fixture).await;
    server.terminate().unwrap();
    let status = server.wait(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", server.output().unwrap());
    let state = fixture.run(["status", "acme", "--json"]).await.json().unwrap();
    assert_eq!((&state[0]["condition"], &state[0]["generation"]), (&"live".into(), &2.into()), "{state}");
}

#[tokio::test]
async fn a_second_signal_ends_the_server_at_once_and_the_attempt_stays_on_record() {
    let (fixture, _) = Fixture::connected().await;
    fixture
        .emulator
        .set_behaviour(Behaviour::from_queue([Fault::none().slow_after(Duration::from_secs(25))]));
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    under_way(&fixture).await;
    server.terminate().unwrap();
    let begun = Instant::now();
    while !server.output().unwrap().contains("shutting down") {
        assert!(begun.elapsed() < PATIENCE, "{}", server.output().unwrap());
        sleep(Duration::from_millis(10)).await;
    }
    server.terminate().unwrap();
    let status = server.wait(Duration::from_secs(5)).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", server.output().unwrap());
    let logs = fixture.run(["logs", "--json"]).await.json().unwrap();
    assert_eq!(logs[0]["status"], "running", "its lease still runs: {logs}");
}

/// Waits until the provider has a request in its hands.
async fn under_way(fixture: &Fixture) {
    let begun = Instant::now();
    while fixture.emulator.stats().in_flight == 0 {
        assert!(begun.elapsed() < PATIENCE, "no refresh began");
        sleep(Duration::from_millis(10)).await;
    }
}
