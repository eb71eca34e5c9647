//! What a request is filled in with.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::secret::Secret;
use crate::time::Timestamp;

/// Our own credentials at a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// `client_id`.
    pub id: Option<String>,
    /// `client_secret`.
    pub secret: Option<Secret>,
    /// Where callbacks of this client come in.
    pub redirect_uri: Option<String>,
}

/// The value of a variable; it hides itself when its provider's file marks the variable `secret`.
#[derive(Clone, PartialEq, Eq)]
pub enum VarValue {
    /// May be shown.
    Plain(String),
    /// Must not be shown.
    Hidden(Secret),
}

impl VarValue {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Hidden(secret) => secret.reveal(),
        }
    }

    /// Whether it must not be shown.
    pub fn is_hidden(&self) -> bool {
        matches!(self, Self::Hidden(_))
    }
}

impl fmt::Debug for VarValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => fmt::Debug::fmt(text, f),
            Self::Hidden(secret) => fmt::Debug::fmt(secret, f),
        }
    }
}

impl fmt::Display for VarValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => f.write_str(text),
            Self::Hidden(secret) => fmt::Display::fmt(secret, f),
        }
    }
}

/// Values of variables, by name.
pub type Vars = BTreeMap<String, VarValue>;

/// What one request of one connection is filled in with, beyond its [`Definition`](super::Definition); also what the
/// reply is read against, because a reply may leave out what stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestValues {
    /// `${access}`: the current access token.
    pub access: Option<Secret>,
    /// `${refresh}`: the refresh token that is redeemed; kept where the reply brings none and the file says `keep`.
    pub refresh: Option<Secret>,
    /// When [`RequestValues::refresh`] expires, as far as it is known; carried over when that token is kept.
    pub refresh_expires_at: Option<Timestamp>,
    /// `${code}`: the authorization code of a callback.
    pub code: Option<Secret>,
    /// `${state}`: ties a callback to the browser that began (RFC 6749, section 10.12).
    pub state: Option<Secret>,
    /// `${code_challenge}`: RFC 7636, method S256.
    pub code_challenge: Option<Secret>,
    /// `${code_verifier}`: RFC 7636.
    pub code_verifier: Option<Secret>,
    /// Variables captured from a callback or from earlier replies.
    #[serde(skip)]
    pub captured: Vars,
}
