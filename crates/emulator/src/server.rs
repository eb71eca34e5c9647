//! Listening, and which path answers what.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::endpoint::{self, Exchange};
use crate::provider_server::{self, ProviderServer};
use crate::reply::{Cut, ReplyBody, error, json};
use crate::request;
use crate::settings::Settings;
use crate::socket::{Delivery, Socket};
use crate::state::SharedState;

/// Everything a running server shares.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) settings: Arc<Settings>,
    pub(crate) shared: Arc<SharedState>,
    pub(crate) provider: Option<Arc<ProviderServer>>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Server {
    /// Accepts connections for ever; the port is closed with this future.
    pub(crate) async fn listen(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.connection(stream),
                Err(error) => tracing::warn!(%error, "the emulator could not accept a connection"),
            }
        }
    }

    fn connection(&self, stream: TcpStream) {
        let stream = Arc::new(stream);
        let delivery = Arc::new(Delivery::new(Arc::clone(&self.shared)));
        let socket = Socket::new(Arc::clone(&stream), Arc::clone(&delivery));
        let exchange = Arc::new(Exchange {
            shared: Arc::clone(&self.shared),
            settings: Arc::clone(&self.settings),
            stream,
            delivery,
        });
        let (stop, provider) = (self.stop.clone(), self.provider.clone());
        self.tasks.spawn(async move {
            let service = service_fn(|request| {
                let (exchange, provider) = (Arc::clone(&exchange), provider.clone());
                async move {
                    match &provider {
                        Some(provider) => provider_server::answer(&exchange, provider, request).await,
                        None => route(&exchange, request).await,
                    }
                }
            });
            // A client that has closed its half is still served: it may only be impatient, and its token is spent.
            let mut builder = http1::Builder::new();
            let connection =
                builder.timer(TokioTimer::new()).half_close(true).serve_connection(socket, service);
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to the emulator ended early");
                },
            }
        });
    }
}

async fn route(exchange: &Exchange, request: Request<Incoming>) -> Result<Response<ReplyBody>, Cut> {
    let path = request.uri().path();
    match (request.method(), path) {
        (&Method::POST, "/token") => endpoint::token(exchange, request).await,
        (&Method::POST, "/revoke") => Ok(revoke(exchange, request).await.unwrap_or_else(|refusal| refusal)),
        (&Method::POST, "/introspect") => {
            Ok(introspect(exchange, request).await.unwrap_or_else(|refusal| refusal))
        }
        (_, "/token" | "/revoke" | "/introspect") => {
            let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "use POST");
            reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            Ok(reply)
        }
        (_, path) if path == "/api" || path.starts_with("/api/") => Ok(resource(exchange, &request)),
        _ => Ok(error(
            StatusCode::NOT_FOUND,
            "not_found",
            "there are /token, /revoke, /introspect and /api/* here",
        )),
    }
}

/// Revocation (RFC 7009): an unknown token is no error; revoking a refresh token ends its grant.
async fn revoke(
    exchange: &Exchange,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Response<ReplyBody>> {
    let token = token_of_the_client(exchange, request).await?;
    let mut state = exchange.shared.lock();
    let ended = state.grants.revoke_refresh(&token) || state.grants.revoke_access(&token);
    state.stats.revocations += u64::from(ended);
    Ok(json(StatusCode::OK, &json!({})))
}

/// Introspection of access tokens (RFC 7662): one that is not good is not active, and nothing more is said.
async fn introspect(
    exchange: &Exchange,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Response<ReplyBody>> {
    let token = token_of_the_client(exchange, request).await?;
    let now = exchange.shared.now();
    let state = exchange.shared.lock();
    let said = match state.grants.good_until(&token, now) {
        Some(until) => json!({ "active": true, "exp": until.as_secs(), "token_type": "Bearer" }),
        None => json!({ "active": false }),
    };
    Ok(json(StatusCode::OK, &said))
}

/// The token that the client of this server asks about.
async fn token_of_the_client(
    exchange: &Exchange,
    request: Request<Incoming>,
) -> Result<String, Response<ReplyBody>> {
    let form = request::read_form(request)
        .await
        .map_err(|why| error(StatusCode::BAD_REQUEST, "invalid_request", why))?;
    if !form.client_is(&exchange.settings) {
        return Err(endpoint::invalid_client());
    }
    let token = form.field("token").map(ToOwned::to_owned);
    token.ok_or_else(|| error(StatusCode::BAD_REQUEST, "invalid_request", "token is missing"))
}

/// The protected resource (RFC 6750): says what was asked when the bearer token lives.
fn resource(exchange: &Exchange, request: &Request<Incoming>) -> Response<ReplyBody> {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer =
        bearer.and_then(|text| text.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    let now = exchange.shared.now();
    let mut state = exchange.shared.lock();
    if bearer.is_some_and(|(_, token)| state.grants.accepts(token.trim(), now)) {
        state.stats.api_ok += 1;
        let said = json!({ "ok": true, "method": request.method().as_str(), "path": request.uri().path() });
        return json(StatusCode::OK, &said);
    }
    state.stats.api_401 += 1;
    let mut reply =
        error(StatusCode::UNAUTHORIZED, "invalid_token", "the access token is missing, expired or revoked");
    // Without credentials the challenge names no error (RFC 6750, section 3.1).
    let challenge = if bearer.is_some() { "Bearer error=\"invalid_token\"" } else { "Bearer" };
    reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    reply
}
