//! Living tokens, and reports of dead ones.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jeton_core::keep::connection::Generation;
use jeton_core::seal::Fingerprint;
use jeton_core::secret::{self, Secret};
use jeton_core::time::Timestamp;
use jeton_issuer::Caller;
use jeton_keeper::{Token, TokenRequest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::limit_suggestions;
use crate::error::ApiError;
use crate::error::RequestError;
use crate::extract::{self, ConnectionPath, JsonBody, QueryParams, RequestShape};
use crate::schema_patterns;
use crate::state::AppState;

/// How a caller wants its token.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenParams {
    /// How long the token must live at least: seconds such as `60`, or a duration such as `5m`. It is capped at 80 % of the
    /// life of a token.
    #[schemars(with = "Option<schema_patterns::Lasting>")]
    min_ttl: Option<String>,
    /// How long to wait for a refresh that is under way: seconds such as `10`, or a duration such as `1m30s`, up to 10 minutes.
    #[schemars(with = "Option<schema_patterns::Wait>")]
    wait: Option<String>,
}

impl RequestShape for TokenParams {
    const EXPECTED: &'static str = "this door knows `min_ttl` and `wait`, each once";
}

impl TokenParams {
    fn request(&self) -> Result<TokenRequest, RequestError> {
        Ok(TokenRequest {
            min_ttl: self.min_ttl.as_deref().map(extract::min_ttl).transpose()?,
            wait: self.wait.as_deref().map(extract::wait).transpose()?,
        })
    }
}

/// A living token.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Token")]
pub(crate) struct TokenReply {
    #[serde(serialize_with = "secret::reveal_into")]
    #[schemars(with = "String")]
    access_token: Secret,
    /// How it is to be sent, such as `Bearer`.
    token_type: String,
    /// When it dies; null where the provider does not say.
    #[schemars(with = "Option<schema_patterns::Moment>")]
    expires_at: Option<Timestamp>,
    /// Whole seconds, rounded down, so that it never promises more than the token holds.
    expires_in: Option<u64>,
    /// Counts the token sets of the connection.
    #[schemars(with = "schema_patterns::Generation")]
    generation: Generation,
    /// Names the token in records, and in a report that it was refused.
    #[schemars(with = "schema_patterns::Fingerprint")]
    fingerprint: Fingerprint,
    /// Why it may die soon; absent where it will not.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

impl From<Token> for TokenReply {
    fn from(token: Token) -> Self {
        Self {
            access_token: token.access,
            token_type: token.token_type,
            expires_at: token.expires_at,
            expires_in: token.expires_in.map(|left| left.as_secs()),
            generation: token.generation,
            fingerprint: token.fingerprint,
            warning: token.warning,
        }
    }
}

/// `GET /api/v1/connections/{name}/token?min_ttl=&wait=`: a living token.
pub(crate) async fn get(
    State(state): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
    QueryParams(asked): QueryParams<TokenParams>,
) -> Result<Json<TokenReply>, ApiError> {
    let token = state.vault.token(&name, asked.request()?).await;
    Ok(Json(token.map_err(|error| limit_suggestions(&state.vault, &caller, error))?.into()))
}

/// The token that an API refused: by its fingerprint, or itself.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[schemars(rename = "RefusedToken")]
pub(crate) enum RejectedToken {
    ByFingerprint {
        /// What it came with.
        #[schemars(with = "schema_patterns::Fingerprint")]
        fingerprint: Fingerprint,
    },
    ByText {
        #[schemars(with = "String")]
        access_token: Secret,
    },
}

impl RequestShape for RejectedToken {
    const EXPECTED: &'static str = "an object with either `fingerprint` (32 hexadecimal digits, as the token came with) or `access_token`";
}

/// `POST /api/v1/connections/{name}/token/reject`: an API refused this token; gives a newer one, refreshing at most once.
pub(crate) async fn reject(
    State(state): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
    QueryParams(asked): QueryParams<TokenParams>,
    JsonBody(refused): JsonBody<RejectedToken>,
) -> Result<Json<TokenReply>, ApiError> {
    let fingerprint = match refused {
        RejectedToken::ByFingerprint { fingerprint } => fingerprint,
        RejectedToken::ByText { access_token } => state.vault.fingerprint(&access_token),
    };
    let token = state.vault.reject(&name, fingerprint, asked.request()?).await;
    Ok(Json(token.map_err(|error| limit_suggestions(&state.vault, &caller, error))?.into()))
}
