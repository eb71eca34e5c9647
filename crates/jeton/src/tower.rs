//! A layer for services that send [`http::Request`]s, such as clients of hyper.
//!
//! It adds the token of a connection to each request. When the API rejects the token (by a 401, or another status that the
//! provider file names), the layer gets another one, with at most one refresh for all callers, and repeats the request once
//! with the same headers and the same body.
//!
//! A body has to be `Clone`, so that a request can be repeated: `Full<Bytes>`, `Empty` and `String` are, a stream is not. The
//! layer reads the status of an answer and not its body. The few providers that report an expired token in the body alone need
//! the gateway of a `jeton` server.
//!
//! A layer that follows redirects belongs around this one, never inside: then each redirected call is checked again, and
//! tokens go to the provider's hosts alone. Inside, a redirect would carry the token to any host.
//!
//! ```
//! use http_body_util::Full;
//! use hyper_util::client::legacy::Client;
//! use hyper_util::rt::TokioExecutor;
//! use jeton::tower::AuthLayer;
//! use jeton::{Connection, Vault};
//! use tower_layer::Layer as _;
//! use tower_service::Service as _;
//! # use bytes::Bytes;
//! # use jeton_emulator::{Emulator, Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! # let provider = Emulator::start(Settings::default()).await?;
//! # let acme = Connection::at("oauth2")
//! #     .var("token_url", provider.token_url())
//! #     .var("api_base", provider.api_base())
//! #     .client("emulated", "emulated-secret");
//! # let vault = Vault::in_memory().connection("acme", acme).open().await?;
//! # vault.connect("acme", provider.mint(1).remove(0)).await?;
//! let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
//! let mut client = AuthLayer::new(vault.clone(), "acme").layer(client);
//!
//! let request = http::Request::get(format!("{}/account", provider.api_base())).body(Full::default())?;
//! let reply = client.call(request).await?;
//! assert_eq!(reply.status(), 200);
//! # vault.close().await;
//! # Ok(())
//! # })
//! # }
//! ```

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use jeton_keeper::Call;
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

pub use crate::inject::NotSent;
use crate::inject::TokenInjector;
use crate::vault::Vault;

/// An error of the inner service, or [`NotSent`].
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Adds the token of one connection to each request.
#[derive(Clone, Debug)]
pub struct AuthLayer {
    injector: TokenInjector,
}

impl AuthLayer {
    /// A layer that adds the token of the connection `name`. The connection must name the base URL of its API, for tokens go
    /// to the provider's hosts alone.
    pub fn new(vault: Vault, name: impl Into<String>) -> Self {
        Self { injector: TokenInjector::new(vault, name.into()) }
    }

    /// Allows tokens to go to this host too, such as `sheets.googleapis.com`, or `*.example.com` for all hosts below it; on
    /// port 443, or on another as in `api.example.com:8443`.
    #[must_use]
    pub fn also_at(mut self, host: &str) -> Self {
        self.injector.also_at(host);
        self
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized { inner, injector: self.injector.clone() }
    }
}

/// A service that adds a token to its requests; made by [`AuthLayer`].
#[derive(Clone, Debug)]
pub struct Authorized<S> {
    inner: S,
    injector: TokenInjector,
}

impl<S, B, R> Service<Request<B>> for Authorized<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Clone + Send + 'static,
    R: Send,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that was polled ready handles this request; its clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let injector = self.injector.clone();
        Box::pin(async move {
            let call = injector.token().await?;
            let reply =
                inner.call(with_token(&injector, &call, request.clone())?).await.map_err(Into::into)?;
            if !injector.is_rejected(&call, reply.status()) {
                return Ok(reply);
            }
            let Some(call) = injector.replace(&call).await else { return Ok(reply) };
            // The rejection is dropped unread, which releases its connection.
            drop(reply);
            poll_fn(|cx| inner.poll_ready(cx)).await.map_err(Into::into)?;
            let reply = inner.call(with_token(&injector, &call, request)?).await.map_err(Into::into)?;
            // There is one retry and no more: the caller gets this answer, even if it is a rejection.
            injector.is_rejected(&call, reply.status());
            Ok(reply)
        })
    }
}

fn with_token<B>(
    injector: &TokenInjector,
    call: &Call,
    mut request: Request<B>,
) -> Result<Request<B>, BoxError> {
    let url = Url::parse(&request.uri().to_string())
        .map_err(|error| format!("the request needs a whole URL, with scheme and host: {error}"))?;
    if let Some(url) = injector.inject(call, &url, request.headers_mut())? {
        *request.uri_mut() = Uri::try_from(url.as_str())?;
    }
    Ok(request)
}
