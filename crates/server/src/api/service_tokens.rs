//! Service tokens: who may come in, as administrators order it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use jeton_core::access::{self, Scope, Scopes, ServiceName, ServiceTokenId, TokenHash};
use jeton_core::keep::provider::DurationText;
use jeton_core::time::Timestamp;
use jeton_issuer::{Caller, NewToken, OrderError, RawToken, Shown};
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::paging::{Page, PageParams};
use crate::auth::actor;
use crate::error::ApiError;
use crate::error::RequestError;
use crate::extract::{JsonBody, OptionalJsonBody, QueryParams, RequestShape, ServiceTokenPath};
use crate::response::{Created, NoContent};
use crate::schema_patterns;
use crate::state::AppState;

/// How long a rotated token still counts, unless it is said.
const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);

/// The most scopes that one token has.
const MAX_SCOPES: usize = 64;

/// How a service token stands, in one word.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Standing {
    /// It lets its holder in.
    Live,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl From<access::TokenStatus> for Standing {
    fn from(standing: access::TokenStatus) -> Self {
        match standing {
            access::TokenStatus::Live => Self::Live,
            access::TokenStatus::Expired => Self::Expired,
            access::TokenStatus::Revoked => Self::Revoked,
        }
    }
}

/// A service token: everything but its hash, and its text in the one answer that shows it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ServiceToken {
    /// The service.
    #[schemars(with = "schema_patterns::Name")]
    name: ServiceName,
    /// Its text, this once; absent where its holder has it already.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    token: Option<RawToken>,
    /// Its id.
    #[schemars(with = "schema_patterns::Id")]
    id: ServiceTokenId,
    /// From when on it is refused; never where it is null.
    #[schemars(with = "Option<schema_patterns::Moment>")]
    expires_at: Option<Timestamp>,
    /// What it grants.
    #[schemars(with = "Vec<String>")]
    scopes: Scopes,
    /// Whether it lets its holder in.
    active: bool,
    standing: Standing,
    /// What people noted.
    notes: Option<String>,
    /// Since when.
    #[schemars(with = "schema_patterns::Moment")]
    created_at: Timestamp,
    /// Since when it is revoked.
    #[schemars(with = "Option<schema_patterns::Moment>")]
    revoked_at: Option<Timestamp>,
    /// When it was last used, known to a minute.
    #[schemars(with = "Option<schema_patterns::Moment>")]
    last_used_at: Option<Timestamp>,
    /// The token that was made in its place.
    #[schemars(with = "Option<schema_patterns::Id>")]
    successor: Option<ServiceTokenId>,
}

impl From<Shown> for ServiceToken {
    fn from(shown: Shown) -> Self {
        let Shown {
            name,
            token,
            id,
            expires_at,
            scopes,
            active,
            standing,
            notes,
            created_at,
            revoked_at,
            last_used_at,
            successor,
        } = shown;
        let standing = standing.into();
        Self {
            name,
            token,
            id,
            expires_at,
            scopes,
            active,
            standing,
            notes,
            created_at,
            revoked_at,
            last_used_at,
            successor,
        }
    }
}

/// `GET /api/v1/service-tokens?after=&limit=`: all of them, those that have ended too, the oldest first.
pub(crate) async fn list(
    State(state): State<Arc<AppState>>,
    QueryParams(asked): QueryParams<PageParams<ServiceTokenId>>,
) -> Result<Json<Page<ServiceToken, ServiceTokenId>>, ApiError> {
    let span = asked.read()?;
    let found = state.access.tokens(span.after, span.fetch_limit()).await.map_err(OrderError::from)?;
    Ok(Json(span.page(found, |token| token.id, |token| state.access.show(token).into())))
}

/// A duration: a number of seconds, or a text with units, such as `90d`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum DurationParam {
    Seconds(#[schemars(range(max = 18_446_744_073_709_551_615_u64))] u64),
    /// What JSON Schema calls an integer, and not every language writes as one: `60.0`.
    #[schemars(skip)]
    Whole(WholeSeconds),
    Text(#[schemars(with = "schema_patterns::Units")] DurationText),
}

/// Seconds that are written with a fraction of nothing.
struct WholeSeconds(Duration);

impl<'de> Deserialize<'de> for WholeSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let whole = (seconds.fract() == 0.0).then(|| Duration::try_from_secs_f64(seconds).ok());
        whole.flatten().map(Self).ok_or_else(|| Error::custom("it is no whole number"))
    }
}

impl From<DurationParam> for Duration {
    fn from(lasting: DurationParam) -> Self {
        match lasting {
            DurationParam::Seconds(seconds) => Self::from_secs(seconds),
            DurationParam::Whole(WholeSeconds(duration)) => duration,
            DurationParam::Text(text) => text.0,
        }
    }
}

/// A service token that is wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewServiceToken {
    /// Which service it names; `api-key` is taken.
    #[schemars(with = "schema_patterns::Name")]
    name: ServiceName,
    /// What it grants: `token:NAME`, `proxy:NAME`, `proxy:NAME:GET,HEAD:/api/**`, `read`, `sessions`, `admin`.
    #[schemars(with = "Vec<schema_patterns::Scope>", length(max = 64))]
    scopes: Vec<Scope>,
    /// What people note.
    #[schemars(with = "Option<schema_patterns::Notes>")]
    notes: Option<String>,
    /// How long it lives; for good where it is not said.
    expires_in: Option<DurationParam>,
    /// The SHA-256 of a raw token that exists already.
    #[schemars(with = "Option<schema_patterns::Sha256>")]
    hash: Option<String>,
}

impl RequestShape for NewServiceToken {
    const EXPECTED: &'static str = "an object with `name` (1 to 64 of a-z, 0-9, '-', '_' and '.'), `scopes` (a list of up to 64 of \
        token:NAME, proxy:NAME, proxy:NAME:GET,HEAD:/api/**, read, sessions, admin), and if wanted `notes` (without the \
        character NUL), `expires_in` (such as \"90d\", or seconds), `hash` (the SHA-256, in 64 hexadecimal digits, of a raw \
        token that exists already)";
}

impl NewServiceToken {
    fn into_order(self) -> Result<NewToken, RequestError> {
        let misfit = || RequestError::InvalidBody(Self::EXPECTED);
        // Said twice, a scope counts twice: what fits must not hang on what is in the list.
        let few = self.scopes.len() <= MAX_SCOPES;
        // PostgreSQL keeps no text with that character.
        let plain = self.notes.as_ref().is_none_or(|notes| !notes.contains('\0'));
        if !(few && plain) {
            return Err(misfit());
        }
        let hash = self.hash.as_deref().map(TokenHash::from_hex).transpose();
        Ok(NewToken {
            service: self.name,
            scopes: Scopes::new(self.scopes).map_err(|_| misfit())?,
            notes: self.notes,
            life: self.expires_in.map(Duration::from),
            hash: hash.map_err(|_| misfit())?,
        })
    }
}

/// `POST /api/v1/service-tokens`: makes a token and shows its text, this once.
pub(crate) async fn create(
    State(state): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    JsonBody(wanted): JsonBody<NewServiceToken>,
) -> Result<Created<ServiceToken>, ApiError> {
    let issued = state.access.create(wanted.into_order()?, &actor(&caller)).await?;
    Ok(Created(state.access.show_issued(issued).into()))
}

/// How a token is to be rotated.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// How long the old token still counts; a day where it is not said.
    overlap: Option<DurationParam>,
    /// How long the new one lives; as long as the old one was given where it is not said.
    expires_in: Option<DurationParam>,
}

impl RequestShape for Rotation {
    const EXPECTED: &'static str =
        "nothing, or an object with `overlap` and `expires_in` (such as \"24h\", or seconds)";
}

/// The new token, with its text, and the one that it replaces.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Rotated {
    #[serde(flatten)]
    new: ServiceToken,
    replaces: ServiceToken,
}

/// `POST /api/v1/service-tokens/{id}/rotate`: makes a token in place of another, which still counts for `overlap` (24 h where it is
/// not said).
pub(crate) async fn rotate(
    State(state): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ServiceTokenPath(id): ServiceTokenPath,
    OptionalJsonBody(asked): OptionalJsonBody<Rotation>,
) -> Result<Json<Rotated>, ApiError> {
    let asked = asked.unwrap_or_default();
    let overlap = asked.overlap.map_or(DEFAULT_OVERLAP, Duration::from);
    let life = asked.expires_in.map(Duration::from);
    let rotated = state.access.rotate(id, overlap, life, &actor(&caller)).await?;
    let (new, replaces) = (state.access.show_issued(rotated.new), state.access.show(rotated.old));
    Ok(Json(Rotated { new: new.into(), replaces: replaces.into() }))
}

/// `DELETE /api/v1/service-tokens/{id}`: revokes it for good. Its row stays.
pub(crate) async fn revoke(
    State(state): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    ServiceTokenPath(id): ServiceTokenPath,
) -> Result<NoContent, ApiError> {
    state.access.revoke(id, &actor(&caller)).await?;
    Ok(NoContent)
}
