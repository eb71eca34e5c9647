//! A service token as people and programs see it.

use jeton_core::access::{Scopes, ServiceName, ServiceToken, ServiceTokenId, TokenStatus};
use jeton_core::secret::{self, Secret};
use jeton_core::time::Timestamp;
use serde::Serialize;

use crate::access::Access;
use crate::order::Issued;

/// The text of a service token, which is written out where it is serialized: in the one answer that shows it.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct RawToken(#[serde(serialize_with = "secret::reveal_into")] pub Secret);

/// A service token as it is shown: everything but its hash, and its text where it was made a moment ago.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// The service.
    pub name: ServiceName,
    /// Its text, this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<RawToken>,
    /// Its id.
    pub id: ServiceTokenId,
    /// From when on it is refused; never where it is null.
    pub expires_at: Option<Timestamp>,
    /// What it grants.
    pub scopes: Scopes,
    /// Whether it lets its holder in.
    pub active: bool,
    /// How it stands.
    pub standing: TokenStatus,
    /// What people noted.
    pub notes: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
    /// Since when it is revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, known to a minute.
    pub last_used_at: Option<Timestamp>,
    /// The token that was made in its place.
    pub successor: Option<ServiceTokenId>,
}

impl Access {
    /// A token as it is shown now.
    pub fn show(&self, token: ServiceToken) -> Shown {
        let standing = token.status_at(self.shared.clock.now());
        Shown {
            name: token.service,
            token: None,
            id: token.id,
            expires_at: token.expires_at,
            scopes: token.scopes,
            active: standing == TokenStatus::Live,
            standing,
            notes: token.notes,
            created_at: token.created_at,
            revoked_at: token.revoked_at,
            last_used_at: token.last_used_at,
            successor: token.successor,
        }
    }

    /// A token that was made a moment ago, with its text.
    pub fn show_issued(&self, issued: Issued) -> Shown {
        Shown { token: issued.raw.map(RawToken), ..self.show(issued.token) }
    }
}
