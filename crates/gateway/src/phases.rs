//! What goes upstream: the phases of a call, in their order. [`run`] is the order; each phase is a function.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper::upgrade::OnUpgrade;
use jeton_core::access::Permission;
use jeton_core::keep::provider::Definition;
use jeton_issuer::{AccessError, Caller};
use jeton_keeper::{ApiVerdict, Call, TokenError, TokenRequest};
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use crate::fault::{Fault, Refusal};
use crate::gateway::Gate;
use crate::headers::{self, Cleared};
use crate::journal::Entry;
use crate::kept::Kept;
use crate::reply::{Over, Reply};
use crate::tunnel::Tunnel;
use crate::upstream::Load;
use crate::{echoed, injected, target};

/// Why a call whose token expired was not repeated.
const BODY_TOO_LARGE: &str = "body-too-large";

/// A call that somebody wants to be made.
pub(crate) struct Errand {
    pub(crate) connection: String,
    pub(crate) method: Method,
    /// Below the base of the API, as it was sent.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// The head as the caller sent it, for who the caller is.
    pub(crate) headers: HeaderMap,
    /// The head as it goes on.
    pub(crate) cleared: Cleared,
    pub(crate) body: Kept,
    pub(crate) upgrade: Option<OnUpgrade>,
    /// The answer is read on the way, and must not be compressed.
    pub(crate) is_read: bool,
}

/// Makes a call: authenticate, select, take, inject, forward, and once more after a cure.
pub(crate) async fn run(gate: &Gate, mut errand: Errand, mut entry: Entry) -> Result<Response, Refusal> {
    let ended = attempt(gate, &mut errand, &mut entry).await;
    match ended {
        Ok(Passed { reply, over, as_what: As::Answer(not_retried) }) => {
            Ok(reply.pass(entry, gate.settings.idle_timeout, not_retried, over))
        }
        Ok(Passed { reply, over, as_what: As::Tunnel(to, permit) }) => {
            Ok(upgrade(gate, reply, Tunnel { to, over, _permit: permit }, entry))
        }
        Err(refusal) => {
            entry.status = Some(refusal.status());
            entry.error = Some(refusal.0.code);
            entry.whole = true;
            Err(refusal)
        }
    }
}

/// What is passed on, and until when.
struct Passed {
    reply: Reply,
    over: Over,
    as_what: As,
}

enum As {
    /// An answer, and why the call was not made again.
    Answer(Option<&'static str>),
    /// The connection of the caller, which is no longer HTTP.
    Tunnel(OnUpgrade, OwnedSemaphorePermit),
}

/// Ends once the caller would not be let in any more: what began before must not go on for good.
fn over(gate: &Gate, caller: Caller) -> Over {
    let access = gate.access.clone();
    async move { access.ended(&caller).await }.boxed().shared()
}

async fn attempt(gate: &Gate, errand: &mut Errand, entry: &mut Entry) -> Result<Passed, Refusal> {
    let caller = authenticate(gate, &errand.headers).await?;
    entry.service = Some(caller.service().to_string());
    let definition = select(gate, &caller, errand)?;
    entry.connection = Some(errand.connection.clone());
    entry.path = Some(errand.path.clone());
    if let Some(wait) = gate.rates.wait(&errand.connection) {
        return Err(Fault::RateLimited(wait).into());
    }
    if definition.api_reads_bodies() || errand.is_read {
        headers::ask_uncompressed(&mut errand.cleared.headers);
    }
    let permit = errand.cleared.upgrade.as_ref().map(|_| room_for_a_tunnel(gate)).transpose()?;
    let mut call = take(gate, &caller, &errand.connection).await?;
    let mut over = over(gate, caller.clone());
    errand.body.end_with(over.clone());
    let mut reply = forward(gate, errand, &call, &mut over).await?;
    let mut not_retried = None;
    let mut refused = is_refused(gate, errand, &call, &mut reply).await?;
    if refused && let Some(cured) = cure(gate, &caller, &errand.connection, &call).await? {
        if errand.body.can_repeat() {
            entry.retried = true;
            drop(reply);
            call = cured;
            reply = forward(gate, errand, &call, &mut over).await?;
            refused = is_refused(gate, errand, &call, &mut reply).await?;
        } else {
            not_retried = Some(BODY_TOO_LARGE);
        }
    }
    if !refused && is_taken(reply.head.status) {
        gate.vault.note_verdict(&errand.connection, &call, ApiVerdict::Accepted);
    }
    if let Some(wait) = reply.asks_to_wait(gate.clock.now()) {
        gate.rates.remember(&errand.connection, wait);
    }
    echoed::hide(&mut reply.head.headers, &call);
    if reply.head.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Passed { reply, over, as_what: As::Answer(not_retried) });
    }
    let unasked = || Fault::Broken("it switches to a protocol that nobody asked for".to_owned());
    let (to, permit) = errand.upgrade.take().zip(permit).ok_or_else(unasked)?;
    Ok(Passed { reply, over, as_what: As::Tunnel(to, permit) })
}

/// Room for one more upgraded connection, before the API opens its side.
fn room_for_a_tunnel(gate: &Gate) -> Result<OwnedSemaphorePermit, Fault> {
    Arc::clone(&gate.tunnels).try_acquire_owned().map_err(|_| Fault::TooManyTunnels)
}

/// Whether the API says that it does not accept the token of this call.
async fn is_refused(gate: &Gate, errand: &Errand, call: &Call, reply: &mut Reply) -> Result<bool, Refusal> {
    let definition = gate.vault.definition(&errand.connection)?;
    let refused = reply.says_expired(definition, gate.settings.idle_timeout).await?;
    if refused {
        gate.vault.note_verdict(&errand.connection, call, ApiVerdict::Refused);
    }
    Ok(refused)
}

/// Whether an answer of this status shows that the token was accepted.
fn is_taken(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS
}

/// Who calls?
pub(crate) async fn authenticate(gate: &Gate, headers: &HeaderMap) -> Result<Caller, Refusal> {
    Ok(gate.access.admit(headers).await?)
}

/// Which connection, and may the caller call that with it?
fn select<'g>(gate: &'g Gate, caller: &Caller, errand: &Errand) -> Result<&'g Definition, Refusal> {
    let name = errand.connection.as_str();
    let definition = gate.vault.definition(name).map_err(|error| match error {
        // Names that the caller may not know of are not told.
        TokenError::UnknownConnection { name, .. } => {
            let names = gate.vault.names();
            let near = caller.near(&name, names.iter().map(jeton_core::id::ConnectionName::as_str));
            TokenError::UnknownConnection { name, near }
        }
        other => other,
    })?;
    target::check(&errand.path).map_err(Fault::Target)?;
    let (method, path) = (errand.method.as_str(), errand.path.as_str());
    caller.require(&Permission::Proxy { connection: name, method, path })?;
    Ok(definition)
}

/// A living token, and where to go with it.
async fn take(gate: &Gate, caller: &Caller, name: &str) -> Result<Call, Refusal> {
    match gate.vault.call(name, TokenRequest::default()).await {
        Ok(call) => Ok(call),
        Err(error) => Err(gate.without_token(caller, error).await),
    }
}

/// Puts the token in, sends the call, and waits for the head of the answer, unless it is over with the caller first: a body
/// may be as endless as an answer.
async fn forward(gate: &Gate, errand: &Errand, call: &Call, over: &mut Over) -> Result<Reply, Refusal> {
    let head = inject(errand, call)?;
    let load = load(gate, errand, call).await?;
    let whole_length = load.whole.as_ref().map(bytes::Bytes::len);
    let make = |body: Body| {
        let mut request = Request::new(body);
        *request.method_mut() = errand.method.clone();
        *request.uri_mut() = head.target.clone();
        *request.headers_mut() = head.headers.clone();
        if let Some(length) = whole_length {
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        } else if errand.cleared.chunked {
            request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        request
    };
    tokio::select! {
        // The body ends with it, too: then that is what the caller is told.
        biased;
        () = over => Err(AccessError::Invalid.into()),
        answer = gate.upstreams.send(&errand.connection, &call.base, &load, &make) => Ok(answer?.into()),
    }
}

/// The head of a call.
struct Head {
    target: Uri,
    headers: HeaderMap,
}

fn inject(errand: &Errand, call: &Call) -> Result<Head, Refusal> {
    let mut headers = errand.cleared.headers.clone();
    injected::into_headers(&mut headers, &call.injections)?;
    let host = HeaderValue::from_str(&authority(&call.base.url));
    headers.insert(header::HOST, host.map_err(|_| Fault::Target("the base of the API has no usable host"))?);
    if let Some(protocol) = &errand.cleared.upgrade {
        headers::ask_upgrade(&mut headers, protocol);
    }
    // The path is joined as text: nothing in it is read as a URL, so that nothing in it can change the host.
    let mut target = call.base.url.path().trim_end_matches('/').to_owned();
    target.push_str(&errand.path);
    if let Some(query) = injected::into_query(errand.query.as_deref(), &call.injections) {
        target.push('?');
        target.push_str(&query);
    }
    let target = target.parse::<Uri>().ok().filter(|uri| uri.scheme().is_none() && uri.authority().is_none());
    let target = target.ok_or(Fault::Target("it does not make a URL with the base of the API"))?;
    Ok(Head { target, headers })
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The body of a call: streamed, but where the token travels in it.
async fn load(gate: &Gate, errand: &Errand, call: &Call) -> Result<Load, Refusal> {
    let kept = errand.body.clone();
    if !injected::in_body(&call.injections) {
        return Ok(Load { kept, whole: None });
    }
    let limit = gate.settings.replay_body;
    let idle = gate.settings.idle_timeout;
    let read = tokio::time::timeout(idle, kept.whole()).await.map_err(|_| Fault::BodyTooSlow(idle))?;
    let body = read.map_err(|_| Fault::BodyBroken)?.ok_or(Fault::BodyTooLarge { limit })?;
    let whole = injected::into_body(&body, &errand.cleared.headers, &call.injections)?;
    Ok(Load { kept, whole: Some(whole) })
}

/// The API refused the token: compares it with the one that is stored, and refreshes where it is the same. `None` where
/// refreshing did not help a moment ago: then the API's own answer passes through.
async fn cure(gate: &Gate, caller: &Caller, name: &str, refused: &Call) -> Result<Option<Call>, Refusal> {
    match gate.vault.replace_refused(name, refused, TokenRequest::default()).await {
        Ok(call) => Ok(Some(call)),
        Err(TokenError::RejectedAgain { .. }) => Ok(None),
        Err(error) => Err(gate.without_token(caller, error).await),
    }
}

/// Passes an upgrade on: the answer now, and the bytes in a task of its own.
fn upgrade(gate: &Gate, reply: Reply, tunnel: Tunnel, mut entry: Entry) -> Response {
    let mut answer = reply.into_upgrade();
    let api = hyper::upgrade::on(&mut answer);
    let (mut head, _) = answer.into_parts();
    let protocol = head.headers.get(header::UPGRADE).cloned();
    headers::clear_answer(&mut head);
    if let Some(protocol) = protocol {
        headers::ask_upgrade(&mut head.headers, &protocol);
    }
    entry.status = Some(head.status);
    let (idle, closing) = (gate.settings.tunnel_idle_timeout, gate.closing.clone());
    gate.tasks.spawn(async move { tunnel.carry(api, idle, closing, entry).await });
    Response::from_parts(head, Body::empty())
}
