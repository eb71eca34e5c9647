//! Acts that are on record: who did what to what, and when. No secret is part of a row.

use std::fmt;

use async_trait::async_trait;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::id::{OperationId, ServiceName};
use crate::keep::ports::StoreError;
use crate::time::Timestamp;

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Whoever came in over HTTP under this name.
    Service(ServiceName),
    /// A user at the command line, such as `root@web-1`.
    CommandLine(String),
}

impl Actor {
    /// Reads what [`Actor`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("service", name) => name.parse().ok().map(Self::Service),
            ("shell", user) => Some(Self::CommandLine(user.to_owned())),
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
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Deed {
    /// A service token was made.
    #[serde(rename = "service_token.created")]
    TokenCreated,
    /// A service token was made in place of another.
    #[serde(rename = "service_token.rotated")]
    TokenRotated,
    /// A service token was revoked.
    #[serde(rename = "service_token.revoked")]
    TokenRevoked,
}

impl Deed {
    /// The name that stores keep and people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenCreated => "service_token.created",
            Self::TokenRotated => "service_token.rotated",
            Self::TokenRevoked => "service_token.revoked",
        }
    }

    /// Reads the name again.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::TokenCreated, Self::TokenRotated, Self::TokenRevoked]
            .into_iter()
            .find(|deed| deed.as_str() == name)
    }
}

/// One act on record. It is written in the transaction of the act itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditRow {
    /// Which; the id of the operation, which sorts by time.
    pub id: OperationId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What.
    pub deed: Deed,
    /// To what, such as the name of a service.
    pub subject: String,
    /// What else there is to say, as an object.
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

/// The acts on record. Rows are added by the acts themselves, and none is changed or deleted.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Up to `limit` rows, newest first.
    async fn audit(&self, filter: AuditFilter, limit: usize) -> Result<Vec<AuditRow>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_and_deeds_are_read_as_they_are_written() {
        for text in ["service:operator", "shell:root@web-1", "shell:a:b"] {
            assert_eq!(Actor::parse(text).unwrap().to_string(), text);
        }
        for text in ["operator", "service:", "service:No Name", "web:root"] {
            assert_eq!(Actor::parse(text), None, "{text}");
        }
        for deed in [Deed::TokenCreated, Deed::TokenRotated, Deed::TokenRevoked] {
            assert_eq!(Deed::parse(deed.as_str()), Some(deed));
            assert_eq!(serde_json::to_value(deed).unwrap(), deed.as_str());
        }
        assert_eq!(Deed::parse("token.created"), None);
    }
}
