//! What a store must be able to do for processes that work side by side.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::keep::unavailable::UnavailableEndpoint;
use crate::store_error::StoreError;
use crate::time::Timestamp;

/// How a background task of a node does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BackgroundTask {
    /// What it does.
    pub name: String,
    /// How often it has run.
    pub runs: u64,
    /// When its last run ended.
    pub last_run: Option<Timestamp>,
    /// Why its last run failed.
    pub last_error: Option<String>,
    /// How many runs ended in a defect.
    pub panics: u64,
}

/// A heartbeat. Each one replaces the last of the same node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The process.
    pub node: NodeId,
    /// What people call it, such as its host name.
    pub name: String,
    /// Its version of jeton.
    pub version: String,
    /// A digest of what it defines: nodes whose digests differ do not keep the same connections alive.
    pub definitions: String,
    /// How its background tasks do.
    pub tasks: Vec<BackgroundTask>,
    /// The token endpoints that do not answer it.
    pub unavailable: Vec<UnavailableEndpoint>,
    /// How long a node counts as live after its last heartbeat.
    pub life: Duration,
}

/// A node as its last heartbeat left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveNode {
    /// The process.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// Its version of jeton.
    pub version: String,
    /// The digest of what it defines.
    pub definitions: String,
    /// Its first heartbeat, by the clock of the store.
    pub started_at: Timestamp,
    /// Its last heartbeat, by the clock of the store.
    pub seen_at: Timestamp,
    /// How its background tasks did then.
    #[serde(default)]
    pub tasks: Vec<BackgroundTask>,
    /// The token endpoints that did not answer it then.
    #[serde(default)]
    pub unavailable: Vec<UnavailableEndpoint>,
}

/// The answer to a [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// The instant by the clock of the store.
    pub now: Timestamp,
    /// The other nodes that are alive, by id.
    pub others: Vec<LiveNode>,
}

/// The nodes of an installation. They are equal: a node that is gone leaves nothing behind but its leases, which lapse.
#[async_trait]
pub trait NodeStore: Send + Sync {
    /// Records that a node lives, and answers who else does. Nodes that were silent for a day are forgotten.
    async fn record_heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatReply, StoreError>;

    /// Forgets a node that ends.
    async fn forget(&self, node: NodeId) -> Result<(), StoreError>;
}
