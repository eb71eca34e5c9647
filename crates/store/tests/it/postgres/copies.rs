//! Copies of its database: known for what they are, until somebody adopts them.

use jeton_core::id::InstanceId;
use jeton_core::keep::ports::{Identity, Maintenance as _};
use jeton_store::PostgresStore;
use jeton_store::postgres::inspect;
use jeton_testkit::PgDatabase;

use super::fixture::{database, open, options};

async fn founded(database: &PgDatabase) -> (PostgresStore, Identity) {
    let store = open(database.url()).await;
    let identity = Identity { instance: InstanceId::from_bytes([7; 16]), key_check: vec![7; 40] };
    store.initialise(identity.clone()).await.unwrap();
    (store, identity)
}

async fn looks_like_a_copy(database: &PgDatabase) -> bool {
    let found = inspect(&options(database.url())).await.unwrap().is_copy;
    assert_eq!(open(database.url()).await.is_copy().await.unwrap(), found);
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_known_until_it_is_adopted_and_its_original_stays_what_it_is() {
    let original = database();
    let (store, identity) = founded(&original).await;
    assert!(!store.is_copy().await.unwrap());
    let copied = original.copy().unwrap();
    assert!(looks_like_a_copy(&copied).await);
    assert!(!looks_like_a_copy(&original).await);
    let copy = open(copied.url()).await;
    copy.adopt(identity.instance).await.unwrap();
    assert_eq!(copy.identity().await.unwrap(), Some(identity));
    assert!(!looks_like_a_copy(&copied).await);
    assert!(!looks_like_a_copy(&original).await);
    // A copy of the whole content in another cluster, where the numbers may be the same.
    copied
        .query(
            "UPDATE settings SET value = convert_to(regexp_replace(convert_from(value, 'UTF8'), '^-?[0-9]+', '1'), 'UTF8')
             WHERE name = 'postgres.place'",
        )
        .unwrap();
    assert!(looks_like_a_copy(&copied).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_name_its_system_is_served_and_still_tells_its_databases_apart() {
    for (withhold, give) in [
        (
            "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
            "GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC",
        ),
        (
            "ALTER FUNCTION pg_catalog.pg_control_system() RENAME TO pg_elsewhere",
            "ALTER FUNCTION pg_catalog.pg_elsewhere() RENAME TO pg_control_system",
        ),
    ] {
        let original = database();
        original.query(withhold).unwrap();
        let (store, _) = founded(&original).await;
        let place = || {
            let kept = "SELECT convert_from(value, 'UTF8') FROM settings WHERE name = 'postgres.place'";
            original.query(kept).unwrap()[0][0].clone().unwrap()
        };
        assert!(!store.is_copy().await.unwrap());
        assert!(place().starts_with("-/"), "{}", place());
        let copied = original.copy().unwrap();
        assert!(looks_like_a_copy(&copied).await);
        original.query(give).unwrap();
        assert!(!looks_like_a_copy(&original).await);
        assert!(!place().starts_with("-/"), "what can be learned is kept: {}", place());
        original.query(withhold).unwrap();
        assert!(!looks_like_a_copy(&original).await, "what is withheld later says nothing");
    }
}
