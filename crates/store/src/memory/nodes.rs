//! The port `NodeStore`.

use async_trait::async_trait;
use jeton_core::id::NodeId;
use jeton_core::keep::ports::{Heartbeat, HeartbeatReply, LiveNode, NodeStore, StoreError};

use super::draft::Draft;
use super::image::Node;
use super::{Home, Kept};
use crate::desk::Desk as _;
use crate::rules::NODES_REMEMBERED;

fn beat(draft: &Draft<'_>, beat: Heartbeat) -> HeartbeatReply {
    let (now, mut image) = (draft.now(), draft.change());
    image.nodes.retain(|_, known| known.node.seen_at >= now - NODES_REMEMBERED);
    let started_at = image.nodes.get(&beat.node).map_or(now, |known| known.node.started_at);
    let Heartbeat { node: id, name, version, definitions, life } = beat;
    let node = LiveNode { node: id, name, version, definitions, started_at, seen_at: now };
    image.nodes.insert(id, Node { node, live_until: now + life });
    let others = image.nodes.values().filter(|other| other.node.node != id && now < other.live_until);
    HeartbeatReply { now, others: others.map(|other| other.node.clone()).collect() }
}

#[async_trait]
impl<H: Home> NodeStore for Kept<H> {
    async fn record_heartbeat(&self, order: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        self.write(move |draft| Ok(beat(draft, order))).await
    }

    async fn forget(&self, node: NodeId) -> Result<(), StoreError> {
        self.write(move |draft| {
            draft.change().nodes.remove(&node);
            Ok(())
        })
        .await
    }
}
