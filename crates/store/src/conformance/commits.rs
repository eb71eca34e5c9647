//! What becomes of a token reply that reached this machine.
#![expect(
    clippy::missing_panics_doc,
    reason = "a chapter panics where the store breaks a rule: that is its purpose"
)]

use std::time::Duration;

use jeton_core::keep::attempt::{Act, AttemptStatus, Trigger};
use jeton_core::keep::claim::Claim;
use jeton_core::keep::connection::{Generation, GrantState};
use jeton_core::keep::ports::{Commit, CommitAnswer, FailureEffect, StoreError};

use super::stand::{COOLDOWN, LEASE, Stand, Told, failure, name, refresh_print};

/// The happy end.
pub async fn a_commit_stores_the_tokens_closes_the_attempt_and_gives_the_lease_back(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(Claim { trigger: Trigger::OnDemand, ..stand.claim(&row) }).await?;
    stand.clock.step(Duration::from_secs(2));
    let commit = Commit { message: Some("Refreshed.".into()), ..stand.commit(&claim, 2) };
    let answer = stand.store.commit(commit.clone()).await?;
    assert_eq!(answer, CommitAnswer::Committed { generation: Generation(2) });
    let fresh = stand.find("acme").await?;
    assert_eq!((fresh.generation, fresh.state), (Generation(2), GrantState::Live));
    assert_eq!(fresh.tokens.as_ref(), Some(&commit.tokens));
    assert_eq!((fresh.lease, fresh.open_attempt, fresh.due_at), (None, None, commit.due_at));
    assert_eq!((fresh.born_of, fresh.grant), (Some(Trigger::OnDemand), row.grant));
    let attempt = stand.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.new_generation), (AttemptStatus::Success, Some(Generation(2))));
    assert_eq!((attempt.completed_at, attempt.message), (Some(stand.now()), commit.message));
    assert_eq!(attempt.new_expires_at, commit.tokens.access_expires_at);
    Ok(())
}

/// A reply is never lost for being late.
pub async fn a_lapsed_lease_does_not_refuse_a_commit(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.clock.step(LEASE * 10);
    let answer = stand.store.commit(stand.commit(&claim, 2)).await?;
    assert_eq!(answer, CommitAnswer::Committed { generation: Generation(2) });
    Ok(())
}

/// After a COMMIT of unknown outcome, and after whatever happened since.
pub async fn a_commit_that_is_sent_again_gets_the_first_answer(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    let commit = stand.commit(&claim, 2);
    let first = stand.store.commit(commit.clone()).await?;
    let revision = stand.store.revision().await?;
    assert_eq!(stand.store.commit(commit.clone()).await?, first);
    assert_eq!(stand.store.revision().await?, revision, "nothing is done twice");
    let next = stand.won(stand.claim(&stand.find("acme").await?)).await?;
    stand.store.commit(stand.commit(&next, 3)).await?;
    assert_eq!(stand.store.commit(commit).await?, first);
    let row = stand.find("acme").await?;
    assert_eq!((row.generation, row.orphans.len()), (Generation(3), 0));
    Ok(())
}

/// The living tokens of one consent are never taken for those of another.
pub async fn a_commit_after_a_new_grant_is_a_stray_of_the_old_one(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.connect(stand.connect("acme", 5, row.generation)).await?;
    let commit = stand.commit(&claim, 2);
    let first = stand.store.commit(commit.clone()).await?;
    assert_eq!(first, CommitAnswer::Orphaned { generation: Generation(2) });
    let kept = stand.find("acme").await?;
    assert_eq!(kept.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint), Some(refresh_print(5)));
    let stray = &kept.orphans[0];
    assert_eq!((stray.attempt, stray.grant, stray.generation), (claim.attempt, row.grant, Generation(2)));
    assert_eq!(stray.tokens, commit.tokens);
    assert_eq!(kept.usable_orphan(), None);
    assert_eq!(stand.store.commit(commit).await?, first, "sent again");
    assert_eq!(stand.find("acme").await?, kept);
    let attempt = stand.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.code.as_deref()), (AttemptStatus::Success, Some("stray")));
    Ok(())
}

/// The generation alone does not prove that the row is the one that was claimed.
pub async fn a_commit_whose_refresh_token_is_not_the_one_it_spent_is_a_stray(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    let odd = Commit { replaces: Some(refresh_print(9)), ..stand.commit(&claim, 2) };
    assert_eq!(stand.store.commit(odd).await?, CommitAnswer::Orphaned { generation: Generation(1) });
    let row = stand.find("acme").await?;
    assert_eq!((row.orphans.len(), row.lease, row.open_attempt), (1, None, None));
    Ok(())
}

/// A process that was stopped and goes on brings what it got, though another had begun to recover its attempt.
pub async fn a_late_reply_beats_the_recovery_that_was_still_under_way(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let late = stand.won(stand.claim(&row)).await?;
    stand.clock.step(LEASE);
    let recovery = stand.won(Claim { recovers: Some(late.attempt), ..stand.claim(&row) }).await?;
    let answer = stand.store.commit(stand.commit(&late, 2)).await?;
    assert_eq!(answer, CommitAnswer::Committed { generation: Generation(2) });
    assert_eq!(stand.attempt(late.attempt).await?.status, AttemptStatus::Success);
    let fresh = stand.find("acme").await?;
    assert_eq!((fresh.lease, fresh.open_attempt), (None, None), "the recovery has nothing left to recover");
    let beaten = stand.attempt(recovery.attempt).await?;
    assert_eq!((beaten.status, beaten.code.as_deref()), (AttemptStatus::Interrupted, Some("superseded")));
    stand.store.fail(failure(&recovery, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    assert_eq!(stand.find("acme").await?, fresh, "its failure is only its own");
    assert_eq!(stand.attempt(recovery.attempt).await?.status, AttemptStatus::Failed);
    Ok(())
}

/// It may be the only living refresh token of the grant.
pub async fn the_reply_of_a_beaten_recovery_is_kept_as_a_stray_of_the_same_grant(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let late = stand.won(stand.claim(&row)).await?;
    stand.clock.step(LEASE);
    let recovery = stand.won(Claim { recovers: Some(late.attempt), ..stand.claim(&row) }).await?;
    stand.store.commit(stand.commit(&late, 2)).await?;
    let answer = stand.store.commit(stand.commit(&recovery, 3)).await?;
    assert_eq!(answer, CommitAnswer::Orphaned { generation: Generation(2) });
    let row = stand.find("acme").await?;
    assert_eq!(row.usable_orphan().map(|stray| stray.attempt), Some(recovery.attempt));
    Ok(())
}

/// A connection with a stray of its own grant, and that stray's attempt.
async fn with_stray(stand: &Stand) -> Result<Claim, StoreError> {
    the_reply_of_a_beaten_recovery_is_kept_as_a_stray_of_the_same_grant(stand).await?;
    let row = stand.find("acme").await?;
    let stray = row.usable_orphan().expect("the chapter before has left one").attempt;
    let claim = Claim { act: Act::Orphan, ..stand.claim(&row) };
    assert_ne!(claim.attempt, stray);
    stand.won(claim).await
}

/// A stray is used by a claim and an attempt of its own.
pub async fn using_a_stray_takes_it_away(stand: &Stand) -> Told {
    let claim = with_stray(stand).await?;
    let stray = stand.find("acme").await?.orphans[0].attempt;
    let commit = Commit { orphan: Some(stray), ..stand.commit(&claim, 3) };
    assert_eq!(
        stand.store.commit(commit.clone()).await?,
        CommitAnswer::Committed { generation: Generation(3) }
    );
    let row = stand.find("acme").await?;
    assert!(row.orphans.is_empty());
    assert_eq!(stand.store.commit(commit).await?, CommitAnswer::Committed { generation: Generation(3) });
    Ok(())
}

/// Two copies of one refresh token would be spent twice.
pub async fn a_stray_that_comes_too_late_itself_is_not_kept_twice(stand: &Stand) -> Told {
    let claim = with_stray(stand).await?;
    let before = stand.find("acme").await?;
    stand.store.connect(stand.connect("acme", 7, before.generation)).await?;
    let commit = Commit { orphan: Some(before.orphans[0].attempt), ..stand.commit(&claim, 3) };
    let late = CommitAnswer::Orphaned { generation: Generation(3) };
    assert_eq!(stand.store.commit(commit.clone()).await?, late);
    assert_eq!(stand.store.commit(commit).await?, late);
    assert_eq!(stand.find("acme").await?.orphans, before.orphans);
    let attempt = stand.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.code.as_deref()), (AttemptStatus::Failed, Some("moved")));
    Ok(())
}

/// Failures, cooling and the code of the last error belong to the time before a success.
pub async fn a_success_ends_the_trouble_before_it(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.fail(failure(&claim, FailureEffect::State(GrantState::Suspended), "suspended")).await?;
    stand.clock.step(COOLDOWN);
    let claim = stand.won(stand.claim(&row)).await?;
    stand.store.commit(stand.commit(&claim, 2)).await?;
    let row = stand.find("acme").await?;
    assert_eq!((row.state, row.state_code), (GrantState::Live, None));
    assert_eq!((row.failures, row.last_error, row.cooling_until), (0, None, None));
    Ok(())
}

/// The caller keeps the reply in its spill slot; to answer "done" would lose it.
pub async fn a_commit_of_a_connection_that_is_not_there_is_an_error(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let claim = Claim { connection: name("nobody"), ..stand.claim(&row) };
    let error = stand.store.commit(stand.commit(&claim, 2)).await.expect_err("there is no row to keep it in");
    assert!(matches!(&error, StoreError::Inconsistent { row, .. } if row == "nobody"), "{error}");
    assert!(!error.is_transient());
    Ok(())
}

/// A database that was restored from a backup has the token but not the attempt that spent it.
pub async fn a_commit_whose_attempt_the_log_lost_is_stored_all_the_same(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    let lost = stand.claim(&row);
    let commit = stand.commit(&lost, 2);
    let first = stand.store.commit(commit.clone()).await?;
    assert_eq!(first, CommitAnswer::Committed { generation: Generation(2) });
    assert_eq!(stand.store.commit(commit).await?, first, "sent again");
    let lost = stand.claim(&row);
    let late = stand.commit(&lost, 3);
    for _ in 0..2 {
        let answer = stand.store.commit(late.clone()).await?;
        assert_eq!(answer, CommitAnswer::Orphaned { generation: Generation(2) });
    }
    let row = stand.find("acme").await?;
    assert_eq!((row.orphans.len(), row.usable_orphan()), (1, None), "nobody knows whose it is");
    Ok(())
}
