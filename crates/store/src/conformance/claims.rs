//! Who may spend a refresh token.
#![expect(
    clippy::missing_panics_doc,
    reason = "a chapter panics where the store breaks a rule: that is its purpose"
)]

use std::time::Duration;

use jeton_core::keep::attempt::{AttemptStatus, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::{Generation, GrantState};
use jeton_core::keep::ports::{FailureEffect, OperatorCommand};

use super::stand::{COOLDOWN, LEASE, Stand, Told, failure, name, node, operator, refresh_print};

/// The attempt is on record before anything is spent.
pub async fn the_first_claim_wins_and_opens_the_attempt(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = Claim { trigger: Trigger::Rejected, ..stand.claim(&row) };
    let until = stand.now() + LEASE;
    assert_eq!(stand.store.claim(claim.clone()).await?, ClaimAnswer::Won { until });
    let leased = stand.find("acme").await?;
    let lease = leased.lease.expect("the claim has won it");
    assert_eq!((lease.attempt, lease.node, lease.until), (claim.attempt, node(1), until));
    assert_eq!(leased.open_attempt, Some(claim.attempt));
    assert_eq!((leased.generation, &leased.tokens), (row.generation, &row.tokens));
    let attempt = stand.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.trigger), (AttemptStatus::Running, Trigger::Rejected));
    assert_eq!(attempt.fingerprint, Some(refresh_print(1)));
    assert_eq!((attempt.started_at, attempt.lease_until), (stand.now(), Some(until)));
    assert_eq!(attempt.old_expires_at, row.tokens.and_then(|tokens| tokens.access_expires_at));
    Ok(())
}

/// Two sends of one value never overlap.
pub async fn a_second_claim_is_held_until_the_lease_lapses(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    stand.won(stand.claim(&row)).await?;
    let until = stand.now() + LEASE;
    stand.clock.step(LEASE.saturating_sub(Duration::from_micros(1)));
    assert_eq!(stand.store.claim(stand.claim(&row)).await?, ClaimAnswer::Held { until });
    stand.clock.step(Duration::from_micros(1));
    assert!(matches!(stand.store.claim(stand.claim(&row)).await?, ClaimAnswer::Interrupted { .. }));
    Ok(())
}

/// After a COMMIT of unknown outcome the claimer finds its own lease.
pub async fn a_claim_that_is_sent_again_gets_the_first_answer(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.claim(&row);
    let first = stand.store.claim(claim.clone()).await?;
    stand.clock.step(Duration::from_secs(1));
    assert_eq!(stand.store.claim(claim).await?, first);
    Ok(())
}

/// A claim that is sent again after everything is over must not spend again under the old name.
pub async fn an_attempt_that_is_over_is_never_opened_again(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
    stand.clock.step(COOLDOWN);
    let again = stand.store.claim(claim.clone()).await?;
    assert_eq!(again, ClaimAnswer::Moved { generation: row.generation });
    assert_eq!(stand.attempt(claim.attempt).await?.status, AttemptStatus::Failed);
    assert_eq!(stand.find("acme").await?.lease, None);
    Ok(())
}

/// Whoever lost the race looks again.
pub async fn a_claim_of_a_generation_that_moved_spends_nothing(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.commit(stand.commit(&claim, 2)).await?;
    let late = stand.claim(&row);
    assert_eq!(stand.store.claim(late.clone()).await?, ClaimAnswer::Moved { generation: Generation(2) });
    assert_eq!(stand.store.find_attempt(late.attempt).await?, None);
    Ok(())
}

/// The cool-down is kept in the store, so that it holds for every process.
pub async fn a_claim_is_cooling_down_after_a_failure_unless_a_person_insists(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
    let until = stand.now() + COOLDOWN;
    assert_eq!(stand.store.claim(stand.claim(&row)).await?, ClaimAnswer::CoolingDown { until });
    let insisting = Claim { through_cooldown: true, ..stand.claim(&row) };
    let insisting = stand.won(insisting).await?;
    stand.store.fail(failure(&insisting, FailureEffect::Retry, "not_sent")).await?;
    stand.clock.step(COOLDOWN);
    stand.won(stand.claim(&row)).await?;
    Ok(())
}

/// A crash is found by whoever comes next, in this process or another.
pub async fn an_open_attempt_under_a_lapsed_lease_is_interrupted_whoever_finds_it(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let lost = stand.won(stand.claim(&row)).await?;
    stand.clock.step(LEASE);
    let found = ClaimAnswer::Interrupted { attempt: lost.attempt };
    assert_eq!(stand.store.claim(stand.claim(&row)).await?, found);
    let elsewhere = stand.another_process().await;
    assert_eq!(elsewhere.claim(Claim { node: node(2), ..stand.claim(&row) }).await?, found);
    let attempt = stand.attempt(lost.attempt).await?;
    assert_eq!(attempt.status, AttemptStatus::Running, "no one judges it by looking");
    assert_eq!(attempt.status_at(stand.now()), AttemptStatus::Interrupted);
    Ok(())
}

/// One recovery is recorded as such, and names what it recovers.
pub async fn a_recovery_closes_the_interrupted_attempt_in_its_own_claim(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let lost = stand.won(stand.claim(&row)).await?;
    let early = Claim { recovers: Some(lost.attempt), ..stand.claim(&row) };
    assert!(matches!(stand.store.claim(early).await?, ClaimAnswer::Held { .. }), "it is still under way");
    stand.clock.step(LEASE);
    let recovery = stand.won(Claim { recovers: Some(lost.attempt), ..stand.claim(&row) }).await?;
    let closed = stand.attempt(lost.attempt).await?;
    assert_eq!((closed.status, closed.code.as_deref()), (AttemptStatus::Interrupted, Some("interrupted")));
    assert_eq!(closed.completed_at, Some(stand.now()));
    assert_eq!(stand.attempt(recovery.attempt).await?.recovers, Some(lost.attempt));
    assert_eq!(stand.find("acme").await?.open_attempt, Some(recovery.attempt));
    Ok(())
}

/// A recovery of what is settled already would spend a token of known fate.
pub async fn only_the_open_attempt_can_be_recovered(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.clock.step(LEASE);
    let other = stand.claim(&row).attempt;
    let wrong = Claim { recovers: Some(other), ..stand.claim(&row) };
    assert_eq!(stand.store.claim(wrong).await?, ClaimAnswer::Interrupted { attempt: claim.attempt });
    stand.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
    stand.clock.step(COOLDOWN);
    let settled = Claim { recovers: Some(claim.attempt), ..stand.claim(&row) };
    assert_eq!(stand.store.claim(settled).await?, ClaimAnswer::Moved { generation: row.generation });
    Ok(())
}

/// Where nothing may be spent, nothing is claimed.
pub async fn what_is_missing_paused_or_dead_is_closed(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let missing = Claim { connection: name("nobody"), ..stand.claim(&row) };
    assert_eq!(stand.store.claim(missing).await?, ClaimAnswer::Closed);
    stand.store.administer(&row.name, OperatorCommand::Pause, stand.operation_id(), &operator()).await?;
    assert_eq!(stand.store.claim(stand.claim(&row)).await?, ClaimAnswer::Closed);
    stand.store.administer(&row.name, OperatorCommand::Resume, stand.operation_id(), &operator()).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    stand.clock.step(COOLDOWN);
    assert_eq!(stand.store.claim(stand.claim(&row)).await?, ClaimAnswer::Closed);
    Ok(())
}

/// However far away the next refresh was, the reconciler comes to look.
pub async fn an_attempt_whose_process_died_makes_its_connection_due_when_the_lease_lapses(
    stand: &Stand,
) -> Told {
    let row = stand.connected("acme", 1).await?;
    stand.won(stand.claim(&row)).await?;
    assert!(stand.store.due(LEASE, None, 10).await?.1.is_empty(), "a live lease is left alone");
    stand.clock.step(LEASE);
    let (now, due) = stand.store.due(Duration::ZERO, None, 10).await?;
    assert_eq!((due.len(), due[0].due_at), (1, now));
    Ok(())
}
