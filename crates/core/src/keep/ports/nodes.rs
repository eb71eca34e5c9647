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

/// Where a node runs and on which data directory, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeHost {
    /// A digest of the id of its machine.
    pub machine: Option<String>,
    /// The id of this boot of the kernel.
    pub boot: Option<String>,
    /// A digest that its data directory has in common with its clones alone. Absent for a node that spends nothing.
    pub data_dir: Option<String>,
    /// The number of the device that the data directory is on. It means something under one kernel only.
    pub device: Option<u64>,
}

impl NodeHost {
    /// Whether another node has the same data directory in another place, so that one of the two is on a clone of the disk.
    /// What is not known of either says nothing.
    pub fn is_clone_of(&self, other: &Self) -> bool {
        let differ =
            |one: &Option<String>, other: &Option<String>| one.is_some() && other.is_some() && one != other;
        let same_boot = self.boot.is_some() && self.boot == other.boot;
        let elsewhere = if same_boot {
            self.device.zip(other.device).is_some_and(|(one, other)| one != other)
        } else {
            differ(&self.boot, &other.boot) || differ(&self.machine, &other.machine)
        };
        self.data_dir.is_some() && self.data_dir == other.data_dir && elsewhere
    }
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
    /// Where it runs.
    pub host: NodeHost,
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
    /// Where it ran then.
    #[serde(default)]
    pub host: NodeHost,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn host(machine: &str, boot: &str, data_dir: &str, device: u64) -> NodeHost {
        let known = |text: &str| Some(text.to_owned()).filter(|text| text != "-");
        NodeHost {
            machine: known(machine),
            boot: known(boot),
            data_dir: known(data_dir),
            device: Some(device).filter(|device| *device > 0),
        }
    }

    #[test]
    fn a_clone_is_one_data_directory_in_two_places_and_what_is_unknown_says_nothing() {
        let here = host("m1", "b1", "d1", 1);
        for clone in [
            host("m2", "b2", "d1", 1),
            host("m1", "b2", "d1", 1),
            host("-", "b2", "d1", 0),
            host("m2", "-", "d1", 1),
            host("m1", "b1", "d1", 2),
            host("-", "b1", "d1", 2),
        ] {
            assert!(here.is_clone_of(&clone) && clone.is_clone_of(&here), "{clone:?}");
        }
        for other in [
            // Processes that share it, in a container or not.
            here.clone(),
            host("-", "b1", "d1", 1),
            host("m2", "b1", "d1", 1),
            // Another data directory.
            host("m1", "b1", "d2", 2),
            host("m2", "b2", "d2", 1),
            // Nobody knows.
            host("m1", "-", "d1", 2),
            host("-", "-", "d1", 2),
            host("m1", "b1", "d1", 0),
            host("m2", "b2", "-", 1),
            NodeHost::default(),
        ] {
            assert!(!here.is_clone_of(&other) && !other.is_clone_of(&here), "{other:?}");
        }
        assert!(!host("m1", "b1", "-", 1).is_clone_of(&host("m2", "b2", "-", 1)));
    }
}
