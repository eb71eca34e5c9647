//! The processes that share a token file.

use jeton_core::id::NodeId;
use jeton_core::keep::ports::LiveNode;
use jeton_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::memory::snapshot::Node;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeRow {
    id: NodeId,
    name: String,
    version: String,
    definitions: String,
    started_at: Timestamp,
    seen_at: Timestamp,
    live_until: Timestamp,
}

impl From<Node> for NodeRow {
    fn from(Node { node, live_until }: Node) -> Self {
        let LiveNode { node: id, name, version, definitions, started_at, seen_at } = node;
        Self { id, name, version, definitions, started_at, seen_at, live_until }
    }
}

impl NodeRow {
    pub(super) fn into_node(self) -> Node {
        let Self { id: node, name, version, definitions, started_at, seen_at, live_until } = self;
        Node { node: LiveNode { node, name, version, definitions, started_at, seen_at }, live_until }
    }
}
