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

use super::connections::capped;
use super::errors::Failure;
use super::steady::Drift;
use super::writer::Writing;
use super::{SqliteStore, audit, log, table};
use crate::consents::{self, REMEMBERED};
use crate::rows::{self, CONSENT_COLUMNS};

fn find(conn: &rusqlite::Connection, key: ConsentKey) -> Result<Option<Consent>, Failure> {
    let (column, bytes) = match key {
        ConsentKey::Id(id) => ("id", *id.as_bytes()),
        ConsentKey::Ticket(ticket) => ("ticket", *ticket.as_bytes()),
        ConsentKey::State(state) => ("state", *state.as_bytes()),
    };
    let sql = format!("SELECT {CONSENT_COLUMNS} FROM consents WHERE {column} = ?");
    table::first(conn, &sql, params![bytes], |row| rows::consent(row))
}

fn with_attempt(
    conn: &rusqlite::Connection,
    drift: Drift,
    consent: Consent,
) -> Result<FoundConsent, Failure> {
    let attempt = match consent.ending {
        Some(ConsentOutcome::Exchange(attempt)) => {
            log::find(conn, drift, attempt)?.map(|(attempt, _)| attempt)
        }
        _ => None,
    };
    Ok(FoundConsent { consent, attempt })
}

fn latest(
    conn: &rusqlite::Connection,
    drift: Drift,
    after: &str,
    limit: usize,
) -> Result<Vec<FoundConsent>, Failure> {
    let sql = format!(
        "SELECT {CONSENT_COLUMNS} FROM consents WHERE connection > ? AND NOT EXISTS
            (SELECT 1 FROM consents AS later WHERE later.connection = consents.connection AND later.id > consents.id)
         ORDER BY connection LIMIT ?"
    );
    let found = table::all(conn, &sql, params![after, capped(limit)], |row| rows::consent(row))?;
    found.into_iter().map(|consent| with_attempt(conn, drift, consent)).collect()
}

fn invite(writing: &Writing<'_>, invite: &Invite) -> Result<Timestamp, Failure> {
    if let Some(made) = find(writing.conn, ConsentKey::Id(invite.id))? {
        return Ok(made.link_until);
    }
    let mut forget = writing.conn.prepare_cached("DELETE FROM consents WHERE link_until < ?")?;
    forget.execute(params![(writing.now - REMEMBERED).as_micros()])?;
    let until = writing.now + invite.life;
    let mut insert = writing.conn.prepare_cached(
        "INSERT INTO consents (id, connection, provider, ticket, created_at, link_until)
         VALUES (:id, :connection, :provider, :ticket, :created_at, :link_until)",
    )?;
    insert.execute(named_params! {
        ":id": invite.id.as_bytes(),
        ":connection": invite.connection.as_str(),
        ":provider": invite.provider.as_str(),
        ":ticket": invite.ticket.as_bytes(),
        ":created_at": writing.now.as_micros(),
        ":link_until": until.as_micros(),
    })?;
    audit::insert(writing, &invite.to_audit_row(writing.now))?;
    Ok(until)
}

fn open(writing: &Writing<'_>, opening: &ConsentStart) -> Result<ConsentStartAnswer, Failure> {
    let found = find(writing.conn, ConsentKey::Ticket(opening.ticket))?;
    if let Some(answer) = consents::stays(found.as_ref(), opening, writing.now) {
        return Ok(answer);
    }
    let Some(consent) = found else { return Ok(ConsentStartAnswer::Unknown) };
    let until = writing.now + opening.life;
    let mut update = writing.conn.prepare_cached(
        "UPDATE consents SET state = :state, browser = :browser, verifier = :verifier, asked_at = :at,
            asked_until = :until
         WHERE id = :id",
    )?;
    update.execute(named_params! {
        ":id": consent.id.as_bytes(),
        ":state": opening.state.as_bytes(),
        ":browser": opening.browser.as_ref().map(Fingerprint::as_bytes),
        ":verifier": opening.verifier,
        ":at": writing.now.as_micros(),
        ":until": until.as_micros(),
    })?;
    Ok(ConsentStartAnswer::Started { until })
}

fn record_callback(writing: &Writing<'_>, callback: &Callback) -> Result<CallbackAnswer, Failure> {
    let found = find(writing.conn, ConsentKey::State(callback.state))?;
    if let Some(answer) = consents::unfit(found.as_ref(), callback, writing.now) {
        return Ok(answer);
    }
    let Some(consent) = found else { return Ok(CallbackAnswer::Unknown) };
    let (attempt, code, message) = rows::ending_columns(&callback.then);
    let mut update = writing.conn.prepare_cached(
        "UPDATE consents SET attempt = ?, refused_code = ?, refused_message = ?, verifier = NULL WHERE id = ?",
    )?;
    update.execute(params![
        attempt.as_ref().map(AttemptId::as_bytes),
        code,
        message,
        consent.id.as_bytes()
    ])?;
    let row = table::find(writing.conn, writing.drift, &consent.connection)?;
    let attempt = consents::attempt(consent, &callback.then, row, writing.now);
    log::write(writing, &attempt, callback.then.grant())?;
    Ok(CallbackAnswer::Taken)
}

fn fail_exchange(writing: &Writing<'_>, fail: &FailExchange) -> Result<(), Failure> {
    let found = log::find(writing.conn, writing.drift, fail.attempt)?;
    let (mut attempt, grant) = found.ok_or_else(|| consents::no_attempt(fail.attempt))?;
    if consents::fail(&mut attempt, fail, writing.now) {
        log::write(writing, &attempt, grant)?;
        if let Some(reply) = &fail.kept_reply {
            log::keep_reply(writing, attempt.id, &attempt.connection, reply)?;
        }
    }
    Ok(())
}

#[async_trait]
impl ConsentStore for SqliteStore {
    async fn invite(&self, order: Invite) -> Result<Timestamp, StoreError> {
        self.write(move |writing| invite(writing, &order)).await
    }

    async fn start_consent(&self, opening: ConsentStart) -> Result<ConsentStartAnswer, StoreError> {
        self.write(move |writing| open(writing, &opening)).await
    }

    async fn record_callback(&self, callback: Callback) -> Result<CallbackAnswer, StoreError> {
        self.write(move |writing| record_callback(writing, &callback)).await
    }

    async fn fail_exchange(&self, fail: FailExchange) -> Result<(), StoreError> {
        self.write(move |writing| fail_exchange(writing, &fail)).await
    }

    async fn find_consent(&self, key: ConsentKey) -> Result<Option<FoundConsent>, StoreError> {
        let drift = self.shared.steady.moment().drift;
        let look = move |conn: &rusqlite::Connection| {
            find(conn, key)?.map(|consent| with_attempt(conn, drift, consent)).transpose()
        };
        self.readers.read(look).await
    }

    async fn latest_consents(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<FoundConsent>, StoreError> {
        let after = after.map_or(String::new(), ToString::to_string);
        let drift = self.shared.steady.moment().drift;
        self.readers.read(move |conn| latest(conn, drift, &after, limit)).await
    }
}
