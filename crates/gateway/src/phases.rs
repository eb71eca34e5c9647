//! The phases of a call, in their order. [`run`] is the order; each phase is a function.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use futures_util::FutureExt as _;
use http::{StatusCode, header};
use hyper::upgrade::OnUpgrade;
use jeton_core::access::Permission;
use jeton_core::audit::Actor;
use jeton_core::keep::provider::{Definition, Rate, RateLimitReach};
use jeton_issuer::{AccessError, Caller};
use jeton_keeper::{ApiVerdict, Call, TokenError, TokenRequest};
use jeton_server::unknown_connection;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep_until;

use crate::access_log::AccessLogEntry;
use crate::error::{ErrorResponse, ProxyError};
use crate::proxy_request::ProxyRequest;
use crate::rate_limits::LimitedCall;
use crate::replay_body::AccessEnded;
use crate::response::{self, UpstreamResponse};
use crate::state::GatewayState;
use crate::trace_context::trace_id;
use crate::tunnel::Tunnel;
use crate::upstream_request::{self, UpstreamBody};
use crate::{alias_body, location, path_check, redact_response};

/// Why a call whose token expired was not repeated.
const BODY_TOO_LARGE: &str = "body-too-large";

/// What the API answered in the end.
struct Answered {
    caller: Caller,
    response: UpstreamResponse,
    access_ended: AccessEnded,
    /// Why the call was not repeated though its token had expired.
    not_retried: Option<&'static str>,
    /// The caller's connection, where the API switched protocols.
    upgrade: Option<(OnUpgrade, OwnedSemaphorePermit)>,
}

/// Makes a call, and writes its line in the access log once it is over; or gives the entry back, where the answer goes into an
/// envelope.
pub(crate) async fn run(
    state: &GatewayState,
    mut request: ProxyRequest,
    mut entry: AccessLogEntry,
) -> Result<(Response, Option<AccessLogEntry>), ErrorResponse> {
    match call(state, &mut request, &mut entry).await {
        Err(error) => Err(entry.fail(error)),
        Ok(Answered { response, access_ended, upgrade: Some((caller, permit)), .. }) => {
            let tunnel = Tunnel { caller, access_ended, _permit: permit };
            Ok((upgrade(state, response, tunnel, entry), None))
        }
        Ok(Answered { caller, response, access_ended, not_retried, .. }) => {
            let timeout = state.settings.of(&request.connection).idle_timeout;
            let (entry, rest) =
                if request.reads_answer() { (entry.silent(), Some(entry)) } else { (entry, None) };
            let mut response = response.into_response(entry, timeout, not_retried, access_ended);
            // The server keeps the connections of callers with a valid credential longest.
            response.extensions_mut().insert(caller);
            Ok((response, rest))
        }
    }
}

/// Authenticate, select, take, inject, forward; and forward once more where the token had expired.
async fn call(
    state: &GatewayState,
    request: &mut ProxyRequest,
    entry: &mut AccessLogEntry,
) -> Result<Answered, ErrorResponse> {
    let caller = authenticate(state, request).await?;
    entry.service = Some(caller.service().to_string());
    let definition = select(state, &caller, request)?;
    entry.connection = Some(request.connection.clone());
    let path = request.checked_path().to_owned();
    if request.alias.is_some() {
        entry.upstream = Some(path);
    } else {
        entry.path = Some(path);
    }
    if let Some(alias) = request.alias.clone().filter(|alias| alias.has_body_template()) {
        alias_body::replace(state, request, &alias).await?;
    }
    state.traces.continue_or_begin(&mut request.head.headers);
    entry.trace_id = trace_id(&request.head.headers).map(str::to_owned);
    if let Some(wait) = state.rate_limits.wait(limited_call(&caller, request)) {
        return Err(ProxyError::RateLimited(wait).into());
    }
    if definition.api_reads_bodies() || request.reads_answer() {
        request.ask_uncompressed();
    }
    let permit = request.head.upgrade_to.as_ref().map(|_| reserve_tunnel(state)).transpose()?;
    let mut token = take(state, &caller, &request.connection).await?;
    let mut access_ended = access_ended(state, caller.clone());
    request.body.abort_on(access_ended.clone());
    let rate = definition.api_rate();
    await_turn(state, &request.connection, rate).await?;
    let mut response = forward(state, request, &token, &mut access_ended).await?;
    let mut not_retried = None;
    let mut rejected = is_rejected(state, request, &token, &mut response).await?;
    if rejected && let Some(newer) = replace_token(state, &caller, &request.connection, &token).await? {
        if request.body.can_repeat() {
            entry.retried = true;
            drop(response);
            token = newer;
            await_turn(state, &request.connection, rate).await?;
            response = forward(state, request, &token, &mut access_ended).await?;
            rejected = is_rejected(state, request, &token, &mut response).await?;
        } else {
            not_retried = Some(BODY_TOO_LARGE);
        }
    }
    let status = response.head.status;
    if !rejected && (status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS) {
        state.vault.note_verdict(&request.connection, &token, ApiVerdict::Accepted);
    }
    if let Some(wait) = response.retry_after(state.clock.now()) {
        let calls = state.settings.of(&request.connection);
        let reach = calls.rate_limit_reach.or(definition.rate_limit_reach()).unwrap_or(RateLimitReach::Route);
        state.rate_limits.remember(limited_call(&caller, request), reach, wait.min(calls.max_retry_after));
    }
    redact_response::redact(&mut response.head.headers, &token);
    if response.head.headers.contains_key(header::LOCATION) {
        let target = upstream_request::target(request, &token)?;
        location::rewrite(&mut response.head.headers, &request.connection, &token.base.url, &target);
    }
    let mut upgrade = None;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let unasked = || ProxyError::Broken("it switches to a protocol that nobody asked for".to_owned());
        upgrade = Some(request.upgrade.take().zip(permit).ok_or_else(unasked)?);
    }
    Ok(Answered { caller, response, access_ended, not_retried, upgrade })
}

/// Who calls?
async fn authenticate(state: &GatewayState, request: &ProxyRequest) -> Result<Caller, ErrorResponse> {
    let headers = &request.caller_headers;
    state.access.authenticate(headers, request.client).await.map_err(|error| {
        // Clients of an alias with an envelope know no other answer, whichever header they send.
        let is_refused = matches!(error, AccessError::Missing | AccessError::Invalid);
        let old = request.reads_answer() && is_refused
            || state.settings.old_gateway && jeton_server::is_invalid_key(&error, headers);
        let response = ErrorResponse::from(error);
        if old { response.with_invalid_key() } else { response }
    })
}

/// Which connection, and may the caller make this call with it?
fn select<'g>(
    state: &'g GatewayState,
    caller: &Caller,
    request: &ProxyRequest,
) -> Result<&'g Definition, ErrorResponse> {
    let name = request.connection.as_str();
    let definition = state.vault.definition(name).ok().filter(|_| caller.may_see(name));
    let definition = definition.ok_or_else(|| unknown_connection(&state.vault, caller, name))?;
    let (method, path) = (request.method.as_str(), request.checked_path());
    path_check::check(path).map_err(ProxyError::Path)?;
    caller.require(&Permission::Proxy { connection: name, method, path })?;
    Ok(definition)
}

/// The call as far as a 429 concerns it.
fn limited_call<'c>(caller: &'c Caller, request: &'c ProxyRequest) -> LimitedCall<'c> {
    LimitedCall {
        connection: &request.connection,
        service: caller.service().as_str(),
        method: request.method.as_str(),
        path: request.checked_path(),
    }
}

/// Waits until the API takes one more call.
async fn await_turn(state: &GatewayState, connection: &str, rate: Option<Rate>) -> Result<(), ProxyError> {
    let Some(rate) = rate else { return Ok(()) };
    let longest = state.settings.of(connection).rate_wait;
    let turn = state.call_rates.reserve(connection, rate, longest).map_err(ProxyError::TooManyCalls)?;
    sleep_until(turn).await;
    Ok(())
}

/// A permit for one more upgraded connection, before the API opens its side.
fn reserve_tunnel(state: &GatewayState) -> Result<OwnedSemaphorePermit, ProxyError> {
    Arc::clone(&state.tunnels).try_acquire_owned().map_err(|_| ProxyError::TooManyTunnels)
}

/// Completes once the caller would not be admitted any more: a call that began before must not go on forever.
fn access_ended(state: &GatewayState, caller: Caller) -> AccessEnded {
    let access = state.access.clone();
    async move { access.wait_until_refused(&caller).await }.boxed().shared()
}

/// A token for this caller, whom the refresh log names where a refresh begins with it.
fn token_request(caller: &Caller) -> TokenRequest {
    TokenRequest { by: Some(Actor::Service(caller.service().clone())), ..TokenRequest::default() }
}

/// A live token, and where to send it.
async fn take(state: &GatewayState, caller: &Caller, name: &str) -> Result<Call, ErrorResponse> {
    match state.vault.call(name, token_request(caller)).await {
        Ok(token) => Ok(token),
        Err(error) => Err(state.no_token(caller, error).await),
    }
}

/// Injects the token, sends the call, and waits for the head of the answer, unless the caller's access ends first: a body
/// may be as endless as an answer.
async fn forward(
    state: &GatewayState,
    request: &ProxyRequest,
    token: &Call,
    access_ended: &mut AccessEnded,
) -> Result<UpstreamResponse, ErrorResponse> {
    let settings = state.settings.of(&request.connection);
    let body = UpstreamBody::new(request, token, settings.replay_body, settings.idle_timeout).await?;
    let head = upstream_request::head(request, token, &body)?;
    tokio::select! {
        // The end of access aborts the body, too; it comes first, for it is what the caller is told.
        biased;
        () = access_ended => Err(AccessError::Invalid.into()),
        sent = state.upstream.send(&request.connection, settings, &token.base, &head, &body) => {
            Ok(UpstreamResponse::new(sent?, &request.method)?)
        }
    }
}

/// Whether the API says that it does not accept the token of this call.
async fn is_rejected(
    state: &GatewayState,
    request: &ProxyRequest,
    token: &Call,
    response: &mut UpstreamResponse,
) -> Result<bool, ErrorResponse> {
    let definition = state.vault.definition(&request.connection)?;
    let rejected = response
        .reports_expired_token(definition, state.settings.of(&request.connection).idle_timeout)
        .await?;
    if rejected {
        state.vault.note_verdict(&request.connection, token, ApiVerdict::Refused);
    }
    Ok(rejected)
}

/// Another token in place of one that the API rejected: the stored one where it differs, else one from a refresh. `None`
/// where refreshing did not help a moment ago: then the caller gets the API's own answer.
async fn replace_token(
    state: &GatewayState,
    caller: &Caller,
    name: &str,
    rejected: &Call,
) -> Result<Option<Call>, ErrorResponse> {
    match state.vault.replace_refused(name, rejected, token_request(caller)).await {
        Ok(token) => Ok(Some(token)),
        Err(TokenError::RejectedAgain { .. }) => Ok(None),
        Err(error) => Err(state.no_token(caller, error).await),
    }
}

/// Passes an upgrade on: the answer now, and the bytes in a task of its own.
fn upgrade(
    state: &GatewayState,
    response: UpstreamResponse,
    tunnel: Tunnel,
    mut entry: AccessLogEntry,
) -> Response {
    let mut answer = response.into_upgrade();
    let api = hyper::upgrade::on(&mut answer);
    let (mut head, _) = answer.into_parts();
    let protocol = head.headers.get(header::UPGRADE).cloned();
    response::sanitize(&mut head);
    if let Some(protocol) = protocol {
        upstream_request::set_upgrade(&mut head.headers, &protocol);
    }
    entry.status = Some(head.status);
    let (idle, closing) = (state.settings.tunnel_idle_timeout, state.closing.clone());
    state.tasks.spawn(async move { tunnel.run(api, idle, closing, entry).await });
    Response::from_parts(head, Body::empty())
}
