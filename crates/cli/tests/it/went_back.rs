//! A backup that was put back in place of the database: every command says so, and nothing is spent.

use std::fs;
use std::path::Path;

use rusqlite::Connection as Database;

use crate::house::{House, PATIENCE};

/// Folds the write-ahead log into the database, as the last process that closes it does.
fn fold(database: &Path) {
    Database::open(database).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).unwrap();
}

#[tokio::test]
async fn a_backup_put_back_in_place_of_the_database_is_named_by_every_command_until_it_is_adopted() {
    let (house, _) = House::connected().await;
    let refresh = ["refresh", "--force", "--sync"];
    house.run(refresh).await.success().unwrap();
    let database = house.home.database();
    let backup = database.with_extension("backup");
    fold(&database);
    fs::copy(&database, &backup).unwrap();
    house.run(refresh).await.success().unwrap();
    fold(&database);
    fs::copy(&backup, &database).unwrap();
    let spent = house.spent();

    let words = "the store went back in time";
    house.run(["token", "acme"]).await.success().expect("what lives is served");
    let refused = house.run(refresh).await;
    assert_eq!(refused.code, Some(1));
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains(words), "{refused:?}");
    assert!(house.run(["status"]).await.stderr.contains(words));
    let examined = house.run(["doctor"]).await;
    assert_eq!(examined.code, Some(1));
    assert!(examined.stdout.contains(words) && examined.stdout.contains("`jeton adopt`"), "{examined:?}");
    let mut server = house.home.command(["serve"]).unwrap().serve().unwrap();
    server.ready(PATIENCE).await.unwrap();
    assert!(server.written().unwrap().contains(words));
    server.terminate().unwrap();
    assert_eq!(server.wait(PATIENCE).await.unwrap().code(), Some(0));
    assert_eq!(house.spent(), spent);

    assert_eq!(house.run(["adopt", "--json"]).await.json().unwrap()["adopted"], true);
    house.run(["doctor"]).await.success().unwrap();
    // The provider knows that the refresh token in the backup was spent.
    let finished = house.run(refresh).await;
    assert!(finished.stdout.contains("the grant of `acme` is dead (invalid_grant)"), "{finished:?}");
}
