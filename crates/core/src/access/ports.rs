//! What a store must be able to do for service tokens.
//!
//! Every method is one transaction. Instants are read by the store from its one clock. Whoever changes a row gives it the next
//! revision, and changes become visible in the order of their revisions: a reader that has seen revision 7 will never find
//! another change below it.

use std::time::Duration;

use async_trait::async_trait;

use super::{Create, Revoke, Rotate, RotateRefusal, ServiceToken, ServiceTokenId, TokenRevision};
use crate::audit::AuditLog;
use crate::store_error::StoreError;
use crate::time::Timestamp;

/// Last uses that are nearer together than this are one.
pub const USES_APART: Duration = Duration::from_mins(1);

/// The answer to [`Create`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateAnswer {
    /// It is made.
    Created(Box<ServiceToken>),
    /// Another row has this hash, revoked or not; nothing was changed.
    Taken(ServiceTokenId),
}

/// The answer to [`Rotate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RotateAnswer {
    /// Both count now, the old one for a while.
    Rotated {
        /// The token that was replaced.
        old: Box<ServiceToken>,
        /// The new one.
        new: Box<ServiceToken>,
    },
    /// There is no such token.
    Unknown,
    /// It cannot be rotated; nothing was changed.
    Refused(RotateRefusal),
}

/// The service tokens of an installation. No row is ever deleted: one that was revoked must go on beating a hash of equal value
/// in the environment. A command and its audit row are one transaction; a command that is sent again
/// adds no second row.
#[async_trait]
pub trait ServiceTokenStore: AuditLog {
    /// Makes a token.
    async fn create_token(&self, create: Create) -> Result<CreateAnswer, StoreError>;

    /// Makes a token in place of another, by the rule of [`ServiceToken::rotated`].
    async fn rotate_token(&self, rotate: Rotate) -> Result<RotateAnswer, StoreError>;

    /// Revokes a token for good, and answers its row; doing it again changes nothing.
    async fn revoke_token(&self, revoke: Revoke) -> Result<Option<ServiceToken>, StoreError>;

    /// Up to `limit` tokens after `after`, in the order in which they were made.
    async fn list_tokens(
        &self,
        after: Option<ServiceTokenId>,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError>;

    /// Up to `limit` tokens that changed after `seen`, in the order of their changes.
    async fn tokens_changed_since(
        &self,
        seen: TokenRevision,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError>;

    /// Notes when tokens were last used. An instant less than [`USES_APART`] after the one that is noted is left out; no
    /// revision is made.
    async fn touch_tokens(&self, used: Vec<(ServiceTokenId, Timestamp)>) -> Result<(), StoreError>;
}
