//! What there is, and what operators do to it.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jeton_core::id::{AttemptId, ConnectionName, ProviderName};
use jeton_core::keep::connection::{self, Generation};
use jeton_core::keep::ports::Administer;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use jeton_issuer::Caller;
use jeton_keeper::Status;
use schemars::JsonSchema;
use serde::Serialize;

use super::audit::by;
use super::paging::{Page, PageAsked};
use crate::answer::{Done, Refusal};
use crate::intake::{Asked, Named};
use crate::router::Doors;
use crate::shape;

/// How a connection stands, in one word.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    /// Nothing is connected yet.
    Pending,
    /// The access token lives and the last refresh succeeded.
    Live,
    /// A refresh is under way.
    Refreshing,
    /// The access token is absent or dead, and no attempt has failed: it will be refreshed.
    Stale,
    /// The last attempt failed; it will be tried again.
    Failing,
    /// It is not known whether the last attempt spent the refresh token.
    Interrupted,
    /// An operator asked that nothing be spent.
    Paused,
    /// The provider says that the account is suspended.
    Suspended,
    /// A person must consent again.
    Dead,
}

impl From<connection::Condition> for Condition {
    fn from(condition: connection::Condition) -> Self {
        use connection::Condition as Kept;
        match condition {
            Kept::Pending => Self::Pending,
            Kept::Live => Self::Live,
            Kept::Refreshing => Self::Refreshing,
            Kept::Stale => Self::Stale,
            Kept::Failing => Self::Failing,
            Kept::Interrupted => Self::Interrupted,
            Kept::Paused => Self::Paused,
            Kept::Suspended => Self::Suspended,
            Kept::Dead => Self::Dead,
        }
    }
}

/// How a connection stands; it holds no secret.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Connection {
    /// What people call it.
    #[schemars(with = "shape::Name")]
    name: ConnectionName,
    /// Its provider.
    #[schemars(with = "shape::Name")]
    provider: ProviderName,
    condition: Condition,
    /// Why it is in that condition, such as `invalid_grant` or `interrupted`.
    code: Option<String>,
    /// An operator asked that nothing be spent.
    paused: bool,
    /// Its definition was removed; the grant is kept.
    orphaned: bool,
    /// Counts its token sets.
    #[schemars(with = "shape::Generation")]
    generation: Generation,
    /// Names the access token.
    #[schemars(with = "Option<shape::Fingerprint>")]
    fingerprint: Option<Fingerprint>,
    /// The instant before the request that brought the token set was sent.
    #[schemars(with = "Option<shape::Moment>")]
    obtained_at: Option<Timestamp>,
    /// When the access token dies.
    #[schemars(with = "Option<shape::Moment>")]
    expires_at: Option<Timestamp>,
    /// When the refresh token dies.
    #[schemars(with = "Option<shape::Moment>")]
    refresh_expires_at: Option<Timestamp>,
    /// When jeton looks at it next.
    #[schemars(with = "Option<shape::Moment>")]
    due_at: Option<Timestamp>,
    /// Failures in a row.
    failures: u32,
    /// The code of the last failure since the last success.
    last_error: Option<String>,
    /// The attempt whose outcome is not known.
    #[schemars(with = "Option<shape::Id>")]
    interrupted_attempt: Option<AttemptId>,
    /// Replies that came too late and are kept.
    strays: usize,
}

impl From<Status> for Connection {
    fn from(status: Status) -> Self {
        let Status {
            name,
            provider,
            condition,
            code,
            paused,
            orphaned,
            generation,
            fingerprint,
            obtained_at,
            expires_at,
            refresh_expires_at,
            due_at,
            failures,
            last_error,
            interrupted_attempt,
            strays,
        } = status;
        Self {
            name,
            provider,
            condition: condition.into(),
            code,
            paused,
            orphaned,
            generation,
            fingerprint,
            obtained_at,
            expires_at,
            refresh_expires_at,
            due_at,
            failures,
            last_error,
            interrupted_attempt,
            strays,
        }
    }
}

/// `GET /api/v1/connections?after=&limit=`: what is defined, and what is stored without a definition.
pub(crate) async fn list(
    State(doors): State<Arc<Doors>>,
    Asked(asked): Asked<PageAsked<ConnectionName>>,
) -> Result<Json<Page<Connection, ConnectionName>>, Refusal> {
    let span = asked.read()?;
    let found = doors.vault.statuses(span.after.as_ref(), span.look_for()).await?;
    Ok(Json(span.page(found, |status| status.name.clone(), Connection::from)))
}

/// `GET /api/v1/connections/{name}`: how it stands.
pub(crate) async fn show(
    State(doors): State<Arc<Doors>>,
    Named(name): Named,
) -> Result<Json<Connection>, Refusal> {
    Ok(Json(doors.vault.status(&name).await?.into()))
}

/// `POST /api/v1/connections/{name}/pause`: nothing is spent until it is resumed; answers how it stands.
pub(crate) async fn pause(
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
) -> Result<Json<Connection>, Refusal> {
    doors.vault.administer(&name, Administer::Pause, &by(&caller)).await?;
    Ok(Json(doors.vault.status(&name).await?.into()))
}

/// `POST /api/v1/connections/{name}/resume`: goes on; answers how it stands.
pub(crate) async fn resume(
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
) -> Result<Json<Connection>, Refusal> {
    doors.vault.administer(&name, Administer::Resume, &by(&caller)).await?;
    Ok(Json(doors.vault.status(&name).await?.into()))
}

/// `DELETE /api/v1/connections/{name}`: gives the grant up. Its log stays.
pub(crate) async fn disconnect(
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
) -> Result<Done, Refusal> {
    doors.vault.administer(&name, Administer::Disconnect, &by(&caller)).await?;
    Ok(Done)
}
