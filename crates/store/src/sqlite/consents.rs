//! The port `ConsentStore`.

use async_trait::async_trait;
use jeton_core::id::{AttemptId, ConnectionName};
use jeton_core::keep::consent::{Consent, ConsentOutcome};
use jeton_core::keep::ports::{
    Callback, CallbackAnswer, ConsentKey, ConsentStart, ConsentStartAnswer, ConsentStore, FailExchange,
    FoundConsent, Invite, StoreError,
};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use rusqlite::{named_params, params};

use super::boot_clock::ClockDrift;
use super::connections::capped;
use super::errors::SqliteError;
use super::writer::SqliteTx;
use super::{SqliteStore, attempts_table, audit, connections_table};
use crate::consent_rules::{self, REMEMBERED};
use crate::row_reader::{self, CONSENT_COLUMNS};

fn find(conn: &rusqlite::Connection, key: ConsentKey) -> Result<Option<Consent>, SqliteError> {
    let (column, bytes) = match key {
        ConsentKey::Id(id) => ("id", *id.as_bytes()),
        ConsentKey::Ticket(ticket) => ("ticket", *ticket.as_bytes()),
        ConsentKey::State(state) => ("state", *state.as_bytes()),
    };
    let sql = format!("SELECT {CONSENT_COLUMNS} FROM consents WHERE {column} = ?");
    connections_table::first(conn, &sql, params![bytes], |row| row_reader::consent(row))
}

fn with_attempt(
    conn: &rusqlite::Connection,
    drift: ClockDrift,
    consent: Consent,
) -> Result<FoundConsent, SqliteError> {
    let attempt = match consent.outcome {
        Some(ConsentOutcome::Exchange(attempt)) => {
            attempts_table::find(conn, drift, attempt)?.map(|(attempt, _)| attempt)
        }
        _ => None,
    };
    Ok(FoundConsent { consent, attempt })
}

fn latest(
    conn: &rusqlite::Connection,
    drift: ClockDrift,
    after: &str,
    limit: usize,
) -> Result<Vec<FoundConsent>, SqliteError> {
    let sql = format!(
        "SELECT {CONSENT_COLUMNS} FROM consents WHERE connection > ? AND NOT EXISTS
            (SELECT 1 FROM consents AS later WHERE later.connection = consents.connection AND later.id > consents.id)
         ORDER BY connection LIMIT ?"
    );
    let found =
        connections_table::all(conn, &sql, params![after, capped(limit)], |row| row_reader::consent(row))?;
    found.into_iter().map(|consent| with_attempt(conn, drift, consent)).collect()
}

fn invite(tx: &SqliteTx<'_>, invite: &Invite) -> Result<Timestamp, SqliteError> {
    if let Some(made) = find(tx.conn, ConsentKey::Id(invite.id))? {
        return Ok(made.link_until);
    }
    let mut forget = tx.conn.prepare_cached("DELETE FROM consents WHERE link_until < ?")?;
    forget.execute(params![(tx.now - REMEMBERED).as_micros()])?;
    let until = tx.now + invite.life;
    let mut insert = tx.conn.prepare_cached(
        "INSERT INTO consents (id, connection, provider, ticket, created_at, link_until)
         VALUES (:id, :connection, :provider, :ticket, :created_at, :link_until)",
    )?;
    insert.execute(named_params! {
        ":id": invite.id.as_bytes(),
        ":connection": invite.connection.as_str(),
        ":provider": invite.provider.as_str(),
        ":ticket": invite.ticket.as_bytes(),
        ":created_at": tx.now.as_micros(),
        ":link_until": until.as_micros(),
    })?;
    audit::insert(tx, &invite.to_audit_row(tx.now))?;
    Ok(until)
}

fn open(tx: &SqliteTx<'_>, opening: &ConsentStart) -> Result<ConsentStartAnswer, SqliteError> {
    let found = find(tx.conn, ConsentKey::Ticket(opening.ticket))?;
    if let Some(answer) = consent_rules::stays(found.as_ref(), opening, tx.now) {
        return Ok(answer);
    }
    let Some(consent) = found else { return Ok(ConsentStartAnswer::Unknown) };
    let until = tx.now + opening.life;
    let mut update = tx.conn.prepare_cached(
        "UPDATE consents SET state = :state, browser = :browser, verifier = :verifier, asked_at = :at,
            asked_until = :until
         WHERE id = :id",
    )?;
    update.execute(named_params! {
        ":id": consent.id.as_bytes(),
        ":state": opening.state.as_bytes(),
        ":browser": opening.browser.as_ref().map(Fingerprint::as_bytes),
        ":verifier": opening.verifier,
        ":at": tx.now.as_micros(),
        ":until": until.as_micros(),
    })?;
    Ok(ConsentStartAnswer::Started { until })
}

fn record_callback(tx: &SqliteTx<'_>, callback: &Callback) -> Result<CallbackAnswer, SqliteError> {
    let found = find(tx.conn, ConsentKey::State(callback.state))?;
    if let Some(answer) = consent_rules::unfit(found.as_ref(), callback, tx.now) {
        return Ok(answer);
    }
    let Some(consent) = found else { return Ok(CallbackAnswer::Unknown) };
    let (attempt, code, message) = row_reader::ending_columns(&callback.action);
    let mut update = tx.conn.prepare_cached(
        "UPDATE consents SET attempt = ?, refused_code = ?, refused_message = ?, verifier = NULL WHERE id = ?",
    )?;
    update.execute(params![
        attempt.as_ref().map(AttemptId::as_bytes),
        code,
        message,
        consent.id.as_bytes()
    ])?;
    let row = connections_table::find(tx.conn, tx.drift, &consent.connection)?;
    let attempt = consent_rules::attempt(consent, &callback.action, row, tx.now);
    attempts_table::write(tx, &attempt, callback.action.grant())?;
    Ok(CallbackAnswer::Taken)
}

fn fail_exchange(tx: &SqliteTx<'_>, fail: &FailExchange) -> Result<(), SqliteError> {
    let found = attempts_table::find(tx.conn, tx.drift, fail.attempt)?;
    let (mut attempt, grant) = found.ok_or_else(|| consent_rules::no_attempt(fail.attempt))?;
    if consent_rules::fail(&mut attempt, fail, tx.now) {
        attempts_table::write(tx, &attempt, grant)?;
        if let Some(reply) = &fail.kept_reply {
            attempts_table::keep_reply(tx, attempt.id, &attempt.connection, reply)?;
        }
    }
    Ok(())
}

#[async_trait]
impl ConsentStore for SqliteStore {
    async fn invite(&self, order: Invite) -> Result<Timestamp, StoreError> {
        self.write(move |tx| invite(tx, &order)).await
    }

    async fn start_consent(&self, opening: ConsentStart) -> Result<ConsentStartAnswer, StoreError> {
        self.write(move |tx| open(tx, &opening)).await
    }

    async fn record_callback(&self, callback: Callback) -> Result<CallbackAnswer, StoreError> {
        self.write(move |tx| record_callback(tx, &callback)).await
    }

    async fn fail_exchange(&self, fail: FailExchange) -> Result<(), StoreError> {
        self.write(move |tx| fail_exchange(tx, &fail)).await
    }

    async fn find_consent(&self, key: ConsentKey) -> Result<Option<FoundConsent>, StoreError> {
        let drift = self.shared.clock.read().drift;
        let look = move |conn: &rusqlite::Connection| {
            find(conn, key)?.map(|consent| with_attempt(conn, drift, consent)).transpose()
        };
        self.readers.read(look).await
    }

    async fn list_latest_consents(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<FoundConsent>, StoreError> {
        let after = after.map_or(String::new(), ToString::to_string);
        let drift = self.shared.clock.read().drift;
        self.readers.read(move |conn| latest(conn, drift, &after, limit)).await
    }
}
