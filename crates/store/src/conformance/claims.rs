//! Who may spend a refresh token.

use std::time::Duration;

use jeton_core::id::Generation;
use jeton_core::keep::attempt::{AttemptStatus, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::GrantState;
use jeton_core::keep::ports::{FailureEffect, OperatorCommand};

use super::fixture::{COOLDOWN, Fixture, LEASE, TestResult, failure, name, node, operator, refresh_print};

/// the attempt is in the refresh log before anything is spent.
pub async fn the_first_claim_wins_and_opens_the_attempt(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let claim = Claim { trigger: Trigger::Rejected, ..fixture.claim(&row) };
    let until = fixture.now() + LEASE;
    assert_eq!(fixture.store.claim(claim.clone()).await?, ClaimAnswer::Won { until });
    let leased = fixture.find("acme").await?;
    let lease = leased.lease.expect("the claim has won it");
    assert_eq!((lease.attempt, lease.node, lease.until), (claim.attempt, node(1), until));
    assert_eq!(leased.open_attempt, Some(claim.attempt));
    assert_eq!((leased.generation, &leased.tokens), (row.generation, &row.tokens));
    let attempt = fixture.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.trigger), (AttemptStatus::Running, Trigger::Rejected));
    assert_eq!(attempt.fingerprint, Some(refresh_print(1)));
    assert_eq!((attempt.started_at, attempt.lease_until), (fixture.now(), Some(until)));
    assert_eq!(attempt.old_expires_at, row.tokens.and_then(|tokens| tokens.access_expires_at));
    Ok(())
}

/// Two sends of one value never overlap.
pub async fn a_second_claim_is_held_until_the_lease_lapses(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    fixture.won(fixture.claim(&row)).await?;
    let until = fixture.now() + LEASE;
    fixture.clock.step(LEASE.saturating_sub(Duration::from_micros(1)));
    assert_eq!(fixture.store.claim(fixture.claim(&row)).await?, ClaimAnswer::Held { until });
    fixture.clock.step(Duration::from_micros(1));
    assert!(matches!(fixture.store.claim(fixture.claim(&row)).await?, ClaimAnswer::Interrupted { .. }));
    Ok(())
}

/// After a COMMIT of unknown outcome the claimer finds its own lease.
pub async fn a_claim_that_is_sent_again_gets_the_first_answer(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let claim = fixture.claim(&row);
    let first = fixture.store.claim(claim.clone()).await?;
    fixture.clock.step(Duration::from_secs(1));
    assert_eq!(fixture.store.claim(claim).await?, first);
    Ok(())
}

/// A claim that is sent again after everything is over must not spend again under the old name.
pub async fn an_attempt_that_is_over_is_never_opened_again(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
    fixture.clock.step(COOLDOWN);
    let again = fixture.store.claim(claim.clone()).await?;
    assert_eq!(again, ClaimAnswer::Moved { generation: row.generation });
    assert_eq!(fixture.attempt(claim.attempt).await?.status, AttemptStatus::Failed);
    assert_eq!(fixture.find("acme").await?.lease, None);
    Ok(())
}

/// Whoever lost the race looks again.
pub async fn a_claim_of_a_generation_that_moved_spends_nothing(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.commit(fixture.commit(&claim, 2)).await?;
    let late = fixture.claim(&row);
    assert_eq!(fixture.store.claim(late.clone()).await?, ClaimAnswer::Moved { generation: Generation(2) });
    assert_eq!(fixture.store.find_attempt(late.attempt).await?, None);
    Ok(())
}

/// The cool-down is kept in the store, so that it holds for every process.
pub async fn a_claim_is_cooling_down_after_a_failure_unless_a_person_insists(
    fixture: &Fixture,
) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
    let until = fixture.now() + COOLDOWN;
    assert_eq!(fixture.store.claim(fixture.claim(&row)).await?, ClaimAnswer::CoolingDown { until });
    let insisting = Claim { through_cooldown: true, ..fixture.claim(&row) };
    let insisting = fixture.won(insisting).await?;
    fixture.store.fail(failure(&insisting, FailureEffect::Retry, "not_sent")).await?;
    fixture.clock.step(COOLDOWN);
    fixture.won(fixture.claim(&row)).await?;
    Ok(())
}

/// A crash is found by whoever comes next, in this process or another.
pub async fn an_open_attempt_under_a_lapsed_lease_is_interrupted_whoever_finds_it(
    fixture: &Fixture,
) -> TestResult {
    let (row, lost) = fixture.claimed().await?;
    fixture.clock.step(LEASE);
    let found = ClaimAnswer::Interrupted { attempt: lost.attempt };
    assert_eq!(fixture.store.claim(fixture.claim(&row)).await?, found);
    let other_process = fixture.another_process().await;
    assert_eq!(other_process.claim(Claim { node: node(2), ..fixture.claim(&row) }).await?, found);
    let attempt = fixture.attempt(lost.attempt).await?;
    assert_eq!(attempt.status, AttemptStatus::Running, "no one judges it by looking");
    assert_eq!(attempt.status_at(fixture.now()), AttemptStatus::Interrupted);
    Ok(())
}

/// One recovery is recorded as such, and names what it recovers.
pub async fn a_recovery_closes_the_interrupted_attempt_in_its_own_claim(fixture: &Fixture) -> TestResult {
    let (row, lost) = fixture.claimed().await?;
    let early = Claim { recovers: Some(lost.attempt), ..fixture.claim(&row) };
    assert!(matches!(fixture.store.claim(early).await?, ClaimAnswer::Held { .. }), "it is still under way");
    fixture.clock.step(LEASE);
    let recovery = fixture.won(Claim { recovers: Some(lost.attempt), ..fixture.claim(&row) }).await?;
    let closed = fixture.attempt(lost.attempt).await?;
    assert_eq!((closed.status, closed.code.as_deref()), (AttemptStatus::Interrupted, Some("interrupted")));
    assert_eq!(closed.completed_at, Some(fixture.now()));
    assert_eq!(fixture.attempt(recovery.attempt).await?.recovers, Some(lost.attempt));
    assert_eq!(fixture.find("acme").await?.open_attempt, Some(recovery.attempt));
    Ok(())
}

/// A recovery of what is settled already would spend a token whose outcome is known.
pub async fn only_the_open_attempt_can_be_recovered(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.clock.step(LEASE);
    let other = fixture.claim(&row).attempt;
    let wrong = Claim { recovers: Some(other), ..fixture.claim(&row) };
    assert_eq!(fixture.store.claim(wrong).await?, ClaimAnswer::Interrupted { attempt: claim.attempt });
    fixture.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
    fixture.clock.step(COOLDOWN);
    let settled = Claim { recovers: Some(claim.attempt), ..fixture.claim(&row) };
    assert_eq!(fixture.store.claim(settled).await?, ClaimAnswer::Moved { generation: row.generation });
    Ok(())
}

/// Where nothing may be spent, nothing is claimed.
pub async fn what_is_missing_paused_or_dead_is_closed(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let missing = Claim { connection: name("nobody"), ..fixture.claim(&row) };
    assert_eq!(fixture.store.claim(missing).await?, ClaimAnswer::Closed);
    fixture.store.administer(&row.name, OperatorCommand::Pause, fixture.operation_id(), &operator()).await?;
    assert_eq!(fixture.store.claim(fixture.claim(&row)).await?, ClaimAnswer::Closed);
    fixture.store.administer(&row.name, OperatorCommand::Resume, fixture.operation_id(), &operator()).await?;
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    fixture.clock.step(COOLDOWN);
    assert_eq!(fixture.store.claim(fixture.claim(&row)).await?, ClaimAnswer::Closed);
    Ok(())
}

/// However far away the next refresh was, the reconciler comes to look.
pub async fn an_attempt_whose_process_died_makes_its_connection_due_when_the_lease_lapses(
    fixture: &Fixture,
) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    fixture.won(fixture.claim(&row)).await?;
    assert!(fixture.store.due(LEASE, None, 10).await?.1.is_empty(), "a live lease is left alone");
    fixture.clock.step(LEASE);
    let (now, due) = fixture.store.due(Duration::ZERO, None, 10).await?;
    assert_eq!((due.len(), due[0].due_at), (1, now));
    Ok(())
}
