//! The audit log: who did what to what, and when. No secret is part of a row.

use std::fmt;

use async_trait::async_trait;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::id::{ConsentId, NodeId, OperationId, ServiceName};
use crate::named_enum::named_enum;
use crate::store_error::StoreError;
use crate::time::Timestamp;

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Whoever came in over HTTP under this name.
    Service(ServiceName),
    /// A user at the command line, such as `root@web-1`.
    CommandLine(String),
    /// A program that has jeton inside it, such as `billing`.
    Program(String),
    /// Whoever opened the link of this consent; a row of its own names who made the link: [`AuditAction::Invited`].
    Consent(ConsentId),
    /// A process of jeton by itself, such as one that can read by now what it could not read when it came.
    Node(NodeId),
}

impl Actor {
    /// Reads what [`Actor`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("service", name) => name.parse().ok().map(Self::Service),
            ("shell", user) => Some(Self::CommandLine(user.to_owned())),
            ("program", name) => Some(Self::Program(name.to_owned())),
            ("consent", id) => id.parse().ok().map(Self::Consent),
            ("node", id) => id.parse().ok().map(Self::Node),
            _ => None,
        }
    }
}

impl fmt::Display for Actor {
    /// As stores keep it and people see it: `service:operator`, `shell:root@web-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service:{name}"),
            Self::CommandLine(user) => write!(f, "shell:{user}"),
            Self::Program(name) => write!(f, "program:{name}"),
            Self::Consent(id) => write!(f, "consent:{id}"),
            Self::Node(id) => write!(f, "node:{id}"),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("it names nobody who can act"))
    }
}

named_enum! {
    /// What was done.
    AuditAction {
        /// A service token was made.
        TokenCreated = "service_token.created",
        /// A service token was made in place of another.
        TokenRotated = "service_token.rotated",
        /// A service token was revoked.
        TokenRevoked = "service_token.revoked",
        /// A link was made, by which a person can consent to a connection.
        Invited = "connection.invited",
        /// A grant was put into a connection: its first, or one in place of another.
        Connected = "connection.connected",
        /// Nothing of a connection is spent from then on.
        Paused = "connection.paused",
        /// A connection goes on.
        Resumed = "connection.resumed",
        /// The grant of a connection was given up.
        Disconnected = "connection.disconnected",
    }
}

/// An administrative action in the audit log. It is written in the transaction of the action itself and holds no secret.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "AuditEntry"))]
pub struct AuditRow {
    /// The id of the operation; ids sort by time.
    pub id: OperationId,
    /// When it happened.
    pub at: Timestamp,
    /// Who did it: `service:NAME` over HTTP, `shell:USER@MACHINE` at the command line, `program:NAME` for a program with
    /// jeton inside it, `consent:ID` for whoever opened that consent link, `node:ID` for a jeton process by itself.
    pub actor: Actor,
    /// What was done: `connection.invited`, `connection.connected`, `connection.paused`, `connection.resumed`,
    /// `connection.disconnected`, `service_token.created`, `service_token.rotated` or `service_token.revoked`.
    #[serde(rename = "deed")]
    pub action: AuditAction,
    /// The name of the connection, or of the service whose token it was.
    pub subject: String,
    /// Further facts, which depend on the action.
    #[cfg_attr(feature = "schema", schemars(with = "serde_json::Map<String, Value>"))]
    pub details: Value,
}

/// Which rows are wanted.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Those before this one.
    pub before: Option<OperationId>,
    /// Those about this subject.
    pub subject: Option<String>,
}

/// The audit log. Rows are added by the acts themselves, and none is changed or deleted.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Up to `limit` rows, newest first.
    async fn list_audit_rows(&self, filter: AuditFilter, limit: usize) -> Result<Vec<AuditRow>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_and_deeds_are_read_as_they_are_written() {
        let id = "01936f0e-7b1c-7000-8000-0123456789ab";
        let (consent, node) = (format!("consent:{id}"), format!("node:{id}"));
        for text in ["service:operator", "shell:root@web-1", "shell:a:b", "program:billing", &consent, &node]
        {
            let actor = Actor::parse(text).unwrap();
            assert_eq!(actor.to_string(), text);
            let written = serde_json::to_value(&actor).unwrap();
            assert_eq!(written, text);
            assert_eq!(serde_json::from_value::<Actor>(written).unwrap(), actor);
        }
        for text in ["operator", "service:", "service:No Name", "web:root", "consent:1", "node:web-1"] {
            assert_eq!(Actor::parse(text), None, "{text}");
            serde_json::from_value::<Actor>(text.into()).unwrap_err();
        }
        for action in AuditAction::ALL.iter().copied() {
            assert_eq!(AuditAction::parse(action.as_str()), Some(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
        assert_eq!(AuditAction::parse("token.created"), None);
    }
}
