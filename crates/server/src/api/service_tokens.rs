//! Service tokens: who may come in, as administrators order it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use jeton_core::access::{Scopes, ServiceName, ServiceTokenId, TokenHash};
use jeton_core::audit::Actor;
use jeton_core::keep::provider::DurationText;
use jeton_issuer::{Caller, NewToken, OrderError, Shown};
use serde::{Deserialize, Serialize};

use super::connections::{USUAL_PAGE, page_size};
use crate::answer::Refusal;
use crate::fault::Fault;
use crate::intake::{Asked, Expected, Named, Sent};
use crate::router::Doors;

/// How long a rotated token still counts, unless it is said.
const USUAL_OVERLAP: Duration = Duration::from_hours(24);

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

/// One page of the list, the oldest first.
#[derive(Serialize)]
pub(crate) struct Page {
    items: Vec<Shown>,
    /// What `after` is for the next page; null on the last.
    next: Option<ServiceTokenId>,
}

/// `GET /api/v1/service-tokens?after=&limit=`: all of them, those that have ended too.
pub(crate) async fn list(
    State(doors): State<Arc<Doors>>,
    Asked(asked): Asked<PageAsked>,
) -> Result<Json<Page>, Refusal> {
    let after = asked.after.map(|after| after.parse()).transpose();
    let after =
        after.map_err(|_| Fault::Query("`after` is the id of a service token, as `next` gives it"))?;
    let limit = asked.limit.as_deref().map(page_size).transpose()?.unwrap_or(USUAL_PAGE);
    // One more than asked for tells whether there is a next page.
    let mut tokens = doors.access.tokens(after, limit + 1).await.map_err(OrderError::from)?;
    let more = tokens.len() > limit;
    tokens.truncate(limit);
    let next = tokens.last().filter(|_| more).map(|last| last.id);
    Ok(Json(Page { items: tokens.into_iter().map(|token| doors.access.show(token)).collect(), next }))
}

/// A duration as a number of seconds, or with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lasting {
    Seconds(u64),
    Text(DurationText),
}

impl From<Lasting> for Duration {
    fn from(lasting: Lasting) -> Self {
        match lasting {
            Lasting::Seconds(seconds) => Self::from_secs(seconds),
            Lasting::Text(text) => text.0,
        }
    }
}

/// A token that is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    name: ServiceName,
    scopes: Scopes,
    notes: Option<String>,
    expires_in: Option<Lasting>,
    hash: Option<String>,
}

impl Expected for Wanted {
    const SHAPE: &'static str = "an object with `name` (1 to 64 of a-z, 0-9, '-', '_' and '.'), `scopes` (a list of \
        token:NAME, proxy:NAME, proxy:NAME:GET,HEAD:/api/**, read, sessions, admin), and if wanted `notes`, `expires_in` (such as \
        \"90d\", or seconds), `hash` (the SHA-256, in 64 hexadecimal digits, of a raw token that exists already)";
}

/// `POST /api/v1/service-tokens`: makes a token and shows its text, this once.
pub(crate) async fn create(
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    Sent(wanted): Sent<Wanted>,
) -> Result<(StatusCode, Json<Shown>), Refusal> {
    let wanted = wanted.ok_or(Fault::BodyMisfit(Wanted::SHAPE))?;
    let hash = wanted.hash.as_deref().map(TokenHash::from_hex).transpose();
    let new = NewToken {
        service: wanted.name,
        scopes: wanted.scopes,
        notes: wanted.notes,
        life: wanted.expires_in.map(Duration::from),
        hash: hash.map_err(|_| Fault::BodyMisfit(Wanted::SHAPE))?,
    };
    let issued = doors.access.create(new, &by(&caller)).await?;
    Ok((StatusCode::CREATED, Json(doors.access.show_issued(issued))))
}

/// How a token is to be rotated.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rotation {
    overlap: Option<Lasting>,
    expires_in: Option<Lasting>,
}

impl Expected for Rotation {
    const SHAPE: &'static str =
        "nothing, or an object with `overlap` and `expires_in` (such as \"24h\", or seconds)";
}

/// The new token, with its text, and the one that it replaces.
#[derive(Serialize)]
pub(crate) struct Rotated {
    #[serde(flatten)]
    new: Shown,
    replaces: Shown,
}

/// `POST /api/v1/service-tokens/{id}/rotate`: makes a token in place of another, which still counts for `overlap` (24 h where it is
/// not said).
pub(crate) async fn rotate(
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    Named(id): Named,
    Sent(asked): Sent<Rotation>,
) -> Result<Json<Rotated>, Refusal> {
    let asked = asked.unwrap_or_default();
    let overlap = asked.overlap.map_or(USUAL_OVERLAP, Duration::from);
    let life = asked.expires_in.map(Duration::from);
    let rotated = doors.access.rotate(token_id(&id)?, overlap, life, &by(&caller)).await?;
    let (new, replaces) = (doors.access.show_issued(rotated.new), doors.access.show(rotated.old));
    Ok(Json(Rotated { new, replaces }))
}

/// `DELETE /api/v1/service-tokens/{id}`: revokes it for good. Its row stays.
pub(crate) async fn revoke(
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    Named(id): Named,
) -> Result<StatusCode, Refusal> {
    doors.access.revoke(token_id(&id)?, &by(&caller)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn by(caller: &Caller) -> Actor {
    Actor::Service(caller.service().clone())
}

fn token_id(text: &str) -> Result<ServiceTokenId, Fault> {
    text.parse().map_err(|_| Fault::NoSuchToken)
}
