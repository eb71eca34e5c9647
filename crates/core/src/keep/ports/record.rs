//! What is put on record of orders about connections.

use serde_json::{Value, json};

use super::{Connect, Invite, OperatorCommand};
use crate::audit::{Actor, AuditAction, AuditRow};
use crate::id::{ConnectionName, OperationId};
use crate::keep::connection::Generation;
use crate::time::Timestamp;

impl Connect {
    /// The row of this order, which put its grant in at that instant; `replaced` says whether there was another before.
    pub fn to_audit_row(&self, at: Timestamp, generation: Generation, replaced: bool) -> AuditRow {
        AuditRow {
            id: OperationId::from_bytes(*self.attempt.as_bytes()),
            at,
            actor: self.by.clone().unwrap_or(Actor::Node(self.node)),
            action: AuditAction::Connected,
            subject: self.connection.to_string(),
            details: json!({
                "attempt": self.attempt,
                "provider": self.provider,
                "generation": generation,
                "replaced": replaced,
            }),
        }
    }
}

impl Invite {
    /// The row of this order, which made a link at that instant.
    pub fn to_audit_row(&self, at: Timestamp) -> AuditRow {
        AuditRow {
            id: OperationId::from_bytes(*self.id.as_bytes()),
            at,
            actor: self.by.clone(),
            action: AuditAction::Invited,
            subject: self.connection.to_string(),
            details: json!({ "consent": self.id, "provider": self.provider }),
        }
    }
}

impl OperatorCommand {
    /// The row of this order, which changed a connection at that instant.
    pub fn to_audit_row(
        self,
        connection: &ConnectionName,
        operation: OperationId,
        by: &Actor,
        at: Timestamp,
    ) -> AuditRow {
        let action = match self {
            Self::Pause => AuditAction::Paused,
            Self::Resume => AuditAction::Resumed,
            Self::Disconnect => AuditAction::Disconnected,
        };
        let (actor, subject) = (by.clone(), connection.to_string());
        AuditRow { id: operation, at, actor, action, subject, details: Value::Object(serde_json::Map::new()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AttemptId, GrantId, NodeId};

    #[test]
    fn a_grant_that_was_kept_without_saying_who_ordered_it_is_put_in_by_the_process() {
        let connect = Connect {
            connection: "acme".parse().unwrap(),
            provider: "strict".parse().unwrap(),
            grant: GrantId::from_bytes([1; 16]),
            generation: Generation(0),
            tokens: None,
            single_use: true,
            due_at: Timestamp::default(),
            attempt: AttemptId::from_bytes([2; 16]),
            node: NodeId::from_bytes([3; 16]),
            by: Some(Actor::CommandLine("root@web-1".to_owned())),
        };
        let mut kept = serde_json::to_value(&connect).unwrap();
        assert_eq!(serde_json::from_value::<Connect>(kept.clone()).unwrap(), connect);
        kept.as_object_mut().unwrap().remove("by");
        let read: Connect = serde_json::from_value(kept).unwrap();
        let row = read.to_audit_row(Timestamp::default(), Generation(1), false);
        assert_eq!(row.actor, Actor::Node(connect.node));
    }
}
