//! What people and callers do to a connection: connect, administer, report a rejection.

use jeton_core::audit::Actor;
use jeton_core::id::{ConnectionName, OperationId};
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus, Trigger};
use jeton_core::keep::connection::{Connection, Generation, GrantState};
use jeton_core::keep::ports::{Connect, ConnectAnswer, OperatorCommand};
use jeton_core::keep::rejection::{self, Rejection, RejectionAnswer};

use crate::rules;
use crate::write_tx::WriteTx;

pub(crate) fn connect<T: WriteTx>(tx: &T, connect: &Connect) -> Result<ConnectAnswer, T::Error> {
    let known = tx.attempt(connect.attempt)?.map(|(attempt, _)| attempt);
    if let Some(done) = known.as_ref().filter(|attempt| attempt.status == AttemptStatus::Success) {
        let generation = done.new_generation.unwrap_or(done.generation);
        return Ok(ConnectAnswer::Connected { generation });
    }
    // The provider has just given it for a code: then it lives, and is new even where its text is not.
    let exchanged = known.is_some();
    let before = tx.find(&connect.connection)?;
    if exchanged && before.as_ref().is_some_and(|row| row.grant > connect.grant) {
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
        if let Some(attempt) = tx.spender(refresh)?.filter(|_| !exchanged) {
            return Ok(ConnectAnswer::Spent { attempt });
        }
        if let Some(connection) = tx.other_holder(refresh, &connect.connection)? {
            return Ok(ConnectAnswer::HeldBy { connection });
        }
    }
    let mut row = before.clone().unwrap_or_else(|| rules::first_row(connect, tx.now()));
    if let Some(closing) = rules::connect(&mut row, connect.clone(), tx.now()) {
        tx.close(closing)?;
    }
    let generation = row.generation;
    tx.write(&connect_attempt(tx, connect, before.as_ref(), &row), row.grant)?;
    tx.save(before.as_ref(), row, Some(connect.attempt))?;
    let replaced = before.is_some_and(|row| row.state != GrantState::None);
    tx.put_on_record(connect.to_audit_row(tx.now(), generation, replaced))?;
    if exchanged {
        // Where it was kept because it could not be read, it has been read by now.
        tx.drop_reply(connect.attempt)?;
    }
    Ok(ConnectAnswer::Connected { generation })
}

fn connect_attempt<T: WriteTx>(
    tx: &T,
    connect: &Connect,
    before: Option<&Connection>,
    row: &Connection,
) -> Attempt {
    let expiry = |row: &Connection| row.tokens.as_ref().and_then(|tokens| tokens.access_expires_at);
    Attempt {
        id: connect.attempt,
        connection: row.name.clone(),
        provider: row.provider.clone(),
        trigger: Trigger::Manual,
        act: Act::Connect,
        status: AttemptStatus::Success,
        node: connect.node,
        generation: connect.generation,
        new_generation: Some(row.generation),
        fingerprint: None,
        recovers: None,
        started_at: tx.now(),
        completed_at: Some(tx.now()),
        lease_until: None,
        code: None,
        http_status: None,
        message: None,
        old_expires_at: before.and_then(expiry),
        new_expires_at: expiry(row),
    }
}

pub(crate) fn reject<T: WriteTx>(tx: &T, rejection: &Rejection) -> Result<RejectionAnswer, T::Error> {
    let before = tx.find(&rejection.connection)?;
    let (answer, brake) = rejection::answer(before.as_ref(), rejection, tx.now());
    if let (Some(before), Some(brake)) = (before, brake) {
        let mut row = before.clone();
        row.backoff = Some(brake);
        tx.save(Some(&before), row, None)?;
    }
    Ok(answer)
}

pub(crate) fn administer<T: WriteTx>(
    tx: &T,
    name: &ConnectionName,
    act: OperatorCommand,
    operation: OperationId,
    by: &Actor,
) -> Result<bool, T::Error> {
    let Some(before) = tx.find(name)? else { return Ok(false) };
    if !tx.record_operation(operation, name, rules::act_name(act))? {
        return Ok(true);
    }
    let mut row = before.clone();
    if let Some(closing) = rules::administer(&mut row, act, operation, tx.now()) {
        tx.close(closing)?;
    }
    if act == OperatorCommand::Disconnect {
        tx.drop_replies(name)?;
    }
    let changed = row != before;
    tx.save(Some(&before), row, None)?;
    if changed {
        tx.put_on_record(act.to_audit_row(name, operation, by, tx.now()))?;
    }
    Ok(true)
}
