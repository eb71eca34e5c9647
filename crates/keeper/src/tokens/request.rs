//! What callers ask for and what they get.

use std::time::Duration;

use jeton_core::audit::Actor;
use jeton_core::id::Generation;
use jeton_core::seal::Fingerprint;
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use serde::Serialize;

/// A living access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The access token.
    pub access: Secret,
    /// Its type as the provider says it, `Bearer` where it says nothing. Providers write what they like here, and it does not
    /// say how a call carries the token: `inject` of the provider's file does.
    pub token_type: String,
    /// When it dies; absent when the provider does not say.
    pub expires_at: Option<Timestamp>,
    /// How long it lives from the moment it was handed out.
    pub expires_in: Option<Duration>,
    /// Which token set of the connection it belongs to.
    pub generation: Generation,
    /// Names it in reports of rejection.
    pub fingerprint: Fingerprint,
    /// Why it is not all that was asked for: it lives shorter than `min_ttl`, or its refresh failed.
    pub warning: Option<String>,
}

/// How a caller wants its token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// How long the token must live at least; capped at 80 % of the life of a token set.
    pub min_ttl: Option<Duration>,
    /// How long to wait for a refresh under way; by default as the settings say.
    pub wait: Option<Duration>,
    /// Who asks: the refresh log names whoever began a refresh.
    pub by: Option<Actor>,
}

/// A grant to take over: a refresh token, an access token, or both.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// The refresh token.
    pub refresh: Option<Secret>,
    /// An access token that may still live.
    pub access: Option<Secret>,
    /// When that access token dies.
    pub access_expires_at: Option<Timestamp>,
    /// When the refresh token dies, where it is known.
    pub refresh_expires_at: Option<Timestamp>,
}

/// How urgently a refresh is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshMode {
    /// Only if it is due.
    IfDue,
    /// Though it is not due, and though a refresh token is sent again whose outcome is unknown. A cool-down is kept, and what
    /// is asked for again within [`FORCE_INTERVAL`](jeton_core::keep::force::FORCE_INTERVAL) gets what there is: for services.
    Forced,
    /// The same at once, through every cool-down, and of a dead grant, whose refresh token is sent once more: for a service that
    /// administers. What it sends of a dead grant is spaced, see [`next_resend`](jeton_core::keep::force::next_resend).
    ForcedByAdministrator,
    /// The same with no spacing at all: for a person who decides so.
    ForcedByPerson,
}

/// The outcome of a refresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Refresh"))]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Refreshed {
    /// A new token set is stored.
    Done {
        /// The generation of that token set.
        generation: Generation,
        /// When its access token expires.
        expires_at: Option<Timestamp>,
    },
    /// Nothing was spent: it was not due and not forced, or a service forced it less than 5 s after the last refresh.
    NotDue {
        /// When the access token expires.
        expires_at: Option<Timestamp>,
    },
}

/// What became of a grant that was given to be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    /// It is stored.
    Stored {
        /// The generation now.
        generation: Generation,
    },
    /// The connection held this very refresh token already.
    Unchanged,
}
