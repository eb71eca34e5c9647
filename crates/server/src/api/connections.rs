//! What there is, and what operators do to it.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jeton_core::id::{AttemptId, ConnectionName, ProviderName};
use jeton_core::keep::connection::{self, Generation};
use jeton_core::keep::ports::OperatorCommand;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use jeton_issuer::Caller;
use jeton_keeper::Status;
use schemars::JsonSchema;
use serde::Serialize;

use super::paging::{Page, PageParams};
use crate::auth::actor;
use crate::error::ApiError;
use crate::extract::{ConnectionPath, QueryParams};
use crate::response::NoContent;
use crate::schema_patterns;
use crate::state::AppState;

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
    #[schemars(with = "schema_patterns::Name")]
    name: ConnectionName,
    /// Its provider.
    #[schemars(with = "schema_patterns::Name")]
    provider: ProviderName,
    condition: Condition,
    /// Why it is in that condition, such as `invalid_grant` or `interrupted`.
    code: Option<String>,
    /// An operator asked that nothing be spent.
    paused: bool,
    /// Its definition was removed; the grant is kept.
    orphaned: bool,
    /// Counts its token sets.
    #[schemars(with = "schema_patterns::Generation")]
    generation: Generation,
    /// Names the access token.
    #[schemars(with = "Option<schema_patterns::Fingerprint>")]
    fingerprint: Option<Fingerprint>,
    /// The instant before the request that brought the token set was sent.
    #[schemars(with = "Option<schema_patterns::Moment>")]
    obtained_at: Option<Timestamp>,
    /// When the access token dies.
    #[schemars(with = "Option<schema_patterns::Moment>")]
    expires_at: Option<Timestamp>,
    /// When the refresh token dies.
    #[schemars(with = "Option<schema_patterns::Moment>")]
    refresh_expires_at: Option<Timestamp>,
    /// When jeton looks at it next.
    #[schemars(with = "Option<schema_patterns::Moment>")]
    due_at: Option<Timestamp>,
    /// Failures in a row.
    failures: u32,
    /// The code of the last failure since the last success.
    last_error: Option<String>,
    /// The attempt whose outcome is not known.
    #[schemars(with = "Option<schema_patterns::Id>")]
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
    State(state): State<Arc<AppState>>,
    QueryParams(asked): QueryParams<PageParams<ConnectionName>>,
) -> Result<Json<Page<Connection, ConnectionName>>, ApiError> {
    let span = asked.read()?;
    let found = state.vault.statuses(span.after.as_ref(), span.fetch_limit()).await?;
    Ok(Json(span.page(found, |status| status.name.clone(), Connection::from)))
}

/// `GET /api/v1/connections/{name}`: how it stands.
pub(crate) async fn show(
    State(state): State<Arc<AppState>>,
    ConnectionPath(name): ConnectionPath,
) -> Result<Json<Connection>, ApiError> {
    Ok(Json(state.vault.status(&name).await?.into()))
}

/// `POST /api/v1/connections/{name}/pause`: nothing is spent until it is resumed; answers how it stands.
pub(crate) async fn pause(
    State(state): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
) -> Result<Json<Connection>, ApiError> {
    state.vault.administer(&name, OperatorCommand::Pause, &actor(&caller)).await?;
    Ok(Json(state.vault.status(&name).await?.into()))
}

/// `POST /api/v1/connections/{name}/resume`: goes on; answers how it stands.
pub(crate) async fn resume(
    State(state): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
) -> Result<Json<Connection>, ApiError> {
    state.vault.administer(&name, OperatorCommand::Resume, &actor(&caller)).await?;
    Ok(Json(state.vault.status(&name).await?.into()))
}

/// `DELETE /api/v1/connections/{name}`: gives the grant up. Its log stays.
pub(crate) async fn disconnect(
    State(state): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
) -> Result<NoContent, ApiError> {
    state.vault.administer(&name, OperatorCommand::Disconnect, &actor(&caller)).await?;
    Ok(NoContent)
}
