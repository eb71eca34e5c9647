//! Checking a credential for others: back ends that ask, and reverse proxies that authenticate by a sub-request.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jeton_core::access::{Permission, ServiceName};
use jeton_issuer::{AccessError, Caller};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::error::ApiError;
use crate::error::RequestError;
use crate::extract::{QueryParams, RequestShape};
use crate::openapi::operation::{DescribeOutput, OperationDoc, ResponseDoc};
use crate::schema_patterns;
use crate::state::AppState;

/// Tells whoever asked which service it is.
const SERVICE: HeaderName = HeaderName::from_static("x-jeton-service");

/// What is demanded of the credential besides that it is good.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyParams {
    /// The service whose credential it must be.
    #[schemars(with = "Option<schema_patterns::Name>")]
    service: Option<String>,
    /// What the credential must grant: `token:NAME`, `proxy:NAME`, `proxy:NAME:METHOD:/PATH`, `read`, `sessions` or `admin`,
    /// without a pattern.
    #[schemars(with = "Option<schema_patterns::Need>")]
    scope: Option<String>,
}

impl RequestShape for VerifyParams {
    const EXPECTED: &'static str = "this door knows `service` and `scope`, each once";
}

impl VerifyParams {
    fn service(&self) -> Result<Option<ServiceName>, RequestError> {
        let parsed = self.service.as_deref().map(str::parse).transpose();
        parsed.map_err(|_| RequestError::Query("`service` is the name of a service, such as bot1"))
    }

    fn need(&self) -> Result<Option<Permission<'_>>, RequestError> {
        let wrong = RequestError::Query(
            "`scope` is token:NAME, proxy:NAME, proxy:NAME:METHOD:/PATH, read, sessions or admin, without a pattern",
        );
        self.scope.as_deref().map(|scope| Permission::parse(scope).ok_or(wrong)).transpose()
    }
}

/// Whom the credential lets in.
pub(crate) struct Verified(Caller);

impl IntoResponse for Verified {
    fn into_response(self) -> Response {
        let Ok(name) = HeaderValue::from_str(self.0.service().as_str()) else {
            return ApiError::from(RequestError::Internal).into_response();
        };
        let mut response = (StatusCode::NO_CONTENT, [(SERVICE, name)]).into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

impl DescribeOutput for Verified {
    fn describe(doc: &mut OperationDoc) {
        let name = json!({ "type": "string" });
        let answer = ResponseDoc::new("The credential is good.");
        doc.response(204, answer.with_header("X-Jeton-Service", "The service that it names.", &name));
        doc.add_errors(&["SCOPE_INSUFFICIENT", "WRONG_SERVICE"]);
        doc.add_error_with_status(403, "CONFLICTING_CREDENTIALS");
    }
}

/// `GET /api/v1/verify?service=&scope=`: 204 with `X-Jeton-Service` when the credential of this request is good, else 403. Proxies
/// that ask take any other status for a fault: two credentials that differ are a 403 here too.
pub(crate) async fn verify(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    QueryParams(demanded): QueryParams<VerifyParams>,
) -> Result<Verified, ApiError> {
    let (service, need) = (demanded.service()?, demanded.need()?);
    let admitted = state.access.admit(&headers).await;
    let caller = admitted.map_err(|error| match error {
        AccessError::Conflicting => ApiError::from(error).with_status(StatusCode::FORBIDDEN),
        error => error.into(),
    })?;
    check(&caller, service, need)?;
    Ok(Verified(caller))
}

fn check(
    caller: &Caller,
    service: Option<ServiceName>,
    need: Option<Permission<'_>>,
) -> Result<(), AccessError> {
    if service.is_some_and(|service| service != *caller.service()) {
        return Err(AccessError::WrongService { service: caller.service().clone() });
    }
    need.map_or(Ok(()), |need| caller.require(&need))
}
