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

use crate::access::tell;
use crate::answer::Refusal;
use crate::fault::Fault;
use crate::intake::{self, Asked, Expected, Named, Needed};
use crate::router::Doors;
use crate::shape;

/// How a caller wants its token.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenAsked {
    /// How long the token must live at least: seconds such as `60`, or a duration such as `5m`. It is capped at 80 % of the
    /// life of a token.
    #[schemars(with = "Option<shape::Lasting>")]
    min_ttl: Option<String>,
    /// How long to wait for a refresh that is under way: seconds such as `10`, or a duration such as `1m30s`, up to 10 minutes.
    #[schemars(with = "Option<shape::Wait>")]
    wait: Option<String>,
}

impl Expected for TokenAsked {
    const SHAPE: &'static str = "this door knows `min_ttl` and `wait`, each once";
}

impl TokenAsked {
    fn request(&self) -> Result<TokenRequest, Fault> {
        Ok(TokenRequest {
            min_ttl: self.min_ttl.as_deref().map(intake::min_ttl).transpose()?,
            wait: self.wait.as_deref().map(intake::wait).transpose()?,
        })
    }
}

/// A living token.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Token")]
pub(crate) struct TokenGiven {
    #[serde(serialize_with = "secret::reveal_into")]
    #[schemars(with = "String")]
    access_token: Secret,
    /// How it is to be sent, such as `Bearer`.
    token_type: String,
    /// When it dies; null where the provider does not say.
    #[schemars(with = "Option<shape::Moment>")]
    expires_at: Option<Timestamp>,
    /// Whole seconds, rounded down, so that it never promises more than the token holds.
    expires_in: Option<u64>,
    /// Counts the token sets of the connection.
    #[schemars(with = "shape::Generation")]
    generation: Generation,
    /// Names the token in records, and in a report that it was refused.
    #[schemars(with = "shape::Fingerprint")]
    fingerprint: Fingerprint,
    /// Why it may die soon; absent where it will not.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

impl From<Token> for TokenGiven {
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
pub(crate) async fn current(
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    Asked(asked): Asked<TokenAsked>,
) -> Result<Json<TokenGiven>, Refusal> {
    let token = doors.vault.token(&name, asked.request()?).await;
    Ok(Json(token.map_err(|error| tell(&doors.vault, &caller, error))?.into()))
}

/// The token that an API refused: by its fingerprint, or itself.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[schemars(rename = "RefusedToken")]
pub(crate) enum Refused {
    ByFingerprint {
        /// What it came with.
        #[schemars(with = "shape::Fingerprint")]
        fingerprint: Fingerprint,
    },
    ByText {
        #[schemars(with = "String")]
        access_token: Secret,
    },
}

impl Expected for Refused {
    const SHAPE: &'static str = "an object with either `fingerprint` (32 hexadecimal digits, as the token came with) or `access_token`";
}

/// `POST /api/v1/connections/{name}/token/reject`: an API refused this token; gives a newer one, refreshing at most once.
pub(crate) async fn reject(
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    Asked(asked): Asked<TokenAsked>,
    Needed(refused): Needed<Refused>,
) -> Result<Json<TokenGiven>, Refusal> {
    let fingerprint = match refused {
        Refused::ByFingerprint { fingerprint } => fingerprint,
        Refused::ByText { access_token } => doors.vault.fingerprint(&access_token),
    };
    let token = doors.vault.reject(&name, fingerprint, asked.request()?).await;
    Ok(Json(token.map_err(|error| tell(&doors.vault, &caller, error))?.into()))
}
