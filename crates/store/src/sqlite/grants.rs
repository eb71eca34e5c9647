//! What people and callers do to a connection: connect, administer, report a rejection.

use jeton_core::id::{ConnectionName, OperationId};
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus, Trigger};
use jeton_core::keep::connection::{Connection, Generation};
use jeton_core::keep::ports::{Administer, Connect, ConnectAnswer};
use jeton_core::keep::rejection::{self, Rejection, RejectionAnswer};

use super::errors::Failure;
use super::writer::Writing;
use super::{log, table};
use crate::rules;

pub(super) fn connect(writing: &Writing<'_>, connect: &Connect) -> Result<ConnectAnswer, Failure> {
    let known = log::find(writing.conn, writing.drift, connect.attempt)?.map(|(attempt, _)| attempt);
    if let Some(done) = known.as_ref().filter(|attempt| attempt.status == AttemptStatus::Success) {
        let generation = done.new_generation.unwrap_or(done.generation);
        return Ok(ConnectAnswer::Connected { generation });
    }
    // The provider has just given it for a code: then it lives, and is new even where its text is not.
    let exchanged = known.is_some();
    let before = table::find(writing.conn, writing.drift, &connect.connection)?;
    let generation = before.as_ref().map_or(Generation(0), |row| row.generation);
    if generation != connect.generation {
        return Ok(ConnectAnswer::Moved { generation });
    }
    if !exchanged && before.as_ref().is_some_and(|row| rules::has_already(row, connect)) {
        return Ok(ConnectAnswer::Unchanged);
    }
    let refresh = connect.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint);
    if let Some(refresh) = refresh.filter(|_| connect.single_use) {
        if let Some(attempt) = log::spender(writing, refresh)?.filter(|_| !exchanged) {
            return Ok(ConnectAnswer::Spent { attempt });
        }
        if let Some(connection) = table::other_holder(writing.conn, refresh, &connect.connection)? {
            return Ok(ConnectAnswer::HeldBy { connection });
        }
    }
    let mut row = before.clone().unwrap_or_else(|| rules::first_row(connect, writing.now));
    if let Some(closing) = rules::connect(&mut row, connect.clone(), writing.now) {
        log::close(writing, closing)?;
    }
    let generation = row.generation;
    log::write(writing, &connect_attempt(writing, connect, before.as_ref(), &row), row.grant)?;
    table::save(writing, before.as_ref(), row, Some(connect.attempt))?;
    Ok(ConnectAnswer::Connected { generation })
}

fn connect_attempt(
    writing: &Writing<'_>,
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
        started_at: writing.now,
        completed_at: Some(writing.now),
        lease_until: None,
        code: None,
        http_status: None,
        message: None,
        old_expires_at: before.and_then(expiry),
        new_expires_at: expiry(row),
    }
}

pub(super) fn reject(writing: &Writing<'_>, rejection: &Rejection) -> Result<RejectionAnswer, Failure> {
    let before = table::find(writing.conn, writing.drift, &rejection.connection)?;
    let (answer, brake) = rejection::answer(before.as_ref(), rejection, writing.now);
    if let (Some(before), Some(brake)) = (before, brake) {
        let mut row = before.clone();
        row.brake = Some(brake);
        table::save(writing, Some(&before), row, None)?;
    }
    Ok(answer)
}

pub(super) fn administer(
    writing: &Writing<'_>,
    name: &ConnectionName,
    act: Administer,
    operation: OperationId,
) -> Result<bool, Failure> {
    let Some(before) = table::find(writing.conn, writing.drift, name)? else { return Ok(false) };
    if !log::record_operation(writing, operation, name, rules::act_name(act))? {
        return Ok(true);
    }
    let mut row = before.clone();
    if let Some(closing) = rules::administer(&mut row, act, operation, writing.now) {
        log::close(writing, closing)?;
    }
    if act == Administer::Disconnect {
        log::drop_replies(writing, name)?;
    }
    table::save(writing, Some(&before), row, None)?;
    Ok(true)
}
