//! Is it running, does it live, is it ready: open to everyone, and telling nothing about connections.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jeton_keeper::TokenError;
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::ApiError;
use crate::state::AppState;

/// A store that takes longer than this is as good as away.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// That it is running, as the gateway that jeton replaces says it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct HealthReply {
    success: bool,
    message: &'static str,
    data: LivenessReply,
}

/// `GET /health`, in the words of the gateway that jeton replaces, to the letter.
pub(crate) async fn health() -> Json<HealthReply> {
    Json(HealthReply { success: true, message: "Gateway is running", data: LivenessReply { status: "ok" } })
}

/// That it lives.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LivenessReply {
    status: &'static str,
}

/// `GET /healthz`: the process answers. It looks at nothing else: restarting would cure nothing else.
pub(crate) async fn liveness() -> Json<LivenessReply> {
    Json(LivenessReply { status: "ok" })
}

/// That it is ready.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ReadinessReply {
    status: &'static str,
    /// Nothing is spent until a person says so. Living tokens are served all the same, so it is ready.
    hold: bool,
}

/// `GET /readyz`: the store answers, so that tokens can be kept alive.
pub(crate) async fn readiness(State(state): State<Arc<AppState>>) -> Result<Json<ReadinessReply>, ApiError> {
    let timed_out = |_| TokenError::Store {
        message: format!("the store has said nothing for {} s", STORE_TIMEOUT.as_secs()),
    };
    tokio::time::timeout(STORE_TIMEOUT, state.vault.ping()).await.map_err(timed_out)??;
    Ok(Json(ReadinessReply { status: "ok", hold: state.vault.on_hold() }))
}
