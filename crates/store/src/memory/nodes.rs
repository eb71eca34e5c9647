//! The port `NodeStore`.

use async_trait::async_trait;
use jeton_core::id::NodeId;
use jeton_core::keep::ports::{Heartbeat, HeartbeatReply, LiveNode, NodeStore, StoreError};

use super::snapshot::Node;
use super::transaction::Transaction;
use super::{InMemory, Persistence};
use crate::rules::NODES_REMEMBERED;
use crate::write_tx::WriteTx as _;

fn beat(tx: &Transaction<'_>, beat: Heartbeat) -> HeartbeatReply {
    let (now, mut snapshot) = (tx.now(), tx.change());
    snapshot.nodes.retain(|_, known| known.node.seen_at >= now - NODES_REMEMBERED);
    let started_at = snapshot.nodes.get(&beat.node).map_or(now, |known| known.node.started_at);
    let Heartbeat { node: id, name, version, definitions, life } = beat;
    let node = LiveNode { node: id, name, version, definitions, started_at, seen_at: now };
    snapshot.nodes.insert(id, Node { node, live_until: now + life });
    let others = snapshot.nodes.values().filter(|other| other.node.node != id && now < other.live_until);
    HeartbeatReply { now, others: others.map(|other| other.node.clone()).collect() }
}

#[async_trait]
impl<P: Persistence> NodeStore for InMemory<P> {
    async fn record_heartbeat(&self, order: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        self.write(move |tx| Ok(beat(tx, order))).await
    }

    async fn forget(&self, node: NodeId) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.change().nodes.remove(&node);
            Ok(())
        })
        .await
    }
}
