//! A layer for services that send [`http::Request`]s: clients of hyper, and all that is built of `tower`.
//!
//! It adds the token of a connection to each request. When the reply says that the token is not accepted (a 401, or
//! another status that the provider names), it asks the vault for another one, which refreshes at most once for all who
//! ask, and repeats the request once, with the same headers and the same body.
//!
//! A request can be repeated because its body can be cloned: `Full<Bytes>`, `Empty` and `String` can, a stream cannot
//! and is not accepted. Replies are judged by their status alone: the few providers that tell only in the body of a reply
//! that a token died need the gateway of a `jeton` server.
//!
//! What follows redirects belongs around this layer, never inside: each call that is led on is then held to the rule that
//! tokens go to the provider's hosts alone. Inside it, a redirect would carry the token wherever the reply leads.
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

use crate::call::Caller;
pub use crate::call::NotSent;
use crate::vault::Vault;

/// What a service behind the layer answers when it does not answer with a reply: its own error, or [`NotSent`].
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Adds the token of one connection to each request.
#[derive(Clone, Debug)]
pub struct AuthLayer {
    caller: Caller,
}

impl AuthLayer {
    /// A layer that adds the token of the connection `name`. The connection must say where its API is: tokens go to the
    /// provider's hosts alone.
    pub fn new(vault: Vault, name: impl Into<String>) -> Self {
        Self { caller: Caller::new(vault, name.into()) }
    }

    /// The provider's API is at this host too, such as `sheets.googleapis.com`, or `*.example.com` for all below it; on the
    /// usual port, or on that of `api.example.com:8443`.
    #[must_use]
    pub fn also_at(mut self, host: &str) -> Self {
        self.caller.also_at(host);
        self
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized { inner, caller: self.caller.clone() }
    }
}

/// A service whose requests carry a token; made by [`AuthLayer`].
#[derive(Clone, Debug)]
pub struct Authorized<S> {
    inner: S,
    caller: Caller,
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
        // The one that was found ready goes along, and its clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let caller = self.caller.clone();
        Box::pin(async move {
            let call = caller.call().await?;
            let reply = inner.call(carrying(&caller, &call, request.clone())?).await.map_err(Into::into)?;
            if !caller.is_refusal(&call, reply.status()) {
                return Ok(reply);
            }
            let Some(call) = caller.call_again(&call).await else { return Ok(reply) };
            // The refusal is dropped unread, which gives its connection back or closes it.
            drop(reply);
            poll_fn(|cx| inner.poll_ready(cx)).await.map_err(Into::into)?;
            let reply = inner.call(carrying(&caller, &call, request)?).await.map_err(Into::into)?;
            // However it was received, the caller gets it: there is one retry and no more.
            caller.is_refusal(&call, reply.status());
            Ok(reply)
        })
    }
}

fn carrying<B>(caller: &Caller, call: &Call, mut request: Request<B>) -> Result<Request<B>, BoxError> {
    let url = Url::parse(&request.uri().to_string())
        .map_err(|error| format!("the request needs a whole URL, with scheme and host ({error})"))?;
    if let Some(url) = caller.put(call, &url, request.headers_mut())? {
        *request.uri_mut() = Uri::try_from(url.as_str())?;
    }
    Ok(request)
}
