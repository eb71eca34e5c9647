//! Refreshes on request.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jeton_core::keep::attempt::Trigger;
use jeton_issuer::Caller;
use jeton_keeper::Refreshed;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::auth::limit_suggestions;
use crate::error::ApiError;
use crate::extract::{ConnectionPath, OptionalJsonBody, RequestShape};
use crate::state::AppState;

/// How to refresh.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RefreshOptions {
    /// Refresh even if it is not due.
    force: bool,
}

impl RequestShape for RefreshOptions {
    const EXPECTED: &'static str = "nothing, or an object with `force` (true or false)";
}

/// `POST /api/v1/connections/{name}/refresh`: refreshes now, if it is due or forced, and waits for the outcome.
pub(crate) async fn refresh(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
    OptionalJsonBody(options): OptionalJsonBody<RefreshOptions>,
) -> Result<Json<Refreshed>, ApiError> {
    let forced = options.unwrap_or_default().force;
    let trigger = if forced { Trigger::Forced } else { Trigger::Manual };
    let refreshed = app.vault.refresh(&name, trigger).await;
    Ok(Json(refreshed.map_err(|error| limit_suggestions(&app.vault, &caller, error))?))
}
