//! Checking a credential for others: back ends that ask, and reverse proxies that authenticate by a sub-request.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jeton_core::access::{Need, ServiceName};
use jeton_issuer::{AccessError, Caller};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::answer::Refusal;
use crate::describe::{Answer, Gives, Sheet};
use crate::fault::Fault;
use crate::intake::{Asked, Expected};
use crate::router::Doors;
use crate::shape;

/// Tells whoever asked which service it is.
const SERVICE: HeaderName = HeaderName::from_static("x-jeton-service");

/// What is demanded of the credential besides that it is good.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Demanded {
    /// The service whose credential it must be.
    #[schemars(with = "Option<shape::Name>")]
    service: Option<String>,
    /// What the credential must grant: `token:NAME`, `proxy:NAME`, `proxy:NAME:METHOD:/PATH`, `read`, `sessions` or `admin`,
    /// without a pattern.
    #[schemars(with = "Option<shape::Need>")]
    scope: Option<String>,
}

impl Expected for Demanded {
    const SHAPE: &'static str = "this door knows `service` and `scope`, each once";
}

impl Demanded {
    fn service(&self) -> Result<Option<ServiceName>, Fault> {
        let parsed = self.service.as_deref().map(str::parse).transpose();
        parsed.map_err(|_| Fault::Query("`service` is the name of a service, such as bot1"))
    }

    fn need(&self) -> Result<Option<Need<'_>>, Fault> {
        let wrong = Fault::Query(
            "`scope` is token:NAME, proxy:NAME, proxy:NAME:METHOD:/PATH, read, sessions or admin, without a pattern",
        );
        self.scope.as_deref().map(|scope| Need::parse(scope).ok_or(wrong)).transpose()
    }
}

/// Whom the credential lets in.
pub(crate) struct LetIn(Caller);

impl IntoResponse for LetIn {
    fn into_response(self) -> Response {
        let Ok(name) = HeaderValue::from_str(self.0.service().as_str()) else {
            return Refusal::from(Fault::Defect).into_response();
        };
        let mut response = (StatusCode::NO_CONTENT, [(SERVICE, name)]).into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

impl Gives for LetIn {
    fn describe(sheet: &mut Sheet) {
        let name = json!({ "type": "string" });
        let answer = Answer::new("The credential is good.");
        sheet.answer(204, answer.with_header("X-Jeton-Service", "The service that it names.", &name));
        sheet.refuses(&["SCOPE_INSUFFICIENT", "WRONG_SERVICE"]);
        sheet.refuses_as(403, "CONFLICTING_CREDENTIALS");
    }
}

/// `GET /api/v1/verify?service=&scope=`: 204 with `X-Jeton-Service` when the credential of this request is good, else 403. Proxies
/// that ask take any other status for a fault: two credentials that differ are a 403 here too.
pub(crate) async fn verify(
    State(doors): State<Arc<Doors>>,
    headers: HeaderMap,
    Asked(demanded): Asked<Demanded>,
) -> Result<LetIn, Refusal> {
    let (service, need) = (demanded.service()?, demanded.need()?);
    let admitted = doors.access.admit(&headers).await;
    let caller = admitted.map_err(|error| match error {
        AccessError::Conflicting => Refusal::from(error).with_status(StatusCode::FORBIDDEN),
        error => error.into(),
    })?;
    check(&caller, service, need)?;
    Ok(LetIn(caller))
}

fn check(caller: &Caller, service: Option<ServiceName>, need: Option<Need<'_>>) -> Result<(), AccessError> {
    if service.is_some_and(|service| service != *caller.service()) {
        return Err(AccessError::WrongService { service: caller.service().clone() });
    }
    need.map_or(Ok(()), |need| caller.require(&need))
}
