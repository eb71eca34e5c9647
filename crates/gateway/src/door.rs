//! The doors: the proxy, and the aliases.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use hyper::upgrade::OnUpgrade;

use crate::alias::AliasOf;
use crate::envelope;
use crate::fault::{Fault, Refusal};
use crate::gateway::Gate;
use crate::headers;
use crate::journal::Entry;
use crate::kept::Kept;
use crate::phases::{self, Errand};

/// What stands before the name of the connection.
pub(crate) const PROXY: &str = "/api/v1/proxy/";

/// An alias and the gate that it calls through.
pub(crate) struct AliasDoor {
    pub(crate) gate: Arc<Gate>,
    pub(crate) alias: AliasOf,
}

/// `ANY /api/v1/proxy/{connection}/{path}`: the call as it is, with the token put in.
pub(crate) async fn proxied(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let chunked = is_chunked(&request);
    let answer = caught(async {
        let rest = request.uri().path().strip_prefix(PROXY).unwrap_or_default();
        // The path goes on as it was sent, not as a router may have understood it.
        let (name, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let (name, path) = (name.to_owned(), path.to_owned());
        call(&gate, name, path, request, false).await
    });
    closed(answer.await.unwrap_or_else(Refusal::into_response), chunked)
}

/// A path that stands for a call.
pub(crate) async fn aliased(State(door): State<Arc<AliasDoor>>, request: Request) -> Response {
    let chunked = is_chunked(&request);
    let AliasOf { connection, alias } = &door.alias;
    let answer = caught(async {
        let method = alias.method().as_str();
        if request.method().as_str() != method {
            return Err(refused(request.method(), Fault::AliasMethod(method)));
        }
        let path = alias.resolve(request.uri().path());
        let Some(path) = path else {
            return Err(refused(request.method(), Fault::Target("it is none that this alias answers")));
        };
        call(&door.gate, connection.to_string(), path, request, alias.envelope().is_some()).await
    });
    let answer = answer.await;
    let response = match alias.envelope() {
        None => answer.unwrap_or_else(Refusal::into_response),
        Some(message) => {
            let defined = door.gate.vault.definition(connection.as_str());
            let title = defined.map_or("The API", |definition| definition.provider().title());
            envelope::wrap(answer, title, message).await
        }
    };
    closed(response, chunked)
}

async fn call(
    gate: &Gate,
    connection: String,
    path: String,
    request: Request,
    is_read: bool,
) -> Result<Response, Refusal> {
    let (mut head, body) = request.into_parts();
    let entry = Entry::new(head.method.clone());
    let cleared = match headers::clear(&head) {
        Ok(cleared) => cleared,
        Err(fault) => return Err(noted(entry, fault)),
    };
    let body = Kept::new(
        Body::new(body),
        gate.settings.replay_body,
        Arc::clone(&gate.room),
        Arc::clone(&entry.received),
    );
    let errand = Errand {
        connection,
        method: head.method,
        path,
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        cleared,
        body,
        upgrade: head.extensions.remove::<OnUpgrade>(),
        is_read,
    };
    phases::run(gate, errand, entry).await
}

/// A refusal before there is a call, with its line in the log.
fn refused(method: &http::Method, fault: Fault) -> Refusal {
    noted(Entry::new(method.clone()), fault)
}

fn noted(mut entry: Entry, fault: Fault) -> Refusal {
    let refusal = Refusal::from(fault);
    entry.status = Some(refusal.status());
    entry.error = Some(refusal.0.code);
    entry.whole = true;
    refusal
}

/// A call that panics answers 500; its connection and all others go on.
async fn caught(call: impl Future<Output = Result<Response, Refusal>>) -> Result<Response, Refusal> {
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a call met a defect; the panic message on standard error says where");
        Err(Fault::Defect.into())
    })
}

fn is_chunked(request: &Request) -> bool {
    request.headers().contains_key(http::header::TRANSFER_ENCODING)
}

/// Ends the connection of a request that came in chunks: it may have had a `Content-Length` too, which HTTP took off
/// before we could see it, and a server before us may have believed that one. What follows is then no request of anybody
/// (RFC 9112, section 6.1).
fn closed(mut response: Response, chunked: bool) -> Response {
    if chunked && response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    }
    response
}
