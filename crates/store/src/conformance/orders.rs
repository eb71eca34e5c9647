//! What operators order, and what callers report.
#![expect(
    clippy::missing_panics_doc,
    reason = "a chapter panics where the store breaks a rule: that is its purpose"
)]

use std::time::Duration;

use jeton_core::keep::attempt::{AttemptStatus, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::{Generation, GrantState};
use jeton_core::keep::ports::{CommitAnswer, Fail, FailureEffect, OperatorCommand};
use jeton_core::keep::rejection::{FIRST_BACKOFF, Rejection, RejectionAnswer};

use super::stand::{Stand, Told, access_print, failure, name, operator};

/// An operator's word is obeyed by every process.
pub async fn a_paused_connection_is_neither_due_nor_claimed_until_it_is_resumed(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let horizon = Duration::from_secs(100_000);
    assert!(
        stand.store.administer(&row.name, OperatorCommand::Pause, stand.operation_id(), &operator()).await?
    );
    assert!(stand.find("acme").await?.paused);
    assert!(stand.store.due(horizon, None, 10).await?.1.is_empty());
    assert_eq!(stand.store.claim(stand.claim(&row)).await?, ClaimAnswer::Closed);
    assert!(
        stand.store.administer(&row.name, OperatorCommand::Resume, stand.operation_id(), &operator()).await?
    );
    assert_eq!(stand.store.due(horizon, None, 10).await?.1.len(), 1);
    stand.won(stand.claim(&row)).await?;
    Ok(())
}

/// "Go on, now."
pub async fn resuming_makes_it_due_now_and_ends_the_cooling(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
    stand.store.administer(&row.name, OperatorCommand::Resume, stand.operation_id(), &operator()).await?;
    let row = stand.find("acme").await?;
    assert_eq!((row.due_at, row.cooling_until), (Some(stand.now()), None));
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    stand.store.administer(&row.name, OperatorCommand::Resume, stand.operation_id(), &operator()).await?;
    assert_eq!(stand.find("acme").await?.due_at, None, "a dead grant needs a person");
    Ok(())
}

/// The grant was given up: what is still under way is kept, and belongs to nothing.
pub async fn disconnecting_wipes_the_tokens_and_what_comes_late_is_never_used(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let lost = stand.won(stand.claim(&row)).await?;
    let unreadable =
        Fail { kept_reply: Some(vec![1]), ..failure(&lost, FailureEffect::Unknown, "unreadable") };
    stand.store.fail(unreadable).await?;
    stand.clock.step(Duration::from_mins(1));
    let claim = stand.won(Claim { recovers: Some(lost.attempt), ..stand.claim(&row) }).await?;
    assert!(
        stand
            .store
            .administer(&row.name, OperatorCommand::Disconnect, stand.operation_id(), &operator())
            .await?
    );
    let given_up = stand.find("acme").await?;
    assert_eq!((given_up.state, &given_up.tokens), (GrantState::None, &None));
    assert_eq!((given_up.generation, given_up.due_at), (Generation(2), None));
    assert_eq!((given_up.lease, given_up.open_attempt), (None, None));
    assert_eq!(stand.attempt(claim.attempt).await?.status, AttemptStatus::Interrupted);
    assert_eq!(stand.store.find_kept_reply(lost.attempt).await?, None);
    let late = stand.store.commit(stand.commit(&claim, 2)).await?;
    assert_eq!(late, CommitAnswer::Orphaned { generation: Generation(2) });
    let row = stand.find("acme").await?;
    assert_eq!((row.orphans.len(), row.usable_orphan(), &row.tokens), (1, None, &None));
    stand.store.administer(&row.name, OperatorCommand::Disconnect, stand.operation_id(), &operator()).await?;
    assert!(stand.find("acme").await?.orphans.is_empty());
    Ok(())
}

/// After a COMMIT of unknown outcome, and after other orders.
pub async fn an_order_that_is_given_again_is_done_once(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let (first, second) = (stand.operation_id(), stand.operation_id());
    assert!(stand.store.administer(&row.name, OperatorCommand::Disconnect, first, &operator()).await?);
    assert!(stand.store.administer(&row.name, OperatorCommand::Pause, second, &operator()).await?);
    let before = stand.find("acme").await?;
    assert!(stand.store.administer(&row.name, OperatorCommand::Disconnect, first, &operator()).await?);
    assert_eq!(stand.find("acme").await?, before);
    Ok(())
}

/// Whoever misspells a name is told.
pub async fn an_order_for_nobody_is_answered_so(stand: &Stand) -> Told {
    assert!(
        !stand
            .store
            .administer(&name("nobody"), OperatorCommand::Pause, stand.operation_id(), &operator())
            .await?
    );
    Ok(())
}

fn rejection(number: u8) -> Rejection {
    Rejection { connection: name("acme"), fingerprint: access_print(number), helped_before: false }
}

/// Somebody refreshed meanwhile: hand the stored one out.
pub async fn a_rejection_of_another_token_differs(stand: &Stand) -> Told {
    stand.connected("acme", 1).await?;
    assert_eq!(stand.store.reject(rejection(9)).await?, RejectionAnswer::Differs);
    assert_eq!(stand.store.reject(rejection(1)).await?, RejectionAnswer::Refresh);
    Ok(())
}

/// An API that refuses for another reason must not burn a refresh with every call.
pub async fn a_rejection_of_a_token_born_of_a_rejection_brakes_and_the_brake_is_kept(stand: &Stand) -> Told {
    let mut row = stand.connected("acme", 1).await?;
    for (number, step) in [(2, FIRST_BACKOFF), (3, FIRST_BACKOFF * 2)] {
        let claim = stand.won(Claim { trigger: Trigger::Rejected, ..stand.claim(&row) }).await?;
        stand.store.commit(stand.commit(&claim, number)).await?;
        let until = stand.now() + step;
        let braked = RejectionAnswer::BackingOff { until };
        assert_eq!(stand.store.reject(rejection(number)).await?, braked);
        assert_eq!(stand.another_process().await.reject(rejection(number)).await?, braked);
        row = stand.find("acme").await?;
        assert_eq!(row.backoff.map(|brake| (brake.until, brake.step)), Some((until, step)));
        stand.clock.step(step);
        assert_eq!(stand.store.reject(rejection(number)).await?, RejectionAnswer::Refresh);
    }
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.commit(stand.commit(&claim, 4)).await?;
    assert_eq!(stand.find("acme").await?.backoff, None, "another trigger ends the chain");
    Ok(())
}

/// There is nothing to compare with.
pub async fn a_rejection_of_an_unknown_connection_is_unknown(stand: &Stand) -> Told {
    assert_eq!(stand.store.reject(rejection(1)).await?, RejectionAnswer::Unknown);
    Ok(())
}
