//! Several nodes on one store.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, NodeId};
use jeton_core::keep::attempt::{Act, Trigger};
use jeton_core::keep::claim::Claim;
use jeton_core::keep::ports::Heartbeat;
use jeton_core::time::Clock as _;
use jeton_emulator::Fault;
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
            return seen.warnings;
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
