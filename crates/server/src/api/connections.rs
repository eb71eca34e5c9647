//! What there is, and what operators do to it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jeton_core::id::ConnectionName;
use jeton_core::keep::ports::Administer;
use jeton_keeper::Status;
use serde::{Deserialize, Serialize};

use crate::answer::Refusal;
use crate::fault::Fault;
use crate::intake::{Asked, Expected, Named};
use crate::router::Doors;

pub(crate) const USUAL_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

/// Which page of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageAsked {
    after: Option<String>,
    limit: Option<String>,
}

impl Expected for PageAsked {
    const SHAPE: &'static str = "this door knows `after` and `limit`, each once";
}

/// One page of the list, by name.
#[derive(Serialize)]
pub(crate) struct Page {
    items: Vec<Status>,
    /// What `after` is for the next page; null on the last.
    next: Option<ConnectionName>,
}

/// `GET /api/v1/connections?after=&limit=`: what is defined, and what is stored without a definition.
pub(crate) async fn list(
    State(doors): State<Arc<Doors>>,
    Asked(asked): Asked<PageAsked>,
) -> Result<Json<Page>, Refusal> {
    let after = asked.after.map(|after| after.parse::<ConnectionName>()).transpose();
    let after = after.map_err(|_| Fault::Query("`after` is the name of a connection, as `next` gives it"))?;
    let limit = match asked.limit {
        None => USUAL_PAGE,
        Some(text) => page_size(&text)?,
    };
    // One more than asked for tells whether there is a next page.
    let mut items = doors.vault.statuses(after.as_ref(), limit + 1).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| last.name.clone());
    Ok(Json(Page { items, next }))
}

pub(crate) fn page_size(text: &str) -> Result<usize, Fault> {
    let size = text.parse().ok().filter(|size| (1..=LARGEST_PAGE).contains(size));
    size.ok_or(Fault::Query("`limit` is a number from 1 to 1000"))
}

/// `GET /api/v1/connections/{name}`: how it stands.
pub(crate) async fn show(
    State(doors): State<Arc<Doors>>,
    Named(name): Named,
) -> Result<Json<Status>, Refusal> {
    Ok(Json(doors.vault.status(&name).await?))
}

/// `POST /api/v1/connections/{name}/pause`: nothing is spent until it is resumed; answers how it stands.
pub(crate) async fn pause(
    State(doors): State<Arc<Doors>>,
    Named(name): Named,
) -> Result<Json<Status>, Refusal> {
    doors.vault.administer(&name, Administer::Pause).await?;
    Ok(Json(doors.vault.status(&name).await?))
}

/// `POST /api/v1/connections/{name}/resume`: goes on; answers how it stands.
pub(crate) async fn resume(
    State(doors): State<Arc<Doors>>,
    Named(name): Named,
) -> Result<Json<Status>, Refusal> {
    doors.vault.administer(&name, Administer::Resume).await?;
    Ok(Json(doors.vault.status(&name).await?))
}

/// `DELETE /api/v1/connections/{name}`: gives the grant up. Its log stays.
pub(crate) async fn disconnect(
    State(doors): State<Arc<Doors>>,
    Named(name): Named,
) -> Result<StatusCode, Refusal> {
    doors.vault.administer(&name, Administer::Disconnect).await?;
    Ok(StatusCode::NO_CONTENT)
}
