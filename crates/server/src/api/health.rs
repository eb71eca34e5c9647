//! Health checks, open to everyone; they reveal nothing about connections.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jeton_keeper::TokenError;
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::ApiError;
use crate::state::AppState;

/// How long the store may take to respond.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// The process runs, in the format of the older gateway.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Health {
    success: bool,
    message: &'static str,
    data: Liveness,
}

/// `GET /health`, in the format of the older gateway, to the letter.
pub(crate) async fn health() -> Json<Health> {
    Json(Health { success: true, message: "Gateway is running", data: Liveness { status: "ok" } })
}

/// The process responds.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Liveness {
    status: &'static str,
}

/// `GET /healthz`: the process responds. It checks nothing that a restart would not mend.
pub(crate) async fn liveness() -> Json<Liveness> {
    Json(Liveness { status: "ok" })
}

/// The store responds and can be written.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Readiness {
    status: &'static str,
    /// Whether refreshes are on hold until a person decides. Living tokens are still served.
    hold: bool,
}

/// `GET /readyz`: the store responds and can be written, so that tokens can be refreshed.
pub(crate) async fn readiness(State(app): State<Arc<AppState>>) -> Result<Json<Readiness>, ApiError> {
    let message = || format!("the store did not respond within {} s", STORE_TIMEOUT.as_secs());
    let ping = tokio::time::timeout(STORE_TIMEOUT, app.vault.ping()).await;
    ping.map_err(|_| TokenError::Store { message: message() })??;
    Ok(Json(Readiness { status: "ok", hold: app.vault.on_hold() }))
}
