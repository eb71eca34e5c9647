//! The body of the call that an alias stands for, in place of the caller's own.

use std::fmt::Write as _;

use axum::body::Body;
use http::{HeaderValue, header};
use jeton_core::keep::provider::{Alias, BodyValues};
use std::sync::Arc;
use tokio::time::timeout;

use crate::error::{ErrorResponse, ProxyError};
use crate::proxy_request::ProxyRequest;
use crate::replay_body::ReplayBody;
use crate::state::GatewayState;

/// The random bytes of a text that no other call has.
const UNIQUE: usize = 16;

/// Puts the body of the call in the place of the body of the request.
///
/// # Errors
/// The body does not arrive, or is not what the alias needs.
pub(crate) async fn replace(
    state: &GatewayState,
    request: &mut ProxyRequest,
    alias: &Alias,
) -> Result<(), ErrorResponse> {
    let settings = state.settings.of(&request.connection);
    let (limit, idle) = (settings.replay_body, settings.idle_timeout);
    let read = timeout(idle, request.body.read_whole()).await.map_err(|_| ProxyError::BodyTooSlow(idle))?;
    let sent = read.map_err(|_| ProxyError::BodyBroken)?.ok_or(ProxyError::AliasBodyTooLarge { limit })?;
    let made = alias.make_body(&sent, &BodyValues { now: state.clock.now(), unique: unique(state) })?;
    let headers = &mut request.head.headers;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(made.len()));
    headers.remove(header::CONTENT_ENCODING);
    request.head.chunked = false;
    let budget = Arc::clone(&state.replay_budget);
    request.body = ReplayBody::new(Body::from(made), usize::MAX, budget, Arc::default());
    Ok(())
}

fn unique(state: &GatewayState) -> String {
    let mut random = [0; UNIQUE];
    state.entropy.fill(&mut random);
    random.iter().fold(String::new(), |mut text, byte| {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
