//! The progress of consents, for programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use jeton_core::id::{ConnectionName, ProviderName};
use jeton_core::keep::connection::Condition;
use jeton_core::secret::Secret;
use jeton_keeper::{ConsentStatus, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::paging::{Page, PageParams};
use crate::auth::require_read;
use crate::error::{ApiError, RequestError};
use crate::extract::{JsonBody, QueryParams, RequestShape};
use crate::schema_patterns::PageSize;
use crate::state::AppState;

/// More than the connections on a page: removed connections may have consents too.
const MAX_CONSENTS: usize = 10_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusParams {
    /// Continue after this item: the `next` of the previous page.
    #[schemars(with = "Option<ConnectionName>")]
    after: Option<String>,
    /// The page size.
    #[schemars(with = "Option<PageSize>")]
    limit: Option<String>,
}

impl RequestShape for StatusParams {
    const EXPECTED: &'static str = "this URL takes `after` and `limit`, each at most once; the ticket of a link goes into the \
                                    body of a POST, so that no log of a proxy has it";
}

/// Which consent is asked about.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConsentTicket {
    /// The ticket of a consent link.
    #[schemars(with = "String")]
    ticket: Secret,
}

impl RequestShape for ConsentTicket {
    const EXPECTED: &'static str = "an object with `ticket`, that of a consent link";
}

/// A connection and its latest consent.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConnectionConsent {
    connection: ConnectionName,
    provider: ProviderName,
    condition: Condition,
    /// Null if there was none in the last 7 days.
    consent: Option<ConsentStatus>,
}

/// A page of all connections, or whether one is connected.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ConsentReply {
    /// For callers with the scope `read`.
    All(Page<ConnectionConsent, ConnectionName>),
    /// Without a query, in the place of an amoCRM gateway.
    Old(Authorization),
}

/// Whether a connection is connected, as an amoCRM gateway said it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Authorization {
    has_token: bool,
    status: AuthorizationStatus,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum AuthorizationStatus {
    Authorized,
    NotAuthorized,
}

impl From<Condition> for Authorization {
    fn from(condition: Condition) -> Self {
        let has_token = !matches!(condition, Condition::Pending | Condition::Dead);
        let status =
            if has_token { AuthorizationStatus::Authorized } else { AuthorizationStatus::NotAuthorized };
        Self { has_token, status }
    }
}

/// `POST /oauth/status`: the progress of the consent whose ticket is in the body. No service token is needed.
pub(crate) async fn progress(
    State(app): State<Arc<AppState>>,
    JsonBody(ConsentTicket { ticket }): JsonBody<ConsentTicket>,
) -> Result<Json<ConsentStatus>, ApiError> {
    let consent = app.vault.consent_by_ticket(&ticket).await?.ok_or(RequestError::UnknownLink)?;
    let progress = consent.progress.without_provider_message();
    Ok(Json(ConsentStatus { progress, ..consent }))
}

/// `GET /oauth/status`, with the scope `read`: the latest consent of every connection. In the place of an amoCRM gateway and
/// without a query: whether its connection is connected, for everyone.
pub(crate) async fn status(
    State(app): State<Arc<AppState>>,
    request: Parts,
    QueryParams(params): QueryParams<StatusParams>,
) -> Result<Json<ConsentReply>, ApiError> {
    if let Some(connection) = app.old_gateway.as_ref().filter(|_| request.uri.query().is_none()) {
        let status = app.vault.status(connection.as_str()).await?;
        return Ok(Json(ConsentReply::Old(status.condition.into())));
    }
    require_read(&app, &request).await?;
    let range = PageParams::<ConnectionName>::new(params.after, params.limit).read()?;
    let statuses = app.vault.statuses(range.after.as_ref(), range.fetch_limit()).await?;
    let consents = app.vault.consents(range.after.as_ref(), MAX_CONSENTS).await?;
    let mut consents: BTreeMap<_, _> =
        consents.into_iter().map(|consent| (consent.connection.clone(), consent)).collect();
    let item = |status: Status| ConnectionConsent {
        consent: consents.remove(&status.name),
        connection: status.name,
        provider: status.provider,
        condition: status.condition,
    };
    let items = statuses.into_iter().map(item).collect();
    Ok(Json(ConsentReply::All(range.page(items, |item: &ConnectionConsent| item.connection.clone()))))
}
