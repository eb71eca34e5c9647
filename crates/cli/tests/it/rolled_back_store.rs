//! A backup that was put back in place of the database: every command says so, and nothing is spent.

use std::fs;
use std::path::Path;

use rusqlite::Connection as Database;

use crate::fixture::{Fixture, PATIENCE};

/// Folds the write-ahead log into the database, as the last process that closes it does.
fn fold(database: &Path) {
    Database::open(database).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).unwrap();
}

#[tokio::test]
async fn a_backup_put_back_in_place_of_the_database_is_named_by_every_command_until_it_is_adopted() {
    let (fixture, _) = Fixture::connected().await;
    let refresh = ["refresh", "--force", "--sync"];
    fixture.run(refresh).await.success().unwrap();
    let database = fixture.home.database();
    let backup = database.with_extension("backup");
    fold(&database);
    fs::copy(&database, &backup).unwrap();
    fixture.run(refresh).await.success().unwrap();
    fold(&database);
    fs::copy(&backup, &database).unwrap();
    let spent = fixture.spent();

    let words = "the store went back in time";
    fixture.run(["token", "acme"]).await.success().expect("what lives is served");
    let refused = fixture.run(refresh).await;
    assert_eq!(refused.code, Some(1));
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains(words), "{refused:?}");
    assert!(fixture.run(["status"]).await.stderr.contains(words));
    let examined = fixture.run(["doctor"]).await;
    assert_eq!(examined.code, Some(1));
    assert!(examined.stdout.contains(words) && examined.stdout.contains("`jeton adopt`"), "{examined:?}");
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    assert!(server.output().unwrap().contains(words));
    server.terminate().unwrap();
    assert_eq!(server.wait(PATIENCE).await.unwrap().code(), Some(0));
    assert_eq!(fixture.spent(), spent);

    assert_eq!(fixture.run(["adopt", "--json"]).await.json().unwrap()["adopted"], true);
    fixture.run(["doctor"]).await.success().unwrap();
    // The provider knows that the refresh token in the backup was spent.
    let finished = fixture.run(refresh).await;
    assert!(finished.stdout.contains("the grant of `acme` is dead (invalid_grant)"), "{finished:?}");
}
