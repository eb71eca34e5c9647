//! Is it running, does it live, is it ready: open to everyone, and telling nothing about connections.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jeton_keeper::TokenError;
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Refusal;
use crate::router::Doors;

/// A store that takes longer than this is as good as away.
const PATIENCE: Duration = Duration::from_secs(5);

/// That it is running, as the gateway that jeton replaces says it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Running {
    success: bool,
    message: &'static str,
    data: Lives,
}

/// `GET /health`, in the words of the gateway that jeton replaces, to the letter.
pub(crate) async fn gateway_is_running() -> Json<Running> {
    Json(Running { success: true, message: "Gateway is running", data: Lives { status: "ok" } })
}

/// That it lives.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Lives {
    status: &'static str,
}

/// `GET /healthz`: the process answers. It looks at nothing else: restarting would cure nothing else.
pub(crate) async fn process_lives() -> Json<Lives> {
    Json(Lives { status: "ok" })
}

/// That it is ready.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Ready {
    status: &'static str,
    /// Nothing is spent until a person says so. Living tokens are served all the same, so it is ready.
    hold: bool,
}

/// `GET /readyz`: the store answers, so that tokens can be kept alive.
pub(crate) async fn ready(State(doors): State<Arc<Doors>>) -> Result<Json<Ready>, Refusal> {
    let late =
        |_| TokenError::Store { message: format!("the store has said nothing for {} s", PATIENCE.as_secs()) };
    tokio::time::timeout(PATIENCE, doors.vault.ping()).await.map_err(late)??;
    Ok(Json(Ready { status: "ok", hold: doors.vault.on_hold() }))
}
