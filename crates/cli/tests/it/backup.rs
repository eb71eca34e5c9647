//! A backup that is made while a server runs, and put back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::fixture::{Fixture, PATIENCE, error_line, run, until};

#[tokio::test]
async fn a_backup_of_a_running_server_is_whole_private_and_sealed() {
    let (fixture, token) = Fixture::connected().await;
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    until("the server refreshed it", async || fixture.spent() == 1).await;
    let file = fixture.home.path().join("jeton.backup");
    let path = file.to_str().unwrap();
    let said = fixture.run(["backup", path]).await.success().unwrap();
    assert!(said.contains("holds the database with 1 of the connections") && said.contains("key"), "{said}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&file).unwrap();
    let access = fixture.run(["token", "acme"]).await.success().unwrap();
    for secret in [token.reveal(), access.trim_end(), "emulated-secret"] {
        assert!(
            !bytes.windows(secret.len()).any(|part| part == secret.as_bytes()),
            "{secret} is in the backup"
        );
    }
    // Nothing is written over.
    let sentence = error_line(&fixture.run(["backup", path]).await, 1);
    assert!(sentence.contains("exists already"), "{sentence}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let sentence = error_line(&fixture.run(["backup", "/nowhere/jeton.backup"]).await, 1);
    assert!(sentence.contains("/nowhere/jeton.backup cannot be written"), "{sentence}");
    // And nothing is put back under a server.
    let sentence = error_line(&fixture.run(["restore", path]).await, 1);
    assert!(sentence.contains("`jeton serve` runs on this database"), "{sentence}");
    server.terminate().unwrap();
    assert_eq!(server.wait(PATIENCE).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_restored_backup_serves_what_it_has_and_spends_nothing_until_it_is_adopted() {
    let (fixture, _) = Fixture::connected().await;
    fixture.run(["token", "acme"]).await.success().unwrap();
    let file = fixture.home.path().join("jeton.backup");
    let path = file.to_str().unwrap();
    fixture.run(["backup", path]).await.success().unwrap();
    fixture.run(["refresh", "--force", "--sync"]).await.success().unwrap();
    let spent = fixture.spent();
    let said = fixture.run(["restore", path]).await.success().unwrap();
    assert!(said.contains("jeton.sqlite.before-restore") && said.contains("`jeton adopt`"), "{said}");
    let status = fixture.run(["status"]).await;
    assert!(
        status.stdout.contains("acme") && status.stderr.contains("the store went back in time"),
        "{status:?}"
    );
    assert_eq!(fixture.run(["refresh", "--force", "--sync"]).await.code, Some(1));
    assert_eq!(fixture.spent(), spent);
    let sentence = error_line(&fixture.run(["restore", path]).await, 1);
    assert!(sentence.contains("is there since an earlier restore"), "{sentence}");
    fixture.run(["adopt"]).await.success().unwrap();
    fixture.connect("acme").await;
    fixture.run(["refresh", "--force", "--sync"]).await.success().unwrap();
    // What was there is a database like any other.
    let data_dir = fixture.home.database().parent().unwrap().to_owned();
    fs::rename(data_dir.join("jeton.sqlite.before-restore"), fixture.home.path().join("before")).unwrap();
}

#[tokio::test]
async fn a_database_that_is_lost_comes_back_from_its_backup() {
    let (fixture, _) = Fixture::connected().await;
    fixture.run(["token", "acme"]).await.success().unwrap();
    let file = fixture.home.path().join("jeton.backup");
    fixture.run(["backup", file.to_str().unwrap()]).await.success().unwrap();
    let database = fixture.home.database();
    for part in ["", "-wal", "-shm"] {
        // The last two may not be there.
        let _ = fs::remove_file(format!("{}{part}", database.display()));
    }
    assert_eq!(fixture.run(["status"]).await.code, Some(1));
    fixture.run(["restore", file.to_str().unwrap()]).await.success().unwrap();
    fixture
        .run(["refresh", "--force", "--sync"])
        .await
        .success()
        .expect("nothing was spent since the backup");
}

#[tokio::test]
async fn what_is_no_backup_of_this_installation_is_not_put_back() {
    let (fixture, _) = Fixture::connected().await;
    let other = Fixture::connected().await.0;
    let file = fixture.home.path().join("jeton.backup");
    let path = file.to_str().unwrap();
    let before = fixture.run(["status", "--json"]).await.success().unwrap();
    run(&other.home, ["backup", path]).await.success().unwrap();
    let sentence = error_line(&fixture.run(["restore", path]).await, 1);
    assert!(sentence.contains("key"), "another key made it: {sentence}");
    for (text, why) in
        [("not a database, but long enough to be read as one".repeat(40), ""), (String::new(), "empty")]
    {
        fs::write(&file, text).unwrap();
        let sentence = error_line(&fixture.run(["restore", path]).await, 1);
        assert!(sentence.contains(path) && sentence.contains(why), "{sentence}");
    }
    let sentence = error_line(&fixture.run(["restore", "/nowhere/jeton.backup"]).await, 1);
    assert!(sentence.contains("/nowhere/jeton.backup does not exist"), "{sentence}");
    assert_eq!(fixture.run(["status", "--json"]).await.success().unwrap(), before);
}
