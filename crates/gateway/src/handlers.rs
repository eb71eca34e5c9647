//! The HTTP handlers: the proxy, and the aliases.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, StatusCode, header};

use crate::access_log::AccessLogEntry;
use crate::alias::ConnectionAlias;
use crate::error::{ErrorResponse, ProxyError};
use crate::proxy_request::ProxyRequest;
use crate::replay_body::ReplayBody;
use crate::state::GatewayState;
use crate::{envelope, phases};

/// The path before the name of the connection.
pub(crate) const PROXY_PREFIX: &str = "/api/v1/proxy/";

/// What the handler of one alias uses.
pub(crate) struct AliasRoute {
    pub(crate) state: Arc<GatewayState>,
    pub(crate) alias: ConnectionAlias,
}

/// `ANY /api/v1/proxy/{connection}/{path}`: forwards the call as it is, with the token put in.
pub(crate) async fn proxy(State(state): State<Arc<GatewayState>>, request: Request) -> Response {
    let chunked = is_chunked(&request);
    let answer = catch_panic(async {
        let rest = request.uri().path().strip_prefix(PROXY_PREFIX).unwrap_or_default();
        // The path is forwarded as it was sent, not as a router may have decoded it.
        let (name, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let (name, path) = (name.to_owned(), path.to_owned());
        call(&state, name, path, request, false).await
    });
    close_if_chunked(answer.await.unwrap_or_else(ErrorResponse::into_response), chunked)
}

/// The path of an alias: forwards the call that the alias stands for.
pub(crate) async fn alias(State(route): State<Arc<AliasRoute>>, request: Request) -> Response {
    let chunked = is_chunked(&request);
    let ConnectionAlias { connection, alias } = &route.alias;
    let answer = catch_panic(async {
        let method = alias.method().as_str();
        if request.method().as_str() != method {
            return Err(reject(request.method(), ProxyError::AliasMethod(method)));
        }
        let Some(path) = alias.resolve(request.uri().path()) else {
            return Err(reject(request.method(), ProxyError::Path("it does not match this alias")));
        };
        call(&route.state, connection.to_string(), path, request, alias.envelope().is_some()).await
    });
    let answer = answer.await;
    let response = match alias.envelope() {
        None => answer.unwrap_or_else(ErrorResponse::into_response),
        Some(message) => {
            let definition = route.state.vault.definition(connection.as_str());
            let title = definition.map_or("The API", |definition| definition.provider().title());
            envelope::wrap(answer, title, message).await
        }
    };
    close_if_chunked(response, chunked)
}

async fn call(
    state: &GatewayState,
    connection: String,
    path: String,
    request: Request,
    reads_answer: bool,
) -> Result<Response, ErrorResponse> {
    let (head, body) = request.into_parts();
    let entry = AccessLogEntry::new(head.method.clone());
    let (budget, received) = (Arc::clone(&state.replay_budget), Arc::clone(&entry.received));
    let body = ReplayBody::new(Body::new(body), state.settings.replay_body, budget, received);
    match ProxyRequest::new(connection, path, head, body, reads_answer) {
        Ok(request) => phases::run(state, request, entry).await,
        Err(error) => Err(entry.fail(error)),
    }
}

/// Answers before there is a call, with a line in the access log.
fn reject(method: &Method, error: ProxyError) -> ErrorResponse {
    AccessLogEntry::new(method.clone()).fail(error)
}

/// A call that panics answers 500; its connection and all others go on.
async fn catch_panic(
    call: impl Future<Output = Result<Response, ErrorResponse>>,
) -> Result<Response, ErrorResponse> {
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a call panicked; the panic message on standard error names the place");
        Err(ProxyError::Internal.into())
    })
}

fn is_chunked(request: &Request) -> bool {
    request.headers().contains_key(header::TRANSFER_ENCODING)
}

/// Closes the connection after a request in chunks. It may have had a `Content-Length` too, which HTTP removed before we
/// saw it, and a server before us may have believed that one. What follows may then be a request of nobody (RFC 9112,
/// section 6.1).
fn close_if_chunked(mut response: Response, chunked: bool) -> Response {
    if chunked && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
