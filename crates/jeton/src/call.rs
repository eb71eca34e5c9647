//! What the layers for HTTP clients have in common: putting a token into a call, and what a refusal means.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jeton_core::keep::provider::Injection;
use jeton_keeper::{ApiVerdict, Call, TokenError, TokenRequest};
use url::{Host, Url};

use crate::error::NoToken;
use crate::vault::Vault;

/// The port of an API whose host is all that was named.
const HTTPS: u16 = 443;

/// Why a call was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// There is no token.
    #[error(transparent)]
    NoToken(#[from] NoToken),
    /// It goes to a host, or to a port, that is none of the provider's.
    #[error(
        "the call goes to {to}, and tokens of `{name}` go to {api} alone; if the provider's API is there too, say so with \
         `also_at`"
    )]
    ElsewhereBound {
        /// The connection.
        name: String,
        /// Where the call goes.
        to: String,
        /// Where the API is.
        api: String,
    },
    /// The provider wants the token where this layer cannot put it.
    #[error("the token of `{name}` cannot be put into this call: {problem}")]
    Unfit {
        /// The connection.
        name: String,
        /// What stands in the way.
        problem: String,
    },
}

/// Puts tokens of one connection into calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    vault: Vault,
    name: String,
    also_at: Vec<String>,
}

impl Caller {
    pub(crate) fn new(vault: Vault, name: String) -> Self {
        Self { vault, name, also_at: Vec::new() }
    }

    pub(crate) fn also_at(&mut self, host: &str) {
        self.also_at.push(host.to_ascii_lowercase());
    }

    /// A living token, and how a call carries it.
    pub(crate) async fn call(&self) -> Result<Call, NotSent> {
        let keeper = self.vault.keeper();
        Ok(keeper.call(&self.name, TokenRequest::default()).await.map_err(NoToken::from)?)
    }

    /// Whether a reply of that status to a call means that its token is not accepted; a reply that needs its body to tell is
    /// judged by its status alone. The vault is told.
    pub(crate) fn is_refusal(&self, call: &Call, status: StatusCode) -> bool {
        let keeper = self.vault.keeper();
        let definition = keeper.definition(&self.name);
        let refused = definition.is_ok_and(|definition| definition.api_expired(status.as_u16(), None));
        if refused {
            keeper.note_verdict(&self.name, call, ApiVerdict::Refused);
        } else if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            keeper.note_verdict(&self.name, call, ApiVerdict::Accepted);
        }
        refused
    }

    /// What the same call is made with once its token was refused; `None` where another token does not help, or is not
    /// to be had: then the API's own answer goes to the caller.
    pub(crate) async fn call_again(&self, refused: &Call) -> Option<Call> {
        match self.vault.keeper().replace_refused(&self.name, refused, TokenRequest::default()).await {
            Ok(call) => (call.token.fingerprint != refused.token.fingerprint).then_some(call),
            // There may be one for every call of an API that refuses for another reason than the token.
            Err(error @ TokenError::RejectedAgain { .. }) => {
                tracing::debug!(connection = %self.name, %error, "the API refused the token, and another does not help");
                None
            }
            Err(error) => {
                tracing::warn!(connection = %self.name, %error, "the API refused the token, and there is no other");
                None
            }
        }
    }

    /// Puts the token into a call to `url`. Answers the URL to call instead, where the token goes into it.
    pub(crate) fn put(
        &self,
        call: &Call,
        url: &Url,
        headers: &mut HeaderMap,
    ) -> Result<Option<Url>, NotSent> {
        self.check_target(&call.base.url, url)?;
        let mut replaced = None;
        for injection in &call.injections {
            match injection {
                Injection::Header(name, value) => {
                    let name = HeaderName::try_from(name).map_err(|error| self.unfit(error.to_string()))?;
                    headers.insert(name, self.hidden(value.reveal())?);
                }
                Injection::Cookie(name, value) => {
                    let cookie = format!("{name}={}", value.reveal());
                    headers.insert(header::COOKIE, self.hidden(&cookie)?);
                }
                Injection::Query(name, value) => {
                    let mut target = replaced.take().unwrap_or_else(|| url.clone());
                    set_query(&mut target, name, value.reveal());
                    replaced = Some(target);
                }
                Injection::Body(..) => {
                    let problem =
                        "its provider wants it in the body; call through the gateway of a jeton server";
                    return Err(self.unfit(problem));
                }
            }
        }
        Ok(replaced)
    }

    /// A token goes to the provider's hosts alone, over TLS and on the usual port, unless the base of the API or the caller
    /// named another: what listens elsewhere on a host may be anybody's.
    fn check_target(&self, api: &Url, url: &Url) -> Result<(), NotSent> {
        if api.origin() == url.origin() || (url.scheme() == "https" && self.is_named(url)) {
            return Ok(());
        }
        let origin = |url: &Url| url.origin().ascii_serialization();
        Err(NotSent::ElsewhereBound { name: self.name.clone(), to: origin(url), api: origin(api) })
    }

    fn is_named(&self, url: &Url) -> bool {
        let (Some(Host::Domain(host)), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return false;
        };
        let definition = self.vault.keeper().definition(&self.name);
        let of_provider = definition.map(|definition| definition.provider().hosts()).unwrap_or_default();
        self.also_at.iter().chain(of_provider).any(|named| {
            let (pattern, wanted) = match named.split_once(':') {
                Some((pattern, wanted)) => (pattern, wanted.parse().ok()),
                None => (named.as_str(), Some(HTTPS)),
            };
            let covered = match pattern.strip_prefix("*.") {
                Some(name) => {
                    host.strip_suffix(name).is_some_and(|left| left.len() > 1 && left.ends_with('.'))
                }
                None => host == pattern,
            };
            covered && wanted == Some(port)
        })
    }

    fn hidden(&self, text: &str) -> Result<HeaderValue, NotSent> {
        let mut value = HeaderValue::from_str(text)
            .map_err(|_| self.unfit("it holds characters that no header can hold"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn unfit(&self, problem: impl Into<String>) -> NotSent {
        NotSent::Unfit { name: self.name.clone(), problem: problem.into() }
    }
}

/// Sets a query parameter, in place of any the caller wrote.
fn set_query(url: &mut Url, name: &str, value: &str) {
    let kept: Vec<(String, String)> =
        url.query_pairs().filter(|(known, _)| known != name).map(|(k, v)| (k.into(), v.into())).collect();
    url.query_pairs_mut().clear().extend_pairs(kept).append_pair(name, value);
}
