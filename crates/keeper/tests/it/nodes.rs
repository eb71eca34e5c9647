//! Several nodes on one store.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::NodeId;
use jeton_core::keep::ports::Beat;
use jeton_store::sqlite::faults::NoHooks;
use tokio::time::{Instant, sleep};

use crate::clock::MovableClock;
use crate::process::Process;
use crate::world::{PATIENCE, Shape, World, names};

/// Waits until a process sees so many others.
async fn until_seen(process: &Process, count: usize) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = process.vault.nodes(&*process.store).await.expect("the store answers");
        if seen.nodes.len() == count {
            return seen.warnings;
        }
        assert!(Instant::now() < deadline, "{count} nodes were expected, and there are {:?}", seen.nodes);
        sleep(Duration::from_millis(10)).await;
    }
}

fn live(process: &Process, name: &str) {
    process.vault.live_among(process.store.shared(), name);
}

#[tokio::test]
async fn nodes_see_each_other_until_they_end_and_whoever_only_asks_is_none() {
    let (world, one) = World::usual().await;
    let (two, asking) = (world.process().await, world.process().await);
    live(&one, "one");
    live(&two, "two");
    assert_eq!(until_seen(&asking, 2).await, [] as [&str; 0]);
    assert_eq!(until_seen(&asking, 2).await, [] as [&str; 0], "asking leaves no trace");
    let seen = asking.vault.nodes(&*asking.store).await.unwrap().nodes;
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
    let (world, asking) = World::usual().await;
    let silent = Beat {
        node: NodeId::from_bytes([9; 16]),
        name: "silent".to_owned(),
        version: String::new(),
        definitions: String::new(),
        life: Duration::from_secs(20),
    };
    asking.store.beat(silent).await.unwrap();
    until_seen(&asking, 1).await;
    world.clock.pass(Duration::from_secs(21));
    until_seen(&asking, 0).await;
}

#[tokio::test]
async fn other_definitions_are_told_with_their_names() {
    let shape = Shape { names: names(2), ..Shape::default() };
    let (world, one) = World::shaped(shape).await;
    live(&one, "one");
    let mut other = World::start(Shape { names: names(3), ..Shape::default() }).await;
    other.clock.clone_from(&world.clock);
    let settings = other.shape.settings.clone();
    let two = other.process_at(&world.place(), settings, Arc::new(NoHooks)).await.unwrap();
    let told = until_seen(&two, 1).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("the node one has other definitions"), "{told:?}");
    assert!(told[0].contains("only this node defines `c2`"), "{told:?}");
    assert!(told[0].contains("`c0` is defined otherwise"), "another token endpoint: {told:?}");
}

#[tokio::test]
async fn the_same_definitions_are_no_difference_and_a_clock_that_is_off_is_told() {
    let (world, one) = World::usual().await;
    live(&one, "one");
    let two = world.process().await;
    assert_eq!(until_seen(&two, 1).await, [] as [&str; 0]);
    // A store whose clock is not that of this machine, as a database elsewhere.
    let elsewhere = Arc::new(MovableClock::default());
    elsewhere.pass(Duration::from_mins(5));
    let store = world.place().database.open(elsewhere, Arc::new(NoHooks)).await;
    let told = two.vault.nodes(&*store).await.unwrap().warnings;
    assert!(told[0].contains(" s behind the clock of the store"), "{told:?}");
}
