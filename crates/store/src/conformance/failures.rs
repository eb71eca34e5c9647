//! What a failed attempt does to its connection, and what a visit leaves.

use std::time::Duration;

use jeton_core::id::Generation;
use jeton_core::keep::attempt::{Act, AttemptStatus, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::{Connection, GrantState};
use jeton_core::keep::ports::{Fail, FailureEffect, Skip};

use super::fixture::{COOLDOWN, Fixture, LEASE, TestResult, failure, node};

/// Nothing was spent: try again soon.
pub async fn a_failure_that_spent_nothing_cools_down_and_counts(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let began = fixture.now();
    for count in 1..=2 {
        let claim = fixture.won(fixture.claim(&row)).await?;
        fixture.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
        let failed = fixture.find("acme").await?;
        assert_eq!((failed.failures, failed.last_error.as_deref()), (count, Some("not_sent")));
        assert_eq!(failed.failing_since, Some(began), "as the first of them says");
        assert_eq!((failed.lease, failed.open_attempt), (None, None));
        assert_eq!(failed.cooling_until, Some(fixture.now() + COOLDOWN));
        assert_eq!(failed.due_at, Some(fixture.now() + Duration::from_secs(30)));
        assert_eq!((failed.state, failed.generation), (GrantState::Live, row.generation));
        let attempt = fixture.attempt(claim.attempt).await?;
        assert_eq!((attempt.status, attempt.completed_at), (AttemptStatus::Failed, Some(fixture.now())));
        assert_eq!((attempt.code.as_deref(), attempt.http_status), (Some("not_sent"), Some(400)));
        fixture.clock.step(COOLDOWN);
    }
    Ok(())
}

/// Policy decides what follows; the store only remembers.
pub async fn an_unknown_outcome_keeps_the_attempt_open_and_gives_the_lease_back(
    fixture: &Fixture,
) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::Unknown, "ambiguous")).await?;
    let open = fixture.find("acme").await?;
    assert_eq!((open.lease, open.open_attempt), (None, Some(claim.attempt)));
    assert_eq!(open.interrupted_attempt(fixture.now()), Some(claim.attempt));
    let attempt = fixture.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.completed_at), (AttemptStatus::Interrupted, Some(fixture.now())));
    let found = fixture.store.claim(fixture.claim(&row)).await?;
    assert_eq!(found, ClaimAnswer::Interrupted { attempt: claim.attempt });
    fixture.clock.step(COOLDOWN);
    let recovery = Claim { recovers: Some(claim.attempt), ..fixture.claim(&row) };
    fixture.won(recovery).await?;
    assert_eq!(fixture.attempt(claim.attempt).await?.code.as_deref(), Some("ambiguous"), "its code stays");
    Ok(())
}

/// A refresh token that may have been spent is not fresh again because acquiring another one failed.
pub async fn a_dead_grant_stays_dead_when_acquiring_in_its_place_fails(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    fixture.clock.step(COOLDOWN);
    let acquire = Claim { act: Act::Acquire, spends: None, ..fixture.claim(&row) };
    let acquire = fixture.won(acquire).await?;
    fixture.store.fail(failure(&acquire, FailureEffect::State(GrantState::Suspended), "suspended")).await?;
    assert_eq!(fixture.find("acme").await?.state, GrantState::Dead);
    fixture.clock.step(COOLDOWN);
    assert_eq!(fixture.store.claim(fixture.claim(&row)).await?, ClaimAnswer::Closed);
    Ok(())
}

/// Nobody is given a token that its API has refused, once nothing can cure that.
pub async fn a_refused_access_token_dies_with_its_grant(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let claim = Claim { trigger: Trigger::Rejected, ..fixture.claim(&row) };
    let claim = fixture.won(claim).await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    let dead = fixture.find("acme").await?;
    assert!(!dead.lives(fixture.now(), Duration::ZERO));
    assert!(dead.tokens.is_some_and(|tokens| tokens.refresh.is_some()), "it is not deleted");
    // The same when the provider has refused the grant once.
    let row = fixture.connected("other", 2).await?;
    let claim = Claim { trigger: Trigger::Rejected, ..fixture.claim(&row) };
    let claim = fixture.won(claim).await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Live), "invalid_grant")).await?;
    assert!(!fixture.find("other").await?.lives(fixture.now(), Duration::ZERO));
    Ok(())
}

/// A refusal is remembered through other failures, until it is confirmed or a refresh succeeds.
pub async fn a_refused_grant_lives_in_doubt_until_a_refresh_succeeds(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Live), "invalid_grant")).await?;
    let refused = fixture.find("acme").await?;
    assert_eq!((refused.state, refused.refused()), (GrantState::Live, Some("invalid_grant")));
    assert_eq!((refused.open_attempt, refused.failures), (None, 1));
    assert_eq!(refused.due_at, Some(fixture.now() + Duration::from_secs(30)));
    fixture.clock.step(COOLDOWN);
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
    assert_eq!(fixture.find("acme").await?.refused(), Some("invalid_grant"));
    fixture.clock.step(COOLDOWN);
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.commit(fixture.commit(&claim, 2)).await?;
    let fresh = fixture.find("acme").await?;
    assert_eq!((fresh.state, fresh.refused(), fresh.state_code.as_deref()), (GrantState::Live, None, None));
    assert_eq!((fresh.failures, fresh.failing_since), (0, None));
    Ok(())
}

/// Nobody but a person has it sent once more; then it is as if it had been refused once.
pub async fn a_dead_grant_that_a_person_has_redeemed_is_in_doubt_again(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    fixture.clock.step(COOLDOWN);
    assert_eq!(fixture.store.claim(fixture.claim(&row)).await?, ClaimAnswer::Closed);
    let forced =
        |fixture: &Fixture| Claim { through_cooldown: true, trigger: Trigger::Forced, ..fixture.claim(&row) };
    let claim = fixture.won(forced(fixture)).await?;
    let sent = fixture.find("acme").await?;
    assert_eq!((sent.state, sent.refused()), (GrantState::Live, Some("invalid_grant")));
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    let dead = fixture.find("acme").await?;
    assert_eq!((dead.state, dead.due_at, dead.open_attempt), (GrantState::Dead, None, None));
    let claim = fixture.won(forced(fixture)).await?;
    fixture.store.commit(fixture.commit(&claim, 2)).await?;
    let revived = fixture.find("acme").await?;
    assert_eq!((revived.state, revived.state_code), (GrantState::Live, None));
    Ok(())
}

/// A person's try in a pause is no reason to end the pause.
pub async fn a_failure_does_not_end_a_longer_cool_down(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    let pause = COOLDOWN * 100;
    let long = Fail { cooldown: pause, due_in: Some(pause), ..failure(&claim, FailureEffect::Retry, "slow") };
    fixture.store.fail(long).await?;
    let until = Some(fixture.now() + pause);
    fixture.clock.step(COOLDOWN);
    let forced = Claim { through_cooldown: true, trigger: Trigger::Forced, ..fixture.claim(&row) };
    let claim = fixture.won(forced).await?;
    fixture.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
    let cooling = fixture.find("acme").await?;
    assert_eq!((cooling.cooling_until, cooling.due_at), (until, until));
    fixture.clock.step(pause);
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
    assert_eq!(fixture.find("acme").await?.cooling_until, Some(fixture.now() + COOLDOWN));
    Ok(())
}

/// No class of error deletes a refresh token.
pub async fn a_dead_grant_is_not_due_and_keeps_its_tokens(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    let dead = fixture.find("acme").await?;
    assert_eq!((dead.state, dead.state_code.as_deref()), (GrantState::Dead, Some("invalid_grant")));
    assert_eq!((dead.due_at, dead.open_attempt, dead.lease), (None, None, None));
    assert_eq!((dead.tokens, dead.generation), (row.tokens, row.generation));
    Ok(())
}

/// It is tried again, slowly.
pub async fn a_suspended_grant_stays_due(fixture: &Fixture) -> TestResult {
    let (_, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Suspended), "suspended")).await?;
    let row = fixture.find("acme").await?;
    assert_eq!((row.state, row.state_code.as_deref()), (GrantState::Suspended, Some("suspended")));
    assert_eq!(row.due_at, Some(fixture.now() + Duration::from_secs(30)));
    fixture.clock.step(COOLDOWN);
    fixture.won(fixture.claim(&row)).await?;
    Ok(())
}

/// The id of the attempt makes the second order harmless.
pub async fn a_failure_that_is_sent_again_counts_once(fixture: &Fixture) -> TestResult {
    for effect in [FailureEffect::Retry, FailureEffect::Unknown, FailureEffect::State(GrantState::Dead)] {
        let name = format!("acme-{}", fixture.now().as_secs());
        let number = u8::try_from(fixture.now().as_secs() % 200).unwrap_or(0);
        let row = fixture.connected(&name, number).await?;
        let claim = fixture.won(fixture.claim(&row)).await?;
        let fail = failure(&claim, effect, "broken");
        fixture.store.fail(fail.clone()).await?;
        let once = fixture.find(&name).await?;
        fixture.clock.step(Duration::from_secs(1));
        fixture.store.fail(fail).await?;
        assert_eq!(fixture.find(&name).await?, once, "{effect:?}");
    }
    Ok(())
}

/// The new grant has nothing to do with what befell the old one.
pub async fn a_failure_after_the_generation_moved_touches_only_the_log(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.connect(fixture.connect("acme", 2, row.generation)).await?;
    let fresh = fixture.find("acme").await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    assert_eq!(fixture.find("acme").await?, fresh);
    let attempt = fixture.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.code.as_deref()), (AttemptStatus::Failed, Some("invalid_grant")));
    Ok(())
}

/// The lease of the recovery is not given back by the attempt that it recovers.
pub async fn a_failure_after_a_recovery_began_touches_only_the_log(fixture: &Fixture) -> TestResult {
    let (row, late) = fixture.claimed().await?;
    fixture.clock.step(LEASE);
    fixture.won(Claim { recovers: Some(late.attempt), ..fixture.claim(&row) }).await?;
    let recovering = fixture.find("acme").await?;
    fixture.store.fail(failure(&late, FailureEffect::Retry, "not_sent")).await?;
    assert_eq!(fixture.find("acme").await?, recovering);
    assert_eq!(fixture.attempt(late.attempt).await?.status, AttemptStatus::Failed);
    Ok(())
}

/// A recovery that sent nothing is not the one recovery: what it was to recover is as unknown as before.
pub async fn a_recovery_that_spent_nothing_leaves_the_first_attempt_open(fixture: &Fixture) -> TestResult {
    let (row, lost) = fixture.claimed().await?;
    fixture.clock.step(LEASE);
    let recovery = fixture.won(Claim { recovers: Some(lost.attempt), ..fixture.claim(&row) }).await?;
    fixture.store.fail(failure(&recovery, FailureEffect::Retry, "not_sent")).await?;
    assert_eq!(fixture.find("acme").await?.open_attempt, Some(lost.attempt));
    let found = ClaimAnswer::Interrupted { attempt: lost.attempt };
    assert_eq!(fixture.store.claim(fixture.claim(&row)).await?, found);
    fixture.clock.step(COOLDOWN);
    let again = fixture.won(Claim { recovers: Some(lost.attempt), ..fixture.claim(&row) }).await?;
    fixture.store.fail(failure(&lost, FailureEffect::Retry, "not_sent")).await?;
    fixture.store.fail(failure(&again, FailureEffect::Retry, "not_sent")).await?;
    assert_eq!(fixture.find("acme").await?.open_attempt, None, "now it is known of both");
    Ok(())
}

/// A kept reply that is read at last may say that nothing was spent, or that the grant is dead.
pub async fn an_unknown_outcome_may_be_settled_later(fixture: &Fixture) -> TestResult {
    let (_, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::Unknown, "ambiguous")).await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    let settled = fixture.find("acme").await?;
    assert_eq!((settled.state, settled.open_attempt), (GrantState::Dead, None));
    assert_eq!(fixture.attempt(claim.attempt).await?.status, AttemptStatus::Failed);
    Ok(())
}

/// What is stored is stored.
pub async fn a_failure_never_undoes_a_success(fixture: &Fixture) -> TestResult {
    let (_, claim) = fixture.claimed().await?;
    fixture.store.commit(fixture.commit(&claim, 2)).await?;
    let (fresh, attempt) = (fixture.find("acme").await?, fixture.attempt(claim.attempt).await?);
    fixture.store.fail(failure(&claim, FailureEffect::Unknown, "ambiguous")).await?;
    assert_eq!(fixture.find("acme").await?, fresh);
    assert_eq!(fixture.attempt(claim.attempt).await?, attempt);
    Ok(())
}

/// It is read again when the provider file is mended.
pub async fn a_reply_that_could_not_be_read_is_kept_until_it_is(fixture: &Fixture) -> TestResult {
    let (_, claim) = fixture.claimed().await?;
    let sealed = vec![7; 70_000];
    let failure = failure(&claim, FailureEffect::Unknown, "unreadable");
    fixture.store.fail(Fail { kept_reply: Some(sealed.clone()), ..failure.clone() }).await?;
    assert_eq!(fixture.store.find_kept_reply(claim.attempt).await?, Some(sealed.clone()));
    fixture.store.fail(failure).await?;
    assert_eq!(
        fixture.store.find_kept_reply(claim.attempt).await?,
        Some(sealed),
        "nothing takes it away unread"
    );
    fixture.store.commit(fixture.commit(&claim, 2)).await?;
    assert_eq!(fixture.store.find_kept_reply(claim.attempt).await?, None);
    let row = fixture.find("acme").await?;
    assert_eq!((row.generation, row.open_attempt), (Generation(2), None));
    Ok(())
}

fn skip(fixture: &Fixture, row: &Connection) -> Skip {
    Skip {
        connection: row.name.clone(),
        attempt: fixture.attempt_id(),
        generation: row.generation,
        trigger: Trigger::Automatic,
        asked_by: None,
        node: node(1),
        message: "Nothing was due.".into(),
        due_at: fixture.now() + Duration::from_mins(1),
    }
}

/// People see that the keeper looked.
pub async fn a_skip_leaves_a_row_and_the_next_visit_and_only_once(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let skip = skip(fixture, &row);
    fixture.store.skip(skip.clone()).await?;
    let visited = fixture.find("acme").await?;
    assert_eq!(visited.due_at, Some(skip.due_at));
    let attempt = fixture.attempt(skip.attempt).await?;
    assert_eq!((attempt.status, attempt.act), (AttemptStatus::Skipped, Act::Visit));
    assert_eq!(attempt.completed_at, Some(fixture.now()));
    fixture.store.skip(Skip { due_at: fixture.now(), ..skip }).await?;
    assert_eq!(fixture.find("acme").await?, visited);
    Ok(())
}

/// What was decided on an old row is not written over a new one.
pub async fn a_skip_of_a_generation_that_moved_or_of_a_dead_grant_sets_no_visit(
    fixture: &Fixture,
) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.commit(fixture.commit(&claim, 2)).await?;
    let fresh = fixture.find("acme").await?;
    let late = skip(fixture, &row);
    fixture.store.skip(late.clone()).await?;
    assert_eq!(fixture.find("acme").await?, fresh);
    assert_eq!(fixture.store.find_attempt(late.attempt).await?, None);
    let claim = fixture.won(fixture.claim(&fresh)).await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    fixture.store.skip(skip(fixture, &fresh)).await?;
    assert_eq!(fixture.find("acme").await?.due_at, None);
    Ok(())
}
