//! Refreshes on request.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jeton_core::access::Permission;
use jeton_issuer::Caller;
use jeton_keeper::{RefreshMode, Refreshed};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::auth::{actor, visible_error};
use crate::error::ApiError;
use crate::extract::{ConnectionPath, OptionalJsonBody, RequestShape};
use crate::state::AppState;

/// How to refresh.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RefreshOptions {
    /// Refresh even if it is not due, and even if the outcome of the last refresh is unknown; requires `operate:NAME`. Unless
    /// the caller has `admin`, pauses after failures are kept, a token that was refreshed less than 5 s ago stays as it is, and
    /// nothing is sent of a dead grant. With `admin` the refresh token of a dead grant is sent once more, with growing pauses.
    force: bool,
}

impl RequestShape for RefreshOptions {
    const EXPECTED: &'static str = "nothing, or an object with `force` (true or false)";
}

impl RefreshOptions {
    /// How urgently this caller may have it: what a service asks for in a loop is spaced, and what an administrator asks for only
    /// where the grant is dead.
    fn mode(&self, caller: &Caller, name: &str) -> Result<RefreshMode, ApiError> {
        if !self.force {
            return Ok(RefreshMode::IfDue);
        }
        caller.require(&Permission::Operate(name))?;
        let administers = caller.require(&Permission::Admin).is_ok();
        Ok(if administers { RefreshMode::ForcedByAdministrator } else { RefreshMode::Forced })
    }
}

/// `POST /api/v1/connections/{name}/refresh`: refreshes now, if it is due or forced, and waits for the outcome.
pub(crate) async fn refresh(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
    OptionalJsonBody(options): OptionalJsonBody<RefreshOptions>,
) -> Result<Json<Refreshed>, ApiError> {
    let mode = options.unwrap_or_default().mode(&caller, &name)?;
    let refreshed = app.vault.refresh(&name, mode, &actor(&caller)).await;
    Ok(Json(refreshed.map_err(|error| visible_error(&app.vault, &caller, error))?))
}
