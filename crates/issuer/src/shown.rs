//! A service token as people and programs see it.

use jeton_core::access::{Scopes, ServiceName, ServiceToken, ServiceTokenId, TokenStatus};
use jeton_core::secret::{self, Secret};
use jeton_core::time::Timestamp;
use serde::Serialize;

use crate::access::Access;
use crate::order::Issued;

/// The text of a service token. Serializing it reveals it: in the one response that contains it.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(transparent)]
pub struct RawToken(
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    #[serde(serialize_with = "secret::reveal_into")]
    pub Secret,
);

/// A service token as it is shown: all but its hash; its text only in the response that creates it.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ServiceToken"))]
pub struct Shown {
    /// The service that it belongs to.
    pub name: ServiceName,
    /// Its text; absent unless this response creates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<RawToken>,
    /// Its id.
    pub id: ServiceTokenId,
    /// When it expires; null if it never does.
    pub expires_at: Option<Timestamp>,
    /// What it grants.
    pub scopes: Scopes,
    /// Whether it is accepted now.
    pub active: bool,
    /// Its state in one word.
    pub standing: TokenStatus,
    /// The note that people gave it.
    pub notes: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// The token that a rotation created in its place.
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
