//! What goes out to a provider and what comes back, as plain values; nothing here touches a network.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;
use zeroize::Zeroizing;

use super::class::ErrorClass;
use super::request_values::Vars;
use crate::named_enum::named_enum;
use crate::secret::Secret;
use crate::time::Timestamp;

named_enum! {
    /// HTTP methods that steps use.
    Method {
        /// `GET`
        Get = "GET",
        /// `POST`
        Post = "POST",
        /// `PUT`
        Put = "PUT",
        /// `PATCH`
        Patch = "PATCH",
        /// `DELETE`
        Delete = "DELETE",
    }
}

/// A request to be sent once: no redirect is followed and nothing resends it of its own accord.
///
/// `Debug` shows method, scheme, host and path (which never hold a secret), names of headers, and lengths.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboundRequest {
    /// The method.
    pub method: Method,
    /// The whole URL; its query may hold secrets.
    pub url: Url,
    /// Names, in lower case, and values; `content-type` is among them where there is a body.
    pub headers: Vec<(String, Secret)>,
    /// The body; empty where there is none.
    pub body: Zeroizing<Vec<u8>>,
    /// The media type of the body; `None` where there is none.
    pub content_type: Option<&'static str>,
    /// The host came from a captured variable, that is from outside: it must resolve to public addresses only.
    pub captured_host: bool,
    /// What is shown to the host if it asks for a certificate.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// A certificate of ours, and its key, both in PEM (RFC 7468).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those between it and an authority that the host trusts.
    pub chain: String,
    /// Its private key.
    pub key: Secret,
}

impl OutboundRequest {
    /// Where it goes.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            url: self.url.clone(),
            captured_host: self.captured_host,
            certificate: self.certificate.clone(),
        }
    }
}

impl fmt::Debug for OutboundRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("OutboundRequest")
            .field("method", &self.method.as_str())
            .field("url", &format_args!("{}{}", self.url.origin().ascii_serialization(), self.url.path()))
            .field("headers", &names)
            .field("content_type", &self.content_type)
            .field("body_bytes", &self.body.len())
            .field("captured_host", &self.captured_host)
            .field("shows_certificate", &self.certificate.is_some())
            .finish()
    }
}

/// When a request was sent: the instant before it was, so that a slow reply never makes a token look younger than it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentAt {
    /// By the clock that expiries are given by: that of the store.
    pub instant: Timestamp,
    /// By the civil clock, which a provider means that names an instant.
    pub civil: Timestamp,
}

impl From<Timestamp> for SentAt {
    /// Where one clock is both.
    fn from(instant: Timestamp) -> Self {
        Self { instant, civil: instant }
    }
}

/// A reply as it came in. `Debug` shows no byte of its body.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The value of `Retry-After`.
    pub retry_after: Option<String>,
    /// The value of `Content-Type`.
    pub content_type: Option<String>,
    /// The value of `Date`.
    pub date: Option<String>,
    /// The value of `Location`; it may hold secrets.
    pub location: Option<String>,
    /// The body, without its content coding.
    pub body: Zeroizing<Vec<u8>>,
    /// Why the body may lack its end; `None` where it is whole.
    pub cut_short: Option<String>,
    /// What was strange about the message, one sentence each.
    pub warnings: Vec<String>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .field("content_type", &self.content_type)
            .field("date", &self.date)
            .field("location_bytes", &self.location.as_ref().map(String::len))
            .field("body_bytes", &self.body.len())
            .field("cut_short", &self.cut_short)
            .field("warnings", &self.warnings)
            .finish()
    }
}

/// A token set as a reply gave it, with what the file adds where the reply is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenReply {
    /// The access token: one or more printable ASCII characters.
    pub access: Secret,
    /// The refresh token that is good from now on: the reply's, or the one sent where the reply brings none and the
    /// file says `keep`; `None` where there is none.
    pub refresh: Option<Secret>,
    /// Whether [`TokenReply::refresh`] is another one than was sent.
    pub rotated: bool,
    /// When the access token expires; `None` where neither the reply nor the file says so.
    pub expires_at: Option<Timestamp>,
    /// The file says that the `introspect` step knows the expiry better than [`TokenReply::expires_at`].
    pub ask_introspection: bool,
    /// The reply said that the access token has expired already. That is not believed of a new token, and is the plain
    /// truth of one that is given a second time.
    pub over: bool,
    /// When the refresh token expires; `None` where nobody says so.
    pub refresh_expires_at: Option<Timestamp>,
    /// The scopes granted, separated by spaces; `None` where the reply is silent (then they are those asked for,
    /// RFC 6749, section 5.1).
    pub scope: Option<String>,
    /// Variables with `capture = "take"` that the reply brought; they replace those captured before.
    pub vars: Vars,
    /// How the access token is presented, `Bearer` where the reply is silent.
    pub token_type: String,
    /// What was strange about the reply, one sentence each, with no secret.
    pub warnings: Vec<String>,
}

/// What an introspection said (RFC 7662, section 2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspection {
    /// Whether the provider accepts the token.
    pub active: bool,
    /// When the token expires, where the reply says so.
    pub expires_at: Option<Timestamp>,
    /// What was strange about the reply.
    pub warnings: Vec<String>,
}

/// Why there is no token set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// What may be done next.
    pub class: ErrorClass,
    /// A short machine text: the file's `code`, or the provider's own code with everything but `[A-Za-z0-9_.:-]`
    /// replaced by `_` and cut at 64 characters, or `http_` and the status. Never part of a secret that was sent.
    pub code: String,
    /// The status code of the reply.
    pub status: u16,
    /// How long the provider asks us to wait, at most a day.
    pub retry_after: Option<Duration>,
    /// One sentence that says what happened, with no secret and nothing of the body but the code.
    pub message: String,
    /// What the provider said in its own words: on one line of at most 300 characters, with nothing invisible, no secret that
    /// was sent or came, and nothing that looks like a token. For operators; `None` where it said nothing of that kind.
    pub provider_message: Option<String>,
    /// The reply said yes by its status, yet we cannot read it: keep it sealed, because a mended provider file may
    /// find the tokens in it.
    pub keep_reply: bool,
    /// The provider file says that this answer is the last word on the grant: no second try can change it.
    pub is_final: bool,
}

/// What a reply means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// A token set (`exchange`, `acquire`, `refresh`).
    Tokens(Box<TokenReply>),
    /// What the provider says of a token (`introspect`).
    Introspection(Introspection),
    /// It was done, and there is nothing to read (`revoke`, `probe`).
    Done,
    /// It was not done, or nobody knows.
    Failed(StepFailure),
}

impl StepOutcome {
    /// Adds what was strange about the message, before what was strange about its content.
    pub(super) fn add_warnings(&mut self, mut warnings: Vec<String>) {
        let own = match self {
            Self::Tokens(tokens) => &mut tokens.warnings,
            Self::Introspection(introspection) => &mut introspection.warnings,
            Self::Done | Self::Failed(_) => return,
        };
        warnings.append(own);
        *own = warnings;
    }
}

/// What a step's credential is put into for a call to the provider's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injection {
    /// A header, replacing any the caller wrote.
    Header(String, Secret),
    /// A query parameter, replacing any the caller wrote.
    Query(String, Secret),
    /// A cookie; those of the caller go nowhere.
    Cookie(String, Secret),
    /// A field of the body, which is a JSON object or a form, replacing any the caller wrote.
    Body(String, Secret),
}

/// Where a step is requested, or where an API begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL, without the query that a step adds.
    pub url: Url,
    /// See [`OutboundRequest::captured_host`].
    pub captured_host: bool,
    /// See [`OutboundRequest::certificate`].
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// Parameters of a callback, by name, as the browser brought them.
pub type CallbackParams = BTreeMap<String, String>;
