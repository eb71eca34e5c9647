//! A service token as people and programs see it.

use jeton_core::access::{Scopes, ServiceName, ServiceToken, ServiceTokenId, TokenStatus};
use jeton_core::secret::{self, Secret};
use jeton_core::time::Timestamp;
use serde::Serialize;

use crate::access::Access;
use crate::commands::Issued;

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
pub struct TokenView {
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
    #[serde(rename = "standing")]
    pub status: TokenStatus,
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
    /// The view of a token now.
    pub fn view(&self, token: ServiceToken) -> TokenView {
        let status = token.status_at(self.shared.clock.now());
        TokenView {
            name: token.service,
            token: None,
            id: token.id,
            expires_at: token.expires_at,
            scopes: token.scopes,
            active: status == TokenStatus::Live,
            status,
            notes: token.notes,
            created_at: token.created_at,
            revoked_at: token.revoked_at,
            last_used_at: token.last_used_at,
            successor: token.successor,
        }
    }

    /// The view of a token that was just created, with its text.
    pub fn view_issued(&self, issued: Issued) -> TokenView {
        TokenView { token: issued.raw.map(RawToken), ..self.view(issued.token) }
    }
}
