//! Checks a service token for other back ends, and for reverse proxies that authenticate by a sub-request.

use std::sync::Arc;

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jeton_core::access::{Permission, ServiceName};
use jeton_issuer::{AccessError, Caller};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::auth::authenticate;
use crate::error::{ApiError, RequestError};
use crate::extract::{QueryParams, RequestShape};
use crate::openapi::operation::{DescribeOutput, OperationDoc, ResponseDoc};
use crate::schema_patterns;
use crate::state::AppState;

/// The response header with the name of the service.
const SERVICE: HeaderName = HeaderName::from_static("x-jeton-service");

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyParams {
    /// The service that the token must belong to.
    #[schemars(with = "Option<ServiceName>")]
    service: Option<String>,
    /// A scope that the token must grant: `token:NAME`, `operate:NAME`, `proxy:NAME`, `proxy:NAME:METHOD:/PATH`, `read`,
    /// `sessions` or `admin`, without wildcards.
    #[schemars(with = "Option<schema_patterns::Need>")]
    scope: Option<String>,
}

impl RequestShape for VerifyParams {
    const EXPECTED: &'static str = "this URL takes `service` and `scope`, each at most once";
}

impl VerifyParams {
    fn service(&self) -> Result<Option<ServiceName>, RequestError> {
        let parsed = self.service.as_deref().map(str::parse).transpose();
        parsed.map_err(|_| RequestError::Query("`service` is the name of a service, such as bot1"))
    }

    fn need(&self) -> Result<Option<Permission<'_>>, RequestError> {
        let invalid = RequestError::Query(
            "`scope` is token:NAME, operate:NAME, proxy:NAME, proxy:NAME:METHOD:/PATH, read, sessions or admin, without wildcards",
        );
        self.scope.as_deref().map(|scope| Permission::parse(scope).ok_or(invalid)).transpose()
    }
}

/// 204 with the name of the service.
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
        let response = ResponseDoc::new("The service token is valid.");
        doc.response(204, response.with_header("X-Jeton-Service", "The service it belongs to.", &name));
        doc.add_errors(&["SCOPE_INSUFFICIENT", "WRONG_SERVICE"]);
        doc.add_error_with_status(403, "CONFLICTING_CREDENTIALS");
        doc.add_error_with_status(403, "TOO_MANY_WRONG_CREDENTIALS");
    }
}

/// `GET /api/v1/verify?service=&scope=`: 204 with `X-Jeton-Service` if the service token of this request is valid, else 403. Reverse
/// proxies take any other status for a failure, so every error of a credential is a 403 here.
pub(crate) async fn verify(
    State(app): State<Arc<AppState>>,
    request: Parts,
    QueryParams(params): QueryParams<VerifyParams>,
) -> Result<Verified, ApiError> {
    let (service, need) = (params.service()?, params.need()?);
    let admitted = authenticate(&app, &request).await;
    let caller = admitted.map_err(|error| match error {
        AccessError::Conflicting | AccessError::TooManyFailures { .. } => {
            ApiError::from(error).with_status(StatusCode::FORBIDDEN)
        }
        error => error.into(),
    })?;
    if service.is_some_and(|service| service != *caller.service()) {
        return Err(AccessError::WrongService { service: caller.service().clone() }.into());
    }
    need.map_or(Ok(()), |need| caller.require(&need))?;
    Ok(Verified(caller))
}
