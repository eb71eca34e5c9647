//! The port `ConsentStore`.

use std::time::Duration;

use async_trait::async_trait;
use jeton_core::id::{AttemptId, ConnectionName, ConsentId};
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus, Trigger};
use jeton_core::keep::connection::Generation;
use jeton_core::keep::consent::{self, Asked, Consent, Ending};
use jeton_core::keep::ports::{
    CallBack, CallbackAnswer, ConsentKey, ConsentStore, FailExchange, FoundConsent, Invite, OpenAnswer,
    Opening, StoreError, Then,
};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Row, named_params, params};

use super::connections::capped;
use super::errors::Failure;
use super::rows::Columns;
use super::steady::Drift;
use super::writer::Writing;
use super::{SqliteStore, log, table};

/// How long consents are remembered after their links have lapsed.
const REMEMBERED: Duration = Duration::from_hours(7 * 24);

/// The columns of a consent, in the order that [`read`] reads them.
const CONSENT_COLUMNS: &str = "id, connection, provider, ticket, created_at, link_until, state, browser, verifier, \
    asked_at, asked_until, attempt, refused_code, refused_message";

fn read(row: &Row<'_>) -> Result<Consent, Failure> {
    let mut columns = Columns::new(row, "consents");
    let id = columns.bytes("id", ConsentId::from_bytes)?;
    let mut columns = columns.keyed(&id);
    Ok(Consent {
        id,
        connection: columns.named("connection", |name| name.parse().ok())?,
        provider: columns.named("provider", |name| name.parse().ok())?,
        ticket: columns.bytes("ticket", Fingerprint::from_bytes)?,
        created_at: columns.instant("created_at")?,
        link_until: columns.instant("link_until")?,
        asked: asked(&mut columns)?,
        ending: ending(&mut columns)?,
    })
}

fn asked(columns: &mut Columns<'_>) -> Result<Option<Asked>, Failure> {
    let state = columns.bytes_or_null("state", Fingerprint::from_bytes)?;
    let browser = columns.bytes_or_null("browser", Fingerprint::from_bytes)?;
    let verifier: Option<Vec<u8>> = columns.plain("verifier")?;
    let at = columns.instant_or_null("asked_at")?;
    let until = columns.instant_or_null("asked_until")?;
    Ok(state.zip(at).zip(until).map(|((state, at), until)| Asked { state, browser, verifier, at, until }))
}

fn ending(columns: &mut Columns<'_>) -> Result<Option<Ending>, Failure> {
    let attempt = columns.bytes_or_null("attempt", AttemptId::from_bytes)?;
    let code: Option<String> = columns.plain("refused_code")?;
    let message: Option<String> = columns.plain("refused_message")?;
    let refused = code.zip(message).map(|(code, message)| Ending::Refused { code, message });
    Ok(attempt.map(Ending::Exchange).or(refused))
}

fn find(conn: &rusqlite::Connection, key: ConsentKey) -> Result<Option<Consent>, Failure> {
    let (column, bytes) = match key {
        ConsentKey::Id(id) => ("id", *id.as_bytes()),
        ConsentKey::Ticket(ticket) => ("ticket", *ticket.as_bytes()),
        ConsentKey::State(state) => ("state", *state.as_bytes()),
    };
    let sql = format!("SELECT {CONSENT_COLUMNS} FROM consents WHERE {column} = ?");
    table::first(conn, &sql, params![bytes], read)
}

fn with_attempt(
    conn: &rusqlite::Connection,
    drift: Drift,
    consent: Consent,
) -> Result<FoundConsent, Failure> {
    let attempt = match consent.ending {
        Some(Ending::Exchange(attempt)) => log::find(conn, drift, attempt)?.map(|(attempt, _)| attempt),
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
    let found = table::all(conn, &sql, params![after, capped(limit)], read)?;
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
    Ok(until)
}

fn open(writing: &Writing<'_>, opening: &Opening) -> Result<OpenAnswer, Failure> {
    let Some(consent) = find(writing.conn, ConsentKey::Ticket(opening.ticket))? else {
        return Ok(OpenAnswer::Unknown);
    };
    match &consent.asked {
        // The same order again, after an unknown COMMIT.
        Some(asked) if asked.state == opening.state => return Ok(OpenAnswer::Opened { until: asked.until }),
        _ => {}
    }
    if let Err(closed) = consent::opens(&consent, writing.now) {
        return Ok(OpenAnswer::Closed(closed));
    }
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
    Ok(OpenAnswer::Opened { until })
}

fn call_back(writing: &Writing<'_>, callback: &CallBack) -> Result<CallbackAnswer, Failure> {
    let Some(consent) = find(writing.conn, ConsentKey::State(callback.state))? else {
        return Ok(CallbackAnswer::Unknown);
    };
    match (&consent.ending, &callback.then) {
        (Some(Ending::Exchange(done)), Then::Exchange { attempt, .. }) if done == attempt => {
            return Ok(CallbackAnswer::Taken);
        }
        _ => {}
    }
    if let Err(unfit) = consent::takes(&consent, callback.bearer, writing.now) {
        return Ok(CallbackAnswer::Unfit(unfit));
    }
    let (attempt, code, message) = match &callback.then {
        Then::Exchange { attempt, .. } => {
            (Value::Blob(attempt.as_bytes().to_vec()), Value::Null, Value::Null)
        }
        Then::Refuse { code, message } => {
            (Value::Null, Value::Text(code.clone()), Value::Text(message.clone()))
        }
    };
    let mut update = writing.conn.prepare_cached(
        "UPDATE consents SET attempt = ?, refused_code = ?, refused_message = ?, verifier = NULL WHERE id = ?",
    )?;
    update.execute(params![attempt, code, message, consent.id.as_bytes()])?;
    if let Then::Exchange { attempt, grant, node, lease_ttl } = &callback.then {
        let row = table::find(writing.conn, writing.drift, &consent.connection)?;
        let attempt = Attempt {
            id: *attempt,
            connection: consent.connection,
            provider: consent.provider,
            trigger: Trigger::Manual,
            act: Act::Connect,
            status: AttemptStatus::Running,
            node: *node,
            generation: row.as_ref().map_or(Generation(0), |row| row.generation),
            new_generation: None,
            fingerprint: None,
            recovers: None,
            started_at: writing.now,
            completed_at: None,
            lease_until: Some(writing.now + *lease_ttl),
            code: None,
            http_status: None,
            message: None,
            old_expires_at: row.and_then(|row| row.tokens?.access_expires_at),
            new_expires_at: None,
        };
        log::write(writing, &attempt, *grant)?;
    }
    Ok(CallbackAnswer::Taken)
}

fn fail_exchange(writing: &Writing<'_>, fail: &FailExchange) -> Result<(), Failure> {
    let Some((mut attempt, grant)) = log::find(writing.conn, writing.drift, fail.attempt)? else {
        let (what, row) =
            ("is not there, though a code was exchanged by it".into(), fail.attempt.to_string());
        return Err(StoreError::Inconsistent { table: "attempts", column: "id", row, what }.into());
    };
    if attempt.status != AttemptStatus::Running {
        return Ok(());
    }
    attempt.status = if fail.unknown { AttemptStatus::Interrupted } else { AttemptStatus::Failed };
    attempt.completed_at = Some(writing.now);
    attempt.code = Some(fail.code.clone());
    attempt.http_status = fail.http_status;
    attempt.message = Some(fail.message.clone());
    log::write(writing, &attempt, grant)
}

#[async_trait]
impl ConsentStore for SqliteStore {
    async fn invite(&self, order: Invite) -> Result<Timestamp, StoreError> {
        self.write(move |writing| invite(writing, &order)).await
    }

    async fn open_link(&self, opening: Opening) -> Result<OpenAnswer, StoreError> {
        self.write(move |writing| open(writing, &opening)).await
    }

    async fn call_back(&self, callback: CallBack) -> Result<CallbackAnswer, StoreError> {
        self.write(move |writing| call_back(writing, &callback)).await
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
