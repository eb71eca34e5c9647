//! The acts on record.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jeton_core::audit::{AuditFilter, AuditRow};
use jeton_core::id::OperationId;
use jeton_issuer::OrderError;
use serde::{Deserialize, Serialize};

use super::connections::{USUAL_PAGE, page_size};
use crate::answer::Refusal;
use crate::fault::Fault;
use crate::intake::{Asked, Expected};
use crate::router::Doors;

/// Which rows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowsAsked {
    before: Option<String>,
    limit: Option<String>,
    subject: Option<String>,
}

impl Expected for RowsAsked {
    const SHAPE: &'static str = "this door knows `before`, `limit` and `subject`, each once";
}

/// One page of the record, the newest first.
#[derive(Serialize)]
pub(crate) struct Page {
    items: Vec<AuditRow>,
    /// What `before` is for the next page; null on the last.
    next: Option<OperationId>,
}

/// `GET /api/v1/audit?before=&limit=&subject=`: who did what to what, and when.
pub(crate) async fn list(
    State(doors): State<Arc<Doors>>,
    Asked(asked): Asked<RowsAsked>,
) -> Result<Json<Page>, Refusal> {
    let before = asked.before.map(|before| before.parse()).transpose();
    let before = before.map_err(|_| Fault::Query("`before` is the id of a row, as `next` gives it"))?;
    let limit = asked.limit.as_deref().map(page_size).transpose()?.unwrap_or(USUAL_PAGE);
    let filter = AuditFilter { before, subject: asked.subject };
    // One more than asked for tells whether there is a next page.
    let mut items = doors.access.audit(filter, limit + 1).await.map_err(OrderError::from)?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| last.id);
    Ok(Json(Page { items, next }))
}
