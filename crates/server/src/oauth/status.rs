//! How consents stand, for programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use jeton_core::id::{ConnectionName, ProviderName};
use jeton_core::keep::connection::Condition;
use jeton_core::secret::Secret;
use jeton_keeper::{ConsentStatus, Status};
use serde::{Deserialize, Serialize};

use crate::access::may_read;
use crate::answer::Refusal;
use crate::api::connections::{USUAL_PAGE, page_size};
use crate::fault::Fault;
use crate::intake::{Asked, Expected};
use crate::router::Doors;

/// More consents than connections on one page, because connections that are gone may have some too.
const MOST_CONSENTS: usize = 10_000;

/// Of which link, or which page of all connections.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusAsked {
    ticket: Option<Secret>,
    after: Option<String>,
    limit: Option<String>,
}

impl Expected for StatusAsked {
    const SHAPE: &'static str =
        "this door knows `ticket`, or with the scope `read` `after` and `limit`, each once";
}

/// One connection, and the latest consent that was asked for it.
#[derive(Serialize)]
struct Line {
    connection: ConnectionName,
    provider: ProviderName,
    condition: Condition,
    /// Null where none was asked for lately.
    consent: Option<ConsentStatus>,
}

#[derive(Serialize)]
struct Page {
    items: Vec<Line>,
    /// What `after` is for the next page; null on the last.
    next: Option<ConnectionName>,
}

/// `GET /oauth/status?ticket=`: how far the consent of that link has come. With the scope `read` in place of a ticket: how
/// all connections stand.
pub(crate) async fn status(
    State(doors): State<Arc<Doors>>,
    headers: HeaderMap,
    Asked(asked): Asked<StatusAsked>,
) -> Result<Response, Refusal> {
    if let Some(ticket) = asked.ticket {
        let found = doors.vault.consent_by_ticket(&ticket).await?;
        return Ok(Json(found.ok_or(Fault::UnknownLink)?).into_response());
    }
    may_read(&doors, &headers).await?;
    let after = asked.after.map(|after| after.parse::<ConnectionName>()).transpose();
    let after = after.map_err(|_| Fault::Query("`after` is the name of a connection, as `next` gives it"))?;
    let limit = asked.limit.as_deref().map(page_size).transpose()?.unwrap_or(USUAL_PAGE);
    // One more than asked for tells whether there is a next page.
    let mut statuses = doors.vault.statuses(after.as_ref(), limit + 1).await?;
    let more = statuses.len() > limit;
    statuses.truncate(limit);
    let next = statuses.last().filter(|_| more).map(|last| last.name.clone());
    let consents = doors.vault.consents(after.as_ref(), MOST_CONSENTS).await?;
    let mut consents: BTreeMap<_, _> =
        consents.into_iter().map(|consent| (consent.connection.clone(), consent)).collect();
    let line = |status: Status| Line {
        consent: consents.remove(&status.name),
        connection: status.name,
        provider: status.provider,
        condition: status.condition,
    };
    Ok(Json(Page { items: statuses.into_iter().map(line).collect(), next }).into_response())
}
