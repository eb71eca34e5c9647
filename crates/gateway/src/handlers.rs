//! The HTTP handlers: the proxy, and the aliases.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, StatusCode, header};
use jeton_core::access::Permission;
use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::Alias;
use jeton_server::{ClientAddress, REQUEST_ID, RequestId, allow_every_origin, unknown_connection};

use crate::access_log::AccessLogEntry;
use crate::cors::AllowedOrigin;
use crate::error::{ErrorResponse, ProxyError};
use crate::proxy_request::{PROXY_PREFIX, ProxyRequest};
use crate::replay_body::ReplayBody;
use crate::state::GatewayState;
use crate::{envelope, phases};

/// What the handler of one alias uses.
pub(crate) struct AliasRoute {
    pub(crate) state: Arc<GatewayState>,
    pub(crate) connection: ConnectionName,
    pub(crate) alias: Arc<Alias>,
}

/// `ANY /api/v1/proxy/{connection}/{path}`: forwards the call as it is, with the token put in.
pub(crate) async fn proxy(State(state): State<Arc<GatewayState>>, request: Request) -> Response {
    let rest = request.uri().path().strip_prefix(PROXY_PREFIX).unwrap_or_default();
    // The path is forwarded as it was sent, not as a router may have decoded it. Without one, the base itself is called.
    let (name, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let (name, path) = (name.to_owned(), path.to_owned());
    let origin = AllowedOrigin::of(request.headers(), &state.settings.of(&name).allowed_origins);
    let preflight =
        origin.as_ref().and_then(|origin| origin.preflight(request.method(), request.headers(), None));
    if let Some(answer) = preflight {
        return answer;
    }
    let id = RequestId::of(request.extensions()).cloned();
    let answer = Box::pin(catch_panic(call(&state, name, path, request, None))).await;
    let response = answer.map_or_else(ErrorResponse::into_response, |(response, _)| response);
    finish(response, id.as_ref(), origin.as_ref())
}

/// The path of an alias: forwards the call that the alias stands for. A `HEAD` is answered like a `GET`, without the body.
pub(crate) async fn alias(State(route): State<Arc<AliasRoute>>, request: Request) -> Response {
    let AliasRoute { state, connection, alias } = &*route;
    let method = alias.method().as_str();
    let allowed = allowed_methods(method);
    let origins = &state.settings.of(connection.as_str()).allowed_origins;
    let origin = AllowedOrigin::of(request.headers(), origins);
    // Origins of the operator's own count more than what a preset allows.
    let is_open = alias.allows_every_origin() && origins.is_empty();
    if request.method() == Method::OPTIONS {
        let mut entry = log_entry(&request);
        entry.path = Some(request.uri().path().to_owned());
        let methods = Some(HeaderValue::from_static(allowed));
        let preflight =
            origin.as_ref().and_then(|origin| origin.preflight(request.method(), request.headers(), methods));
        let options = || ([(header::ALLOW, allowed)], Body::empty()).into_response();
        let mut response = preflight.unwrap_or_else(options);
        if is_open {
            allow_every_origin(response.headers_mut());
        }
        entry.answer(response.status(), 0);
        return response;
    }
    let id = RequestId::of(request.extensions()).cloned();
    let answer = catch_panic(async {
        let is_read = request.method() == Method::HEAD && method == Method::GET.as_str();
        if request.method().as_str() != method && !is_read {
            return Err(reject(&request, ProxyError::AliasMethod { method, allowed }));
        }
        let Some(path) = alias.resolve(request.uri().path()) else {
            return Err(reject(&request, ProxyError::Path("it does not match this alias")));
        };
        call(state, connection.to_string(), path, request, Some(Arc::clone(alias))).await
    });
    let mut response = match Box::pin(answer).await {
        // There is nothing to wrap.
        Ok((response, None)) => response,
        answer if alias.envelope().is_some() => {
            let definition = state.vault.definition(connection.as_str());
            let title = definition.map_or("The API", |definition| definition.provider().title());
            envelope::wrap(answer, title, alias).await
        }
        answer => answer.map_or_else(ErrorResponse::into_response, |(response, _)| response),
    };
    if is_open {
        allow_every_origin(response.headers_mut());
    }
    finish(response, id.as_ref(), origin.as_ref())
}

/// `DELETE /api/v1/connections/{name}/rate-limits`: forgets the 429 answers of an API, so that it is called again at once.
/// Requires the scope `operate:NAME`.
pub(crate) async fn clear_rate_limits(
    State(state): State<Arc<GatewayState>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<StatusCode, ErrorResponse> {
    let client = ClientAddress::of(request.extensions());
    let caller = state.access.authenticate(request.headers(), client).await?;
    if !caller.may_see(&name) || state.vault.definition(&name).is_err() {
        return Err(unknown_connection(&state.vault, &caller, &name).into());
    }
    caller.require(&Permission::Operate(&name))?;
    state.rate_limits.clear(&name);
    tracing::info!(connection = name, service = %caller.service(), "the rate limits of the API are cleared");
    Ok(StatusCode::NO_CONTENT)
}

/// What `Allow` says of an alias for this method.
fn allowed_methods(method: &'static str) -> &'static str {
    match method {
        "GET" => "GET, HEAD, OPTIONS",
        "POST" => "POST, OPTIONS",
        "PUT" => "PUT, OPTIONS",
        "PATCH" => "PATCH, OPTIONS",
        _ => "DELETE, OPTIONS",
    }
}

/// Adds to an answer what it has whoever made it: its request's id, unless the API sent one, and who may read it.
fn finish(mut response: Response, id: Option<&RequestId>, origin: Option<&AllowedOrigin>) -> Response {
    let headers = response.headers_mut();
    if let Some(id) = id {
        headers.entry(REQUEST_ID).or_insert_with(|| id.to_header());
    }
    if let Some(origin) = origin {
        origin.add_headers(headers);
    }
    response
}

async fn call(
    state: &GatewayState,
    connection: String,
    path: String,
    request: Request,
    alias: Option<Arc<Alias>>,
) -> Result<(Response, Option<AccessLogEntry>), ErrorResponse> {
    let mut entry = log_entry(&request);
    let (mut head, body) = request.into_parts();
    if alias.is_some() {
        entry.path = Some(head.uri.path().to_owned());
        // HTTP leaves the body of the answer out.
        if head.method == Method::HEAD {
            head.method = Method::GET;
        }
    }
    let limit = state.settings.of(&connection).replay_body;
    let (budget, received) = (Arc::clone(&state.replay_budget), Arc::clone(&entry.received));
    let body = ReplayBody::new(Body::new(body), limit, budget, received);
    match ProxyRequest::new(connection, path, head, body, alias) {
        Ok(request) => phases::run(state, request, entry).await,
        Err(error) => Err(entry.fail(error)),
    }
}

/// The beginning of the line of a request in the access log.
fn log_entry(request: &Request) -> AccessLogEntry {
    let mut entry = AccessLogEntry::new(request.method().clone());
    entry.client = ClientAddress::of(request.extensions());
    entry.request_id = RequestId::of(request.extensions()).cloned();
    entry
}

/// Answers before there is a call, with a line in the access log.
fn reject(request: &Request, error: ProxyError) -> ErrorResponse {
    let mut entry = log_entry(request);
    entry.path = Some(request.uri().path().to_owned());
    entry.fail(error)
}

/// A call that panics answers 500; its connection and all others go on.
async fn catch_panic<T>(call: impl Future<Output = Result<T, ErrorResponse>>) -> Result<T, ErrorResponse> {
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a call panicked; the panic message on standard error names the place");
        Err(ProxyError::Internal.into())
    })
}
