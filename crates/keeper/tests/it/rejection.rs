//! A caller says that the API refused its token: compare, refresh at most once, and backoff.

use std::time::Duration;

use futures_util::future::join_all;
use jeton_core::keep::ports::OperatorCommand;
use jeton_emulator::Fault;
use jeton_keeper::TokenError;

use crate::fixture::{ACME, Fixture, Options, confirming};
use crate::process::Process;

/// Tokens that outlive every backoff.
async fn long_lived() -> (Fixture, Process) {
    let emulator =
        jeton_emulator::Settings { access_ttl: Duration::from_hours(30 * 24), ..Default::default() };
    let (fixture, process) = Fixture::with(Options { emulator, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    (fixture, process)
}

fn backed_off_for<T: std::fmt::Debug>(answer: Result<T, TokenError>) -> u64 {
    match answer {
        // Rounded to the second: a moment has passed since the backoff was put on.
        Err(TokenError::RejectedAgain { retry_after, .. }) => {
            (retry_after + Duration::from_millis(999)).as_secs()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_rejected_token_that_is_not_the_stored_one_is_answered_with_the_stored_one() {
    let (fixture, one) = long_lived().await;
    let two = fixture.process().await;
    let old = one.token(ACME).await.unwrap();
    assert_eq!(two.token(ACME).await.unwrap().access, old.access);
    one.force(ACME).await.unwrap();
    let new = two.reject(ACME, &old).await.unwrap();
    assert_ne!(new.access, old.access);
    assert_eq!(fixture.requests(), 2, "nothing is refreshed for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_rejections_of_one_token_cause_one_refresh() {
    let (fixture, one) = long_lived().await;
    let two = fixture.process().await;
    let old = one.token(ACME).await.unwrap();
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(50))]);
    let callers =
        (0..200).map(|index| if index % 2 == 0 { one.reject(ACME, &old) } else { two.reject(ACME, &old) });
    let tokens: Vec<_> = join_all(callers).await.into_iter().map(Result::unwrap).collect();
    assert!(tokens.iter().all(|token| token.access == tokens[0].access && token.access != old.access));
    assert_eq!(fixture.requests(), 2);
    fixture.assert_spent_once();
}

#[tokio::test]
async fn a_token_fresh_from_a_rejected_refresh_that_is_rejected_again_makes_every_process_back_off() {
    let (fixture, one) = long_lived().await;
    let two = fixture.process().await;
    let first = one.token(ACME).await.unwrap();
    let second = one.reject(ACME, &first).await.unwrap();
    assert_eq!(backed_off_for(one.reject(ACME, &second).await), 60);
    assert_eq!(backed_off_for(two.reject(ACME, &second).await), 60);
    // Whoever needs a token still gets the one there is.
    assert_eq!(two.token(ACME).await.unwrap().access, second.access);
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn while_the_backoff_holds_memory_answers_and_the_store_is_asked_once() {
    let (fixture, one) = long_lived().await;
    let two = fixture.process().await;
    let first = one.token(ACME).await.unwrap();
    let second = one.reject(ACME, &first).await.unwrap();
    for process in [&one, &two] {
        backed_off_for(process.reject(ACME, &second).await);
        let before = process.probe.calls();
        for _ in 0..100 {
            assert_eq!(backed_off_for(process.reject(ACME, &second).await), 60);
        }
        assert_eq!(process.probe.calls(), before, "memory knows");
    }
    // Another token is another question, and so is this one once the backoff has run out.
    let before = one.probe.calls();
    assert_eq!(one.reject(ACME, &first).await.unwrap().access, second.access);
    assert!(one.probe.calls() > before);
    fixture.clock.advance(Duration::from_secs(61));
    assert_ne!(one.reject(ACME, &second).await.unwrap().access, second.access);
    assert_eq!(fixture.requests(), 3);
}

#[tokio::test]
async fn the_backoff_doubles_up_to_an_hour_as_long_as_refreshing_does_not_help() {
    let (fixture, process) = long_lived().await;
    let mut token = process.token(ACME).await.unwrap();
    token = process.reject(ACME, &token).await.unwrap();
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        let before = fixture.requests();
        assert_eq!(backed_off_for(process.reject(ACME, &token).await), minutes * 60);
        fixture.clock.advance(Duration::from_secs(minutes * 60 - 5));
        backed_off_for(process.reject(ACME, &token).await);
        assert_eq!(fixture.requests(), before, "nothing is spent while the backoff holds");
        fixture.clock.advance(Duration::from_secs(6));
        token = process.reject(ACME, &token).await.unwrap();
        assert_eq!(fixture.requests(), before + 1);
    }
    fixture.assert_spent_once();
}

#[tokio::test]
async fn a_refresh_for_another_reason_ends_the_backoff() {
    let (_world, process) = long_lived().await;
    let first = process.token(ACME).await.unwrap();
    let second = process.reject(ACME, &first).await.unwrap();
    assert_eq!(backed_off_for(process.reject(ACME, &second).await), 60);
    process.force(ACME).await.unwrap();
    let third = process.token(ACME).await.unwrap();
    let fourth = process.reject(ACME, &third).await.unwrap();
    assert_ne!(third.access, fourth.access);
    assert_eq!(backed_off_for(process.reject(ACME, &fourth).await), 60);
}

#[tokio::test]
async fn a_rejected_token_is_never_handed_out_again_in_answer_to_its_rejection() {
    let (fixture, process) = long_lived().await;
    let token = process.token(ACME).await.unwrap();
    process.administer(ACME, OperatorCommand::Pause).await.unwrap();
    let paused = process.reject(ACME, &token).await;
    assert!(matches!(paused, Err(TokenError::Paused { .. })), "{paused:?}");
    process.administer(ACME, OperatorCommand::Resume).await.unwrap();
    fixture.emulator.enqueue([Fault::new(jeton_emulator::FaultKind::RateLimited { retry_after_secs: 9 })]);
    assert!(matches!(process.reject(ACME, &token).await, Err(TokenError::Failed { .. })));
}

#[tokio::test]
async fn a_refused_token_of_a_grant_that_turns_out_dead_is_given_to_nobody_any_more() {
    let policy = confirming(Duration::ZERO);
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    let grant = fixture.living_grant(Duration::from_hours(1));
    process.connect(ACME, grant.clone()).await;
    let token = process.token(ACME).await.unwrap();
    assert!(fixture.emulator.revoke_grant(grant.refresh.as_ref().unwrap().reveal()));
    let rejected = process.reject(ACME, &token).await;
    assert!(matches!(rejected, Err(TokenError::Dead { .. })), "{rejected:?}");
    let later = process.token(ACME).await;
    assert!(matches!(later, Err(TokenError::Dead { .. })), "{later:?}");
    assert_eq!(fixture.requests(), 2);
}
