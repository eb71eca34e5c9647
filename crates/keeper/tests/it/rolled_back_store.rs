//! A backup in place of the database: the instance id is right, and the tokens in it may be spent.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{OperationId, Revision};
use jeton_core::keep::ports::OperatorCommand;
use jeton_core::time::Clock as _;
use jeton_keeper::{Hold, Installation, InstallationError, JoinMode, KeySource, TokenError};
use jeton_store::sqlite::faults::NoSqliteHooks;
use tokio::time::{Instant, sleep};

use crate::fixture::{ACME, Fixture, Options, PATIENCE, names, short_settings};
use crate::process::{Process, operator};
use crate::stores::Database;

/// Ends a process, as a person would before touching the database.
async fn end(process: Process) {
    process.vault.drain().await;
}

/// The database as it is now, which nobody has open.
fn backup_of(fixture: &Fixture) -> Database {
    fixture.place().database.copy(fixture.home.path().join("backup.db"))
}

#[tokio::test]
async fn a_backup_put_back_in_place_of_the_database_is_on_hold_until_it_is_adopted() {
    for rotations in [1, 2] {
        let (mut fixture, process) = Fixture::usual().await;
        process.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
        process.force(ACME).await.unwrap();
        end(process).await;
        let backup = backup_of(&fixture);

        let process = fixture.process().await;
        for _ in 0..rotations {
            process.force(ACME).await.unwrap();
        }
        end(process).await;
        let sent = fixture.requests();
        fixture.database = backup;

        let process = fixture.process().await;
        let Some(Hold::RolledBack { found, seen }) = process.vault.hold() else { panic!("it is on hold") };
        assert!(found < seen);
        process.vault.start().await.unwrap();
        assert!(process.token(ACME).await.is_ok(), "what lives is served");
        let refused = process.force(ACME).await.unwrap_err();
        assert_eq!(refused, TokenError::RolledBack { found, seen });
        assert_eq!(refused.code(), "ON_HOLD");
        let words = refused.to_string();
        assert!(words.contains("the store went back in time"), "{words}");
        fixture.clock.advance(Duration::from_hours(2));
        assert_eq!(process.token(ACME).await, Err(refused));
        sleep(Duration::from_millis(200)).await;
        assert_eq!(fixture.requests(), sent, "nothing was sent");
        end(process).await;

        let store = fixture.store_at(&fixture.place(), Arc::new(NoSqliteHooks)).await;
        let (data_dir, key) = (fixture.place().data_dir, KeySource::File(fixture.place().key));
        let open = || Installation::open(&*store, &data_dir, &key, &*fixture.clock, &SystemEntropy);
        let mut installation = open().await.unwrap();
        installation.adopt(&*store, &*fixture.clock, &SystemEntropy).await.unwrap();
        assert_eq!(open().await.unwrap().hold(), None);
        drop(store);
        let process = fixture.process().await;
        assert!(process.force(ACME).await.is_err(), "the provider knows that it was spent");
        assert_eq!(fixture.requests(), sent + 1, "it goes on");
    }
}

#[tokio::test]
async fn a_rotation_of_one_connection_is_noticed_though_another_one_changed_last() {
    let mut fixture = Fixture::start(Options { names: names(2), ..Options::default() }).await;
    let process = fixture.process().await;
    for name in ["c0", "c1"] {
        process.connect(name, fixture.living_grant(Duration::from_hours(1))).await;
    }
    process.force("c1").await.unwrap();
    end(process).await;
    let backup = backup_of(&fixture);
    let process = fixture.process().await;
    process.force("c0").await.unwrap();
    end(process).await;
    fixture.database = backup;
    assert!(matches!(fixture.process().await.vault.hold(), Some(Hold::RolledBack { .. })));

    let (store, data_dir) =
        (fixture.store_at(&fixture.place(), Arc::new(NoSqliteHooks)).await, fixture.place().data_dir);
    Installation::join(&*store, &data_dir, JoinMode::InAnyCase, &SystemEntropy).await.unwrap();
    assert_eq!(fixture.process().await.vault.hold(), None, "it follows the store from where that is now");
}

#[tokio::test]
async fn a_new_store_beside_an_old_data_directory_is_refused_until_that_forgets_the_old_one() {
    let (mut fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.token(ACME).await.unwrap();
    let known = process.store.identity().await.unwrap().unwrap();
    end(process).await;
    fixture.database = Database::new(fixture.home.path().join("new.db")).await;
    let place = fixture.place();
    let open = || fixture.process_at(&place, short_settings(), Arc::new(NoSqliteHooks));
    for _ in 0..2 {
        let Err(refused) = open().await else { panic!("the old store is remembered") };
        let InstallationError::StoreLost { remembered, .. } = &refused else { panic!("{refused}") };
        assert!(remembered.instance == Some(known.instance) && remembered.revision > Some(Revision(0)));
        let words = refused.to_string();
        assert!(
            words.contains(&known.instance.to_string()) && words.contains("had come to change"),
            "{words}"
        );
    }
    Installation::forget(&place.data_dir).unwrap();
    let process = open().await.unwrap();
    assert_eq!(process.vault.hold(), None, "it has no past to go back to");
    process.connect(ACME, fixture.expired_grant()).await;
    assert!(process.token(ACME).await.is_ok());
}

#[tokio::test]
async fn a_lost_or_torn_mark_stops_nobody() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.token(ACME).await.unwrap();
    end(process).await;
    let mark = fixture.place().data_dir.join("high-water");
    fs::write(&mark, "0000000000000000009").unwrap();
    assert_eq!(fixture.process().await.vault.hold(), None);
    fs::remove_file(&mark).unwrap();
    assert_eq!(fixture.process().await.vault.hold(), None);
}

#[tokio::test]
async fn a_running_process_whose_store_goes_back_spends_nothing_more() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
    process.vault.start().await.unwrap();
    process.force(ACME).await.unwrap();
    let Database::File(database) = fixture.place().database else {
        panic!("a file is put back under a process")
    };
    let backup = database.with_extension("backup");
    let silently = None::<fn(rusqlite::backup::Progress)>;
    rusqlite::Connection::open(&database).unwrap().backup("main", &backup, silently).unwrap();
    process.force(ACME).await.unwrap();
    process.force(ACME).await.unwrap();
    let sent = fixture.requests();
    rusqlite::Connection::open(&database).unwrap().restore("main", &backup, silently).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while process.vault.hold().is_none() {
        assert!(Instant::now() < deadline, "it did not notice");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(process.token(ACME).await.is_ok(), "what lives is served");
    assert!(matches!(process.force(ACME).await, Err(TokenError::RolledBack { .. })));
    assert_eq!(fixture.requests(), sent);
    end(process).await;
    assert!(fixture.process().await.vault.on_hold(), "and so is every later process");
}

#[tokio::test]
async fn a_backup_that_takes_the_place_of_the_database_before_the_start_is_noticed_by_it() {
    let (mut fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
    end(process).await;
    let backup = backup_of(&fixture);
    let process = fixture.process().await;
    process.force(ACME).await.unwrap();
    end(process).await;

    let process = fixture.process().await;
    assert_eq!(process.vault.hold(), None);
    fixture.database = backup;
    process.probe.lead_to(&fixture.store_at(&fixture.place(), Arc::new(NoSqliteHooks)).await);
    let sent = fixture.requests();
    process.vault.start().await.unwrap();
    assert!(matches!(process.vault.hold(), Some(Hold::RolledBack { .. })), "before anything is spent");
    assert!(matches!(process.force(ACME).await, Err(TokenError::RolledBack { .. })));
    assert_eq!(fixture.requests(), sent);
    end(process).await;
}

#[tokio::test]
async fn a_replica_that_had_not_caught_up_is_noticed_though_others_have_written_to_it_since() {
    for writes in [0, 40] {
        let mut fixture = Fixture::start(Options::default()).await;
        let process = fixture.process().await;
        process.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
        end(process).await;
        let replica = backup_of(&fixture);

        let process = fixture.process().await;
        process.force(ACME).await.unwrap();
        let token = process.token(ACME).await.unwrap();
        fixture.database = replica;
        let promoted = fixture.store_at(&fixture.place(), Arc::new(NoSqliteHooks)).await;
        for number in 0..writes {
            let act = if number % 2 == 0 { OperatorCommand::Pause } else { OperatorCommand::Resume };
            let operation = OperationId::generate(fixture.clock.now(), &SystemEntropy);
            promoted.administer(&ACME.parse().unwrap(), act, operation, &operator()).await.unwrap();
        }
        process.probe.lead_to(&promoted);
        let sent = fixture.requests();
        let refused = process.force(ACME).await.unwrap_err();
        assert!(matches!(refused, TokenError::RolledBack { .. }), "{writes}: {refused}");
        assert!(matches!(process.vault.hold(), Some(Hold::RolledBack { .. })), "{writes}");
        assert_eq!(fixture.requests(), sent, "{writes}");
        assert_eq!(process.token(ACME).await.unwrap().access, token.access, "what lives is served");
        end(process).await;
        assert!(fixture.process().await.vault.on_hold(), "{writes}: and so is every later process");
    }
}

#[tokio::test]
async fn answers_that_come_out_of_order_put_nothing_on_hold() {
    let (fixture, one) = Fixture::usual().await;
    one.connect(ACME, fixture.expired_grant()).await;
    one.vault.start().await.unwrap();
    let two = fixture.process().await;
    for round in 0..6 {
        one.probe.delay_reads_by(Duration::from_millis(300));
        // Read before the refresh, and answered after it and after a later look.
        let early = one.vault.status(ACME);
        let meanwhile = async {
            sleep(Duration::from_millis(20)).await;
            two.force(ACME).await.unwrap();
            one.probe.delay_reads_by(Duration::ZERO);
            one.vault.status(ACME).await.unwrap()
        };
        let (early, later) = tokio::join!(early, meanwhile);
        assert_eq!(later.generation, early.unwrap().generation.max(later.generation), "{round}");
        assert_eq!((one.vault.hold(), two.vault.hold()), (None, None), "{round}");
    }
    end(one).await;
}
