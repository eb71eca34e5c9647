//! Claim, commit, fail, skip: the steps of a refresh, each one transaction.

use std::collections::BTreeMap;

use jeton_core::id::{AttemptId, ConnectionName, GrantId, NodeId};
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus};
use jeton_core::keep::claim::{self, Claim, ClaimAnswer};
use jeton_core::keep::connection::{Connection, GrantState};
use jeton_core::keep::ports::{Commit, CommitAnswer, Fail, FailureEffect, Skip, StoreError};
use jeton_core::time::Timestamp;

use crate::rules;
use crate::write_tx::WriteTx;

fn expiry(row: &Connection) -> Option<Timestamp> {
    row.tokens.as_ref().and_then(|tokens| tokens.access_expires_at)
}

/// An attempt on the token set that the row holds.
fn begin(row: &Connection, id: AttemptId, node: NodeId, now: Timestamp) -> Attempt {
    Attempt {
        old_expires_at: expiry(row),
        ..Attempt::begin(id, node, row.name.clone(), row.provider.clone(), row.generation, now)
    }
}

pub(crate) async fn claim<T: WriteTx>(tx: &mut T, claim: &Claim) -> Result<ClaimAnswer, T::Error> {
    let row = tx.find(&claim.connection).await?;
    let answer = claim::answer(row.as_ref(), claim, tx.now());
    let (ClaimAnswer::Won { until }, Some(before)) = (answer, row) else { return Ok(answer) };
    if before.lease.is_some_and(|lease| lease.attempt == claim.attempt) {
        return Ok(answer);
    }
    if tx.attempt(claim.attempt).await?.is_some() {
        // It was claimed before and is over by now: an attempt is never opened twice.
        return Ok(ClaimAnswer::Moved { generation: before.generation });
    }
    let mut row = before.clone();
    if let Some(recovered) = rules::take_lease(&mut row, claim, until) {
        tx.close_attempt(recovered).await?;
    }
    let attempt = Attempt {
        trigger: claim.trigger,
        asked_by: claim.asked_by.clone(),
        act: claim.act,
        fingerprint: claim.spends,
        recovers: claim.recovers,
        lease_until: Some(until),
        ..begin(&row, claim.attempt, claim.node, tx.now())
    };
    tx.write_attempt(&attempt, row.grant).await?;
    tx.save(Some(&before), row, None).await?;
    Ok(answer)
}

/// The row and what the log has of the attempt. A store restored from a backup may lack the attempt.
type ConnectionAndAttempt = (Connection, Option<(Attempt, GrantId)>);

async fn look_up<T: WriteTx>(
    tx: &mut T,
    name: &ConnectionName,
    attempt: AttemptId,
) -> Result<ConnectionAndAttempt, T::Error> {
    let row = tx.find(name).await?;
    let row = row.ok_or_else(|| missing("connections", "name", name.to_string()))?;
    Ok((row, tx.attempt(attempt).await?))
}

fn missing(table: &'static str, column: &'static str, row: String) -> StoreError {
    let what =
        "is not there, though an attempt was made on it: was the database restored from a backup?".into();
    StoreError::Inconsistent { table, column, row, what }
}

pub(crate) async fn commit<T: WriteTx>(tx: &mut T, commit: &Commit) -> Result<CommitAnswer, T::Error> {
    let (before, found) = look_up(tx, &commit.connection, commit.attempt).await?;
    if let Some(answer) = answered(tx, &before, found.as_ref(), commit).await? {
        return Ok(answer);
    }
    // An attempt that the log lacks has a grant of its own, so that its reply is kept and never used for another's.
    let grant = found.as_ref().map_or(GrantId::from_bytes(*commit.attempt.as_bytes()), |(_, grant)| *grant);
    let mut attempt = found.map(|(attempt, _)| attempt);
    let mut row = before.clone();
    let answer = if rules::is_as_claimed(&row, commit) {
        let trigger = attempt.as_ref().map(|attempt| attempt.trigger);
        if let Some(closing) = rules::commit(&mut row, commit.clone(), trigger) {
            tx.close_attempt(closing).await?;
        }
        if let Some(attempt) = &mut attempt {
            attempt.status = AttemptStatus::Success;
            attempt.new_generation = Some(row.generation);
            attempt.new_expires_at = expiry(&row);
            attempt.code = None;
        }
        CommitAnswer::Committed { generation: row.generation }
    } else {
        rules::keep_orphan(&mut row, commit.clone(), grant);
        if let Some(attempt) = &mut attempt {
            let (status, code) = rules::late_status(attempt.act, commit.orphan.is_some());
            attempt.status = status;
            attempt.code = Some(code.to_owned());
        }
        CommitAnswer::Orphaned { generation: row.generation }
    };
    if let Some(mut attempt) = attempt {
        attempt.completed_at = Some(tx.now());
        attempt.message.clone_from(&commit.message);
        attempt.provider_message = None;
        tx.write_attempt(&attempt, grant).await?;
        tx.drop_reply(attempt.id).await?;
    }
    tx.save(Some(&before), row, Some(commit.attempt)).await?;
    Ok(answer)
}

/// The first answer, when this commit was done before.
async fn answered<T: WriteTx>(
    tx: &mut T,
    row: &Connection,
    found: Option<&(Attempt, GrantId)>,
    commit: &Commit,
) -> Result<Option<CommitAnswer>, T::Error> {
    let generation = row.generation;
    let (status, brought) =
        found.map_or((None, None), |(attempt, _)| (Some(attempt.status), attempt.new_generation));
    Ok(match (status, brought) {
        (Some(AttemptStatus::Success), Some(generation)) => Some(CommitAnswer::Committed { generation }),
        (Some(AttemptStatus::Success), None) => Some(CommitAnswer::Orphaned { generation }),
        (None, _) if tx.origin(&row.name).await? == Some(commit.attempt) => {
            Some(CommitAnswer::Committed { generation })
        }
        _ => None,
    })
}

pub(crate) async fn fail<T: WriteTx>(tx: &mut T, fail: &Fail) -> Result<(), T::Error> {
    let (before, found) = look_up(tx, &fail.connection, fail.attempt).await?;
    let (mut attempt, grant) = found.ok_or_else(|| missing("attempts", "id", fail.attempt.to_string()))?;
    if !matches!(attempt.status, AttemptStatus::Running | AttemptStatus::Interrupted) {
        // Its outcome is in the audit log: this is the same order again, or a failure that a later success has overtaken.
        return Ok(());
    }
    let mut row = before.clone();
    if rules::failure_counts(&row, fail) {
        let mut known = BTreeMap::new();
        let reopens = loop {
            match rules::still_unknown(attempt.recovers, |id| known.get(&id).copied().ok_or(id)) {
                Ok(reopens) => break reopens,
                Err(id) => {
                    let found = tx.attempt(id).await?;
                    known.insert(id, found.map(|(attempt, _)| (attempt.status, attempt.recovers)));
                }
            }
        };
        rules::fail(&mut row, fail, reopens, attempt.trigger, tx.now());
    } else if fail.effect != FailureEffect::Unknown {
        rules::give_back(&mut row, fail.attempt);
    }
    attempt.status = rules::failed_status(fail.effect);
    attempt.completed_at = attempt.completed_at.or(Some(tx.now()));
    attempt.code = Some(fail.code.clone());
    attempt.http_status = fail.http_status;
    attempt.message = Some(fail.message.clone());
    attempt.provider_message.clone_from(&fail.provider_message);
    tx.write_attempt(&attempt, grant).await?;
    match &fail.kept_reply {
        Some(reply) => tx.keep_reply(attempt.id, &row.name, reply).await?,
        None if fail.effect != FailureEffect::Unknown => {
            tx.drop_reply(attempt.id).await?;
        }
        None => {}
    }
    let origin = tx.origin(&row.name).await?;
    tx.save(Some(&before), row, origin).await
}

pub(crate) async fn skip<T: WriteTx>(tx: &mut T, skip: &Skip) -> Result<(), T::Error> {
    let Some(before) = tx.find(&skip.connection).await? else { return Ok(()) };
    if before.generation != skip.generation || tx.attempt(skip.attempt).await?.is_some() {
        return Ok(());
    }
    let attempt = Attempt {
        trigger: skip.trigger,
        asked_by: skip.asked_by.clone(),
        act: Act::Visit,
        status: AttemptStatus::Skipped,
        completed_at: Some(tx.now()),
        message: Some(skip.message.clone()),
        ..begin(&before, skip.attempt, skip.node, tx.now())
    };
    tx.write_attempt(&attempt, before.grant).await?;
    if before.state == GrantState::Dead || before.open_attempt.is_some() {
        // It died meanwhile, and nothing makes it due again but a new grant; or an attempt began, which must be found
        // when its lease lapses.
        return Ok(());
    }
    let mut row = before.clone();
    row.due_at = Some(skip.due_at);
    tx.save(Some(&before), row, None).await
}
