//! What is put on record of orders about service tokens.

use serde_json::{Value, json};

use super::{Create, Revoke, Rotate, ServiceToken, ServiceTokenId};
use crate::audit::{Actor, AuditAction, AuditRow};
use crate::id::OperationId;
use crate::time::Timestamp;

fn row(
    id: OperationId,
    at: Timestamp,
    actor: &Actor,
    action: AuditAction,
    token: &ServiceToken,
    details: Value,
) -> AuditRow {
    AuditRow { id, at, actor: actor.clone(), action, subject: token.service.to_string(), details }
}

/// The id of the new token is that of the operation.
fn operation(id: ServiceTokenId) -> OperationId {
    OperationId::from_bytes(*id.as_bytes())
}

impl Create {
    /// The row of this order, which made that token.
    pub fn to_audit_row(&self, made: &ServiceToken) -> AuditRow {
        let details = json!({ "token": made.id, "scopes": made.scopes, "expires_at": made.expires_at });
        row(operation(self.id), made.created_at, &self.by, AuditAction::TokenCreated, made, details)
    }
}

impl Rotate {
    /// The row of this order, which made `new` in place of `old`.
    pub fn to_audit_row(&self, old: &ServiceToken, new: &ServiceToken) -> AuditRow {
        let details = json!({
            "token": new.id,
            "expires_at": new.expires_at,
            "replaces": old.id,
            "replaced_counts_until": old.expires_at,
        });
        row(operation(self.id), new.created_at, &self.by, AuditAction::TokenRotated, new, details)
    }
}

impl Revoke {
    /// The row of this order, which revoked that token at that instant.
    pub fn to_audit_row(&self, revoked: &ServiceToken, at: Timestamp) -> AuditRow {
        let details = json!({ "token": revoked.id });
        row(self.operation, at, &self.by, AuditAction::TokenRevoked, revoked, details)
    }
}
