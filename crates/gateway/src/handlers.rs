//! The HTTP handlers: the proxy, and the aliases.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, StatusCode, header};
use jeton_core::access::Permission;
use jeton_server::{ClientAddress, REQUEST_ID, RequestId, unknown_connection};

use crate::access_log::AccessLogEntry;
use crate::alias::ConnectionAlias;
use crate::cors::AllowedOrigin;
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
    let answer = catch_panic(call(&state, name, path, request, false)).await;
    finish(answer.unwrap_or_else(ErrorResponse::into_response), id.as_ref(), origin.as_ref())
}

/// The path of an alias: forwards the call that the alias stands for.
pub(crate) async fn alias(State(route): State<Arc<AliasRoute>>, mut request: Request) -> Response {
    let ConnectionAlias { connection, alias } = &route.alias;
    let method = alias.method().as_str();
    let allowed = allowed_methods(method);
    let origin =
        AllowedOrigin::of(request.headers(), &route.state.settings.of(connection.as_str()).allowed_origins);
    if request.method() == Method::OPTIONS {
        let methods = Some(HeaderValue::from_static(allowed));
        let preflight =
            origin.as_ref().and_then(|origin| origin.preflight(request.method(), request.headers(), methods));
        let options = || ([(header::ALLOW, allowed)], Body::empty()).into_response();
        return preflight.unwrap_or_else(options);
    }
    let id = RequestId::of(request.extensions()).cloned();
    // HTTP leaves the body of the answer out.
    if request.method() == Method::HEAD && method == Method::GET.as_str() {
        *request.method_mut() = Method::GET;
    }
    let answer = catch_panic(async {
        if request.method().as_str() != method {
            return Err(reject(request.method(), ProxyError::AliasMethod { method, allowed }));
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
    reads_answer: bool,
) -> Result<Response, ErrorResponse> {
    let (head, body) = request.into_parts();
    let mut entry = AccessLogEntry::new(head.method.clone());
    entry.client = ClientAddress::of(&head.extensions);
    entry.request_id = RequestId::of(&head.extensions).cloned();
    let limit = state.settings.of(&connection).replay_body;
    let (budget, received) = (Arc::clone(&state.replay_budget), Arc::clone(&entry.received));
    let body = ReplayBody::new(Body::new(body), limit, budget, received);
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
