//! What every request passes, whichever route it takes.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use jeton_issuer::Caller;
use tokio::time::Instant;

use crate::auth::NamedConnection;
use crate::client_address::ClientAddress;
use crate::error::{ApiError, RequestError};
use crate::request_id::{REQUEST_ID, RequestId};

/// Adds what all responses have in common, those of the fallbacks included. The last layer is the outermost.
pub(crate) fn add_layers<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.layer(from_fn(catch_panic)).layer(from_fn(set_common_headers)).layer(from_fn(log_request))
}

/// Stands in the access log for what is not known, or is free text that may hold a token.
const UNKNOWN: &str = "-";

/// The target of the lines of the access log, here and in the gateway.
pub const ACCESS_LOG: &str = "jeton_access";

/// Writes one line to the access log: method, route pattern (never the path or query), connection, status, service, address of the
/// client, id of the request, duration. The answer has that id in `X-Request-ID`.
async fn log_request(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let client = ClientAddress::of(request.extensions());
    let id = RequestId::of(request.extensions()).cloned();
    let mut response = next.run(request).await;
    let caller = response.extensions().get::<Caller>();
    let connection = response.extensions().get::<NamedConnection>();
    tracing::info!(
        target: ACCESS_LOG,
        method = if is_standard_method(&method) { method.as_str() } else { UNKNOWN },
        route = route.as_ref().map_or(UNKNOWN, MatchedPath::as_str),
        connection = connection.map_or(UNKNOWN, |connection| connection.0.as_str()),
        status = response.status().as_u16(),
        service = caller.map_or(UNKNOWN, |caller| caller.service().as_str()),
        client = client.map(tracing::field::display),
        request_id = id.as_ref().map_or(UNKNOWN, RequestId::as_str),
        ms = started.elapsed().as_millis(),
        "request"
    );
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id.to_header());
    }
    response
}

fn is_standard_method(method: &Method) -> bool {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"]
        .contains(&method.as_str())
}

/// Forbids caching unless the handler allows it, and content sniffing always.
async fn set_common_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Answers 500 where a handler panics; its connection and all others go on.
async fn catch_panic(request: Request, next: Next) -> Response {
    if let Ok(response) = AssertUnwindSafe(next.run(request)).catch_unwind().await {
        return response;
    }
    tracing::error!("a request handler panicked; the panic message on standard error says where");
    ApiError::from(RequestError::Internal).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    async fn panicking() -> &'static str {
        panic!("secret of the panic")
    }

    #[tokio::test]
    async fn a_panic_answers_500_and_the_next_request_is_served() {
        let router = Router::new().route("/panics", get(panicking)).route("/works", get(|| async { "ok" }));
        let service = TowerToHyperService::new(add_layers(router));
        for _ in 0..2 {
            let request = Request::get("/panics").body(Body::empty()).unwrap();
            let response = service.call(request).await.unwrap();
            assert_eq!(response.status(), 500);
            assert_eq!(response.headers()["cache-control"], "no-store");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], "INTERNAL");
            assert!(!problem.to_string().contains("secret"), "the message of a panic stays inside");

            let response = service.call(Request::get("/works").body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), 200);
        }
    }
}
