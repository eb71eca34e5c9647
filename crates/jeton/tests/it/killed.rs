//! Processes that are killed in mid-refresh, and those that come after them, on one file.

use std::path::PathBuf;
use std::time::Duration;

use jeton::policy::{DurationText, PolicyOverrides};
use jeton::{Condition, Connection, Settings, Vault};
use jeton_emulator::{Behaviour, Emulator, Fault};

use crate::fixture::{spawn_test, variable};

const FILE: &str = "JETON_TEST_TOKEN_FILE";
const TOKEN_URL: &str = "JETON_TEST_TOKEN_URL";

const GRACE: Duration = Duration::from_mins(10);

/// A vault in a hurry, at a provider that gives the same successor again for a while.
async fn open(file: PathBuf, token_url: String) -> Vault {
    let settings = Settings {
        lease: Duration::from_millis(600),
        redeem_timeout: Duration::from_millis(500),
        spill_slots: 1,
        ..Settings::default()
    };
    let policy = PolicyOverrides { reuse_grace: Some(DurationText(GRACE)), ..PolicyOverrides::default() };
    let acme = Connection::at("oauth2")
        .var("token_url", token_url)
        .client("emulated", "emulated-secret")
        .policy(policy);
    Vault::on_file(file).settings(settings).connection("acme", acme).open().await.unwrap()
}

#[tokio::test]
#[ignore = "a child of another test"]
async fn refreshes_until_it_is_killed() {
    let vault = open(variable(FILE).into(), variable(TOKEN_URL)).await;
    loop {
        // It fails while the lease of the process before runs.
        let _ = vault.refresh("acme").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_left_in_mid_refresh_is_finished_by_the_next() {
    let settings = jeton_emulator::Settings { reuse_grace: GRACE, ..Default::default() };
    let provider = Emulator::start(settings).await.unwrap();
    // Slow enough to be killed while the token is spent and the reply under way.
    let fault = Fault::none().slow_after(Duration::from_millis(60));
    provider.set_behaviour(Behaviour { chances: vec![(1.0, fault)], ..Behaviour::faultless() });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    let vault = open(file.clone(), provider.token_url()).await;
    vault.connect("acme", provider.mint(1).remove(0)).await.unwrap();
    let token_url = provider.token_url();
    let variables = [(FILE, file.to_str().unwrap()), (TOKEN_URL, token_url.as_str())];
    for kill in 0_u64..12 {
        let mut process = spawn_test("killed::refreshes_until_it_is_killed", variables);
        tokio::time::sleep(Duration::from_millis(250 + kill * 67 % 300)).await;
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert!(provider.wait_until_idle(Duration::from_secs(5)).await);
    let interrupted = provider.records().iter().filter(|record| record.client_left_at.is_some()).count();
    assert!(interrupted > 0, "some were killed in mid-refresh");
    vault.refresh("acme").await.unwrap();
    let token = vault.token("acme").await.unwrap();
    assert!(provider.accepts(token.access.reveal()));
    assert_eq!(vault.status("acme").await.unwrap().condition, Condition::Live);
    let stats = provider.stats();
    assert_eq!((stats.overlaps, stats.reuse_kills, stats.invalid_grant), (0, 0, 0), "{stats:?}");
    assert!(stats.replays > 0, "what was interrupted was recovered: {stats:?}");
    vault.close().await;
}
