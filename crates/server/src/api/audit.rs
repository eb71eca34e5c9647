//! The acts on record.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jeton_core::audit::{AuditAction, AuditFilter, AuditRow};
use jeton_core::id::{OperationId, ServiceName};
use jeton_core::time::Timestamp;
use jeton_issuer::OrderError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::paging::{Cursor, Page, PageParams};
use crate::error::ApiError;
use crate::error::RequestError;
use crate::extract::{QueryParams, RequestShape};
use crate::schema_patterns;
use crate::state::AppState;

/// Which rows.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditParams {
    /// The page goes back from before this row: what `next` was on the page before.
    #[schemars(with = "Option<schema_patterns::Id>")]
    before: Option<String>,
    /// How many items the page has at most.
    #[schemars(with = "Option<schema_patterns::PageSize>")]
    limit: Option<String>,
    /// Only what was done to this connection, or to the tokens of this service.
    #[schemars(with = "Option<schema_patterns::Name>")]
    subject: Option<String>,
}

impl RequestShape for AuditParams {
    const EXPECTED: &'static str = "this door knows `before`, `limit` and `subject`, each once";
}

impl Cursor for OperationId {
    type Schema = schema_patterns::Id;

    const EXPECTED: &'static str = "`before` is the id of a row, as `next` gives it";
}

/// One act on record. No secret is part of it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AuditEntry {
    /// Which; ids sort by time.
    #[schemars(with = "schema_patterns::Id")]
    id: OperationId,
    /// When.
    #[schemars(with = "schema_patterns::Moment")]
    at: Timestamp,
    /// Who: `service:NAME` over HTTP, `shell:USER@MACHINE` at the command line, `program:NAME` with jeton inside it,
    /// `consent:ID` by the link of that consent, `node:ID` for a process of jeton by itself.
    actor: String,
    /// What: `connection.invited`, `connection.connected`, `connection.paused`, `connection.resumed`,
    /// `connection.disconnected`, `service_token.created`, `service_token.rotated` or `service_token.revoked`.
    #[schemars(with = "String")]
    deed: AuditAction,
    /// To which connection, or to the token of which service.
    subject: String,
    /// What else there is to say.
    #[schemars(with = "serde_json::Map<String, Value>")]
    details: Value,
}

impl From<AuditRow> for AuditEntry {
    fn from(AuditRow { id, at, actor, action: deed, subject, details }: AuditRow) -> Self {
        Self { id, at, actor: actor.to_string(), deed, subject, details }
    }
}

/// `GET /api/v1/audit?before=&limit=&subject=`: who did what to what, and when, the newest first.
pub(crate) async fn list(
    State(state): State<Arc<AppState>>,
    QueryParams(asked): QueryParams<AuditParams>,
) -> Result<Json<Page<AuditEntry, OperationId>>, ApiError> {
    let span = PageParams::new(asked.before, asked.limit).read()?;
    let subject = asked.subject.map(|subject| subject.parse::<ServiceName>()).transpose();
    let subject = subject.map_err(|_| {
        RequestError::Query("`subject` is the name of a connection or of a service, such as acme")
    })?;
    let filter = AuditFilter { before: span.after, subject: subject.map(|name| name.to_string()) };
    let found = state.access.audit(filter, span.fetch_limit()).await.map_err(OrderError::from)?;
    Ok(Json(span.page(found, |row| row.id, AuditEntry::from)))
}
