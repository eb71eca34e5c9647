//! What every request passes through, whichever door it goes to.

use std::panic::AssertUnwindSafe;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use jeton_issuer::Caller;
use tokio::time::Instant;

use crate::error::RequestError;
use crate::response::ApiError;

/// The path of a request that no door matched. What was really asked for may hold a token, so it is not logged.
const UNKNOWN: &str = "-";

/// One line in the access log: method, the pattern of the route (never the path or query as sent), status, the service that was
/// let in, duration.
pub(crate) async fn log_request(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let caller = response.extensions().get::<Caller>();
    tracing::info!(
        method = if is_standard_method(&method) { method.as_str() } else { UNKNOWN },
        route = route.as_ref().map_or(UNKNOWN, MatchedPath::as_str),
        status = response.status().as_u16(),
        service = caller.map_or(UNKNOWN, |caller| caller.service().as_str()),
        ms = started.elapsed().as_millis(),
        "request"
    );
    response
}

/// Methods are free text too.
fn is_standard_method(method: &axum::http::Method) -> bool {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"]
        .contains(&method.as_str())
}

/// No cache keeps an answer unless its door says otherwise, and no browser takes one for something else than it says.
pub(crate) async fn set_common_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A door that panics answers 500; its connection and all others go on.
pub(crate) async fn catch_panic(request: Request, next: Next) -> Response {
    if let Ok(response) = AssertUnwindSafe(next.run(request)).catch_unwind().await {
        return response;
    }
    tracing::error!("a request met a defect; the panic message on standard error says where");
    ApiError::from(RequestError::Internal).into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::router::add_layers;

    async fn panicking() -> &'static str {
        panic!("secret of the panic")
    }

    #[tokio::test]
    async fn a_panic_answers_500_and_the_next_request_is_served() {
        let router = add_layers(
            Router::new().route("/panics", get(panicking)).route("/works", get(|| async { "ok" })),
        );
        let service = TowerToHyperService::new(router);
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
