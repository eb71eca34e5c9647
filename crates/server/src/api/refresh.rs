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

use crate::access::tell;
use crate::answer::Refusal;
use crate::intake::{Expected, Named, Sent};
use crate::router::Doors;
use crate::shape;

/// Whether to refresh what is not due.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RefreshAsked {
    /// Refresh though it is not due.
    force: bool,
}

impl Expected for RefreshAsked {
    const SHAPE: &'static str = "nothing, or an object with `force` (true or false)";
}

/// What became of it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Refresh")]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum RefreshAnswer {
    /// A new token set is stored.
    Done {
        #[schemars(with = "shape::Generation")]
        generation: Generation,
        #[schemars(with = "Option<shape::Moment>")]
        expires_at: Option<Timestamp>,
    },
    /// Nothing was due, and it was not forced: nothing was spent.
    NotDue {
        #[schemars(with = "Option<shape::Moment>")]
        expires_at: Option<Timestamp>,
    },
}

impl From<Refreshed> for RefreshAnswer {
    fn from(refreshed: Refreshed) -> Self {
        match refreshed {
            Refreshed::Done { generation, expires_at } => Self::Done { generation, expires_at },
            Refreshed::NotDue { expires_at } => Self::NotDue { expires_at },
        }
    }
}

/// `POST /api/v1/connections/{name}/refresh`: refreshes now, if it is due or forced, and waits for the outcome.
pub(crate) async fn refresh(
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    Sent(asked): Sent<RefreshAsked>,
) -> Result<Json<RefreshAnswer>, Refusal> {
    let forced = asked.unwrap_or_default().force;
    let trigger = if forced { Trigger::Forced } else { Trigger::Manual };
    let refreshed = doors.vault.refresh(&name, trigger).await;
    Ok(Json(refreshed.map_err(|error| tell(&doors.vault, &caller, error))?.into()))
}
