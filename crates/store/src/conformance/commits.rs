//! What becomes of a token reply that reached this machine.

use std::time::Duration;

use jeton_core::id::Generation;
use jeton_core::keep::attempt::{Act, AttemptStatus, Trigger};
use jeton_core::keep::claim::Claim;
use jeton_core::keep::connection::GrantState;
use jeton_core::keep::ports::{Commit, CommitAnswer, FailureEffect, StoreError};

use super::fixture::{COOLDOWN, Fixture, LEASE, TestResult, failure, name, refresh_print};

/// The happy end.
pub async fn a_commit_stores_the_tokens_closes_the_attempt_and_gives_the_lease_back(
    fixture: &Fixture,
) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let claim = fixture.won(Claim { trigger: Trigger::OnDemand, ..fixture.claim(&row) }).await?;
    fixture.clock.step(Duration::from_secs(2));
    let commit = Commit { message: Some("Refreshed.".into()), ..fixture.commit(&claim, 2) };
    let answer = fixture.store.commit(commit.clone()).await?;
    assert_eq!(answer, CommitAnswer::Committed { generation: Generation(2) });
    let fresh = fixture.find("acme").await?;
    assert_eq!((fresh.generation, fresh.state), (Generation(2), GrantState::Live));
    assert_eq!(fresh.tokens.as_ref(), Some(&commit.tokens));
    assert_eq!((fresh.lease, fresh.open_attempt, fresh.due_at), (None, None, commit.due_at));
    assert_eq!((fresh.refresh_trigger, fresh.grant), (Some(Trigger::OnDemand), row.grant));
    let attempt = fixture.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.new_generation), (AttemptStatus::Success, Some(Generation(2))));
    assert_eq!((attempt.completed_at, attempt.message), (Some(fixture.now()), commit.message));
    assert_eq!(attempt.new_expires_at, commit.tokens.access_expires_at);
    Ok(())
}

/// A reply is never lost for being late.
pub async fn a_lapsed_lease_does_not_refuse_a_commit(fixture: &Fixture) -> TestResult {
    let (_, claim) = fixture.claimed().await?;
    fixture.clock.step(LEASE * 10);
    let answer = fixture.store.commit(fixture.commit(&claim, 2)).await?;
    assert_eq!(answer, CommitAnswer::Committed { generation: Generation(2) });
    Ok(())
}

/// After a COMMIT of unknown outcome, and after whatever happened since.
pub async fn a_commit_that_is_sent_again_gets_the_first_answer(fixture: &Fixture) -> TestResult {
    let (_, claim) = fixture.claimed().await?;
    let commit = fixture.commit(&claim, 2);
    let first = fixture.store.commit(commit.clone()).await?;
    let revision = fixture.store.revision().await?;
    assert_eq!(fixture.store.commit(commit.clone()).await?, first);
    assert_eq!(fixture.store.revision().await?, revision, "nothing is done twice");
    let next = fixture.won(fixture.claim(&fixture.find("acme").await?)).await?;
    fixture.store.commit(fixture.commit(&next, 3)).await?;
    assert_eq!(fixture.store.commit(commit).await?, first);
    let row = fixture.find("acme").await?;
    assert_eq!((row.generation, row.orphans.len()), (Generation(3), 0));
    Ok(())
}

/// The living tokens of one consent are never taken for those of another.
pub async fn a_commit_after_a_new_grant_is_an_orphan_of_the_old_one(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.connect(fixture.connect("acme", 5, row.generation)).await?;
    let commit = fixture.commit(&claim, 2);
    let first = fixture.store.commit(commit.clone()).await?;
    assert_eq!(first, CommitAnswer::Orphaned { generation: Generation(2) });
    let kept = fixture.find("acme").await?;
    assert_eq!(kept.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint), Some(refresh_print(5)));
    let orphan = &kept.orphans[0];
    assert_eq!((orphan.attempt, orphan.grant, orphan.generation), (claim.attempt, row.grant, Generation(2)));
    assert_eq!(orphan.tokens, commit.tokens);
    assert_eq!(kept.usable_orphan(), None);
    assert_eq!(fixture.store.commit(commit).await?, first, "sent again");
    assert_eq!(fixture.find("acme").await?, kept);
    let attempt = fixture.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.code.as_deref()), (AttemptStatus::Success, Some("stray")));
    Ok(())
}

/// The generation alone does not prove that the row is the one that was claimed.
pub async fn a_commit_whose_refresh_token_is_not_the_one_it_spent_is_an_orphan(
    fixture: &Fixture,
) -> TestResult {
    let (_, claim) = fixture.claimed().await?;
    let odd = Commit { replaces: Some(refresh_print(9)), ..fixture.commit(&claim, 2) };
    assert_eq!(fixture.store.commit(odd).await?, CommitAnswer::Orphaned { generation: Generation(1) });
    let row = fixture.find("acme").await?;
    assert_eq!((row.orphans.len(), row.lease, row.open_attempt), (1, None, None));
    Ok(())
}

/// A process that was stopped and goes on brings what it got, though another had begun to recover its attempt.
pub async fn a_late_reply_beats_the_recovery_that_was_still_under_way(fixture: &Fixture) -> TestResult {
    let (row, late) = fixture.claimed().await?;
    fixture.clock.step(LEASE);
    let recovery = fixture.won(Claim { recovers: Some(late.attempt), ..fixture.claim(&row) }).await?;
    let answer = fixture.store.commit(fixture.commit(&late, 2)).await?;
    assert_eq!(answer, CommitAnswer::Committed { generation: Generation(2) });
    assert_eq!(fixture.attempt(late.attempt).await?.status, AttemptStatus::Success);
    let fresh = fixture.find("acme").await?;
    assert_eq!((fresh.lease, fresh.open_attempt), (None, None), "the recovery has nothing left to recover");
    let beaten = fixture.attempt(recovery.attempt).await?;
    assert_eq!((beaten.status, beaten.code.as_deref()), (AttemptStatus::Interrupted, Some("superseded")));
    fixture.store.fail(failure(&recovery, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    assert_eq!(fixture.find("acme").await?, fresh, "its failure is only its own");
    assert_eq!(fixture.attempt(recovery.attempt).await?.status, AttemptStatus::Failed);
    Ok(())
}

/// It may be the only living refresh token of the grant.
pub async fn the_reply_of_a_beaten_recovery_is_kept_as_an_orphan_of_the_same_grant(
    fixture: &Fixture,
) -> TestResult {
    let (row, late) = fixture.claimed().await?;
    fixture.clock.step(LEASE);
    let recovery = fixture.won(Claim { recovers: Some(late.attempt), ..fixture.claim(&row) }).await?;
    fixture.store.commit(fixture.commit(&late, 2)).await?;
    let answer = fixture.store.commit(fixture.commit(&recovery, 3)).await?;
    assert_eq!(answer, CommitAnswer::Orphaned { generation: Generation(2) });
    let row = fixture.find("acme").await?;
    assert_eq!(row.usable_orphan().map(|orphan| orphan.attempt), Some(recovery.attempt));
    Ok(())
}

/// A connection with an orphan reply of its own grant, and that reply's attempt.
async fn with_orphan(fixture: &Fixture) -> Result<Claim, StoreError> {
    the_reply_of_a_beaten_recovery_is_kept_as_an_orphan_of_the_same_grant(fixture).await?;
    let row = fixture.find("acme").await?;
    let orphan = row.usable_orphan().expect("the test before has left one").attempt;
    let claim = Claim { act: Act::Orphan, ..fixture.claim(&row) };
    assert_ne!(claim.attempt, orphan);
    fixture.won(claim).await
}

/// An orphan reply is used by a claim and an attempt of its own.
pub async fn using_an_orphan_takes_it_away(fixture: &Fixture) -> TestResult {
    let claim = with_orphan(fixture).await?;
    let orphan = fixture.find("acme").await?.orphans[0].attempt;
    let commit = Commit { orphan: Some(orphan), ..fixture.commit(&claim, 3) };
    assert_eq!(
        fixture.store.commit(commit.clone()).await?,
        CommitAnswer::Committed { generation: Generation(3) }
    );
    let row = fixture.find("acme").await?;
    assert!(row.orphans.is_empty());
    assert_eq!(fixture.store.commit(commit).await?, CommitAnswer::Committed { generation: Generation(3) });
    Ok(())
}

/// Two copies of one refresh token would be spent twice.
pub async fn an_orphan_that_comes_too_late_itself_is_not_kept_twice(fixture: &Fixture) -> TestResult {
    let claim = with_orphan(fixture).await?;
    let before = fixture.find("acme").await?;
    fixture.store.connect(fixture.connect("acme", 7, before.generation)).await?;
    let commit = Commit { orphan: Some(before.orphans[0].attempt), ..fixture.commit(&claim, 3) };
    let late = CommitAnswer::Orphaned { generation: Generation(3) };
    assert_eq!(fixture.store.commit(commit.clone()).await?, late);
    assert_eq!(fixture.store.commit(commit).await?, late);
    assert_eq!(fixture.find("acme").await?.orphans, before.orphans);
    let attempt = fixture.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.code.as_deref()), (AttemptStatus::Failed, Some("moved")));
    Ok(())
}

/// Failures, cooling and the code of the last error belong to the time before a success.
pub async fn a_success_ends_the_trouble_before_it(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Suspended), "suspended")).await?;
    fixture.clock.step(COOLDOWN);
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.commit(fixture.commit(&claim, 2)).await?;
    let row = fixture.find("acme").await?;
    assert_eq!((row.state, row.state_code), (GrantState::Live, None));
    assert_eq!((row.failures, row.last_error, row.cooling_until), (0, None, None));
    Ok(())
}

/// The caller keeps the reply in its spill slot; to answer "done" would lose it.
pub async fn a_commit_of_a_connection_that_is_not_there_is_an_error(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let claim = Claim { connection: name("nobody"), ..fixture.claim(&row) };
    let error =
        fixture.store.commit(fixture.commit(&claim, 2)).await.expect_err("there is no row to keep it in");
    assert!(matches!(&error, StoreError::Inconsistent { row, .. } if row == "nobody"), "{error}");
    assert!(!error.is_transient());
    Ok(())
}

/// A database that was restored from a backup has the token but not the attempt that spent it.
pub async fn a_commit_whose_attempt_the_log_lost_is_stored_all_the_same(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let lost = fixture.claim(&row);
    let commit = fixture.commit(&lost, 2);
    let first = fixture.store.commit(commit.clone()).await?;
    assert_eq!(first, CommitAnswer::Committed { generation: Generation(2) });
    assert_eq!(fixture.store.commit(commit).await?, first, "sent again");
    let lost = fixture.claim(&row);
    let late = fixture.commit(&lost, 3);
    for _ in 0..2 {
        let answer = fixture.store.commit(late.clone()).await?;
        assert_eq!(answer, CommitAnswer::Orphaned { generation: Generation(2) });
    }
    let row = fixture.find("acme").await?;
    assert_eq!((row.orphans.len(), row.usable_orphan()), (1, None), "nobody knows whose it is");
    Ok(())
}
