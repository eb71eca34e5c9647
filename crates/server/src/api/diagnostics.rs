//! Diagnostics in the shapes of the gateway that jeton replaces, to the letter.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jeton_core::time::Timestamp;
use jeton_keeper::Examination;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::Refusal;
use crate::fault::Fault;
use crate::intake::{Asked, Expected};
use crate::router::Doors;
use crate::shape;

/// How much of a client id is shown.
const CLIENT_ID_SHOWN: usize = 10;

/// Which connection is meant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionAsked {
    /// The name of a connection; it may be left out where only one is defined.
    #[schemars(with = "Option<shape::Name>", example = &"acme")]
    connection: Option<String>,
}

impl Expected for ConnectionAsked {
    const SHAPE: &'static str = "this door knows `connection`, once";
}

impl ConnectionAsked {
    /// The connection that was named, or the only one there is.
    fn name(self, doors: &Doors) -> Result<String, Fault> {
        let names = doors.vault.names();
        match (self.connection, names.as_slice()) {
            (Some(name), _) => Ok(name),
            (None, [only]) => Ok(only.to_string()),
            (None, []) => Err(Fault::Query("no connection is defined; define one in jeton.toml")),
            (None, _) => Err(Fault::Query(
                "there is more than one connection: say which with `?connection=NAME`; GET /api/v1/connections names them",
            )),
        }
    }
}

/// An answer as the old gateway wrapped it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}Answer")]
pub(crate) struct Wrapped<T> {
    success: bool,
    data: T,
}

/// Whether the stored token set is in order.
#[derive(Serialize, JsonSchema)]
struct Validation {
    valid: bool,
    expired: bool,
    /// Epoch seconds; null where the provider does not say.
    expires_at: Option<i64>,
    /// Seconds from now, negative once it has expired.
    expires_in: Option<i64>,
    /// What is wrong; left out where nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
}

/// What is stored of a connection, examined.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TokenStatus {
    token_validation: Validation,
    storage_path: String,
    /// Epoch seconds.
    current_time: i64,
    #[schemars(with = "shape::PlainMoment")]
    current_datetime: String,
    access_token_preview: Option<String>,
    refresh_token_length: usize,
    #[schemars(with = "Option<shape::PlainMoment>")]
    expires_datetime: Option<String>,
}

/// `GET /api/v1/diagnostics/token-status?connection=`: what is stored, examined. Nothing is refreshed.
pub(crate) async fn token_status(
    State(doors): State<Arc<Doors>>,
    Asked(asked): Asked<ConnectionAsked>,
) -> Result<Json<Wrapped<TokenStatus>>, Refusal> {
    let found = doors.vault.examine(&asked.name(&doors)?).await?;
    let data = TokenStatus {
        storage_path: doors.storage.clone(),
        current_time: found.now.as_secs(),
        current_datetime: plain(found.now),
        access_token_preview: found.access_preview.clone(),
        refresh_token_length: found.refresh_length,
        expires_datetime: found.expires_at.map(plain),
        token_validation: Validation::of(found),
    };
    Ok(Json(Wrapped { success: true, data }))
}

impl Validation {
    fn of(found: Examination) -> Self {
        let expires_at = found.expires_at.map(Timestamp::as_secs);
        Self {
            valid: found.problems.is_empty(),
            expired: found.is_expired(),
            expires_at,
            expires_in: expires_at.map(|at| at - found.now.as_secs()),
            errors: found.problems,
        }
    }
}

/// How a connection is set up.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Config {
    domain: Option<String>,
    client_id: Option<String>,
    redirect_uri: Option<String>,
    token_storage_path: String,
}

/// `GET /api/v1/diagnostics/config?connection=`: how the connection is set up, with no secret in it.
pub(crate) async fn config(
    State(doors): State<Arc<Doors>>,
    Asked(asked): Asked<ConnectionAsked>,
) -> Result<Json<Wrapped<Config>>, Refusal> {
    let footing = doors.vault.footing(&asked.name(&doors)?).await?;
    let shown = |id: String| format!("{}...", id.chars().take(CLIENT_ID_SHOWN).collect::<String>());
    let data = Config {
        domain: footing.domain,
        client_id: footing.client_id.map(shown),
        redirect_uri: footing.redirect_uri,
        token_storage_path: doors.storage.clone(),
    };
    Ok(Json(Wrapped { success: true, data }))
}

/// An instant in UTC as `YYYY-MM-DD HH:MM:SS`.
fn plain(at: Timestamp) -> String {
    at.to_the_second().to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_told_as_date_and_time() {
        assert_eq!(plain(Timestamp::from_secs(1_795_249_800)), "2026-11-21 08:30:00");
    }
}
