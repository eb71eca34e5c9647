//! Diagnostics: of connections in the format of the older gateway, to the letter, of background tasks, and of token endpoints.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jeton_core::id::ConnectionName;
use jeton_core::keep::ports::BackgroundTask;
use jeton_core::time::Timestamp;
use jeton_keeper::ProviderOutage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, RequestError};
use crate::extract::{QueryParams, RequestShape};
use crate::schema_patterns::PlainTime;
use crate::state::AppState;

/// How many characters of a client id are shown.
const CLIENT_ID_SHOWN: usize = 10;

/// `2026-11-27 18:14:05`, in UTC.
const DATE_AND_TIME: &str = "%Y-%m-%d %H:%M:%S";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionParams {
    /// The name of a connection; optional if only one is defined, or `old_gateway.connection` is set.
    #[schemars(with = "Option<ConnectionName>", example = &"acme")]
    connection: Option<String>,
}

impl RequestShape for ConnectionParams {
    const EXPECTED: &'static str = "this URL takes `connection`, at most once";
}

impl ConnectionParams {
    fn name(self, app: &AppState) -> Result<String, RequestError> {
        let asked = self.connection.or_else(|| app.old_gateway.as_ref().map(ToString::to_string));
        let names = app.vault.names();
        match (asked, names.as_slice()) {
            (Some(name), _) => Ok(name),
            (None, [only]) => Ok(only.to_string()),
            (None, []) => Err(RequestError::Query("no connection is defined; define one in jeton.toml")),
            (None, _) => Err(RequestError::Query(
                "there is more than one connection; name one with `?connection=NAME` (GET /api/v1/connections lists them), or set `old_gateway.connection`",
            )),
        }
    }
}

/// The envelope of the older gateway.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}Answer")]
pub(crate) struct Envelope<T> {
    success: bool,
    data: T,
}

impl<T> Envelope<T> {
    fn success(data: T) -> Json<Self> {
        Json(Self { success: true, data })
    }
}

/// Whether the stored token set is valid.
#[derive(Serialize, JsonSchema)]
struct Validation {
    valid: bool,
    expired: bool,
    /// Unix time in seconds; null if the provider does not say.
    expires_at: Option<i64>,
    /// Seconds from now, negative once it has expired.
    expires_in: Option<i64>,
    /// What is wrong; absent if nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
}

/// The stored tokens of a connection.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TokenDiagnostics {
    token_validation: Validation,
    storage_path: String,
    /// Unix time in seconds.
    current_time: i64,
    #[schemars(with = "PlainTime")]
    current_datetime: String,
    access_token_preview: Option<String>,
    refresh_token_length: usize,
    #[schemars(with = "Option<PlainTime>")]
    expires_datetime: Option<String>,
}

/// `GET /api/v1/diagnostics/token-status?connection=`: checks the stored tokens; refreshes nothing.
pub(crate) async fn token_status(
    State(app): State<Arc<AppState>>,
    QueryParams(params): QueryParams<ConnectionParams>,
) -> Result<Json<Envelope<TokenDiagnostics>>, ApiError> {
    let check = app.vault.check_connection(&params.name(&app)?).await?;
    let now = check.now.as_secs();
    let expires_at = check.expires_at.map(Timestamp::as_secs);
    Ok(Envelope::success(TokenDiagnostics {
        token_validation: Validation {
            valid: check.problems.is_empty(),
            expired: check.is_expired(),
            expires_at,
            expires_in: expires_at.map(|at| at - now),
            errors: check.problems,
        },
        storage_path: app.storage.clone(),
        current_time: now,
        current_datetime: check.now.format(DATE_AND_TIME),
        access_token_preview: check.access_preview,
        refresh_token_length: check.refresh_length,
        expires_datetime: check.expires_at.map(|at| at.format(DATE_AND_TIME)),
    }))
}

/// The configuration of a connection.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Config {
    domain: Option<String>,
    client_id: Option<String>,
    redirect_uri: Option<String>,
    token_storage_path: String,
}

/// `GET /api/v1/diagnostics/config?connection=`: the configuration of a connection, without secrets.
pub(crate) async fn config(
    State(app): State<Arc<AppState>>,
    QueryParams(params): QueryParams<ConnectionParams>,
) -> Result<Json<Envelope<Config>>, ApiError> {
    let setup = app.vault.connection_setup(&params.name(&app)?).await?;
    let shorten = |id: String| format!("{}...", id.chars().take(CLIENT_ID_SHOWN).collect::<String>());
    Ok(Envelope::success(Config {
        domain: setup.domain,
        client_id: setup.client_id.map(shorten),
        redirect_uri: setup.redirect_uri,
        token_storage_path: app.storage.clone(),
    }))
}

/// The token endpoints that do not answer.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TokenEndpoints {
    /// Each is tried by one request at a time until it answers; nobody needs to do anything.
    unavailable: Vec<ProviderOutage>,
}

/// `GET /api/v1/diagnostics/token-endpoints`: the token endpoints that do not answer this node, or another one.
pub(crate) async fn token_endpoints(State(app): State<Arc<AppState>>) -> Json<TokenEndpoints> {
    Json(TokenEndpoints { unavailable: app.vault.unavailable_endpoints() })
}

/// How the background tasks of this process do.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BackgroundTasks {
    tasks: Vec<BackgroundTask>,
}

/// `GET /api/v1/diagnostics/background-tasks`: how the background tasks of this process do.
pub(crate) async fn background_tasks(State(app): State<Arc<AppState>>) -> Json<BackgroundTasks> {
    Json(BackgroundTasks { tasks: app.vault.background_tasks() })
}
