//! How consents stand, for programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use jeton_core::id::{ConnectionName, ProviderName};
use jeton_core::keep::connection::Generation;
use jeton_core::keep::consent;
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use jeton_keeper::{ConsentStatus, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::connections::Condition;
use crate::api::paging::{Page, PageParams};
use crate::auth::require_read;
use crate::error::ApiError;
use crate::error::RequestError;
use crate::extract::{QueryParams, RequestShape};
use crate::schema_patterns;
use crate::state::AppState;

/// More consents than connections on one page, because connections that are gone may have some too.
const MAX_CONSENTS: usize = 10_000;

/// Of which link, or which page of all connections.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusParams {
    /// The ticket of a link; with it no credential is needed.
    #[schemars(with = "Option<String>")]
    ticket: Option<Secret>,
    /// The page begins after this item: what `next` was on the page before.
    #[schemars(with = "Option<schema_patterns::Name>")]
    after: Option<String>,
    /// How many items the page has at most.
    #[schemars(with = "Option<schema_patterns::PageSize>")]
    limit: Option<String>,
}

impl RequestShape for StatusParams {
    const EXPECTED: &'static str =
        "this door knows `ticket`, or with the scope `read` `after` and `limit`, each once";
}

/// How far a consent has come.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Progress {
    /// The link has not been opened.
    Waiting {
        /// Until when it can be.
        #[schemars(with = "schema_patterns::Moment")]
        until: Timestamp,
    },
    /// The person is at the provider.
    Asked {
        /// Until when the answer counts.
        #[schemars(with = "schema_patterns::Moment")]
        until: Timestamp,
    },
    /// The code is being exchanged.
    Exchanging,
    /// The connection is made.
    Done {
        /// The generation that it brought.
        #[schemars(with = "schema_patterns::Generation")]
        generation: Generation,
    },
    /// The person or the provider refused, or jeton refused the answer.
    Refused {
        /// A stable code.
        code: String,
        /// One sentence for people.
        message: String,
    },
    /// The exchange failed; the code is worth nothing any more.
    Failed {
        /// A stable code.
        code: String,
        /// One sentence for people.
        message: String,
    },
    /// The code may have been sent, and nobody knows what became of it.
    Unknown,
    /// Nobody opened the link, or no answer came, in time.
    Expired,
}

impl From<consent::Progress> for Progress {
    fn from(progress: consent::Progress) -> Self {
        use consent::Progress as Kept;
        match progress {
            Kept::Waiting { until } => Self::Waiting { until },
            Kept::Asked { until } => Self::Asked { until },
            Kept::Exchanging => Self::Exchanging,
            Kept::Done { generation } => Self::Done { generation },
            Kept::Refused { code, message } => Self::Refused { code, message },
            Kept::Failed { code, message } => Self::Failed { code, message },
            Kept::Unknown => Self::Unknown,
            Kept::Expired => Self::Expired,
        }
    }
}

/// How far the consent to a connection has come; it holds no secret.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Consent {
    /// The connection.
    #[schemars(with = "schema_patterns::Name")]
    connection: ConnectionName,
    /// Its provider at that time.
    #[schemars(with = "schema_patterns::Name")]
    provider: ProviderName,
    /// When the link was made.
    #[schemars(with = "schema_patterns::Moment")]
    created_at: Timestamp,
    #[serde(flatten)]
    progress: Progress,
}

impl From<ConsentStatus> for Consent {
    fn from(status: ConsentStatus) -> Self {
        let ConsentStatus { connection, provider, created_at, progress } = status;
        Self { connection, provider, created_at, progress: progress.into() }
    }
}

/// One connection, and the latest consent that was asked for it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConnectionConsent {
    #[schemars(with = "schema_patterns::Name")]
    connection: ConnectionName,
    #[schemars(with = "schema_patterns::Name")]
    provider: ProviderName,
    condition: Condition,
    /// Null where none was asked for lately.
    consent: Option<Consent>,
}

/// The consent of one link, or a page of all connections.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ConsentReply {
    /// With a ticket.
    One(Consent),
    /// Without one.
    All(Page<ConnectionConsent, ConnectionName>),
}

/// `GET /oauth/status?ticket=`: how far the consent of that link has come. With the scope `read` in place of a ticket: how
/// all connections stand.
pub(crate) async fn status(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    QueryParams(asked): QueryParams<StatusParams>,
) -> Result<Json<ConsentReply>, ApiError> {
    if let Some(ticket) = asked.ticket {
        let found = state.vault.consent_by_ticket(&ticket).await?;
        return Ok(Json(ConsentReply::One(found.ok_or(RequestError::UnknownLink)?.into())));
    }
    require_read(&state, &headers).await?;
    let span = PageParams::<ConnectionName>::new(asked.after, asked.limit).read()?;
    let statuses = state.vault.statuses(span.after.as_ref(), span.fetch_limit()).await?;
    let consents = state.vault.consents(span.after.as_ref(), MAX_CONSENTS).await?;
    let mut consents: BTreeMap<_, _> =
        consents.into_iter().map(|consent| (consent.connection.clone(), consent)).collect();
    let line = |status: Status| ConnectionConsent {
        consent: consents.remove(&status.name).map(Consent::from),
        connection: status.name,
        provider: status.provider,
        condition: status.condition.into(),
    };
    Ok(Json(ConsentReply::All(span.page(statuses, |status| status.name.clone(), line))))
}
