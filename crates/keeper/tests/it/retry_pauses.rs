//! What the keeper leaves alone, and for how long.

use std::time::Duration;

use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, NodeId};
use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::ports::Skip;
use jeton_core::time::Clock as _;
use jeton_emulator::{Fault, FaultKind};

use crate::fixture::{ACME, Fixture, Options, eventually, holding};
use crate::process::Process;
use crate::recovery::claim_and_die;

/// Says that a visit found nothing due.
async fn skip(fixture: &Fixture, process: &Process) {
    let (row, now) = (process.row(ACME).await, fixture.clock.now());
    let skip = Skip {
        connection: row.name,
        attempt: AttemptId::generate(now, &SystemEntropy),
        generation: row.generation,
        trigger: Trigger::Automatic,
        asked_by: None,
        node: NodeId::generate(now, &SystemEntropy),
        message: "Token doesn't need refresh yet".to_owned(),
        due_at: now + Duration::from_hours(12),
    };
    process.store.skip(skip).await.expect("the fixture is ready");
}

#[tokio::test]
async fn a_visit_that_comes_in_the_middle_of_an_attempt_puts_nothing_off() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
    skip(&fixture, &process).await;
    let visited = process.row(ACME).await;
    assert!(
        visited.due_at.unwrap() > fixture.clock.now() + Duration::from_hours(11),
        "a visit sets the next one"
    );

    let lease = Duration::from_secs(5);
    claim_and_die(&fixture, &process, lease).await;
    let claimed = process.row(ACME).await;
    skip(&fixture, &process).await;
    assert_eq!(process.row(ACME).await, claimed, "under a live lease");
    fixture.clock.advance(lease);
    skip(&fixture, &process).await;
    assert_eq!(process.row(ACME).await, claimed, "with an attempt of unknown outcome");
    assert!(claimed.due_at.unwrap() <= fixture.clock.now(), "whoever looks finds it");
}

/// A person replaces the grant of a connection that the keeper had reason to leave alone for an hour.
async fn a_new_grant_is_refreshed_soon(ending: FaultKind) {
    let policy = holding(Duration::from_hours(1));
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(ending)]);
    process.vault.start().await.expect("the fixture is ready");
    eventually("the first attempt is over", || {
        fixture.emulator.records().first().is_some_and(|record| record.finished_at.is_some())
    })
    .await;
    while process.row(ACME).await.failures == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The flight of it lands, and the keeper remembers.
    tokio::time::sleep(Duration::from_secs(1)).await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.until_generation(ACME, 3).await;
    process.vault.drain().await;
}

#[tokio::test]
async fn a_new_grant_is_refreshed_soon_though_the_provider_asked_for_an_hour() {
    a_new_grant_is_refreshed_soon(FaultKind::RateLimited { retry_after_secs: 3_600 }).await;
}

#[tokio::test]
async fn a_new_grant_is_refreshed_soon_though_the_old_one_was_on_hold_for_an_hour() {
    a_new_grant_is_refreshed_soon(FaultKind::LoseReply).await;
}
