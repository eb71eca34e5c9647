//! What a failed attempt does to its connection, and what a visit leaves.
#![expect(
    clippy::missing_panics_doc,
    reason = "a chapter panics where the store breaks a rule: that is its purpose"
)]

use std::time::Duration;

use jeton_core::keep::attempt::{Act, AttemptStatus, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::{Connection, Generation, GrantState};
use jeton_core::keep::ports::{Fail, FailureEffect, Skip};

use super::stand::{COOLDOWN, LEASE, Stand, Told, failure, node};

/// Nothing was spent: try again soon.
pub async fn a_failure_that_spent_nothing_cools_down_and_counts(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    for count in 1..=2 {
        let claim = stand.won(stand.claim(&row)).await?;
        stand.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
        let failed = stand.find("acme").await?;
        assert_eq!((failed.failures, failed.last_error.as_deref()), (count, Some("not_sent")));
        assert_eq!((failed.lease, failed.open_attempt), (None, None));
        assert_eq!(failed.cooling_until, Some(stand.now() + COOLDOWN));
        assert_eq!(failed.due_at, Some(stand.now() + Duration::from_secs(30)));
        assert_eq!((failed.state, failed.generation), (GrantState::Live, row.generation));
        let attempt = stand.attempt(claim.attempt).await?;
        assert_eq!((attempt.status, attempt.completed_at), (AttemptStatus::Failed, Some(stand.now())));
        assert_eq!((attempt.code.as_deref(), attempt.http_status), (Some("not_sent"), Some(400)));
        stand.clock.step(COOLDOWN);
    }
    Ok(())
}

/// Policy decides what follows; the store only remembers.
pub async fn an_unknown_outcome_keeps_the_attempt_open_and_gives_the_lease_back(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.fail(failure(&claim, FailureEffect::Unknown, "ambiguous")).await?;
    let open = stand.find("acme").await?;
    assert_eq!((open.lease, open.open_attempt), (None, Some(claim.attempt)));
    assert_eq!(open.interrupted_attempt(stand.now()), Some(claim.attempt));
    let attempt = stand.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.completed_at), (AttemptStatus::Interrupted, Some(stand.now())));
    let found = stand.store.claim(stand.claim(&row)).await?;
    assert_eq!(found, ClaimAnswer::Interrupted { attempt: claim.attempt });
    stand.clock.step(COOLDOWN);
    let recovery = Claim { recovers: Some(claim.attempt), ..stand.claim(&row) };
    stand.won(recovery).await?;
    assert_eq!(stand.attempt(claim.attempt).await?.code.as_deref(), Some("ambiguous"), "its code stays");
    Ok(())
}

/// A refresh token that may have been spent is not fresh again because acquiring another one failed.
pub async fn a_dead_grant_stays_dead_when_acquiring_in_its_place_fails(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    stand.clock.step(COOLDOWN);
    let acquire = Claim { act: Act::Acquire, spends: None, ..stand.claim(&row) };
    let acquire = stand.won(acquire).await?;
    stand.store.fail(failure(&acquire, FailureEffect::State(GrantState::Suspended), "suspended")).await?;
    assert_eq!(stand.find("acme").await?.state, GrantState::Dead);
    stand.clock.step(COOLDOWN);
    assert_eq!(stand.store.claim(stand.claim(&row)).await?, ClaimAnswer::Closed);
    Ok(())
}

/// Nobody is given a token that its API has refused, once nothing can cure that.
pub async fn a_refused_access_token_dies_with_its_grant(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = Claim { trigger: Trigger::Rejected, ..stand.claim(&row) };
    let claim = stand.won(claim).await?;
    stand.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    let dead = stand.find("acme").await?;
    assert!(!dead.lives(stand.now(), Duration::ZERO));
    assert!(dead.tokens.is_some_and(|tokens| tokens.refresh.is_some()), "it is not deleted");
    Ok(())
}

/// No class of error deletes a refresh token.
pub async fn a_dead_grant_is_not_due_and_keeps_its_tokens(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    let dead = stand.find("acme").await?;
    assert_eq!((dead.state, dead.state_code.as_deref()), (GrantState::Dead, Some("invalid_grant")));
    assert_eq!((dead.due_at, dead.open_attempt, dead.lease), (None, None, None));
    assert_eq!((dead.tokens, dead.generation), (row.tokens, row.generation));
    Ok(())
}

/// It is tried again, slowly.
pub async fn a_suspended_grant_stays_due(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.fail(failure(&claim, FailureEffect::State(GrantState::Suspended), "suspended")).await?;
    let row = stand.find("acme").await?;
    assert_eq!((row.state, row.state_code.as_deref()), (GrantState::Suspended, Some("suspended")));
    assert_eq!(row.due_at, Some(stand.now() + Duration::from_secs(30)));
    stand.clock.step(COOLDOWN);
    stand.won(stand.claim(&row)).await?;
    Ok(())
}

/// The id of the attempt makes the second order harmless.
pub async fn a_failure_that_is_sent_again_counts_once(stand: &Stand) -> Told {
    for verdict in [FailureEffect::Retry, FailureEffect::Unknown, FailureEffect::State(GrantState::Dead)] {
        let name = format!("acme-{}", stand.now().as_secs());
        let number = u8::try_from(stand.now().as_secs() % 200).unwrap_or(0);
        let row = stand.connected(&name, number).await?;
        let claim = stand.won(stand.claim(&row)).await?;
        let fail = failure(&claim, verdict, "broken");
        stand.store.fail(fail.clone()).await?;
        let once = stand.find(&name).await?;
        stand.clock.step(Duration::from_secs(1));
        stand.store.fail(fail).await?;
        assert_eq!(stand.find(&name).await?, once, "{verdict:?}");
    }
    Ok(())
}

/// The new grant has nothing to do with what befell the old one.
pub async fn a_failure_after_the_generation_moved_touches_only_the_log(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.connect(stand.connect("acme", 2, row.generation)).await?;
    let fresh = stand.find("acme").await?;
    stand.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    assert_eq!(stand.find("acme").await?, fresh);
    let attempt = stand.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.code.as_deref()), (AttemptStatus::Failed, Some("invalid_grant")));
    Ok(())
}

/// The lease of the recovery is not given back by the attempt that it recovers.
pub async fn a_failure_after_a_recovery_began_touches_only_the_log(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let late = stand.won(stand.claim(&row)).await?;
    stand.clock.step(LEASE);
    stand.won(Claim { recovers: Some(late.attempt), ..stand.claim(&row) }).await?;
    let recovering = stand.find("acme").await?;
    stand.store.fail(failure(&late, FailureEffect::Retry, "not_sent")).await?;
    assert_eq!(stand.find("acme").await?, recovering);
    assert_eq!(stand.attempt(late.attempt).await?.status, AttemptStatus::Failed);
    Ok(())
}

/// A recovery that sent nothing is not the one recovery: what it was to recover is as unknown as before.
pub async fn a_recovery_that_spent_nothing_leaves_the_first_attempt_open(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let lost = stand.won(stand.claim(&row)).await?;
    stand.clock.step(LEASE);
    let recovery = stand.won(Claim { recovers: Some(lost.attempt), ..stand.claim(&row) }).await?;
    stand.store.fail(failure(&recovery, FailureEffect::Retry, "not_sent")).await?;
    assert_eq!(stand.find("acme").await?.open_attempt, Some(lost.attempt));
    let found = ClaimAnswer::Interrupted { attempt: lost.attempt };
    assert_eq!(stand.store.claim(stand.claim(&row)).await?, found);
    stand.clock.step(COOLDOWN);
    let again = stand.won(Claim { recovers: Some(lost.attempt), ..stand.claim(&row) }).await?;
    stand.store.fail(failure(&lost, FailureEffect::Retry, "not_sent")).await?;
    stand.store.fail(failure(&again, FailureEffect::Retry, "not_sent")).await?;
    assert_eq!(stand.find("acme").await?.open_attempt, None, "now it is known of both");
    Ok(())
}

/// A kept reply that is read at last may say that nothing was spent, or that the grant is dead.
pub async fn an_unknown_outcome_may_be_settled_later(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.fail(failure(&claim, FailureEffect::Unknown, "ambiguous")).await?;
    stand.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    let settled = stand.find("acme").await?;
    assert_eq!((settled.state, settled.open_attempt), (GrantState::Dead, None));
    assert_eq!(stand.attempt(claim.attempt).await?.status, AttemptStatus::Failed);
    Ok(())
}

/// What is stored is stored.
pub async fn a_failure_never_undoes_a_success(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.commit(stand.commit(&claim, 2)).await?;
    let (fresh, attempt) = (stand.find("acme").await?, stand.attempt(claim.attempt).await?);
    stand.store.fail(failure(&claim, FailureEffect::Unknown, "ambiguous")).await?;
    assert_eq!(stand.find("acme").await?, fresh);
    assert_eq!(stand.attempt(claim.attempt).await?, attempt);
    Ok(())
}

/// It is read again when the provider file is mended.
pub async fn a_reply_that_could_not_be_read_is_kept_until_it_is(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    let sealed = vec![7; 70_000];
    let failure = failure(&claim, FailureEffect::Unknown, "unreadable");
    stand.store.fail(Fail { kept_reply: Some(sealed.clone()), ..failure.clone() }).await?;
    assert_eq!(stand.store.kept_reply(claim.attempt).await?, Some(sealed.clone()));
    stand.store.fail(failure).await?;
    assert_eq!(stand.store.kept_reply(claim.attempt).await?, Some(sealed), "nothing takes it away unread");
    stand.store.commit(stand.commit(&claim, 2)).await?;
    assert_eq!(stand.store.kept_reply(claim.attempt).await?, None);
    let row = stand.find("acme").await?;
    assert_eq!((row.generation, row.open_attempt), (Generation(2), None));
    Ok(())
}

fn skip(stand: &Stand, row: &Connection) -> Skip {
    Skip {
        connection: row.name.clone(),
        attempt: stand.attempt_id(),
        generation: row.generation,
        trigger: Trigger::Automatic,
        node: node(1),
        message: "Nothing was due.".into(),
        due_at: stand.now() + Duration::from_mins(1),
    }
}

/// People see that the keeper looked.
pub async fn a_skip_leaves_a_row_and_the_next_visit_and_only_once(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let skip = skip(stand, &row);
    stand.store.skip(skip.clone()).await?;
    let visited = stand.find("acme").await?;
    assert_eq!(visited.due_at, Some(skip.due_at));
    let attempt = stand.attempt(skip.attempt).await?;
    assert_eq!((attempt.status, attempt.act), (AttemptStatus::Skipped, Act::Visit));
    assert_eq!(attempt.completed_at, Some(stand.now()));
    stand.store.skip(Skip { due_at: stand.now(), ..skip }).await?;
    assert_eq!(stand.find("acme").await?, visited);
    Ok(())
}

/// What was decided on an old row is not written over a new one.
pub async fn a_skip_of_a_generation_that_moved_or_of_a_dead_grant_sets_no_visit(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.commit(stand.commit(&claim, 2)).await?;
    let fresh = stand.find("acme").await?;
    let late = skip(stand, &row);
    stand.store.skip(late.clone()).await?;
    assert_eq!(stand.find("acme").await?, fresh);
    assert_eq!(stand.store.find_attempt(late.attempt).await?, None);
    let claim = stand.won(stand.claim(&fresh)).await?;
    stand.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    stand.store.skip(skip(stand, &fresh)).await?;
    assert_eq!(stand.find("acme").await?.due_at, None);
    Ok(())
}
