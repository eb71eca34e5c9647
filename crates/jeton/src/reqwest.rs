//! A middleware for `reqwest`, by way of `reqwest-middleware`.
//!
//! It adds the token of a connection to each request. When the reply says that the token is not accepted (a 401, or
//! another status that the provider names), it asks the vault for another one, which refreshes at most once for all who
//! ask, and repeats the request once, with the same headers and the same body. A request whose body is a stream cannot
//! be repeated: the token is refreshed, and the caller gets the refusal. Replies are judged by their status alone.
//!
//! Put it innermost, after middlewares that retry: each of their attempts then carries a token that lives. `reqwest` takes
//! `Authorization` and cookies off before it follows a redirect to another host, but no other header: with a provider
//! that wants its token in a header of its own, build the client with `redirect::Policy::none()`.
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
//! let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
//!     .with(Auth::new(vault.clone(), "acme"))
//!     .build();
//!
//! let reply = client.get(format!("{}/account", provider.api_base())).send().await?;
//! assert_eq!(reply.status(), 200);
//! # vault.close().await;
//! # Ok(())
//! # })
//! # }
//! ```

use ::reqwest::{Request, Response};
use async_trait::async_trait;
use http::Extensions;
use jeton_keeper::Call;
use reqwest_middleware::{Error, Middleware, Next, Result};

use crate::call::Caller;
pub use crate::call::NotSent;
use crate::vault::Vault;

/// Adds the token of one connection to each request.
#[derive(Clone, Debug)]
pub struct Auth {
    caller: Caller,
}

impl Auth {
    /// A middleware that adds the token of the connection `name`. The connection must say where its API is: tokens go
    /// to the provider's hosts alone.
    pub fn new(vault: Vault, name: impl Into<String>) -> Self {
        Self { caller: Caller::new(vault, name.into()) }
    }

    /// The provider's API is at this host too, such as `sheets.googleapis.com`, or `*.example.com` for all below it.
    #[must_use]
    pub fn also_at(mut self, host: impl Into<String>) -> Self {
        self.caller.also_at(host.into());
        self
    }

    fn carrying(&self, call: &Call, mut request: Request) -> Result<Request> {
        let url = request.url().clone();
        let replaced = self.caller.put(call, &url, request.headers_mut()).map_err(Error::middleware)?;
        if let Some(url) = replaced {
            *request.url_mut() = url;
        }
        Ok(request)
    }
}

#[async_trait]
impl Middleware for Auth {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let call = self.caller.call().await.map_err(Error::middleware)?;
        let again = request.try_clone();
        let reply = next.clone().run(self.carrying(&call, request)?, extensions).await?;
        if !self.caller.is_refusal(reply.status()) {
            return Ok(reply);
        }
        let Some(call) = self.caller.call_again(&call.token).await else { return Ok(reply) };
        let Some(again) = again else {
            tracing::debug!("the token is new, and the request is not repeated: its body is a stream");
            return Ok(reply);
        };
        let reply = next.run(self.carrying(&call, again)?, extensions).await?;
        self.caller.was_repeated(&call, reply.status());
        Ok(reply)
    }
}
