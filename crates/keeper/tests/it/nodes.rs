//! Several nodes on one store.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::audit::Actor;
use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, NodeId};
use jeton_core::keep::attempt::{Act, Trigger};
use jeton_core::keep::claim::Claim;
use jeton_core::keep::ports::{Heartbeat, NodeHost};
use jeton_core::time::Clock as _;
use jeton_emulator::Fault;
use jeton_keeper::{Hold, Host, Installation, KeySource, RefreshMode, TokenError};
use jeton_store::sqlite::faults::NoSqliteHooks;
use tokio::time::{Instant, sleep};

use crate::fixture::{ACME, Fixture, Options, PATIENCE, graceful, names};
use crate::process::Process;
use crate::recovery::assert_interrupted;
use jeton_testkit::{OffsetClock, test_store_is_postgres};

/// Waits until a process sees so many others.
async fn until_seen(process: &Process, count: usize) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = process.vault.peers(&*process.store).await.expect("the store answers");
        if seen.nodes.len() == count {
            return [seen.warnings, seen.other_definitions].concat();
        }
        assert!(Instant::now() < deadline, "{count} nodes were expected, and there are {:?}", seen.nodes);
        sleep(Duration::from_millis(10)).await;
    }
}

fn live(process: &Process, name: &str) {
    process.vault.announce(process.store.shared(), name);
}

#[tokio::test]
async fn nodes_see_each_other_until_they_end_and_whoever_only_asks_is_none() {
    let (fixture, one) = Fixture::usual().await;
    let (two, asking) = (fixture.process().await, fixture.process().await);
    live(&one, "one");
    live(&two, "two");
    assert_eq!(until_seen(&asking, 2).await, [] as [&str; 0]);
    assert_eq!(until_seen(&asking, 2).await, [] as [&str; 0], "asking leaves no trace");
    let seen = asking.vault.peers(&*asking.store).await.unwrap().nodes;
    let mut seen: Vec<_> = seen.into_iter().map(|node| (node.name, node.version)).collect();
    seen.sort();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    assert_eq!(seen, [("one".to_owned(), version.clone()), ("two".to_owned(), version)]);
    two.vault.drain().await;
    until_seen(&asking, 1).await;
    one.vault.drain().await;
    until_seen(&asking, 0).await;
}

/// The same data directory under another kernel.
async fn booted(fixture: &Fixture, boot: &str) -> (Process, NodeHost) {
    let place = fixture.place();
    let store = fixture.store_at(&place, Arc::new(NoSqliteHooks)).await;
    let key = KeySource::File(place.key.clone());
    let opened = Installation::open(&*store, &place.data_dir, &key, &*fixture.clock, &SystemEntropy).await;
    let mut installation = opened.expect("the installation is in order");
    let host = Host { boot: Some(boot.to_owned()), ..Host::default() };
    installation.check_host(&host).expect("the data directory can be written");
    let host = installation.node_host().clone();
    (fixture.process_of(store, installation, fixture.options.settings.clone()).await, host)
}

/// Longer than it takes to hear of another node twice.
const HEARD_TWICE: Duration = Duration::from_secs(12);

#[tokio::test]
async fn a_node_on_a_clone_of_the_data_directory_spends_nothing_and_the_original_goes_on_and_may_restart() {
    let (fixture, asking) = Fixture::usual().await;
    asking.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
    let (original, _) = booted(&fixture, "one").await;
    live(&original, "original");
    until_seen(&asking, 1).await;
    let instance_file = fixture.place().data_dir.join("instance");
    let instance = std::fs::read(&instance_file).unwrap();
    let (clone, _) = booted(&fixture, "two").await;
    live(&clone, "clone");
    let deadline = Instant::now() + PATIENCE;
    while clone.vault.hold().is_none() {
        assert!(Instant::now() < deadline, "it does not notice the other node");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((clone.vault.hold(), original.vault.hold()), (Some(Hold::Cloned), None));
    assert!(clone.token(ACME).await.is_ok(), "what lives is served");
    let person = Actor::CommandLine("ann".to_owned());
    let forced = clone.vault.refresh(ACME, RefreshMode::ForcedByPerson, &person).await.unwrap_err();
    assert!(matches!(forced, TokenError::OnHold(Hold::Cloned)), "{forced:?}");
    assert_eq!(fixture.requests(), 0);
    assert!(fixture.process().await.vault.on_hold(), "and so is every later process there");

    // The original has a file of its own.
    std::fs::write(&instance_file, instance).unwrap();
    let (third, _) = booted(&fixture, "three").await;
    let warnings = until_seen(&third, 2).await;
    let warned =
        |warning: &String| warning.contains("the node original has this data directory in another place");
    assert!(warnings.iter().any(warned), "{warnings:?}");
    original.vault.drain().await;
    let (restarted, _) = booted(&fixture, "one").await;
    live(&restarted, "restarted");
    sleep(HEARD_TWICE).await;
    assert_eq!((restarted.vault.hold(), clone.vault.hold()), (None, Some(Hold::Cloned)));
}

#[tokio::test]
async fn a_data_directory_that_moved_with_its_disk_from_a_node_that_died_is_used_at_once() {
    let (fixture, asking) = Fixture::usual().await;
    let (node, host) = booted(&fixture, "two").await;
    let died = Heartbeat {
        node: NodeId::from_bytes([9; 16]),
        name: "died".to_owned(),
        version: String::new(),
        definitions: String::new(),
        tasks: Vec::new(),
        unavailable: Vec::new(),
        host: NodeHost { boot: Some("one".to_owned()), ..host.clone() },
        life: Duration::from_hours(1),
    };
    assert!(host.is_clone_of(&died.host));
    asking.store.record_heartbeat(died).await.unwrap();
    live(&node, "node");
    until_seen(&asking, 2).await;
    sleep(HEARD_TWICE).await;
    assert_eq!(node.vault.hold(), None);
}

#[tokio::test]
async fn a_node_that_dies_counts_as_gone_soon() {
    let (fixture, asking) = Fixture::usual().await;
    let silent = Heartbeat {
        node: NodeId::from_bytes([9; 16]),
        name: "silent".to_owned(),
        version: String::new(),
        definitions: String::new(),
        tasks: Vec::new(),
        unavailable: Vec::new(),
        host: NodeHost::default(),
        life: Duration::from_secs(20),
    };
    asking.store.record_heartbeat(silent).await.unwrap();
    until_seen(&asking, 1).await;
    fixture.clock.advance(Duration::from_secs(21));
    until_seen(&asking, 0).await;
}

#[tokio::test]
async fn an_attempt_of_another_node_is_left_to_it_until_it_is_gone() {
    let emulator = jeton_emulator::Settings { access_ttl: Duration::from_mins(10), ..Default::default() };
    let policy = graceful(Duration::from_hours(2));
    let (fixture, node) = Fixture::with(Options { emulator, policy, ..Options::default() }).await;
    node.connect(ACME, fixture.expired_grant()).await;
    let other = NodeId::from_bytes([9; 16]);
    let beat = Heartbeat {
        node: other,
        name: "other".to_owned(),
        version: String::new(),
        definitions: String::new(),
        tasks: Vec::new(),
        unavailable: Vec::new(),
        host: NodeHost::default(),
        life: Duration::from_hours(1),
    };
    node.store.record_heartbeat(beat).await.unwrap();
    let row = node.row(ACME).await;
    let claim = Claim {
        connection: row.name.clone(),
        attempt: AttemptId::generate(fixture.clock.now(), &SystemEntropy),
        node: other,
        trigger: Trigger::Automatic,
        asked_by: None,
        act: Act::Redeem,
        generation: row.generation,
        spends: row.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint),
        lease_ttl: Duration::from_secs(2),
        through_cooldown: false,
        recovers: None,
    };
    node.store.claim(claim).await.unwrap();
    fixture.clock.advance(Duration::from_secs(3));
    live(&node, "node");
    // Beyond the while after which a silent node counts as gone.
    for _ in 0..4 {
        assert_interrupted(&node.token(ACME).await);
        sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(fixture.requests(), 0, "its reply may lie in a slot of the other node");
    node.store.forget(other).await.unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while node.token(ACME).await.is_err() {
        assert!(Instant::now() < deadline, "nobody recovers what a node left that is gone");
        sleep(Duration::from_millis(200)).await;
    }
    fixture.assert_spent_once();
    node.vault.drain().await;
}

#[tokio::test]
async fn an_attempt_of_a_node_on_the_same_data_directory_is_recovered_at_once() {
    let emulator = jeton_emulator::Settings { reuse_grace: Duration::from_mins(1), ..Default::default() };
    let policy = graceful(Duration::from_secs(50));
    let fixture = Fixture::start(Options { emulator, policy, ..Options::default() }).await;
    let (slow, quick) = (fixture.process().await, fixture.process().await);
    slow.connect(ACME, fixture.expired_grant()).await;
    live(&slow, "slow");
    live(&quick, "quick");
    until_seen(&fixture.process().await, 2).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(2_500))]);
    let recover = async {
        fixture.until_accepted(1).await;
        fixture.clock.advance(fixture.options.settings.lease);
        quick.token(ACME).await
    };
    let (late, recovered) = tokio::join!(slow.token(ACME), recover);
    // Its slots were looked into: there is nobody to wait for.
    assert_eq!(late.unwrap().access, recovered.unwrap().access);
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn a_node_with_other_definitions_is_named() {
    let options = Options { names: names(2), ..Options::default() };
    let (fixture, one) = Fixture::with(options).await;
    live(&one, "one");
    let mut other = Fixture::start(Options { names: names(3), ..Options::default() }).await;
    other.clock.clone_from(&fixture.clock);
    let settings = other.options.settings.clone();
    let two = other.process_at(&fixture.place(), settings, Arc::new(NoSqliteHooks)).await.unwrap();
    let told = until_seen(&two, 1).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("the node one has other definitions"), "{told:?}");
}

#[tokio::test]
async fn the_same_definitions_are_no_difference_and_a_clock_that_is_off_is_told() {
    let (fixture, one) = Fixture::usual().await;
    live(&one, "one");
    let two = fixture.process().await;
    assert_eq!(until_seen(&two, 1).await, [] as [&str; 0]);
    // A store whose clock is not that of this machine, as a database elsewhere.
    let elsewhere = Arc::new(OffsetClock::default());
    elsewhere.advance(Duration::from_secs(10));
    let store = fixture.place().database.open(elsewhere, Arc::new(NoSqliteHooks)).await;
    let told = two.vault.peers(&*store).await.unwrap().warnings;
    if test_store_is_postgres() {
        assert!(told[0].contains(" s behind the clock of the store"), "{told:?}");
    } else {
        assert_eq!(told, [] as [&str; 0], "a file has no clock but that of its machine");
    }
}
