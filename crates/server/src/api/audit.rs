//! The audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jeton_core::audit::{AuditFilter, AuditRow};
use jeton_core::id::{OperationId, ServiceName};
use jeton_issuer::TokenCommandError;
use schemars::JsonSchema;
use serde::Deserialize;

use super::paging::{Cursor, Page, PageParams};
use crate::error::{ApiError, RequestError};
use crate::extract::{QueryParams, RequestShape};
use crate::schema_patterns::PageSize;
use crate::state::AppState;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditParams {
    /// Continue before this entry: the `next` of the previous page.
    #[schemars(with = "Option<OperationId>")]
    before: Option<String>,
    /// The page size.
    #[schemars(with = "Option<PageSize>")]
    limit: Option<String>,
    /// Only actions on this connection, or on the tokens of this service.
    #[schemars(with = "Option<ServiceName>")]
    subject: Option<String>,
}

impl RequestShape for AuditParams {
    const EXPECTED: &'static str = "this URL takes `before`, `limit` and `subject`, each at most once";
}

impl Cursor for OperationId {
    const EXPECTED: &'static str = "`before` is the id of an entry, as `next` gives it";
}

/// `GET /api/v1/audit?before=&limit=&subject=`: who did what to what, newest first.
pub(crate) async fn list(
    State(app): State<Arc<AppState>>,
    QueryParams(params): QueryParams<AuditParams>,
) -> Result<Json<Page<AuditRow, OperationId>>, ApiError> {
    let range = PageParams::new(params.before, params.limit).read()?;
    let subject = params.subject.map(|subject| subject.parse::<ServiceName>()).transpose();
    let subject = subject.map_err(|_| {
        RequestError::Query("`subject` is the name of a connection or of a service, such as acme")
    })?;
    let filter = AuditFilter { before: range.after, subject: subject.map(|name| name.to_string()) };
    let rows =
        app.access.list_audit_rows(filter, range.fetch_limit()).await.map_err(TokenCommandError::from)?;
    Ok(Json(range.page(rows, |row| row.id)))
}
