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

use super::audit::by;
use super::paging::{Page, PageAsked};
use crate::answer::{Created, Done, Refusal};
use crate::fault::Fault;
use crate::intake::{Asked, Expected, Needed, Sent, TokenId};
use crate::router::Doors;
use crate::shape;

/// How long a rotated token still counts, unless it is said.
const USUAL_OVERLAP: Duration = Duration::from_hours(24);

/// The most scopes that one token has.
const MOST_SCOPES: usize = 64;

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

impl From<access::Standing> for Standing {
    fn from(standing: access::Standing) -> Self {
        match standing {
            access::Standing::Live => Self::Live,
            access::Standing::Expired => Self::Expired,
            access::Standing::Revoked => Self::Revoked,
        }
    }
}

/// A service token: everything but its hash, and its text in the one answer that shows it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ServiceToken {
    /// The service.
    #[schemars(with = "shape::Name")]
    name: ServiceName,
    /// Its text, this once; absent where its holder has it already.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    token: Option<RawToken>,
    /// Its id.
    #[schemars(with = "shape::Id")]
    id: ServiceTokenId,
    /// From when on it is refused; never where it is null.
    #[schemars(with = "Option<shape::Moment>")]
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
    #[schemars(with = "shape::Moment")]
    created_at: Timestamp,
    /// Since when it is revoked.
    #[schemars(with = "Option<shape::Moment>")]
    revoked_at: Option<Timestamp>,
    /// When it was last used, known to a minute.
    #[schemars(with = "Option<shape::Moment>")]
    last_used_at: Option<Timestamp>,
    /// The token that was made in its place.
    #[schemars(with = "Option<shape::Id>")]
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
    State(doors): State<Arc<Doors>>,
    Asked(asked): Asked<PageAsked<ServiceTokenId>>,
) -> Result<Json<Page<ServiceToken, ServiceTokenId>>, Refusal> {
    let span = asked.read()?;
    let found = doors.access.tokens(span.after, span.look_for()).await.map_err(OrderError::from)?;
    Ok(Json(span.page(found, |token| token.id, |token| doors.access.show(token).into())))
}

/// A duration: a number of seconds, or a text with units, such as `90d`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Lasting {
    Seconds(#[schemars(range(max = 18_446_744_073_709_551_615_u64))] u64),
    /// What JSON Schema calls an integer, and not every language writes as one: `60.0`.
    #[schemars(skip)]
    Whole(WholeSeconds),
    Text(#[schemars(with = "shape::Units")] DurationText),
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

impl From<Lasting> for Duration {
    fn from(lasting: Lasting) -> Self {
        match lasting {
            Lasting::Seconds(seconds) => Self::from_secs(seconds),
            Lasting::Whole(WholeSeconds(duration)) => duration,
            Lasting::Text(text) => text.0,
        }
    }
}

/// A service token that is wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedToken {
    /// Which service it names; `api-key` is taken.
    #[schemars(with = "shape::Name")]
    name: ServiceName,
    /// What it grants: `token:NAME`, `proxy:NAME`, `proxy:NAME:GET,HEAD:/api/**`, `read`, `sessions`, `admin`.
    #[schemars(with = "Vec<shape::Scope>", length(max = 64))]
    scopes: Vec<Scope>,
    /// What people note.
    #[schemars(with = "Option<shape::Notes>")]
    notes: Option<String>,
    /// How long it lives; for good where it is not said.
    expires_in: Option<Lasting>,
    /// The SHA-256 of a raw token that exists already.
    #[schemars(with = "Option<shape::Sha256>")]
    hash: Option<String>,
}

impl Expected for WantedToken {
    const SHAPE: &'static str = "an object with `name` (1 to 64 of a-z, 0-9, '-', '_' and '.'), `scopes` (a list of up to 64 of \
        token:NAME, proxy:NAME, proxy:NAME:GET,HEAD:/api/**, read, sessions, admin), and if wanted `notes` (without the \
        character NUL), `expires_in` (such as \"90d\", or seconds), `hash` (the SHA-256, in 64 hexadecimal digits, of a raw \
        token that exists already)";
}

impl WantedToken {
    fn order(self) -> Result<NewToken, Fault> {
        let misfit = || Fault::BodyMisfit(Self::SHAPE);
        // Said twice, a scope counts twice: what fits must not hang on what is in the list.
        let few = self.scopes.len() <= MOST_SCOPES;
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
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    Needed(wanted): Needed<WantedToken>,
) -> Result<Created<ServiceToken>, Refusal> {
    let issued = doors.access.create(wanted.order()?, &by(&caller)).await?;
    Ok(Created(doors.access.show_issued(issued).into()))
}

/// How a token is to be rotated.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// How long the old token still counts; a day where it is not said.
    overlap: Option<Lasting>,
    /// How long the new one lives; as long as the old one was given where it is not said.
    expires_in: Option<Lasting>,
}

impl Expected for Rotation {
    const SHAPE: &'static str =
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
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    TokenId(id): TokenId,
    Sent(asked): Sent<Rotation>,
) -> Result<Json<Rotated>, Refusal> {
    let asked = asked.unwrap_or_default();
    let overlap = asked.overlap.map_or(USUAL_OVERLAP, Duration::from);
    let life = asked.expires_in.map(Duration::from);
    let rotated = doors.access.rotate(id, overlap, life, &by(&caller)).await?;
    let (new, replaces) = (doors.access.show_issued(rotated.new), doors.access.show(rotated.old));
    Ok(Json(Rotated { new: new.into(), replaces: replaces.into() }))
}

/// `DELETE /api/v1/service-tokens/{id}`: revokes it for good. Its row stays.
pub(crate) async fn revoke(
    State(doors): State<Arc<Doors>>,
    Extension(caller): Extension<Caller>,
    TokenId(id): TokenId,
) -> Result<Done, Refusal> {
    doors.access.revoke(id, &by(&caller)).await?;
    Ok(Done)
}
