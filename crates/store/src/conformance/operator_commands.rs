//! What operators order, and what callers report.

use std::time::Duration;

use jeton_core::id::Generation;
use jeton_core::keep::attempt::{AttemptStatus, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::GrantState;
use jeton_core::keep::ports::{CommitAnswer, Fail, FailureEffect, OperatorCommand};
use jeton_core::keep::rejection::{FIRST_BACKOFF, Rejection, RejectionAnswer};

use super::fixture::{Fixture, TestResult, access_print, failure, name, operator};

/// An operator's word is obeyed by every process.
pub async fn a_paused_connection_is_neither_due_nor_claimed_until_it_is_resumed(
    fixture: &Fixture,
) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let horizon = Duration::from_secs(100_000);
    assert!(
        fixture
            .store
            .administer(&row.name, OperatorCommand::Pause, fixture.operation_id(), &operator())
            .await?
    );
    assert!(fixture.find("acme").await?.paused);
    assert!(fixture.store.due(horizon, None, 10).await?.1.is_empty());
    assert_eq!(fixture.store.claim(fixture.claim(&row)).await?, ClaimAnswer::Closed);
    assert!(
        fixture
            .store
            .administer(&row.name, OperatorCommand::Resume, fixture.operation_id(), &operator())
            .await?
    );
    assert_eq!(fixture.store.due(horizon, None, 10).await?.1.len(), 1);
    fixture.won(fixture.claim(&row)).await?;
    Ok(())
}

/// "Go on, now."
pub async fn resuming_makes_it_due_now_and_ends_the_cooling(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
    fixture.store.administer(&row.name, OperatorCommand::Resume, fixture.operation_id(), &operator()).await?;
    let row = fixture.find("acme").await?;
    assert_eq!((row.due_at, row.cooling_until), (Some(fixture.now()), None));
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    fixture.store.administer(&row.name, OperatorCommand::Resume, fixture.operation_id(), &operator()).await?;
    assert_eq!(fixture.find("acme").await?.due_at, None, "a dead grant needs a person");
    Ok(())
}

/// The grant was given up: what is still under way is kept, and belongs to nothing.
pub async fn disconnecting_wipes_the_tokens_and_what_comes_late_is_never_used(
    fixture: &Fixture,
) -> TestResult {
    let (row, lost) = fixture.claimed().await?;
    let unreadable =
        Fail { kept_reply: Some(vec![1]), ..failure(&lost, FailureEffect::Unknown, "unreadable") };
    fixture.store.fail(unreadable).await?;
    fixture.clock.step(Duration::from_mins(1));
    let claim = fixture.won(Claim { recovers: Some(lost.attempt), ..fixture.claim(&row) }).await?;
    assert!(
        fixture
            .store
            .administer(&row.name, OperatorCommand::Disconnect, fixture.operation_id(), &operator())
            .await?
    );
    let given_up = fixture.find("acme").await?;
    assert_eq!((given_up.state, &given_up.tokens), (GrantState::None, &None));
    assert_eq!((given_up.generation, given_up.due_at), (Generation(2), None));
    assert_eq!((given_up.lease, given_up.open_attempt), (None, None));
    assert_eq!(fixture.attempt(claim.attempt).await?.status, AttemptStatus::Interrupted);
    assert_eq!(fixture.store.find_kept_reply(lost.attempt).await?, None);
    let late = fixture.store.commit(fixture.commit(&claim, 2)).await?;
    assert_eq!(late, CommitAnswer::Orphaned { generation: Generation(2) });
    let row = fixture.find("acme").await?;
    assert_eq!((row.orphans.len(), row.usable_orphan(), &row.tokens), (1, None, &None));
    fixture
        .store
        .administer(&row.name, OperatorCommand::Disconnect, fixture.operation_id(), &operator())
        .await?;
    assert!(fixture.find("acme").await?.orphans.is_empty());
    Ok(())
}

/// After a COMMIT of unknown outcome, and after other orders.
pub async fn an_order_that_is_given_again_is_done_once(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let (first, second) = (fixture.operation_id(), fixture.operation_id());
    assert!(fixture.store.administer(&row.name, OperatorCommand::Disconnect, first, &operator()).await?);
    assert!(fixture.store.administer(&row.name, OperatorCommand::Pause, second, &operator()).await?);
    let before = fixture.find("acme").await?;
    assert!(fixture.store.administer(&row.name, OperatorCommand::Disconnect, first, &operator()).await?);
    assert_eq!(fixture.find("acme").await?, before);
    Ok(())
}

/// Whoever misspells a name is told.
pub async fn an_order_for_nobody_is_answered_so(fixture: &Fixture) -> TestResult {
    assert!(
        !fixture
            .store
            .administer(&name("nobody"), OperatorCommand::Pause, fixture.operation_id(), &operator())
            .await?
    );
    Ok(())
}

fn rejection(number: u8) -> Rejection {
    Rejection { connection: name("acme"), fingerprint: access_print(number), helped_before: false }
}

/// Somebody refreshed meanwhile: hand the stored one out.
pub async fn a_rejection_of_another_token_differs(fixture: &Fixture) -> TestResult {
    fixture.connected("acme", 1).await?;
    assert_eq!(fixture.store.reject(rejection(9)).await?, RejectionAnswer::Differs);
    assert_eq!(fixture.store.reject(rejection(1)).await?, RejectionAnswer::Refresh);
    Ok(())
}

/// An API that refuses for another reason must not burn a refresh with every call.
pub async fn a_rejection_of_a_token_born_of_a_rejection_brakes_and_the_brake_is_kept(
    fixture: &Fixture,
) -> TestResult {
    let mut row = fixture.connected("acme", 1).await?;
    for (number, step) in [(2, FIRST_BACKOFF), (3, FIRST_BACKOFF * 2)] {
        let claim = fixture.won(Claim { trigger: Trigger::Rejected, ..fixture.claim(&row) }).await?;
        fixture.store.commit(fixture.commit(&claim, number)).await?;
        let until = fixture.now() + step;
        let braked = RejectionAnswer::BackingOff { until };
        assert_eq!(fixture.store.reject(rejection(number)).await?, braked);
        assert_eq!(fixture.another_process().await.reject(rejection(number)).await?, braked);
        row = fixture.find("acme").await?;
        assert_eq!(row.backoff.map(|backoff| (backoff.until, backoff.step)), Some((until, step)));
        fixture.clock.step(step);
        assert_eq!(fixture.store.reject(rejection(number)).await?, RejectionAnswer::Refresh);
    }
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.commit(fixture.commit(&claim, 4)).await?;
    assert_eq!(fixture.find("acme").await?.backoff, None, "another trigger ends the chain");
    Ok(())
}

/// There is nothing to compare with.
pub async fn a_rejection_of_an_unknown_connection_is_unknown(fixture: &Fixture) -> TestResult {
    assert_eq!(fixture.store.reject(rejection(1)).await?, RejectionAnswer::Unknown);
    Ok(())
}
