//! What the layers for HTTP clients share: putting a token into a call, and replacing one that the API rejects.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jeton_core::keep::provider::Injection;
use jeton_keeper::{ApiVerdict, Call, TokenError, TokenRequest};
use url::{Host, Url};

use crate::error::NoToken;
use crate::vault::Vault;

/// The port of a host that is named without one.
const HTTPS_PORT: u16 = 443;

/// Why a call was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// There is no token.
    #[error(transparent)]
    NoToken(#[from] NoToken),
    /// Its host or its port is not one of the provider's.
    #[error(
        "the call was not sent: it goes to {to}, and tokens of `{name}` go to {api} alone; if the provider's API is there \
         too, name that host with `also_at`"
    )]
    WrongHost {
        /// The connection.
        name: String,
        /// Scheme, host and port of the call.
        to: String,
        /// Scheme, host and port of the API.
        api: String,
    },
    /// The provider takes the token where this layer cannot put it.
    #[error("the token of `{name}` cannot be put into this call: {problem}")]
    NotInjectable {
        /// The connection.
        name: String,
        /// Why not.
        problem: String,
    },
}

/// Puts tokens of one connection into calls.
#[derive(Clone, Debug)]
pub(crate) struct TokenInjector {
    vault: Vault,
    name: String,
    also_at: Vec<String>,
}

impl TokenInjector {
    pub(crate) fn new(vault: Vault, name: String) -> Self {
        Self { vault, name, also_at: Vec::new() }
    }

    pub(crate) fn also_at(&mut self, host: &str) {
        self.also_at.push(host.to_ascii_lowercase());
    }

    /// A live token, and how a call carries it.
    pub(crate) async fn token(&self) -> Result<Call, NotSent> {
        let keeper = self.vault.keeper();
        Ok(keeper.call(&self.name, TokenRequest::default()).await.map_err(NoToken::from)?)
    }

    /// Whether an answer of this status rejects the token, which the vault is told. Bodies are not read.
    pub(crate) fn is_rejected(&self, call: &Call, status: StatusCode) -> bool {
        let keeper = self.vault.keeper();
        let definition = keeper.definition(&self.name);
        let rejected = definition.is_ok_and(|definition| definition.api_expired(status.as_u16(), None));
        if rejected {
            keeper.note_verdict(&self.name, call, ApiVerdict::Refused);
        } else if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            keeper.note_verdict(&self.name, call, ApiVerdict::Accepted);
        }
        rejected
    }

    /// Another token in place of one that the API rejected. `None` where another does not help, or there is none: then the
    /// caller gets the API's own answer.
    pub(crate) async fn replace(&self, rejected: &Call) -> Option<Call> {
        match self.vault.keeper().replace_refused(&self.name, rejected, TokenRequest::default()).await {
            Ok(call) => (call.token.fingerprint != rejected.token.fingerprint).then_some(call),
            // At debug: an API that rejects calls for another reason than the token may cause one for each call.
            Err(error @ TokenError::RejectedAgain { .. }) => {
                tracing::debug!(connection = %self.name, %error, "the API rejected the token, and another one does not help");
                None
            }
            Err(error) => {
                tracing::warn!(connection = %self.name, %error, "the API rejected the token, and there is no other one");
                None
            }
        }
    }

    /// Puts the token into a call to `url`. Returns the URL to call instead, where the token goes into it.
    pub(crate) fn inject(
        &self,
        call: &Call,
        url: &Url,
        headers: &mut HeaderMap,
    ) -> Result<Option<Url>, NotSent> {
        self.check_target(&call.base.url, url)?;
        let mut replaced = None;
        let mut cookies = String::new();
        for injection in &call.injections {
            match injection {
                Injection::Header(name, value) => {
                    let name =
                        HeaderName::try_from(name).map_err(|error| self.not_injectable(error.to_string()))?;
                    headers.insert(name, self.sensitive(value.reveal())?);
                }
                Injection::Cookie(name, value) => {
                    let separator = if cookies.is_empty() { "" } else { "; " };
                    cookies.extend([separator, name.as_str(), "=", value.reveal()]);
                    headers.insert(header::COOKIE, self.sensitive(&cookies)?);
                }
                Injection::Query(name, value) => {
                    let mut target = replaced.take().unwrap_or_else(|| url.clone());
                    set_query(&mut target, name, value.reveal());
                    replaced = Some(target);
                }
                Injection::Body(..) => {
                    let problem =
                        "its provider takes it in the body; call through the gateway of a jeton server";
                    return Err(self.not_injectable(problem));
                }
            }
        }
        Ok(replaced)
    }

    /// A token goes to the provider's hosts alone, over TLS and on port 443, unless the base of the API or the program names
    /// another port: any user of a host may listen at its other ports.
    fn check_target(&self, api: &Url, url: &Url) -> Result<(), NotSent> {
        if api.origin() == url.origin() || (url.scheme() == "https" && self.is_named(url)) {
            return Ok(());
        }
        let origin = |url: &Url| url.origin().ascii_serialization();
        Err(NotSent::WrongHost { name: self.name.clone(), to: origin(url), api: origin(api) })
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
                None => (named.as_str(), Some(HTTPS_PORT)),
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

    fn sensitive(&self, text: &str) -> Result<HeaderValue, NotSent> {
        let mut value = HeaderValue::from_str(text)
            .map_err(|_| self.not_injectable("it has a character that headers cannot hold"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn not_injectable(&self, problem: impl Into<String>) -> NotSent {
        NotSent::NotInjectable { name: self.name.clone(), problem: problem.into() }
    }
}

/// Sets a query parameter, in place of those of the same name.
fn set_query(url: &mut Url, name: &str, value: &str) {
    let kept: Vec<(String, String)> =
        url.query_pairs().filter(|(known, _)| known != name).map(|(k, v)| (k.into(), v.into())).collect();
    url.query_pairs_mut().clear().extend_pairs(kept).append_pair(name, value);
}
