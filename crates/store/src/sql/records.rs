//! The records of a store, each read from the columns of its SELECT.

use std::time::Duration;

use jeton_core::access::{ServiceToken, ServiceTokenId, TokenHash, TokenRevision};
use jeton_core::audit::{Actor, AuditAction, AuditRow};
use jeton_core::id::{
    AttemptId, ConnectionName, ConsentId, Generation, GrantId, NodeId, OperationId, Revision,
};
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus, Trigger};
use jeton_core::keep::connection::{
    Connection, GrantState, Lease, OrphanReply, RejectionBackoff, SealedTokens,
};
use jeton_core::keep::consent::{AuthorizationRequest, Consent, ConsentOutcome};
use jeton_core::keep::ports::{ListedConnection, LiveNode, NodeHost, StoreError, UnreadableRow};
use jeton_core::keep::unavailable::UnavailableEndpoint;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

use super::row_reader::{RowReader, SqlRow};
use super::statement::{Value, values};

// The database keeps names that the code has replaced: `strays` are orphan replies, `born_of` is the refresh trigger,
// `brake_*` is the rejection backoff, `deed` is the audit action.

/// The columns of a connection without its tokens, in the order that [`connection`] reads them.
pub(crate) const CONNECTION_COLUMNS: &str = "name, provider, grant_id, state, state_code, paused, generation, \
    revision, born_of, lease_attempt, lease_node, lease_until, open_attempt, due_at, cooling_until, failures, \
    failing_since, last_error, provider_message, brake_generation, brake_until, brake_step, created_at";

/// Reads [`CONNECTION_COLUMNS`], and leaves the columns that follow to the caller. Token set and orphan
/// replies come from their own tables.
pub(crate) fn connection(row: &SqlRow) -> Result<(Connection, RowReader<'_>), StoreError> {
    let mut columns = RowReader::new(row, "connections");
    let name: ConnectionName = columns.named("name", |name| name.parse().ok())?;
    let mut columns = columns.keyed(&name);
    let connection = Connection {
        name,
        provider: columns.named("provider", |name| name.parse().ok())?,
        grant: columns.bytes("grant_id", GrantId::from_bytes)?,
        state: columns.named("state", GrantState::parse)?,
        state_code: columns.text_or_null("state_code")?,
        paused: columns.truth("paused")?,
        generation: Generation(columns.count("generation")?),
        revision: Revision(columns.count("revision")?),
        tokens: None,
        refresh_trigger: columns.named_or_null("born_of", Trigger::parse)?,
        lease: lease(&mut columns)?,
        open_attempt: columns.bytes_or_null("open_attempt", AttemptId::from_bytes)?,
        due_at: columns.instant_or_null("due_at")?,
        cooling_until: columns.instant_or_null("cooling_until")?,
        failures: u32::try_from(columns.count("failures")?).unwrap_or(u32::MAX),
        failing_since: columns.instant_or_null("failing_since")?,
        last_error: columns.text_or_null("last_error")?,
        provider_message: columns.text_or_null("provider_message")?,
        backoff: rejection_backoff(&mut columns)?,
        orphans: Vec::new(),
        created_at: columns.instant("created_at")?,
    };
    Ok((connection, columns))
}

/// Puts the error of one row of [`CONNECTION_COLUMNS`] in its place in a list, if the row tells at least which it is.
pub(crate) fn listed(
    row: &SqlRow,
    read: Result<Connection, StoreError>,
) -> Result<ListedConnection, StoreError> {
    let error = match read {
        Ok(row) => return Ok(Ok(row)),
        Err(error) => error,
    };
    let name = match row.0.first() {
        Some(Value::Text(Some(name))) => name.parse().ok(),
        _ => None,
    };
    let revision =
        match row.0.get(CONNECTION_COLUMNS.split(", ").position(|name| name == "revision").unwrap_or(0)) {
            Some(Value::Number(Some(revision))) => u64::try_from(*revision).ok(),
            _ => None,
        };
    match (name.zip(revision), error) {
        (Some((name, revision)), StoreError::Inconsistent { table, column, what, .. }) => {
            Ok(Err(UnreadableRow { name, revision: Revision(revision), table, column, what }))
        }
        (_, error) => Err(error),
    }
}

/// The parameters of [`CONNECTION_COLUMNS`] without the revision.
pub(crate) fn connection_values(row: &Connection) -> Vec<Value> {
    let (lease, backoff) = (row.lease.as_ref(), row.backoff.as_ref());
    values![
        &row.name,
        &row.provider,
        row.grant,
        row.state.as_str(),
        row.state_code.as_deref(),
        row.paused,
        row.generation.0,
        row.refresh_trigger.map(Trigger::as_str),
        lease.map(|lease| lease.attempt),
        lease.map(|lease| lease.node),
        lease.map(|lease| lease.until),
        row.open_attempt,
        row.due_at,
        row.cooling_until,
        row.failures,
        row.failing_since,
        row.last_error.as_deref(),
        row.provider_message.as_deref(),
        backoff.map(|backoff| backoff.generation.0),
        backoff.map(|backoff| backoff.until),
        backoff.map(|backoff| backoff.step),
        row.created_at,
    ]
}

/// The parameters of [`super::row_reader::TOKEN_COLUMNS`].
pub(crate) fn token_values(tokens: &SealedTokens) -> Vec<Value> {
    values![
        tokens.access.as_deref(),
        tokens.refresh.as_deref(),
        tokens.extras.as_deref(),
        tokens.access_fingerprint,
        tokens.refresh_fingerprint,
        tokens.obtained_at,
        tokens.access_expires_at,
        tokens.refresh_expires_at,
        tokens.scope.as_deref(),
    ]
}

fn lease(columns: &mut RowReader<'_>) -> Result<Option<Lease>, StoreError> {
    let attempt = columns.bytes_or_null("lease_attempt", AttemptId::from_bytes)?;
    let node = columns.bytes_or_null("lease_node", NodeId::from_bytes)?;
    let until = columns.instant_or_null("lease_until")?;
    Ok(attempt.zip(node).zip(until).map(|((attempt, node), until)| Lease { attempt, node, until }))
}

fn rejection_backoff(columns: &mut RowReader<'_>) -> Result<Option<RejectionBackoff>, StoreError> {
    let generation = columns.count_or_null("brake_generation")?.map(Generation);
    let until = columns.instant_or_null("brake_until")?;
    let step = columns.count_or_null("brake_step")?.map(Duration::from_micros);
    Ok(generation.zip(until).zip(step).map(|((generation, until), step)| RejectionBackoff {
        generation,
        until,
        step,
    }))
}

/// Reads what follows the attempt of an orphan reply: `grant_id, generation,` and [`super::row_reader::TOKEN_COLUMNS`].
pub(crate) fn orphan(attempt: AttemptId, columns: &mut RowReader<'_>) -> Result<OrphanReply, StoreError> {
    Ok(OrphanReply {
        attempt,
        grant: columns.bytes("grant_id", GrantId::from_bytes)?,
        generation: Generation(columns.count("generation")?),
        tokens: columns.tokens()?,
    })
}

/// The columns of an attempt, in the order that [`attempt`] reads them.
pub(crate) const ATTEMPT_COLUMNS: &str = "id, connection, provider, trigger, act, status, node, generation, \
    new_generation, fingerprint, recovers, started_at, completed_at, lease_until, code, http_status, message, \
    provider_message, asked_by, old_expires_at, new_expires_at, grant_id";

/// Reads [`ATTEMPT_COLUMNS`]: the attempt, and the grant that it was made under.
pub(crate) fn attempt(row: &SqlRow) -> Result<(Attempt, GrantId), StoreError> {
    let mut columns = RowReader::new(row, "attempts");
    let id = columns.bytes("id", AttemptId::from_bytes)?;
    let mut columns = columns.keyed(&id);
    let attempt = Attempt {
        id,
        connection: columns.named("connection", |name| name.parse().ok())?,
        provider: columns.named("provider", |name| name.parse().ok())?,
        trigger: columns.named("trigger", Trigger::parse)?,
        act: columns.named("act", Act::parse)?,
        status: columns.named("status", AttemptStatus::parse)?,
        node: columns.bytes("node", NodeId::from_bytes)?,
        generation: Generation(columns.count("generation")?),
        new_generation: columns.count_or_null("new_generation")?.map(Generation),
        fingerprint: columns.bytes_or_null("fingerprint", Fingerprint::from_bytes)?,
        recovers: columns.bytes_or_null("recovers", AttemptId::from_bytes)?,
        started_at: columns.instant("started_at")?,
        completed_at: columns.instant_or_null("completed_at")?,
        lease_until: columns.instant_or_null("lease_until")?,
        code: columns.text_or_null("code")?,
        http_status: columns.count_or_null("http_status")?.and_then(|status| u16::try_from(status).ok()),
        message: columns.text_or_null("message")?,
        provider_message: columns.text_or_null("provider_message")?,
        asked_by: columns.named_or_null("asked_by", Actor::parse)?,
        old_expires_at: columns.instant_or_null("old_expires_at")?,
        new_expires_at: columns.instant_or_null("new_expires_at")?,
    };
    Ok((attempt, columns.bytes("grant_id", GrantId::from_bytes)?))
}

/// The parameters of [`ATTEMPT_COLUMNS`].
pub(crate) fn attempt_values(attempt: &Attempt, grant: GrantId) -> Vec<Value> {
    values![
        attempt.id,
        &attempt.connection,
        &attempt.provider,
        attempt.trigger.as_str(),
        attempt.act.as_str(),
        attempt.status.as_str(),
        attempt.node,
        attempt.generation.0,
        attempt.new_generation.map(|generation| generation.0),
        attempt.fingerprint,
        attempt.recovers,
        attempt.started_at,
        attempt.completed_at,
        attempt.lease_until,
        attempt.code.as_deref(),
        attempt.http_status,
        attempt.message.as_deref(),
        attempt.provider_message.as_deref(),
        attempt.asked_by.as_ref().map(Actor::to_string),
        attempt.old_expires_at,
        attempt.new_expires_at,
        grant,
    ]
}

/// The columns of a consent, in the order that [`consent`] reads them.
pub(crate) const CONSENT_COLUMNS: &str = "id, connection, provider, ticket, created_at, link_until, state, browser, verifier, \
    asked_at, asked_until, attempt, refused_code, refused_message, refused_provider_message";

pub(crate) fn consent(row: &SqlRow) -> Result<Consent, StoreError> {
    let mut columns = RowReader::new(row, "consents");
    let id = columns.bytes("id", ConsentId::from_bytes)?;
    let mut columns = columns.keyed(&id);
    Ok(Consent {
        id,
        connection: columns.named("connection", |name| name.parse().ok())?,
        provider: columns.named("provider", |name| name.parse().ok())?,
        ticket: columns.bytes("ticket", Fingerprint::from_bytes)?,
        created_at: columns.instant("created_at")?,
        link_until: columns.instant("link_until")?,
        authorization: asked(&mut columns)?,
        outcome: ending(&mut columns)?,
    })
}

fn asked(columns: &mut RowReader<'_>) -> Result<Option<AuthorizationRequest>, StoreError> {
    let state = columns.bytes_or_null("state", Fingerprint::from_bytes)?;
    let browser = columns.bytes_or_null("browser", Fingerprint::from_bytes)?;
    let verifier = columns.blob_or_null("verifier")?;
    let at = columns.instant_or_null("asked_at")?;
    let until = columns.instant_or_null("asked_until")?;
    Ok(state.zip(at).zip(until).map(|((state, at), until)| AuthorizationRequest {
        state,
        browser,
        verifier,
        at,
        until,
    }))
}

fn ending(columns: &mut RowReader<'_>) -> Result<Option<ConsentOutcome>, StoreError> {
    let attempt = columns.bytes_or_null("attempt", AttemptId::from_bytes)?;
    let code = columns.text_or_null("refused_code")?;
    let message = columns.text_or_null("refused_message")?;
    let provider_message = columns.text_or_null("refused_provider_message")?;
    let refused = code.zip(message);
    let refused = refused.map(|(code, message)| ConsentOutcome::Refused { code, message, provider_message });
    Ok(attempt.map(ConsentOutcome::Exchange).or(refused))
}

/// The parameters of [`CONSENT_COLUMNS`].
pub(crate) fn consent_values(consent: &Consent) -> Vec<Value> {
    let asked = consent.authorization.as_ref();
    let (attempt, code, message, provider_message) = match &consent.outcome {
        Some(ConsentOutcome::Exchange(attempt)) => (Some(*attempt), None, None, None),
        Some(ConsentOutcome::Refused { code, message, provider_message }) => {
            (None, Some(code), Some(message), provider_message.as_ref())
        }
        None => (None, None, None, None),
    };
    values![
        consent.id,
        &consent.connection,
        &consent.provider,
        consent.ticket,
        consent.created_at,
        consent.link_until,
        asked.map(|asked| asked.state),
        asked.and_then(|asked| asked.browser),
        asked.and_then(|asked| asked.verifier.as_ref()),
        asked.map(|asked| asked.at),
        asked.map(|asked| asked.until),
        attempt,
        code,
        message,
        provider_message,
    ]
}

/// The columns of a node, in the order that [`live_node`] reads them.
pub(crate) const LIVE_NODE_COLUMNS: &str =
    "id, name, version, definitions, started_at, seen_at, tasks, unavailable, host";

/// Reads [`LIVE_NODE_COLUMNS`].
pub(crate) fn live_node(row: &SqlRow) -> Result<LiveNode, StoreError> {
    let mut columns = RowReader::new(row, "nodes");
    let node = columns.bytes("id", NodeId::from_bytes)?;
    let mut columns = columns.keyed(&node);
    let text = |found: &str| Some(found.to_owned());
    let mut node = LiveNode {
        node,
        name: columns.named("name", text)?,
        version: columns.named("version", text)?,
        definitions: columns.named("definitions", text)?,
        started_at: columns.instant("started_at")?,
        seen_at: columns.instant("seen_at")?,
        tasks: columns.named("tasks", |found| serde_json::from_str(found).ok())?,
        unavailable: Vec::new(),
        host: NodeHost::default(),
    };
    let read = |found: &str| serde_json::from_str::<Vec<UnavailableEndpoint>>(found).ok();
    let unavailable = columns.named("unavailable", read)?;
    node.host = columns.named("host", |found| serde_json::from_str(found).ok())?;
    node.unavailable = move_instants(unavailable, Timestamp::default(), node.seen_at);
    Ok(node)
}

/// The column `unavailable` of a heartbeat at `now`. Its instants count from the heartbeat: the instants of two processes have one
/// scale only where the database tells them.
pub(crate) fn unavailable_value(endpoints: &[UnavailableEndpoint], now: Timestamp) -> String {
    let endpoints = move_instants(endpoints.to_vec(), now, Timestamp::default());
    serde_json::to_string(&endpoints).expect("texts, counts and instants are always JSON")
}

fn move_instants(
    endpoints: Vec<UnavailableEndpoint>,
    from: Timestamp,
    to: Timestamp,
) -> Vec<UnavailableEndpoint> {
    let moved = |at: Timestamp| Timestamp::from_micros(at.as_micros() - from.as_micros() + to.as_micros());
    endpoints.into_iter().map(|endpoint| endpoint.map_instants(moved)).collect()
}

/// The columns of a service token, in the order that [`service_token`] reads them.
pub(crate) const SERVICE_TOKEN_COLUMNS: &str = "id, service, hash, scopes, notes, created_at, expires_at, revoked_at, \
    successor, last_used_at, revision";

/// Reads [`SERVICE_TOKEN_COLUMNS`].
pub(crate) fn service_token(row: &SqlRow) -> Result<ServiceToken, StoreError> {
    let mut columns = RowReader::new(row, "service_tokens");
    let id = columns.bytes("id", ServiceTokenId::from_bytes)?;
    let mut columns = columns.keyed(&id);
    Ok(ServiceToken {
        id,
        service: columns.named("service", |name| name.parse().ok())?,
        hash: columns.bytes("hash", TokenHash::from_bytes)?,
        scopes: columns.named("scopes", |scopes| scopes.parse().ok())?,
        notes: columns.text_or_null("notes")?,
        created_at: columns.instant("created_at")?,
        expires_at: columns.instant_or_null("expires_at")?,
        revoked_at: columns.instant_or_null("revoked_at")?,
        successor: columns.bytes_or_null("successor", ServiceTokenId::from_bytes)?,
        last_used_at: columns.instant_or_null("last_used_at")?,
        revision: TokenRevision(columns.count("revision")?),
    })
}

/// The parameters of [`SERVICE_TOKEN_COLUMNS`] without the revision.
pub(crate) fn service_token_values(token: &ServiceToken) -> Vec<Value> {
    values![
        token.id,
        &token.service,
        token.hash,
        token.scopes.to_string(),
        token.notes.as_deref(),
        token.created_at,
        token.expires_at,
        token.revoked_at,
        token.successor,
        token.last_used_at,
    ]
}

/// The columns of an act in the audit log, in the order that [`audit_row`] reads them.
pub(crate) const AUDIT_COLUMNS: &str = "id, at, actor, deed, subject, details";

/// Reads [`AUDIT_COLUMNS`].
pub(crate) fn audit_row(row: &SqlRow) -> Result<AuditRow, StoreError> {
    let mut columns = RowReader::new(row, "audit");
    let id = columns.bytes("id", OperationId::from_bytes)?;
    let mut columns = columns.keyed(&id);
    Ok(AuditRow {
        id,
        at: columns.instant("at")?,
        actor: columns.named("actor", Actor::parse)?,
        action: columns.named("deed", AuditAction::parse)?,
        subject: columns.named("subject", |subject| Some(subject.to_owned()))?,
        details: columns.named("details", |details| serde_json::from_str(details).ok())?,
    })
}

/// The parameters of [`AUDIT_COLUMNS`].
pub(crate) fn audit_values(row: &AuditRow) -> Vec<Value> {
    values![row.id, row.at, row.actor.to_string(), row.action.as_str(), &row.subject, row.details.to_string()]
}
