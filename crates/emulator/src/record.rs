//! What is written down of each request.

use std::fmt::{self, Write as _};

use jeton_core::time::Timestamp;
use serde::Serialize;

use crate::behaviour::FaultKind;

/// Names a grant; they are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EmulatedGrantId(pub(crate) u64);

impl fmt::Display for EmulatedGrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grant-{}", self.0)
    }
}

/// What was decided about one token request, apart from how the reply was then treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestOutcome {
    /// Nothing yet.
    Undecided,
    /// The refresh token was spent and got a successor.
    Rotated,
    /// Inside the grace: the predecessor got the same successor pair again.
    Replayed,
    /// An access token was given and nothing was spent.
    Issued,
    /// A spent refresh token came again: the grant was killed by this request.
    Reuse,
    /// No such refresh token.
    UnknownToken,
    /// The refresh token had expired.
    ExpiredToken,
    /// The grant had been killed or revoked before.
    DeadGrant,
    /// The client did not prove who it is.
    BadClient,
    /// The request was not what RFC 6749 asks for.
    BadRequest,
    /// The fault refused the request before its token was looked at.
    NotAccepted,
}

impl RequestOutcome {
    /// Whether the answer carries a token.
    pub fn is_accepted(self) -> bool {
        matches!(self, Self::Rotated | Self::Replayed | Self::Issued)
    }
}

/// One token request.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// Counts the token requests from 1.
    pub sequence: u64,
    /// When the request had been read.
    pub at: Timestamp,
    /// [`short_hash`] of the refresh token that was presented.
    pub presented: Option<String>,
    /// The grant that the token belongs to.
    pub grant: Option<EmulatedGrantId>,
    /// The generation of the grant after the request.
    pub generation: Option<u64>,
    /// What was decided.
    pub outcome: RequestOutcome,
    /// The fault that was injected.
    #[serde(rename = "ending")]
    pub fault: FaultKind,
    /// What was wrong with a request that was not what the provider asks for; names of fields and no values.
    pub note: Option<String>,
    /// Whether a token was given, to the best of the server's knowledge; with [`RequestOutcome::Rotated`] the old one is spent.
    pub accepted: bool,
    /// When that was decided.
    pub accepted_at: Option<Timestamp>,
    /// Whether every byte of an answer was handed to the socket. It may still never have been read.
    pub reply_written: bool,
    /// Whether another request with the same refresh token was under way at the same time.
    pub overlapping: bool,
    /// When the client was seen to have gone before it had its answer.
    pub client_left_at: Option<Timestamp>,
    /// When the exchange was over, either way.
    pub finished_at: Option<Timestamp>,
}

impl RequestRecord {
    /// Whether a token was given that never reached the socket whole.
    pub fn is_lost(&self) -> bool {
        self.accepted && !self.reply_written && self.finished_at.is_some()
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Token requests that were read.
    pub requests: u64,
    /// Token requests that are not over.
    pub in_flight: u64,
    /// Requests that were given a token.
    pub accepted: u64,
    /// Refresh tokens that were spent.
    pub rotations: u64,
    /// Replays inside the grace.
    pub replays: u64,
    /// Answers, good or bad, that were written whole.
    pub replies_written: u64,
    /// Accepted requests whose answer was not written whole.
    pub lost: u64,
    /// Grants killed because a spent refresh token came again.
    pub reuse_kills: u64,
    /// Answers `invalid_grant`.
    pub invalid_grant: u64,
    /// Answers `invalid_client`, whatever the reason.
    pub invalid_client: u64,
    /// Requests that came while another with the same refresh token was under way.
    pub overlaps: u64,
    /// Requests to the revocation endpoint that ended a token or a grant.
    pub revocations: u64,
    /// Calls to the resource with a living access token.
    pub api_ok: u64,
    /// Calls to the resource without one.
    pub api_401: u64,
    /// Records dropped because there were more than are kept.
    pub records_dropped: u64,
}

/// Names a token in records without showing it: the first 12 hexadecimal digits of its SHA-256 digest.
pub fn short_hash(token: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    digest.as_ref().iter().take(6).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}
