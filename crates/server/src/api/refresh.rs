//! Refreshing because a person asks for it.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::connection::Generation;
use jeton_core::time::Timestamp;
use jeton_issuer::Caller;
use jeton_keeper::Refreshed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::limit_suggestions;
use crate::error::ApiError;
use crate::extract::{ConnectionPath, OptionalJsonBody, RequestShape};
use crate::schema_patterns;
use crate::state::AppState;

/// Whether to refresh what is not due.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RefreshParams {
    /// Refresh though it is not due.
    force: bool,
}

impl RequestShape for RefreshParams {
    const EXPECTED: &'static str = "nothing, or an object with `force` (true or false)";
}

/// What became of it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Refresh")]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum RefreshOutcome {
    /// A new token set is stored.
    Done {
        #[schemars(with = "schema_patterns::Generation")]
        generation: Generation,
        #[schemars(with = "Option<schema_patterns::Moment>")]
        expires_at: Option<Timestamp>,
    },
    /// Nothing was due, and it was not forced: nothing was spent.
    NotDue {
        #[schemars(with = "Option<schema_patterns::Moment>")]
        expires_at: Option<Timestamp>,
    },
}

impl From<Refreshed> for RefreshOutcome {
    fn from(refreshed: Refreshed) -> Self {
        match refreshed {
            Refreshed::Done { generation, expires_at } => Self::Done { generation, expires_at },
            Refreshed::NotDue { expires_at } => Self::NotDue { expires_at },
        }
    }
}

/// `POST /api/v1/connections/{name}/refresh`: refreshes now, if it is due or forced, and waits for the outcome.
pub(crate) async fn refresh(
    State(state): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
    OptionalJsonBody(asked): OptionalJsonBody<RefreshParams>,
) -> Result<Json<RefreshOutcome>, ApiError> {
    let forced = asked.unwrap_or_default().force;
    let trigger = if forced { Trigger::Forced } else { Trigger::Manual };
    let refreshed = state.vault.refresh(&name, trigger).await;
    Ok(Json(refreshed.map_err(|error| limit_suggestions(&state.vault, &caller, error))?.into()))
}
