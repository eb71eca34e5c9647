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

use crate::auth::authenticate_forwarded;
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
    /// The status of the answer where the token is good: 204, or 200 for those who take no other.
    #[schemars(extend("enum" = [200, 204]))]
    status: Option<u16>,
}

impl RequestShape for VerifyParams {
    const EXPECTED: &'static str = "this URL takes `service`, `scope` and `status`, each at most once";
}

impl VerifyParams {
    fn service(&self) -> Result<Option<ServiceName>, RequestError> {
        let parsed = self.service.as_deref().map(str::parse).transpose();
        parsed.map_err(|_| RequestError::Query("`service` is the name of a service, such as bot1"))
    }

    fn status(&self) -> Result<StatusCode, RequestError> {
        match self.status {
            None | Some(204) => Ok(StatusCode::NO_CONTENT),
            Some(200) => Ok(StatusCode::OK),
            Some(_) => Err(RequestError::Query("`status` is 204, or 200 for those who take no other")),
        }
    }

    fn need(&self) -> Result<Option<Permission<'_>>, RequestError> {
        let invalid = RequestError::Query(
            "`scope` is token:NAME, operate:NAME, proxy:NAME, proxy:NAME:METHOD:/PATH, read, sessions or admin, without wildcards",
        );
        self.scope.as_deref().map(|scope| Permission::parse(scope).ok_or(invalid)).transpose()
    }
}

/// The name of the service, and nothing else.
pub(crate) struct Verified {
    caller: Caller,
    status: StatusCode,
}

impl IntoResponse for Verified {
    fn into_response(self) -> Response {
        let Ok(name) = HeaderValue::from_str(self.caller.service().as_str()) else {
            return ApiError::from(RequestError::Internal).into_response();
        };
        let mut response = (self.status, [(SERVICE, name)]).into_response();
        response.extensions_mut().insert(self.caller);
        response
    }
}

fn describe(doc: &mut OperationDoc, statuses: &[u16]) {
    let name = json!({ "type": "string" });
    for status in statuses {
        let response = ResponseDoc::new("The service token is valid.");
        doc.response(*status, response.with_header("X-Jeton-Service", "The service it belongs to.", &name));
    }
    doc.add_error_with_status(403, "CONFLICTING_CREDENTIALS");
    doc.add_error_with_status(403, "TOO_MANY_WRONG_CREDENTIALS");
}

impl DescribeOutput for Verified {
    fn describe(doc: &mut OperationDoc) {
        describe(doc, &[200, 204]);
        doc.add_errors(&["SCOPE_INSUFFICIENT", "WRONG_SERVICE"]);
    }
}

/// The same, for Envoy.
pub(crate) struct VerifiedForEnvoy(Verified);

impl IntoResponse for VerifiedForEnvoy {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl DescribeOutput for VerifiedForEnvoy {
    fn describe(doc: &mut OperationDoc) {
        describe(doc, &[200]);
    }
}

/// `ANY /api/v1/verify?service=&scope=&status=`: 204 with `X-Jeton-Service` if the service token of this request is valid, else 403.
pub(crate) async fn verify(
    State(app): State<Arc<AppState>>,
    request: Parts,
    QueryParams(params): QueryParams<VerifyParams>,
) -> Result<Verified, ApiError> {
    let (service, need, status) = (params.service()?, params.need()?, params.status()?);
    let caller = admit(&app, &request).await?;
    if service.is_some_and(|service| service != *caller.service()) {
        return Err(AccessError::WrongService { service: caller.service().clone() }.into());
    }
    need.map_or(Ok(()), |need| caller.require(&need))?;
    Ok(Verified { caller, status })
}

/// `ANY /api/v1/verify/envoy/...`: the same for `ext_authz` of Envoy, which takes 200 alone for a yes and appends the path and query
/// of the request that it asks about.
pub(crate) async fn verify_for_envoy(
    State(app): State<Arc<AppState>>,
    request: Parts,
) -> Result<VerifiedForEnvoy, ApiError> {
    let caller = admit(&app, &request).await?;
    Ok(VerifiedForEnvoy(Verified { caller, status: StatusCode::OK }))
}

/// Who sent the request. Reverse proxies take any other status for a failure, so every error of a credential is a 403 here.
async fn admit(app: &AppState, request: &Parts) -> Result<Caller, ApiError> {
    authenticate_forwarded(app, request).await.map_err(|error| match error {
        AccessError::Conflicting | AccessError::TooManyFailures { .. } => {
            ApiError::from(error).with_status(StatusCode::FORBIDDEN)
        }
        error => error.into(),
    })
}
