//! Store, data directory and key must belong together.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::entropy::SystemEntropy;
use jeton_core::seal::KeyRing;
use jeton_core::secret::Secret;
use jeton_keeper::{Hold, Installation, InstallationError, KeySource, TokenError};
use jeton_store::sqlite::faults::NoSqliteHooks;

use crate::fixture::{ACME, Fixture, Options, Place, short_settings};
use crate::stores::Database;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the fixture is ready").permissions().mode() & 0o777
}

/// The database as a backup has it, with the key, in another data directory.
fn copied(fixture: &Fixture) -> Place {
    let original = fixture.place();
    let home = fixture.home.path().join("copy");
    let data_dir = home.join("data");
    fs::create_dir_all(&data_dir).expect("the fixture is ready");
    let database = original.database.copy(home.join("jeton.db"));
    let copy = Place { database, key: data_dir.join("key"), data_dir };
    fs::copy(&original.key, &copy.key).expect("the fixture is ready");
    copy
}

#[tokio::test]
async fn a_copied_database_serves_what_lives_and_spends_nothing_until_it_is_adopted() {
    let fixture = Fixture::start(Options { names: crate::fixture::names(2), ..Options::default() }).await;
    {
        let original = fixture.process().await;
        original.connect("c0", fixture.living_grant(Duration::from_mins(10))).await;
        original.connect("c1", fixture.expired_grant()).await;
    }
    let copy = copied(&fixture);
    let process = fixture.process_at(&copy, short_settings(), Arc::new(NoSqliteHooks)).await.unwrap();
    assert!(process.vault.on_hold());
    process.vault.start().await.unwrap();
    assert!(process.token("c0").await.is_ok());
    assert_eq!(process.token("c1").await, Err(TokenError::OnHold(Hold::Copied)));
    assert_eq!(process.force("c0").await, Err(TokenError::OnHold(Hold::Copied)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(fixture.requests(), 0);
    process.vault.drain().await;

    let store = fixture.store_at(&copy, Arc::new(NoSqliteHooks)).await;
    let key = KeySource::File(copy.key.clone());
    let open = || Installation::open(&*store, &copy.data_dir, &key, &*fixture.clock, &SystemEntropy);
    let mut installation = open().await.unwrap();
    assert!(installation.on_hold());
    installation.adopt(&*store, &*fixture.clock, &SystemEntropy).await.unwrap();
    assert!(!installation.on_hold());
    assert!(!open().await.unwrap().on_hold());
    let adopted = fixture.process_of(store.clone(), installation, short_settings()).await;
    assert!(adopted.token("c1").await.is_ok());
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn a_restored_database_beside_the_original_data_directory_is_no_stranger() {
    let (fixture, process) = Fixture::usual().await;
    assert!(!process.vault.on_hold());
    assert!(!fixture.process().await.vault.on_hold());
}

#[tokio::test]
async fn everything_that_is_made_is_private_from_its_creation() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.token(ACME).await.unwrap();
    let place = fixture.place();
    assert_eq!(mode(&place.data_dir), 0o700);
    assert_eq!(mode(&place.key), 0o600);
    assert_eq!(mode(&place.data_dir.join("instance")), 0o600);
    assert_eq!(mode(&place.data_dir.join("spill")), 0o700);
    if let Database::File(file) = &place.database {
        for suffix in ["", "-wal", "-shm"] {
            assert_eq!(mode(Path::new(&format!("{}{suffix}", file.display()))), 0o600);
        }
    }
    for entry in fs::read_dir(place.data_dir.join("spill")).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

/// What opening says, after `spoil` has been at the key file.
async fn refusal(spoil: impl FnOnce(&Path)) -> (Fixture, InstallationError) {
    let fixture = Fixture::start(Options::default()).await;
    {
        let process = fixture.process().await;
        process.connect(ACME, fixture.expired_grant()).await;
    }
    let place = fixture.place();
    spoil(&place.key);
    let store = fixture.store_at(&place, Arc::new(NoSqliteHooks)).await;
    let identity = store.identity().await.expect("the fixture is ready");
    let key = KeySource::File(place.key.clone());
    let error = Installation::open(&*store, &place.data_dir, &key, &*fixture.clock, &SystemEntropy)
        .await
        .expect_err("it is refused");
    assert_eq!(store.identity().await.expect("the fixture is ready"), identity, "nothing was changed");
    (fixture, error)
}

#[tokio::test]
async fn a_missing_key_is_named_and_never_replaced_by_a_new_one() {
    let (fixture, error) = refusal(|key| fs::remove_file(key).unwrap()).await;
    assert!(matches!(error, InstallationError::KeyMissing { .. }));
    assert!(error.to_string().contains("is missing; put the key back from your backup"), "{error}");
    assert!(!fixture.place().key.exists());
}

#[tokio::test]
async fn another_key_is_refused() {
    let other = KeyRing::generate(&SystemEntropy).to_text();
    let (_world, error) = refusal(|key| fs::write(key, other.reveal()).unwrap()).await;
    assert!(matches!(error, InstallationError::KeyDiffers { .. }));
    assert!(error.to_string().contains("is not the one this store was sealed with"), "{error}");
    assert!(!error.to_string().contains(other.reveal().trim()));
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused_with_the_cure() {
    let (_world, error) =
        refusal(|key| fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap()).await;
    assert!(matches!(error, InstallationError::KeyExposed { .. }));
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn a_key_that_is_no_key_is_refused_with_its_line() {
    let (_world, error) = refusal(|key| fs::write(key, "not a key\n").unwrap()).await;
    assert!(matches!(error, InstallationError::KeyMalformed { .. }));
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_made_is_named_with_the_cure() {
    let fixture = Fixture::start(Options::default()).await;
    let store = fixture.store_at(&fixture.place(), Arc::new(NoSqliteHooks)).await;
    let file = fixture.home.path().join("a-file");
    fs::write(&file, "in the way").unwrap();
    let key = KeySource::File(file.join("key"));
    let error = Installation::open(&*store, &file.join("data"), &key, &*fixture.clock, &SystemEntropy).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("a-file/data") && error.contains("JETON__DATA_DIR"), "{error}");
}

#[tokio::test]
async fn a_key_from_the_environment_serves_as_well_and_its_text_is_never_shown() {
    let fixture = Fixture::start(Options::default()).await;
    let place = fixture.place();
    let store = fixture.store_at(&place, Arc::new(NoSqliteHooks)).await;
    let text = KeyRing::generate(&SystemEntropy).to_text();
    let open = |key: KeySource| {
        let (store, place, clock) = (&store, &place, &fixture.clock);
        async move { Installation::open(&**store, &place.data_dir, &key, &**clock, &SystemEntropy).await }
    };
    let key = KeySource::Text(text.clone());
    assert!(!format!("{key:?} {key}").contains(text.reveal().trim()));
    assert!(!open(key.clone()).await.unwrap().on_hold());
    assert!(!open(key).await.unwrap().on_hold());
    let other = KeySource::Text(KeyRing::generate(&SystemEntropy).to_text());
    assert!(matches!(open(other).await, Err(InstallationError::KeyDiffers { .. })));
    let empty = open(KeySource::Text(Secret::new(""))).await.unwrap_err();
    assert!(matches!(empty, InstallationError::KeyMalformed { .. }), "{empty}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn processes_that_found_one_installation_at_once_agree() {
    for _ in 0..5 {
        let fixture = Fixture::start(Options::default()).await;
        let opened = futures_util::future::join_all((0..8).map(|_| async {
            let (place, clock) = (fixture.place(), Arc::clone(&fixture.clock));
            let store = fixture.store_at(&place, Arc::new(NoSqliteHooks)).await;
            let key = KeySource::File(place.key.clone());
            tokio::task::spawn_blocking(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let opened =
                        Installation::open(&*store, &place.data_dir, &key, &*clock, &SystemEntropy).await;
                    let on_hold = opened.map(|installation| installation.on_hold());
                    (on_hold.unwrap(), store.identity().await.unwrap().unwrap())
                })
            })
            .await
            .unwrap()
        }))
        .await;
        assert!(opened.iter().all(|(on_hold, identity)| !on_hold && *identity == opened[0].1));
        let leftovers: Vec<_> = fs::read_dir(fixture.place().data_dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("draft") || name.contains("probe"))
            .collect();
        assert_eq!(leftovers, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_data_directory_that_is_copied_as_a_whole_is_on_hold_and_spends_nothing() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    drop(process);
    let copy = copied(&fixture);
    let instance = |place: &Place| place.data_dir.join("instance");
    fs::copy(instance(&fixture.place()), instance(&copy)).unwrap();
    let elsewhere = fixture.process_at(&copy, short_settings(), Arc::new(NoSqliteHooks)).await.unwrap();
    assert!(elsewhere.vault.on_hold());
    assert_eq!(elsewhere.token(ACME).await, Err(TokenError::OnHold(Hold::Copied)));
    assert_eq!(fixture.requests(), 0);
    assert!(!fixture.process().await.vault.on_hold(), "the original goes on");
}

#[tokio::test]
async fn a_first_start_that_was_killed_before_its_instance_file_is_no_copy_and_no_loss() {
    let (fixture, process) = Fixture::usual().await;
    process.vault.drain().await;
    drop(process);
    let instance = fixture.place().data_dir.join("instance");
    fs::remove_file(&instance).unwrap();
    let process = fixture.process().await;
    assert!(!process.vault.on_hold() && instance.exists(), "nothing was ever stored");
    process.connect(ACME, fixture.expired_grant()).await;
    process.vault.drain().await;
    drop(process);
    fs::remove_file(&instance).unwrap();
    assert!(fixture.process().await.vault.on_hold(), "now there is something to spend");
    assert!(!instance.exists());
}

#[tokio::test]
async fn a_data_directory_tells_of_its_store_by_its_instance_file_or_by_its_mark() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.token(ACME).await.unwrap();
    drop(process);
    let data_dir = fixture.place().data_dir;
    let (instance, mark) = (data_dir.join("instance"), data_dir.join("high-water"));
    let remembered = || Installation::remembered(&data_dir).unwrap();
    let whole = remembered().unwrap();
    assert!(whole.instance.is_some() && whole.revision.is_some());
    fs::write(&instance, "no id").unwrap();
    assert_eq!(remembered().unwrap().instance, None, "something is there all the same");
    fs::remove_file(&instance).unwrap();
    assert_eq!(remembered().unwrap().revision, whole.revision);
    fs::remove_file(&mark).unwrap();
    assert_eq!(remembered(), None);
    assert_eq!(Installation::remembered(&data_dir.join("nothing")).unwrap(), None);
}
