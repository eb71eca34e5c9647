//! Access tokens, and reports that an API rejected one.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jeton_core::id::Generation;
use jeton_core::problem::without_folders;
use jeton_core::seal::Fingerprint;
use jeton_core::secret::{self, Secret};
use jeton_core::time::Timestamp;
use jeton_issuer::Caller;
use jeton_keeper::{Token, TokenRequest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::{actor, visible_error};
use crate::error::{ApiError, RequestError};
use crate::extract::{self, ConnectionPath, JsonBody, QueryParams, RequestShape};
use crate::schema_patterns::{DurationOrSeconds, Wait};
use crate::state::AppState;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenParams {
    /// The least time that the token must stay valid: seconds such as `60`, or a duration such as `5m`. At most 80 % of a
    /// token's lifetime counts.
    #[schemars(with = "Option<DurationOrSeconds>")]
    min_ttl: Option<String>,
    /// How long to wait for a running refresh: seconds such as `10`, or a duration such as `1m30s`, up to 10 minutes.
    #[schemars(with = "Option<Wait>")]
    wait: Option<String>,
}

impl RequestShape for TokenParams {
    const EXPECTED: &'static str = "this URL takes `min_ttl` and `wait`, each at most once";
}

impl TokenParams {
    fn request(&self, caller: &Caller) -> Result<TokenRequest, RequestError> {
        Ok(TokenRequest {
            min_ttl: self.min_ttl.as_deref().map(extract::min_ttl).transpose()?,
            wait: self.wait.as_deref().map(extract::wait).transpose()?,
            by: Some(actor(caller)),
        })
    }
}

/// A valid access token.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Token")]
pub(crate) struct TokenReply {
    #[serde(serialize_with = "secret::reveal_into")]
    #[schemars(with = "String")]
    access_token: Secret,
    /// The word that the provider calls it by, `Bearer` where it says none. Send the token as the provider's documentation
    /// says, nearly always as `Authorization: Bearer TOKEN`, whatever this word is.
    token_type: String,
    /// When it expires; null if the provider does not say.
    expires_at: Option<Timestamp>,
    /// Whole seconds until it expires, rounded down.
    expires_in: Option<u64>,
    /// Counts the token sets of the connection.
    generation: Generation,
    /// Identifies the token in logs, and in a report that it was rejected.
    fingerprint: Fingerprint,
    /// Why it may expire soon; absent if it will not.
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
            warning: token.warning.as_deref().map(without_folders),
        }
    }
}

/// `GET /api/v1/connections/{name}/token?min_ttl=&wait=`.
pub(crate) async fn get(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
    QueryParams(params): QueryParams<TokenParams>,
) -> Result<Json<TokenReply>, ApiError> {
    let token = app.vault.token(&name, params.request(&caller)?).await;
    Ok(Json(token.map_err(|error| visible_error(&app.vault, &caller, error))?.into()))
}

/// The token that the API rejected: its fingerprint or its text.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum RejectedToken {
    Fingerprint {
        /// The fingerprint that the token came with.
        fingerprint: Fingerprint,
    },
    Text {
        #[schemars(with = "String")]
        access_token: Secret,
    },
}

impl RequestShape for RejectedToken {
    const EXPECTED: &'static str = "an object with either `fingerprint` (32 hexadecimal digits, as the token came with) or `access_token`";
}

/// `POST /api/v1/connections/{name}/token/reject`: the API rejected this token; answers a newer one, after at most one refresh
/// however many callers report it.
pub(crate) async fn reject(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ConnectionPath(name): ConnectionPath,
    QueryParams(params): QueryParams<TokenParams>,
    JsonBody(rejected): JsonBody<RejectedToken>,
) -> Result<Json<TokenReply>, ApiError> {
    let fingerprint = match rejected {
        RejectedToken::Fingerprint { fingerprint } => fingerprint,
        RejectedToken::Text { access_token } => app.vault.fingerprint(&access_token),
    };
    let token = app.vault.reject(&name, fingerprint, params.request(&caller)?).await;
    Ok(Json(token.map_err(|error| visible_error(&app.vault, &caller, error))?.into()))
}
