//! A middleware for `reqwest`, by way of `reqwest-middleware`.
//!
//! It adds the token of a connection to each request. When the API rejects the token (by a 401, or another status that the
//! provider file names), the layer gets another one, with at most one refresh for all callers, and repeats the request once
//! with the same headers and the same body. A request whose body is a stream cannot be repeated: the token is refreshed, and
//! the caller gets the rejection. The middleware reads the status of an answer and not its body.
//!
//! The client follows no redirect, for a redirect could carry the token to any host. You get the redirect as the answer, and
//! the next call is checked like the first: it goes to the provider's hosts, or is not sent. Where the provider takes its
//! token in the query, neither errors nor [`Response::url`] show it: they have the URL that you wrote.
//!
//! ```
//! use jeton::reqwest::Auth;
//! use jeton::{Connection, Vault};
//! # use jeton_emulator::{Emulator, Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! # let provider = Emulator::start(Settings::default()).await?;
//! # let acme = Connection::at("oauth2")
//! #     .var("token_url", provider.token_url())
//! #     .var("api_base", provider.api_base())
//! #     .client("emulated", "emulated-secret");
//! # let vault = Vault::in_memory().connection("acme", acme).open().await?;
//! # vault.connect("acme", provider.mint(1).remove(0)).await?;
//! let client = Auth::new(vault.clone(), "acme").client(reqwest::Client::builder())?;
//!
//! let reply = client.get(format!("{}/account", provider.api_base())).send().await?;
//! assert_eq!(reply.status(), 200);
//! # vault.close().await;
//! # Ok(())
//! # })
//! # }
//! ```

use std::fmt;
use std::sync::Arc;

use ::reqwest::redirect::Policy;
use ::reqwest::{Body, Request, Response, ResponseBuilderExt as _};
use async_trait::async_trait;
use http::Extensions;
use jeton_keeper::Call;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next, Result};
use url::Url;

pub use crate::inject::NotSent;
use crate::inject::TokenInjector;
use crate::vault::Vault;

/// Makes clients whose requests carry the token of one connection.
#[derive(Clone)]
pub struct Auth {
    injector: TokenInjector,
    around: Vec<Arc<dyn Middleware>>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("injector", &self.injector).finish_non_exhaustive()
    }
}

impl Auth {
    /// For the connection `name`, which must name the base URL of its API, for tokens go to the provider's hosts alone.
    pub fn new(vault: Vault, name: impl Into<String>) -> Self {
        Self { injector: TokenInjector::new(vault, name.into()), around: Vec::new() }
    }

    /// Allows tokens to go to this host too, such as `sheets.googleapis.com`, or `*.example.com` for all hosts below it; on
    /// port 443, or on another as in `api.example.com:8443`.
    #[must_use]
    pub fn also_at(mut self, host: &str) -> Self {
        self.injector.also_at(host);
        self
    }

    /// Adds a middleware around this one, such as one that retries: each of its attempts then carries a live token. The first
    /// one that is added is the outermost.
    #[must_use]
    pub fn around(mut self, middleware: impl Middleware) -> Self {
        self.around.push(Arc::new(middleware));
        self
    }

    /// The client that `builder` makes, with tokens and without redirects.
    ///
    /// # Errors
    /// Those of [`reqwest::ClientBuilder::build`](::reqwest::ClientBuilder::build).
    pub fn client(self, builder: ::reqwest::ClientBuilder) -> ::reqwest::Result<ClientWithMiddleware> {
        let client = ClientBuilder::new(builder.redirect(Policy::none()).build()?);
        let client = self.around.into_iter().fold(client, ClientBuilder::with_arc);
        Ok(client.with(AuthMiddleware(self.injector)).build())
    }
}

/// Adds the token to each request. It is used with clients that follow no redirect, and with no others.
struct AuthMiddleware(TokenInjector);

impl AuthMiddleware {
    /// Sends a request with the token. Where that goes into the URL, what comes back has the URL that the caller wrote.
    async fn send(
        &self,
        call: &Call,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let url = request.url().clone();
        let Some(carrying) = self.0.inject(call, &url, request.headers_mut()).map_err(Error::middleware)?
        else {
            return next.run(request, extensions).await;
        };
        *request.url_mut() = carrying;
        match next.run(request, extensions).await {
            Ok(reply) => with_url(reply, url),
            Err(error) => Err(error.with_url(url)),
        }
    }
}

fn with_url(reply: Response, url: Url) -> Result<Response> {
    let (parts, body) = http::Response::<Body>::from(reply).into_parts();
    let mut built = http::Response::builder().url(url).body(body).map_err(Error::middleware)?;
    *built.status_mut() = parts.status;
    *built.version_mut() = parts.version;
    *built.headers_mut() = parts.headers;
    built.extensions_mut().extend(parts.extensions);
    Ok(built.into())
}

#[async_trait]
impl Middleware for AuthMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let call = self.0.token().await.map_err(Error::middleware)?;
        let again = request.try_clone();
        let reply = self.send(&call, request, extensions, next.clone()).await?;
        if !self.0.is_rejected(&call, reply.status()) {
            return Ok(reply);
        }
        let Some(call) = self.0.replace(&call).await else { return Ok(reply) };
        let Some(again) = again else {
            tracing::debug!("the token is new, and the request is not repeated: its body is a stream");
            return Ok(reply);
        };
        let reply = self.send(&call, again, extensions, next).await?;
        // There is one retry and no more: the caller gets this answer, even if it is a rejection.
        self.0.is_rejected(&call, reply.status());
        Ok(reply)
    }
}
