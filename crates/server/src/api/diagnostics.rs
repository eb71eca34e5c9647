//! Diagnostics in the shapes of the gateway that jeton replaces, to the letter.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jeton_core::time::Timestamp;
use jeton_keeper::ConnectionCheck;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::error::RequestError;
use crate::extract::{QueryParams, RequestShape};
use crate::schema_patterns;
use crate::state::AppState;

/// How much of a client id is shown.
const CLIENT_ID_SHOWN: usize = 10;

/// Which connection is meant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionParams {
    /// The name of a connection; it may be left out where only one is defined.
    #[schemars(with = "Option<schema_patterns::Name>", example = &"acme")]
    connection: Option<String>,
}

impl RequestShape for ConnectionParams {
    const EXPECTED: &'static str = "this door knows `connection`, once";
}

impl ConnectionParams {
    /// The connection that was named, or the only one there is.
    fn name(self, state: &AppState) -> Result<String, RequestError> {
        let names = state.vault.names();
        match (self.connection, names.as_slice()) {
            (Some(name), _) => Ok(name),
            (None, [only]) => Ok(only.to_string()),
            (None, []) => Err(RequestError::Query("no connection is defined; define one in jeton.toml")),
            (None, _) => Err(RequestError::Query(
                "there is more than one connection: say which with `?connection=NAME`; GET /api/v1/connections names them",
            )),
        }
    }
}

/// An answer as the old gateway wrapped it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}ResponseDoc")]
pub(crate) struct Envelope<T> {
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
    #[schemars(with = "schema_patterns::PlainMoment")]
    current_datetime: String,
    access_token_preview: Option<String>,
    refresh_token_length: usize,
    #[schemars(with = "Option<schema_patterns::PlainMoment>")]
    expires_datetime: Option<String>,
}

/// `GET /api/v1/diagnostics/token-status?connection=`: what is stored, examined. Nothing is refreshed.
pub(crate) async fn token_status(
    State(state): State<Arc<AppState>>,
    QueryParams(asked): QueryParams<ConnectionParams>,
) -> Result<Json<Envelope<TokenStatus>>, ApiError> {
    let found = state.vault.check_connection(&asked.name(&state)?).await?;
    let data = TokenStatus {
        storage_path: state.storage.clone(),
        current_time: found.now.as_secs(),
        current_datetime: format_plain(found.now),
        access_token_preview: found.access_preview.clone(),
        refresh_token_length: found.refresh_length,
        expires_datetime: found.expires_at.map(format_plain),
        token_validation: Validation::of(found),
    };
    Ok(Json(Envelope { success: true, data }))
}

impl Validation {
    fn of(found: ConnectionCheck) -> Self {
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
    State(state): State<Arc<AppState>>,
    QueryParams(asked): QueryParams<ConnectionParams>,
) -> Result<Json<Envelope<Config>>, ApiError> {
    let footing = state.vault.connection_setup(&asked.name(&state)?).await?;
    let shown = |id: String| format!("{}...", id.chars().take(CLIENT_ID_SHOWN).collect::<String>());
    let data = Config {
        domain: footing.domain,
        client_id: footing.client_id.map(shown),
        redirect_uri: footing.redirect_uri,
        token_storage_path: state.storage.clone(),
    };
    Ok(Json(Envelope { success: true, data }))
}

/// An instant in UTC as `YYYY-MM-DD HH:MM:SS`.
fn format_plain(at: Timestamp) -> String {
    at.to_the_second().to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_told_as_date_and_time() {
        assert_eq!(format_plain(Timestamp::from_secs(1_795_249_800)), "2026-11-21 08:30:00");
    }
}
