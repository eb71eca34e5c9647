//! Several nodes on one database: they share the work, see each other, and lose nothing when one dies.

use std::fs;
use std::time::Duration;

use jeton_emulator::{Emulator, Fault, Settings};
use jeton_testkit::{ServerProcess, TestInstallation};
use serde_json::Value;
use tokio::time::Instant;

use crate::fixture::{PATIENCE, connection, error_line, run, until};

/// Two homes on one database, with one connection to a provider whose tokens live for a moment.
async fn two_nodes(life: Duration) -> (Emulator, TestInstallation, TestInstallation) {
    let emulator = Emulator::start(Settings { access_ttl: life, ..Settings::default() }).await.unwrap();
    let mut home = TestInstallation::on_postgres().unwrap();
    home.set("keeper", "lease", "3s").unwrap();
    home.set("keeper", "redeem_timeout", "2s").unwrap();
    home.add_connection("acme", connection(&emulator)).unwrap();
    let token = emulator.mint(1).remove(0);
    let connect = home.command(["connect", "acme", "--refresh-token-stdin"]).unwrap();
    connect.stdin(token.reveal()).run(PATIENCE).await.unwrap().success().unwrap();
    let other = home.another_node().unwrap();
    (emulator, home, other)
}

async fn serve(home: &TestInstallation) -> ServerProcess {
    let mut server = home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    server
}

async fn token(server: &ServerProcess) -> Value {
    server.client().get_json("/api/v1/connections/acme/token").await.unwrap()
}

#[tokio::test]
async fn nodes_give_out_the_same_token_and_a_dead_ones_work_is_taken_over() {
    let (emulator, home, other) = two_nodes(Duration::from_secs(2)).await;
    let (mut one, two) = (serve(&home).await, serve(&other).await);
    let (first, second) = (token(&one).await, token(&two).await);
    assert!(emulator.accepts(first["access_token"].as_str().unwrap()), "{first}");
    assert!(emulator.accepts(second["access_token"].as_str().unwrap()), "{second}");
    let nodes = run(&home, ["status", "--nodes", "--json"]).await.json().unwrap();
    assert_eq!(nodes.as_array().unwrap().len(), 2, "{nodes}");
    let before = emulator.stats().rotations;
    until("two rotations by two nodes", async || emulator.stats().rotations > before + 1).await;
    // Not while it has a refresh in its hands, which would have to wait until its outcome is known.
    let known = token(&one).await["generation"].as_u64();
    until("a refresh is over", async || token(&one).await["generation"].as_u64() > known).await;
    one.kill().await.unwrap();
    let before = emulator.stats().rotations;
    until("the other goes on", async || emulator.stats().rotations > before + 1).await;
    assert!(emulator.accepts(token(&two).await["access_token"].as_str().unwrap()));
    let stats = emulator.stats();
    assert_eq!((stats.replays, stats.reuse_kills, stats.overlaps), (0, 0, 0), "{stats:?}");
}

#[tokio::test]
async fn what_a_node_had_in_its_hands_when_it_was_killed_is_recovered_by_another() {
    let grace = Duration::from_mins(5);
    let emulator = Emulator::start(Settings { reuse_grace: grace, ..Settings::default() }).await.unwrap();
    let mut home = TestInstallation::on_postgres().unwrap();
    home.set("keeper", "lease", "3s").unwrap();
    home.set("keeper", "redeem_timeout", "2s").unwrap();
    let forgiving = connection(&emulator).with_policy("reuse_grace", "5m").with_policy("unknown_hold", "1s");
    home.add_connection("acme", forgiving).unwrap();
    let connect = home.command(["connect", "acme", "--refresh-token-stdin"]).unwrap();
    let token_text = emulator.mint(1).remove(0);
    connect.stdin(token_text.reveal()).run(PATIENCE).await.unwrap().success().unwrap();

    emulator.enqueue([Fault::none().slow_after(Duration::from_secs(5))]);
    let mut one = home.command(["serve"]).unwrap().serve().unwrap();
    until("its request is under way", async || emulator.stats().in_flight == 1).await;
    one.kill().await.unwrap();
    // Its data directory lasts as long as it does.
    let other = home.another_node().unwrap();
    let two = serve(&other).await;
    until("the other has recovered it", async || {
        two.client().get("/api/v1/connections/acme/token?wait=0").await.unwrap().status == 200
    })
    .await;
    assert!(emulator.accepts(token(&two).await["access_token"].as_str().unwrap()));
    let stats = emulator.stats();
    assert_eq!((stats.requests, stats.reuse_kills), (2, 0), "sent once, and once more on record: {stats:?}");
    let log = run(&home, ["logs", "--json", "--connection", "acme"]).await.json().unwrap();
    assert_eq!(log[1]["status"], "interrupted", "{log}");
    assert_eq!(log[0]["recovers"], log[1]["id"], "{log}");
}

#[tokio::test]
async fn what_one_node_fetches_the_other_has_at_once() {
    let (emulator, home, other) = two_nodes(Duration::from_hours(1)).await;
    let (one, two) = (serve(&home).await, serve(&other).await);
    let first = token(&one).await;
    until("both have it", async || token(&two).await["access_token"] == first["access_token"]).await;
    // In memory: the database is not asked for it.
    let spent = emulator.stats().accepted;
    let refreshed = run(&other, ["refresh", "--connection", "acme", "--force", "--sync"]).await;
    refreshed.success().unwrap();
    let asked = Instant::now();
    until("both hear of the new one", async || {
        let (one, two) = (token(&one).await, token(&two).await);
        one["access_token"] != first["access_token"] && one["access_token"] == two["access_token"]
    })
    .await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(emulator.stats().accepted, spent + 1);
}

#[tokio::test]
async fn a_node_with_other_settings_or_another_key_is_told_so() {
    let (emulator, home, mut other) = two_nodes(Duration::from_hours(1)).await;
    let one = serve(&home).await;
    other.add_connection("more", connection(&emulator)).unwrap();
    let two = serve(&other).await;
    until("the difference is logged", async || {
        two.output().unwrap().contains("has other definitions than this one")
    })
    .await;
    let told = run(&other, ["status"]).await;
    assert!(told.stderr.contains("has other definitions than this one"), "{told:?}");
    drop(one);

    let third = other.another_node().unwrap();
    let own = third.path().join("own-key");
    let key = third.command(["serve"]).unwrap().env("JETON__KEY_FILE", &own.display().to_string());
    let error = error_line(&key.run(PATIENCE).await.unwrap(), 1);
    assert!(error.contains("own-key") && error.contains("is missing"), "{error}");
}

#[tokio::test]
async fn a_copied_data_directory_is_on_hold_until_it_is_adopted() {
    let (emulator, home, other) = two_nodes(Duration::from_hours(1)).await;
    fs::create_dir(other.data_dir()).unwrap();
    fs::copy(home.data_dir().join("instance"), other.data_dir().join("instance")).unwrap();
    let finished = run(&other, ["status"]).await;
    assert!(finished.stderr.contains("on hold"), "{finished:?}");
    let refused = error_line(&run(&other, ["token", "acme"]).await, 1);
    assert!(refused.contains("hold"), "{refused}");
    assert_eq!(emulator.stats().accepted, 0);
    run(&other, ["adopt"]).await.success().unwrap();
    run(&other, ["token", "acme"]).await.success().unwrap();
    assert!(!run(&home, ["status"]).await.stderr.contains("on hold"), "the first node is what it was");
}
