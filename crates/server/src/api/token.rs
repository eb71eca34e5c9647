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
use serde::{Deserialize, Serialize};

use crate::access::tell;
use crate::answer::Refusal;
use crate::fault::Fault;
use crate::intake::{self, Asked, Expected, Named, Sent};
use crate::router::Doors;

/// How a caller wants its token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenAsked {
    min_ttl: Option<String>,
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
#[derive(Serialize)]
pub(crate) struct TokenGiven {
    #[serde(serialize_with = "secret::reveal_into")]
    access_token: Secret,
    token_type: String,
    /// Null where the provider does not say.
    expires_at: Option<Timestamp>,
    /// Whole seconds, rounded down, so that it never promises more than the token holds.
    expires_in: Option<u64>,
    generation: Generation,
    fingerprint: Fingerprint,
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
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    fingerprint: Option<Fingerprint>,
    access_token: Option<Secret>,
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
    Sent(refused): Sent<Refused>,
) -> Result<Json<TokenGiven>, Refusal> {
    let fingerprint = match refused {
        Some(Refused { fingerprint: Some(fingerprint), access_token: None }) => fingerprint,
        Some(Refused { fingerprint: None, access_token: Some(token) }) => doors.vault.fingerprint(&token),
        _ => return Err(Fault::BodyMisfit(Refused::SHAPE).into()),
    };
    let token = doors.vault.reject(&name, fingerprint, asked.request()?).await;
    Ok(Json(token.map_err(|error| tell(&doors.vault, &caller, error))?.into()))
}
