//! Vaults on a PostgreSQL database: of two programs, of two processes, and of one that was copied.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use jeton::{Builder, Condition, Connection, KeySource, OpenError, Postgres, Vault};
use jeton_core::entropy::SystemEntropy;
use jeton_core::seal::KeyRing;
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{PgCluster, PgDatabase};

use crate::fixture::{ACME, Fixture, spawn_test, variable};

const DATABASE: &str = "JETON_TEST_DATABASE";
const FOLDER: &str = "JETON_TEST_FOLDER";
const TOKEN_URL: &str = "JETON_TEST_TOKEN_URL";

fn database() -> PgDatabase {
    PgCluster::shared().unwrap().empty_database().unwrap()
}

/// A program on a machine of its own: its data directory is its own, the key is that of all.
fn on_machine(database: &PgDatabase, key: &KeySource, folder: &Path) -> Builder {
    Vault::on_postgres(Postgres::at(database.url()).pool(4), folder).key(key.clone())
}

fn new_key() -> KeySource {
    KeySource::Text(KeyRing::generate(&SystemEntropy).to_text())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_vaults_on_one_database_refresh_a_token_that_two_hundred_callers_need_once() {
    let (fixture, database, key) = (Fixture::new().await, database(), new_key());
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let one = fixture.vault(on_machine(&database, &key, folders[0].path())).await;
    let two = fixture.vault(on_machine(&database, &key, folders[1].path())).await;
    one.connect(ACME, fixture.refresh_token()).await.unwrap();
    for round in 1..=3 {
        let calls = (0..200).map(|call| if call % 2 == 0 { one.token(ACME) } else { two.token(ACME) });
        let tokens: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(fixture.requests(), round, "one refresh for all of them");
        assert!(tokens.iter().all(|token| token.access == tokens[0].access));
        assert!(fixture.provider.accepts(tokens[0].access.reveal()));
        fixture.clock.advance(Duration::from_hours(2));
    }
    fixture.assert_spent_once();
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn what_is_in_the_database_outlives_its_program_and_is_sealed() {
    let (fixture, database) = (Fixture::new().await, database());
    let folder = tempfile::tempdir().unwrap();
    let vault = fixture.vault(Vault::on_postgres(database.url(), folder.path())).await;
    let refresh_token = fixture.refresh_token();
    vault.connect(ACME, refresh_token.clone()).await.unwrap();
    let token = vault.token(ACME).await.unwrap();
    vault.close().await;
    drop(vault);
    assert!(folder.path().join("key").exists());
    // Bytes are shown as they are, so that a token that was not sealed would be seen.
    let kept = PgCluster::shared().unwrap().query(
        database.name(),
        "SELECT connection || encode(access, 'escape') || encode(refresh, 'escape') FROM tokens",
    );
    let kept = format!("{:?}", kept.unwrap());
    assert!(kept.contains(ACME) && kept.len() > 2 * token.access.reveal().len(), "{kept}");
    for secret in [&token.access, &refresh_token] {
        assert!(!kept.contains(secret.reveal()), "{kept}");
    }
    let again = fixture.vault(Vault::on_postgres(database.url(), folder.path())).await;
    assert_eq!(again.token(ACME).await.unwrap().access, token.access);
    assert_eq!(fixture.requests(), 1);
    again.close().await;
}

#[tokio::test]
async fn a_data_directory_of_another_database_spends_nothing_until_it_is_told_to_follow() {
    let (fixture, key) = (Fixture::new().await, new_key());
    let (first, second) = (database(), database());
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let of_first = fixture.vault(on_machine(&first, &key, folders[0].path())).await;
    of_first.close().await;
    let of_second = fixture.vault(on_machine(&second, &key, folders[1].path())).await;
    of_second.connect(ACME, fixture.refresh_token()).await.unwrap();

    let stray = fixture.vault(on_machine(&second, &key, folders[0].path())).await;
    let held = stray.token(ACME).await.unwrap_err();
    assert!(held.to_string().contains("`Builder::adopt`"), "{held}");
    assert_eq!(fixture.requests(), 0);
    stray.close().await;
    let follows = fixture.vault(on_machine(&second, &key, folders[0].path()).adopt()).await;
    assert!(follows.token(ACME).await.is_ok());
    // The other one stays what it was: the same database is theirs in common.
    assert!(of_second.token(ACME).await.is_ok());
    let again = fixture.vault(on_machine(&second, &key, folders[1].path())).await;
    assert!(again.token(ACME).await.is_ok());
    assert_eq!(fixture.requests(), 1);
    for vault in [of_second, follows, again] {
        vault.close().await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_database_is_said_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    for (url, words) in [
        ("mysql://jeton:hush@127.0.0.1/jeton", "postgres://"),
        ("postgres://jeton:hush@127.0.0.1:1/jeton?sslmode=sideways", "sslmode"),
    ] {
        let builder = Vault::on_postgres(url, folder.path());
        let shown = format!("{builder:?}");
        let error = builder.open().await.unwrap_err();
        assert!(matches!(error, OpenError::Store(_)) && error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains("hush") && !shown.contains("hush"), "{error} {shown}");
    }
    let database = database();
    let key = new_key();
    let founded = on_machine(&database, &key, folder.path()).open().await.unwrap();
    founded.close().await;
    let error = on_machine(&database, &new_key(), folder.path()).open().await.unwrap_err();
    assert!(error.to_string().contains("is not the one this store was sealed with"), "{error}");
}

fn acme(token_url: String) -> Connection {
    Connection::at("oauth2").var("token_url", token_url).client("emulated", "emulated-secret")
}

#[tokio::test]
#[ignore = "a child of another test"]
async fn asks_for_tokens_until_it_has_seen_five() {
    let vault = Vault::on_postgres(variable(DATABASE), PathBuf::from(variable(FOLDER)))
        .connection(ACME, acme(variable(TOKEN_URL)))
        .open()
        .await
        .unwrap();
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 5 {
        seen.insert(vault.token(ACME).await.unwrap().access.reveal().to_owned());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    vault.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_database_spends_no_refresh_token_again() {
    // Access tokens live for two seconds, so that both processes need a new one again and again.
    let settings = Settings { access_ttl: Duration::from_secs(2), ..Settings::default() };
    let provider = Emulator::start(settings).await.unwrap();
    let database = database();
    let folder = tempfile::tempdir().unwrap();
    let builder = Vault::on_postgres(database.url(), folder.path());
    let vault = builder.connection(ACME, acme(provider.token_url())).open().await.unwrap();
    vault.connect(ACME, provider.mint(1).remove(0)).await.unwrap();
    let token_url = provider.token_url();
    let variables = [
        (DATABASE, database.url()),
        (FOLDER, folder.path().to_str().unwrap()),
        (TOKEN_URL, token_url.as_str()),
    ];
    let spawn = || spawn_test("postgres::asks_for_tokens_until_it_has_seen_five", variables);
    let mut processes = [spawn(), spawn()];
    for process in &mut processes {
        assert!(process.wait().unwrap().success());
    }
    let stats = provider.stats();
    assert_eq!((stats.overlaps, stats.reuse_kills, stats.invalid_grant), (0, 0, 0), "{stats:?}");
    let records = provider.records();
    let presented: std::collections::HashSet<_> =
        records.iter().filter_map(|record| record.presented.as_ref()).collect();
    assert_eq!(presented.len(), records.len(), "each refresh token went out once: {records:#?}");
    assert!(records.len() >= 5, "{stats:?}");
    vault.token(ACME).await.unwrap();
    assert_eq!(vault.status(ACME).await.unwrap().condition, Condition::Live);
    vault.close().await;
}
