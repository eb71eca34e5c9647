//! Connections, and what operators do with them.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jeton_core::id::ConnectionName;
use jeton_core::keep::ports::OperatorCommand;
use jeton_issuer::Caller;
use jeton_keeper::Status;

use super::paging::{Page, PageParams};
use crate::auth::actor;
use crate::error::ApiError;
use crate::extract::{ConnectionPath, QueryParams};
use crate::response::NoContent;
use crate::state::AppState;

/// `GET /api/v1/connections?after=&limit=`: all connections by name, including stored ones that are no longer defined.
pub(crate) async fn list(
    State(app): State<Arc<AppState>>,
    QueryParams(params): QueryParams<PageParams<ConnectionName>>,
) -> Result<Json<Page<Status, ConnectionName>>, ApiError> {
    let range = params.read()?;
    let statuses = app.vault.statuses(range.after.as_ref(), range.fetch_limit()).await?;
    Ok(Json(range.page(statuses, |status| status.name.clone())))
}

/// `GET /api/v1/connections/{name}`.
pub(crate) async fn show(
    State(app): State<Arc<AppState>>,
    ConnectionPath(name): ConnectionPath,
) -> Result<Json<Status>, ApiError> {
    Ok(Json(app.vault.status(&name).await?))
}

/// `POST /api/v1/connections/{name}/pause`: stops all refreshes until it is resumed; answers its state.
pub(crate) async fn pause(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
) -> Result<Json<Status>, ApiError> {
    app.vault.administer(&name, OperatorCommand::Pause, &actor(&caller)).await?;
    Ok(Json(app.vault.status(&name).await?))
}

/// `POST /api/v1/connections/{name}/resume`: answers its state.
pub(crate) async fn resume(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
) -> Result<Json<Status>, ApiError> {
    app.vault.administer(&name, OperatorCommand::Resume, &actor(&caller)).await?;
    Ok(Json(app.vault.status(&name).await?))
}

/// `DELETE /api/v1/connections/{name}`: deletes its grant; its log stays.
pub(crate) async fn disconnect(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
) -> Result<NoContent, ApiError> {
    app.vault.administer(&name, OperatorCommand::Disconnect, &actor(&caller)).await?;
    Ok(NoContent)
}
