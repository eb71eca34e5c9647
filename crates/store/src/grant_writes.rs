//! What people and callers do to a connection: connect, administer, report a rejection.

use jeton_core::audit::Actor;
use jeton_core::id::{ConnectionName, Generation, GrantId, OperationId};
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus, Trigger};
use jeton_core::keep::connection::{Connection, GrantState};
use jeton_core::keep::ports::{BeginConnect, BeginConnectAnswer, Connect, ConnectAnswer, OperatorCommand};
use jeton_core::keep::rejection::{self, Rejection, RejectionAnswer};
use jeton_core::time::Timestamp;

use crate::rules;
use crate::write_tx::WriteTx;

/// Gives a grant its place after all others of the store. `held` is the one that its connection has: where an older program
/// put it there, the store has not counted it.
pub(crate) async fn place_grant<T: WriteTx>(
    tx: &mut T,
    grant: GrantId,
    held: Option<GrantId>,
) -> Result<GrantId, T::Error> {
    let placed = grant.after(tx.last_grant().await?.max(held), tx.now());
    tx.set_last_grant(placed).await?;
    Ok(placed)
}

pub(crate) async fn connect<T: WriteTx>(tx: &mut T, connect: &Connect) -> Result<ConnectAnswer, T::Error> {
    let known = tx.attempt(connect.attempt).await?;
    let done = known.as_ref().map(|(attempt, _)| attempt);
    if let Some(done) = done.filter(|attempt| attempt.status == AttemptStatus::Success) {
        let generation = done.new_generation.unwrap_or(done.generation);
        return Ok(ConnectAnswer::Connected { generation });
    }
    // The provider has just given it for a code or a refresh token: then it lives, and is new even where its text is not.
    let exchanged = known.is_some();
    let before = tx.find(&connect.connection).await?;
    let held = before.as_ref().map(|row| row.grant);
    if known.as_ref().is_some_and(|(_, began)| held > Some(*began)) {
        return Ok(ConnectAnswer::Superseded);
    }
    let generation = before.as_ref().map_or(Generation(0), |row| row.generation);
    if generation != connect.generation {
        return Ok(ConnectAnswer::Moved { generation });
    }
    if !exchanged && before.as_ref().is_some_and(|row| rules::has_already(row, connect)) {
        return Ok(ConnectAnswer::Unchanged);
    }
    let refresh = connect.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint);
    if let Some(refresh) = refresh.filter(|_| connect.single_use) {
        if let Some(attempt) = tx.spender(refresh).await?.filter(|_| !exchanged) {
            return Ok(ConnectAnswer::Spent { attempt });
        }
        if let Some(connection) = tx.other_holder(refresh, &connect.connection).await? {
            return Ok(ConnectAnswer::HeldBy { connection });
        }
    }
    let grant = match known {
        Some((_, began)) => began,
        None => place_grant(tx, connect.grant, held).await?,
    };
    let connect = &Connect { grant, ..connect.clone() };
    let mut row = before.clone().unwrap_or_else(|| rules::first_row(connect, tx.now()));
    if let Some(closing) = rules::connect(&mut row, connect.clone(), tx.now()) {
        tx.close_attempt(closing).await?;
    }
    let generation = row.generation;
    let (asked_by, fingerprint) =
        known.map_or((None, None), |(attempt, _)| (attempt.asked_by, attempt.fingerprint));
    let asked_by = asked_by.or_else(|| connect.by.clone());
    let attempt =
        Attempt { asked_by, fingerprint, ..connect_attempt(connect, before.as_ref(), &row, tx.now()) };
    tx.write_attempt(&attempt, row.grant).await?;
    tx.save(before.as_ref(), row, Some(connect.attempt)).await?;
    let replaced = before.is_some_and(|row| row.state != GrantState::None);
    tx.write_audit_row(connect.to_audit_row(tx.now(), generation, replaced)).await?;
    if exchanged {
        // Where it was kept because it could not be read, it has been read by now.
        tx.drop_reply(connect.attempt).await?;
    }
    Ok(ConnectAnswer::Connected { generation })
}

/// Opens the attempt that spends a new refresh token before it is stored. The row is read alone.
pub(crate) async fn begin_connect<T: WriteTx>(
    tx: &mut T,
    begin: &BeginConnect,
) -> Result<BeginConnectAnswer, T::Error> {
    if let Some((begun, _)) = tx.attempt(begin.attempt).await? {
        // The same request again.
        return Ok(BeginConnectAnswer::Begun { at: begun.started_at });
    }
    let row = tx.find(&begin.connection).await?;
    if row.as_ref().is_some_and(|row| rules::holds(row, &begin.provider, begin.refresh)) {
        return Ok(BeginConnectAnswer::Unchanged);
    }
    if begin.single_use {
        if let Some(attempt) = tx.spender(begin.refresh).await? {
            return Ok(BeginConnectAnswer::Spent { attempt });
        }
        if let Some(connection) = tx.other_holder(begin.refresh, &begin.connection).await? {
            return Ok(BeginConnectAnswer::HeldBy { connection });
        }
    }
    let grant = place_grant(tx, begin.grant, row.as_ref().map(|row| row.grant)).await?;
    let (now, generation) = (tx.now(), row.as_ref().map_or(Generation(0), |row| row.generation));
    let (name, provider) = (begin.connection.clone(), begin.provider.clone());
    let attempt = Attempt {
        trigger: Trigger::Manual,
        act: Act::Connect,
        asked_by: Some(begin.by.clone()),
        fingerprint: Some(begin.refresh),
        lease_until: Some(now + begin.lease_ttl),
        old_expires_at: row.and_then(|row| row.tokens?.access_expires_at),
        ..Attempt::begin(begin.attempt, begin.node, name, provider, generation, now)
    };
    tx.write_attempt(&attempt, grant).await?;
    Ok(BeginConnectAnswer::Begun { at: now })
}

fn connect_attempt(
    connect: &Connect,
    before: Option<&Connection>,
    row: &Connection,
    now: Timestamp,
) -> Attempt {
    let expiry = |row: &Connection| row.tokens.as_ref().and_then(|tokens| tokens.access_expires_at);
    let (name, provider) = (row.name.clone(), row.provider.clone());
    let begins_itself = connect.by.is_none() && connect.tokens.is_none();
    Attempt {
        trigger: if begins_itself { Trigger::Automatic } else { Trigger::Manual },
        act: Act::Connect,
        status: AttemptStatus::Success,
        new_generation: Some(row.generation),
        completed_at: Some(now),
        old_expires_at: before.and_then(expiry),
        new_expires_at: expiry(row),
        ..Attempt::begin(connect.attempt, connect.node, name, provider, connect.generation, now)
    }
}

pub(crate) async fn reject<T: WriteTx>(
    tx: &mut T,
    rejection: &Rejection,
) -> Result<RejectionAnswer, T::Error> {
    let before = tx.find(&rejection.connection).await?;
    let (answer, backoff) = rejection::answer(before.as_ref(), rejection, tx.now());
    if let (Some(before), Some(backoff)) = (before, backoff) {
        let mut row = before.clone();
        row.backoff = Some(backoff);
        tx.save(Some(&before), row, None).await?;
    }
    Ok(answer)
}

pub(crate) async fn administer<T: WriteTx>(
    tx: &mut T,
    name: &ConnectionName,
    act: OperatorCommand,
    operation: OperationId,
    by: &Actor,
) -> Result<bool, T::Error> {
    let Some(before) = tx.find(name).await? else { return Ok(false) };
    if !tx.record_operation(operation, name, act.as_str()).await? {
        return Ok(true);
    }
    let mut row = before.clone();
    let given_up_as = match act {
        OperatorCommand::Disconnect => {
            place_grant(tx, GrantId::from_bytes(*operation.as_bytes()), Some(row.grant)).await?
        }
        OperatorCommand::Pause | OperatorCommand::Resume => row.grant,
    };
    if let Some(closing) = rules::administer(&mut row, act, given_up_as, tx.now()) {
        tx.close_attempt(closing).await?;
    }
    if act == OperatorCommand::Disconnect {
        tx.drop_replies(name).await?;
    }
    let changed = row != before;
    tx.save(Some(&before), row, None).await?;
    if changed {
        tx.write_audit_row(act.to_audit_row(name, operation, by, tx.now())).await?;
    }
    Ok(true)
}
