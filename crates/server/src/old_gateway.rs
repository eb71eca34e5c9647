//! What the clients of an amoCRM gateway compare, to the letter, where jeton takes its place.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, map_request};
use axum::response::{IntoResponse as _, Response};
use jeton_issuer::{AccessError, SERVICE_TOKEN};
use serde_json::json;
use tower_layer::Layer as _;

use crate::error::ApiError;
use crate::state::AppState;

/// Below this path calls are forwarded as they are.
const FORWARDED: &str = "/api/v1/proxy/";

/// Below this path are the pages of a consent, and one that programs read.
const CONSENT: &str = "/oauth/";
const STATUS: &str = "/oauth/status";

/// Its answer to a missing or wrong key, with the status 401.
const INVALID_KEY: &str = concat!(
    r#"{"success":false,"error":"Invalid or missing API key","#,
    r#""message":"Please provide valid X-API-KEY header"}"#
);

/// The answer to a missing or wrong key, as its clients know it.
pub fn invalid_key() -> Response {
    json_response(StatusCode::UNAUTHORIZED, INVALID_KEY.to_owned())
}

/// Whether [`invalid_key`] answers this error: the key is missing, or it is wrong. Whoever sends `X-SERVICE-TOKEN` is no client
/// of that gateway.
pub fn is_invalid_key(error: &AccessError, headers: &HeaderMap) -> bool {
    let has_service_token = headers.get(SERVICE_TOKEN).is_some_and(|token| !token.is_empty());
    matches!(error, AccessError::Missing | AccessError::Invalid) && !has_service_token
}

/// The answer to a caller that is not admitted.
pub(crate) fn denial(app: &AppState, error: AccessError, headers: &HeaderMap) -> Response {
    if app.old_gateway.is_some() && is_invalid_key(&error, headers) {
        invalid_key()
    } else {
        ApiError::from(error).into_response()
    }
}

/// Its answer to a URL that it does not serve.
pub(crate) fn unknown_url(path: &str) -> Response {
    let body = json!({ "success": false, "error": format!("Endpoint not found: {path}") });
    json_response(StatusCode::NOT_FOUND, body.to_string())
}

/// Answers `OPTIONS` and lets pages of every origin read, as that gateway did; the pages of a consent excepted.
pub(crate) async fn allow_browsers(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path.starts_with(CONSENT) && path != STATUS {
        return next.run(request).await;
    }
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::OK.into_response()
    } else {
        next.run(request).await
    };
    allow_every_origin(response.headers_mut());
    response
}

/// Lets pages of every origin read an answer, in the words of that gateway (the CORS protocol of the Fetch standard).
pub fn allow_every_origin(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type, X-API-KEY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The router, with a `/` at the end of a URL ignored as that gateway did; not of one that is forwarded to an API.
pub fn ignore_trailing_slash(router: Router) -> Router {
    Router::new().fallback_service(map_request(without_trailing_slash).layer(router))
}

async fn without_trailing_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() || trimmed.len() == path.len() || path.starts_with(FORWARDED) {
        return request;
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(target) = format!("{trimmed}{query}").parse() {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(target);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

fn json_response(status: StatusCode, body: String) -> Response {
    let json = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, json)], Body::from(body)).into_response()
}
