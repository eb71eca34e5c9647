//! Service tokens, as administrators manage them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use jeton_core::access::{Scope, Scopes, ServiceName, ServiceTokenId, TokenHash};
use jeton_core::keep::provider::DurationText;
use jeton_issuer::{Caller, NewToken, TokenCommandError, TokenView};
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::paging::{Page, PageParams};
use crate::auth::actor;
use crate::error::{ApiError, RequestError};
use crate::extract::{JsonBody, OptionalJsonBody, QueryParams, RequestShape, ServiceTokenPath};
use crate::response::{Created, NoContent};
use crate::schema_patterns;
use crate::state::AppState;

/// How long a rotated token stays valid by default.
const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);

/// How many scopes a token may have.
const MAX_SCOPES: usize = 64;

/// `GET /api/v1/service-tokens?after=&limit=`: all of them, oldest first, including expired and revoked ones.
pub(crate) async fn list(
    State(app): State<Arc<AppState>>,
    QueryParams(params): QueryParams<PageParams<ServiceTokenId>>,
) -> Result<Json<Page<TokenView, ServiceTokenId>>, ApiError> {
    let range = params.read()?;
    let tokens = app.access.list(range.after, range.fetch_limit()).await.map_err(TokenCommandError::from)?;
    let shown = tokens.into_iter().map(|token| app.access.view(token)).collect();
    Ok(Json(range.page(shown, |token: &TokenView| token.id)))
}

/// Seconds, or a text with units such as `90d`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum DurationParam {
    Seconds(#[schemars(range(max = 18_446_744_073_709_551_615_u64))] u64),
    /// An integer by JSON Schema that some languages write with a fraction: `60.0`.
    #[schemars(skip)]
    Whole(WholeSeconds),
    Text(#[schemars(with = "schema_patterns::Duration")] DurationText),
}

/// Seconds whose fraction is zero.
struct WholeSeconds(Duration);

impl<'de> Deserialize<'de> for WholeSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let whole = (seconds.fract() == 0.0).then(|| Duration::try_from_secs_f64(seconds).ok());
        whole.flatten().map(Self).ok_or_else(|| Error::custom("it is not a whole number"))
    }
}

impl From<DurationParam> for Duration {
    fn from(param: DurationParam) -> Self {
        match param {
            DurationParam::Seconds(seconds) => Self::from_secs(seconds),
            DurationParam::Whole(WholeSeconds(duration)) => duration,
            DurationParam::Text(text) => text.0,
        }
    }
}

/// The service token to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewServiceToken {
    /// The service it belongs to; `api-key` is reserved.
    name: ServiceName,
    /// What it grants: `token:NAME`, `proxy:NAME`, `proxy:NAME:GET,HEAD:/api/**`, `read`, `sessions`, `admin`.
    #[schemars(with = "Vec<schema_patterns::Scope>", length(max = 64))]
    scopes: Vec<Scope>,
    /// A note for people.
    #[schemars(with = "Option<schema_patterns::Notes>")]
    notes: Option<String>,
    /// How long it is valid; for ever if absent.
    #[schemars(with = "Option<schema_patterns::Life>")]
    expires_in: Option<DurationParam>,
    /// The SHA-256 of an existing raw token.
    #[schemars(with = "Option<schema_patterns::Sha256>")]
    hash: Option<String>,
}

impl RequestShape for NewServiceToken {
    const EXPECTED: &'static str = "an object with `name` (1 to 64 of a-z, 0-9, '-', '_' and '.'), `scopes` (a list of up to 64 of \
        token:NAME, proxy:NAME, proxy:NAME:GET,HEAD:/api/**, read, sessions, admin), and optionally `notes` (without the \
        character NUL), `expires_in` (such as \"90d\", or seconds), `hash` (the SHA-256 of an existing raw token, in 64 \
        hexadecimal digits)";
}

impl NewServiceToken {
    fn into_order(self) -> Result<NewToken, RequestError> {
        let invalid = || RequestError::InvalidBody(Self::EXPECTED);
        // Duplicates count, so that whether a list fits does not depend on what is in it.
        let few = self.scopes.len() <= MAX_SCOPES;
        // PostgreSQL cannot store NUL.
        let storable = self.notes.as_ref().is_none_or(|notes| !notes.contains('\0'));
        if !(few && storable) {
            return Err(invalid());
        }
        let hash = self.hash.as_deref().map(TokenHash::from_hex).transpose();
        Ok(NewToken {
            service: self.name,
            scopes: Some(Scopes::new(self.scopes).map_err(|_| invalid())?),
            notes: self.notes,
            life: life(self.expires_in)?,
            hash: hash.map_err(|_| invalid())?,
        })
    }
}

/// How long a token lives. One that is dead when it is made is nobody's wish.
fn life(expires_in: Option<DurationParam>) -> Result<Option<Duration>, RequestError> {
    let life = expires_in.map(Duration::from);
    if life.is_some_and(|life| life < Duration::from_secs(1)) {
        let problem = "`expires_in` is shorter than a second; give a longer time, or leave it out";
        return Err(RequestError::Value(problem));
    }
    Ok(life)
}

/// `POST /api/v1/service-tokens`: creates a token; only this response contains its text.
pub(crate) async fn create(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    JsonBody(new): JsonBody<NewServiceToken>,
) -> Result<Created<TokenView>, ApiError> {
    let issued = app.access.create(new.into_order()?, &actor(&caller)).await?;
    Ok(Created(app.access.view_issued(issued)))
}

/// How to rotate.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// How long the old token stays valid; 24 hours by default.
    overlap: Option<DurationParam>,
    /// How long the new token is valid; as long as the old one was by default.
    #[schemars(with = "Option<schema_patterns::Life>")]
    expires_in: Option<DurationParam>,
}

impl RequestShape for Rotation {
    const EXPECTED: &'static str =
        "nothing, or an object with `overlap` and `expires_in` (such as \"24h\", or seconds)";
}

/// The new token with its text, and the one that it replaces.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Rotated {
    #[serde(flatten)]
    new: TokenView,
    replaces: TokenView,
}

/// `POST /api/v1/service-tokens/{id}/rotate`: creates a successor; the old token stays valid for `overlap`.
pub(crate) async fn rotate(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ServiceTokenPath(id): ServiceTokenPath,
    OptionalJsonBody(rotation): OptionalJsonBody<Rotation>,
) -> Result<Json<Rotated>, ApiError> {
    let rotation = rotation.unwrap_or_default();
    let overlap = rotation.overlap.map_or(DEFAULT_OVERLAP, Duration::from);
    let life = life(rotation.expires_in)?;
    let rotated = app.access.rotate(id, overlap, life, &actor(&caller)).await?;
    let (new, replaces) = (app.access.view_issued(rotated.new), app.access.view(rotated.old));
    Ok(Json(Rotated { new, replaces }))
}

/// `DELETE /api/v1/service-tokens/{id}`: revokes it for good; it stays in the list.
pub(crate) async fn revoke(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ServiceTokenPath(id): ServiceTokenPath,
) -> Result<NoContent, ApiError> {
    app.access.revoke(id, &actor(&caller)).await?;
    Ok(NoContent)
}
