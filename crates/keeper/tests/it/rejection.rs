//! A caller says that the API refused its token: compare, refresh at most once, and brake.

use std::time::Duration;

use futures_util::future::join_all;
use jeton_core::keep::ports::OperatorCommand;
use jeton_emulator::Fault;
use jeton_keeper::TokenError;

use crate::process::Process;
use crate::world::{ACME, Shape, World};

/// Tokens that outlive every brake.
async fn long_lived() -> (World, Process) {
    let emulator =
        jeton_emulator::Settings { access_ttl: Duration::from_hours(30 * 24), ..Default::default() };
    let (world, process) = World::shaped(Shape { emulator, ..Shape::default() }).await;
    process.connect(ACME, world.expired_grant()).await;
    (world, process)
}

fn braked_for<T: std::fmt::Debug>(answer: Result<T, TokenError>) -> u64 {
    match answer {
        // Rounded to the second: a moment has passed since the brake was put on.
        Err(TokenError::RejectedAgain { retry_after, .. }) => {
            (retry_after + Duration::from_millis(999)).as_secs()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_rejected_token_that_is_not_the_stored_one_is_answered_with_the_stored_one() {
    let (world, one) = long_lived().await;
    let two = world.process().await;
    let old = one.token(ACME).await.unwrap();
    assert_eq!(two.token(ACME).await.unwrap().access, old.access);
    one.force(ACME).await.unwrap();
    let new = two.reject(ACME, &old).await.unwrap();
    assert_ne!(new.access, old.access);
    assert_eq!(world.requests(), 2, "nothing is refreshed for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_rejections_of_one_token_cause_one_refresh() {
    let (world, one) = long_lived().await;
    let two = world.process().await;
    let old = one.token(ACME).await.unwrap();
    world.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(50))]);
    let callers =
        (0..200).map(|index| if index % 2 == 0 { one.reject(ACME, &old) } else { two.reject(ACME, &old) });
    let tokens: Vec<_> = join_all(callers).await.into_iter().map(Result::unwrap).collect();
    assert!(tokens.iter().all(|token| token.access == tokens[0].access && token.access != old.access));
    assert_eq!(world.requests(), 2);
    world.assert_spent_once();
}

#[tokio::test]
async fn a_token_fresh_from_a_rejected_refresh_that_is_rejected_again_brakes_every_process() {
    let (world, one) = long_lived().await;
    let two = world.process().await;
    let first = one.token(ACME).await.unwrap();
    let second = one.reject(ACME, &first).await.unwrap();
    assert_eq!(braked_for(one.reject(ACME, &second).await), 60);
    assert_eq!(braked_for(two.reject(ACME, &second).await), 60);
    // Whoever needs a token still gets the one there is.
    assert_eq!(two.token(ACME).await.unwrap().access, second.access);
    assert_eq!(world.requests(), 2);
}

#[tokio::test]
async fn while_the_brake_holds_memory_answers_and_the_store_is_asked_once() {
    let (world, one) = long_lived().await;
    let two = world.process().await;
    let first = one.token(ACME).await.unwrap();
    let second = one.reject(ACME, &first).await.unwrap();
    for process in [&one, &two] {
        braked_for(process.reject(ACME, &second).await);
        let before = process.tap.calls();
        for _ in 0..100 {
            assert_eq!(braked_for(process.reject(ACME, &second).await), 60);
        }
        assert_eq!(process.tap.calls(), before, "memory knows");
    }
    // Another token is another question, and so is this one once the brake has run out.
    let before = one.tap.calls();
    assert_eq!(one.reject(ACME, &first).await.unwrap().access, second.access);
    assert!(one.tap.calls() > before);
    world.clock.advance(Duration::from_secs(61));
    assert_ne!(one.reject(ACME, &second).await.unwrap().access, second.access);
    assert_eq!(world.requests(), 3);
}

#[tokio::test]
async fn the_brake_doubles_up_to_an_hour_as_long_as_refreshing_does_not_help() {
    let (world, process) = long_lived().await;
    let mut token = process.token(ACME).await.unwrap();
    token = process.reject(ACME, &token).await.unwrap();
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        let before = world.requests();
        assert_eq!(braked_for(process.reject(ACME, &token).await), minutes * 60);
        world.clock.advance(Duration::from_secs(minutes * 60 - 5));
        braked_for(process.reject(ACME, &token).await);
        assert_eq!(world.requests(), before, "nothing is spent while the brake holds");
        world.clock.advance(Duration::from_secs(6));
        token = process.reject(ACME, &token).await.unwrap();
        assert_eq!(world.requests(), before + 1);
    }
    world.assert_spent_once();
}

#[tokio::test]
async fn a_refresh_for_another_reason_lets_the_brake_go() {
    let (_world, process) = long_lived().await;
    let first = process.token(ACME).await.unwrap();
    let second = process.reject(ACME, &first).await.unwrap();
    assert_eq!(braked_for(process.reject(ACME, &second).await), 60);
    process.force(ACME).await.unwrap();
    let third = process.token(ACME).await.unwrap();
    let fourth = process.reject(ACME, &third).await.unwrap();
    assert_ne!(third.access, fourth.access);
    assert_eq!(braked_for(process.reject(ACME, &fourth).await), 60);
}

#[tokio::test]
async fn a_rejected_token_is_never_handed_out_again_in_answer_to_its_rejection() {
    let (world, process) = long_lived().await;
    let token = process.token(ACME).await.unwrap();
    process.administer(ACME, OperatorCommand::Pause).await.unwrap();
    let paused = process.reject(ACME, &token).await;
    assert!(matches!(paused, Err(TokenError::Paused { .. })), "{paused:?}");
    process.administer(ACME, OperatorCommand::Resume).await.unwrap();
    world.emulator.enqueue([Fault::new(jeton_emulator::FaultKind::RateLimited { retry_after_secs: 9 })]);
    assert!(matches!(process.reject(ACME, &token).await, Err(TokenError::Failed { .. })));
}

#[tokio::test]
async fn a_refused_token_of_a_grant_that_turns_out_dead_is_given_to_nobody_any_more() {
    let (world, process) = World::usual().await;
    let grant = world.living_grant(Duration::from_hours(1));
    process.connect(ACME, grant.clone()).await;
    let token = process.token(ACME).await.unwrap();
    assert!(world.emulator.revoke_grant(grant.refresh.as_ref().unwrap().reveal()));
    let rejected = process.reject(ACME, &token).await;
    assert!(matches!(rejected, Err(TokenError::Dead { .. })), "{rejected:?}");
    let later = process.token(ACME).await;
    assert!(matches!(later, Err(TokenError::Dead { .. })), "{later:?}");
    assert_eq!(world.requests(), 1);
}
