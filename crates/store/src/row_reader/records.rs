//! The records of a store, each read from the columns of its SELECT.

use std::time::Duration;

use jeton_core::access::{ServiceToken, ServiceTokenId, TokenHash, TokenRevision};
use jeton_core::audit::{Actor, AuditAction, AuditRow};
use jeton_core::id::{AttemptId, ConnectionName, ConsentId, GrantId, NodeId, OperationId};
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus, Trigger};
use jeton_core::keep::connection::{
    Connection, Generation, GrantState, Lease, OrphanReply, RejectionBackoff, Revision,
};
use jeton_core::keep::consent::{AuthorizationRequest, Consent, ConsentOutcome};
use jeton_core::keep::ports::{CallbackAction, ListedConnection, LiveNode, StoreError, UnreadableRow};
use jeton_core::seal::Fingerprint;

#[cfg(doc)]
use super::TOKEN_COLUMNS;
use super::{RowReader, SqlRow};

/// The columns of a connection without its tokens, in the order that [`connection`] reads them.
pub(crate) const CONNECTION_COLUMNS: &str = "name, provider, grant_id, state, state_code, paused, generation, \
    revision, born_of, lease_attempt, lease_node, lease_until, open_attempt, due_at, cooling_until, failures, \
    last_error, brake_generation, brake_until, brake_step, created_at";

/// Where they have the name.
const NAME_AT: usize = 0;

/// Where they have the revision.
const REVISION_AT: usize = 7;

/// Reads [`CONNECTION_COLUMNS`], and leaves the columns that follow to the caller. Token set and strays come from their own
/// tables.
pub(crate) fn connection(row: &dyn SqlRow) -> Result<(Connection, RowReader<'_>), StoreError> {
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
        last_error: columns.text_or_null("last_error")?,
        backoff: rejection_backoff(&mut columns)?,
        orphans: Vec::new(),
        created_at: columns.instant("created_at")?,
    };
    Ok((connection, columns))
}

/// Puts the error of one row of [`CONNECTION_COLUMNS`] in its place in a list, if the row tells at least which it is.
pub(crate) fn listed(
    row: &dyn SqlRow,
    read: Result<Connection, StoreError>,
) -> Result<ListedConnection, StoreError> {
    let error = match read {
        Ok(row) => return Ok(Ok(row)),
        Err(error) => error,
    };
    let (Ok(name), Ok(revision)) = (row.text(NAME_AT), row.number(REVISION_AT)) else { return Err(error) };
    let name = name.and_then(|name| name.parse().ok());
    let revision = revision.and_then(|revision| u64::try_from(revision).ok());
    match (name.zip(revision), error) {
        (Some((name, revision)), StoreError::Inconsistent { table, column, what, .. }) => {
            Ok(Err(UnreadableRow { name, revision: Revision(revision), table, column, what }))
        }
        (_, error) => Err(error),
    }
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

/// Reads what follows the attempt of a stray: `grant_id, generation,` and [`TOKEN_COLUMNS`].
pub(crate) fn stray(attempt: AttemptId, columns: &mut RowReader<'_>) -> Result<OrphanReply, StoreError> {
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
    old_expires_at, new_expires_at, grant_id";

/// Reads [`ATTEMPT_COLUMNS`]: the attempt, and the grant that it was made under.
pub(crate) fn attempt(row: &dyn SqlRow) -> Result<(Attempt, GrantId), StoreError> {
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
        old_expires_at: columns.instant_or_null("old_expires_at")?,
        new_expires_at: columns.instant_or_null("new_expires_at")?,
    };
    Ok((attempt, columns.bytes("grant_id", GrantId::from_bytes)?))
}

/// The columns of a consent, in the order that [`consent`] reads them.
pub(crate) const CONSENT_COLUMNS: &str = "id, connection, provider, ticket, created_at, link_until, state, browser, verifier, \
    asked_at, asked_until, attempt, refused_code, refused_message";

pub(crate) fn consent(row: &dyn SqlRow) -> Result<Consent, StoreError> {
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
        authorization: authorization(&mut columns)?,
        outcome: outcome(&mut columns)?,
    })
}

fn authorization(columns: &mut RowReader<'_>) -> Result<Option<AuthorizationRequest>, StoreError> {
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

fn outcome(columns: &mut RowReader<'_>) -> Result<Option<ConsentOutcome>, StoreError> {
    let attempt = columns.bytes_or_null("attempt", AttemptId::from_bytes)?;
    let code = columns.text_or_null("refused_code")?;
    let message = columns.text_or_null("refused_message")?;
    let refused = code.zip(message).map(|(code, message)| ConsentOutcome::Refused { code, message });
    Ok(attempt.map(ConsentOutcome::Exchange).or(refused))
}

/// How a consent ends, as its columns `attempt, refused_code, refused_message` say it.
pub(crate) fn ending_columns(then: &CallbackAction) -> (Option<AttemptId>, Option<&str>, Option<&str>) {
    match then {
        CallbackAction::Exchange { attempt, .. } => (Some(*attempt), None, None),
        CallbackAction::Refuse { code, message, .. } => (None, Some(code), Some(message)),
    }
}

/// The columns of a node, in the order that [`live_node`] reads them.
pub(crate) const LIVE_NODE_COLUMNS: &str = "id, name, version, definitions, started_at, seen_at";

/// Reads [`LIVE_NODE_COLUMNS`].
pub(crate) fn live_node(row: &dyn SqlRow) -> Result<LiveNode, StoreError> {
    let mut columns = RowReader::new(row, "nodes");
    let node = columns.bytes("id", NodeId::from_bytes)?;
    let mut columns = columns.keyed(&node);
    let text = |found: &str| Some(found.to_owned());
    Ok(LiveNode {
        node,
        name: columns.named("name", text)?,
        version: columns.named("version", text)?,
        definitions: columns.named("definitions", text)?,
        started_at: columns.instant("started_at")?,
        seen_at: columns.instant("seen_at")?,
    })
}

/// The columns of a service token, in the order that [`service_token`] reads them.
pub(crate) const SERVICE_TOKEN_COLUMNS: &str = "id, service, hash, scopes, notes, created_at, expires_at, revoked_at, \
    successor, last_used_at, revision";

/// Reads [`SERVICE_TOKEN_COLUMNS`].
pub(crate) fn service_token(row: &dyn SqlRow) -> Result<ServiceToken, StoreError> {
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

/// The next revision of a service token, in SQL, for a transaction beside which no other changes them. No row is ever deleted,
/// so that the largest is the last.
pub(crate) const NEXT_TOKEN_REVISION: &str = "(SELECT coalesce(max(revision), 0) + 1 FROM service_tokens)";

/// A service token that was written a moment ago is not found.
pub(crate) fn lost_token(id: ServiceTokenId) -> StoreError {
    let (what, row) = ("is not there, though it was written".into(), id.to_string());
    StoreError::Inconsistent { table: "service_tokens", column: "id", row, what }
}

/// The columns of an act on record, in the order that [`audit_row`] reads them.
pub(crate) const AUDIT_COLUMNS: &str = "id, at, actor, deed, subject, details";

/// Reads [`AUDIT_COLUMNS`].
pub(crate) fn audit_row(row: &dyn SqlRow) -> Result<AuditRow, StoreError> {
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
