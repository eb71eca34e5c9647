//! Living tokens come from memory, and wait on nobody.

use std::time::Duration;

use futures_util::future::join_all;
use jeton_core::keep::provider::{OldAccess, PolicyOverrides};
use jeton_emulator::Fault;
use jeton_keeper::{Settings, TokenError, TokenRequest};
use tokio::time::{Instant, sleep};

use crate::world::{ACME, Shape, World};

fn old_access_dies() -> Shape {
    let policy = PolicyOverrides { old_access: Some(OldAccess::Dies), ..PolicyOverrides::default() };
    let emulator = jeton_emulator::Settings { old_access: OldAccess::Dies, ..Default::default() };
    Shape { emulator, policy, ..Shape::default() }
}

#[tokio::test]
async fn a_token_that_lives_long_enough_is_given_with_no_look_at_the_store() {
    let (world, process) = World::usual().await;
    process.connect(ACME, world.expired_grant()).await;
    let first = process.token(ACME).await.unwrap();
    process.tap.set_closed(true);
    process.store.faults().set_read_only(true);
    let before = process.tap.calls();
    for _ in 0..1_000 {
        assert_eq!(process.token(ACME).await.unwrap().access, first.access);
    }
    assert_eq!(process.tap.calls(), before);
}

#[tokio::test]
async fn nobody_waits_on_the_refresh_of_a_token_that_still_lives() {
    let (world, process) = World::usual().await;
    process.connect(ACME, world.expired_grant()).await;
    let old = process.token(ACME).await.unwrap();
    world.clock.advance(Duration::from_secs(50));
    world.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(2_800))]);
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(process.token(ACME).await.unwrap().access, old.access);
    }
    assert!(started.elapsed() < Duration::from_millis(2_400), "{:?}", started.elapsed());
    while process.token(ACME).await.unwrap().access == old.access {
        assert!(started.elapsed() < Duration::from_secs(8), "the refresh went on behind the callers' backs");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.requests(), 2);
}

#[tokio::test]
async fn where_the_old_token_dies_the_refresh_of_another_process_is_noticed_within_the_age_of_memory() {
    let (world, one) = World::shaped(old_access_dies()).await;
    let two = world.process().await;
    one.connect(ACME, world.expired_grant()).await;
    let old = one.token(ACME).await.unwrap();
    assert_eq!(two.token(ACME).await.unwrap().access, old.access);
    one.force(ACME).await.unwrap();
    assert!(!world.emulator.accepts(old.access.reveal()));
    sleep(world.shape.settings.memory_age + Duration::from_millis(5)).await;
    let new = two.token(ACME).await.unwrap();
    assert!(world.emulator.accepts(new.access.reveal()));
    assert_eq!(world.requests(), 2);
}

#[tokio::test]
async fn where_the_old_token_dies_a_store_out_of_reach_costs_a_look_and_no_wait() {
    let (world, process) = World::shaped(old_access_dies()).await;
    process.connect(ACME, world.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    sleep(world.shape.settings.memory_age + Duration::from_millis(5)).await;
    process.tap.set_closed(true);
    let started = Instant::now();
    assert_eq!(process.token(ACME).await.unwrap().access, token.access);
    assert!(started.elapsed() < Duration::from_millis(800), "{:?}", started.elapsed());
}

#[tokio::test]
async fn where_the_old_token_lives_the_refresh_of_another_process_is_noticed_by_the_change_feed() {
    let (world, one) = World::usual().await;
    let two = world.process().await;
    one.connect(ACME, world.expired_grant()).await;
    let old = one.token(ACME).await.unwrap();
    two.vault.start().await.unwrap();
    assert_eq!(two.token(ACME).await.unwrap().access, old.access);
    one.force(ACME).await.unwrap();
    let started = Instant::now();
    loop {
        if two.token(ACME).await.unwrap().access != old.access {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(4), "the change was not noticed");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.requests(), 2);
    two.vault.drain().await;
}

#[tokio::test]
async fn a_started_vault_serves_from_memory_what_it_never_asked_for() {
    let (world, one) = World::usual().await;
    one.connect(ACME, world.expired_grant()).await;
    let token = one.token(ACME).await.unwrap();
    let two = world.process().await;
    two.vault.start().await.unwrap();
    two.vault.loaded().await;
    two.tap.set_closed(true);
    assert_eq!(two.token(ACME).await.unwrap().access, token.access);
    two.vault.drain().await;
}

#[tokio::test]
async fn callers_of_a_connection_that_is_not_in_memory_share_one_look() {
    let (world, one) = World::usual().await;
    one.connect(ACME, world.expired_grant()).await;
    let token = one.token(ACME).await.unwrap();
    let two = world.process().await;
    two.tap.set_late_by(Duration::from_secs(1));
    let before = two.tap.calls();
    let callers = (0..200).map(|_| two.token(ACME));
    for given in join_all(callers).await {
        assert_eq!(given.unwrap().access, token.access);
    }
    assert_eq!(two.tap.calls() - before, 1);
}

#[tokio::test]
async fn no_more_callers_than_may_wait_look_for_a_connection_that_is_not_in_memory() {
    let settings = Settings { waiters: 3, ..Shape::default().settings };
    let (world, one) = World::shaped(Shape { settings, ..Shape::default() }).await;
    one.connect(ACME, world.living_grant(Duration::from_hours(1))).await;
    let two = world.process().await;
    two.tap.set_late_by(Duration::from_secs(1));
    let given = join_all((0..5).map(|_| two.token(ACME))).await;
    let busy = given.iter().filter(|given| matches!(given, Err(TokenError::Busy { .. }))).count();
    assert_eq!((busy, given.iter().filter(|given| given.is_ok()).count()), (2, 3), "{given:?}");
}

#[tokio::test]
async fn a_store_that_fails_while_the_connections_are_read_is_asked_again() {
    let (world, one) = World::usual().await;
    one.connect(ACME, world.expired_grant()).await;
    let token = one.token(ACME).await.unwrap();
    let two = world.process().await;
    two.vault.start().await.unwrap();
    two.tap.set_closed(true);
    // Nothing was awaited in between: the tasks that read have not run yet.
    assert!(two.token(ACME).await.is_err(), "neither memory nor the store has it");
    two.tap.set_closed(false);
    two.vault.loaded().await;
    two.tap.set_closed(true);
    assert_eq!(two.token(ACME).await.unwrap().access, token.access);
    two.tap.set_closed(false);
    two.vault.drain().await;
}

#[tokio::test]
async fn where_the_old_token_dies_an_answer_of_the_store_is_as_old_as_its_question() {
    let (world, one) = World::shaped(old_access_dies()).await;
    let two = world.process().await;
    one.connect(ACME, world.expired_grant()).await;
    let old = one.token(ACME).await.unwrap();
    two.tap.set_late_by(world.shape.settings.memory_age + Duration::from_millis(100));
    assert_eq!(two.token(ACME).await.unwrap().access, old.access);
    one.force(ACME).await.unwrap();
    two.tap.set_late_by(Duration::ZERO);
    let new = two.token(ACME).await.unwrap();
    assert!(
        world.emulator.accepts(new.access.reveal()),
        "what was read before the refresh is not believed after it"
    );
}

#[tokio::test]
async fn a_caller_waits_no_longer_for_the_first_look_at_the_store_than_it_said() {
    let brief = Duration::from_millis(300);
    let (world, process) = World::usual().await;
    process.connect(ACME, world.living_grant(Duration::from_hours(1))).await;
    let token = process.token(ACME).await.unwrap();
    let fresh = world.process().await;
    fresh.tap.set_late_by(Duration::from_secs(3));
    let started = Instant::now();
    let refused = fresh.token_within(ACME, brief).await;
    assert!(matches!(refused, Err(TokenError::Store { .. })), "{refused:?}");
    assert!(started.elapsed() < Duration::from_millis(2_500), "{:?}", started.elapsed());
    fresh.tap.set_late_by(Duration::ZERO);
    fresh.tap.set_closed(true);
    let started = Instant::now();
    let request = TokenRequest { wait: Some(brief), min_ttl: None };
    let refused = fresh.vault.reject(ACME, token.fingerprint, request).await;
    assert!(matches!(refused, Err(TokenError::Store { .. })), "{refused:?}");
    assert!(started.elapsed() < Duration::from_millis(800), "{:?}", started.elapsed());
    fresh.tap.set_closed(false);
    // The look that hangs is still under way, and goes for all.
    assert_eq!(fresh.token(ACME).await.unwrap().access, token.access);
}

#[tokio::test]
async fn where_the_old_token_dies_a_store_that_hangs_keeps_a_caller_no_longer_than_it_waits() {
    let (world, process) = World::shaped(old_access_dies()).await;
    process.connect(ACME, world.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    sleep(world.shape.settings.memory_age + Duration::from_millis(5)).await;
    process.tap.set_late_by(Duration::from_secs(3));
    let started = Instant::now();
    assert_eq!(process.token_within(ACME, Duration::from_millis(300)).await.unwrap().access, token.access);
    assert!(started.elapsed() < Duration::from_millis(2_500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn where_the_old_token_dies_a_store_that_hangs_keeps_nobody_whose_token_lives_waiting() {
    let (world, process) = World::shaped(old_access_dies()).await;
    process.connect(ACME, world.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    sleep(world.shape.settings.memory_age + Duration::from_millis(5)).await;
    process.tap.set_late_by(Duration::from_secs(20));
    let started = Instant::now();
    // This caller would wait for 30 s.
    assert_eq!(process.token_within(ACME, Duration::from_secs(30)).await.unwrap().access, token.access);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn where_the_old_token_dies_callers_at_one_time_share_one_look() {
    let (world, process) = World::shaped(old_access_dies()).await;
    process.connect(ACME, world.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    sleep(world.shape.settings.memory_age + Duration::from_millis(5)).await;
    process.tap.set_late_by(Duration::from_millis(100));
    let before = process.tap.calls();
    let callers = (0..100).map(|_| process.token(ACME));
    for served in join_all(callers).await {
        assert_eq!(served.unwrap().access, token.access);
    }
    assert_eq!(process.tap.calls() - before, 1);
}
