//! Heartbeats: a node tells the others on its store that it lives, learns who else does, and warns of what keeps them from
//! working as one: other definitions, or another time. All are equal; there is no leader.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::NodeId;
use jeton_core::keep::ports::{Heartbeat, HeartbeatReply, LiveNode, NodeHost, NodeStore, StoreError};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use tokio::time::timeout;

use super::data_dir_nodes;
use super::peer_liveness::PeerLiveness;
use super::unavailable::UnavailableEndpoints;
use crate::background::{BackgroundTasks, Run, Step};
use crate::definitions::{ConnectionDef, Definitions};
use crate::lifecycle::Lifecycle;
use crate::node::Node;
use crate::store_access::StoreAccess;

/// The name of the background task.
const TASK: &str = "heartbeat";

/// How far heartbeats are apart.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a node counts as live after a heartbeat: three in a row may be late.
const TTL: Duration = Duration::from_secs(20);

/// How long a node that ends waits until the others are told, who notice anyhow.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Who lives on the store besides the one who asks.
#[derive(Clone, Debug)]
pub struct Peers {
    /// The nodes, by id.
    pub nodes: Vec<LiveNode>,
    /// One sentence for each thing that keeps them from working as one.
    pub warnings: Vec<String>,
    /// One sentence for each that has other definitions than this process.
    pub other_definitions: Vec<String>,
}

/// The heartbeats of this node.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    pub(crate) node: Arc<Node>,
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) store: Arc<StoreAccess>,
    pub(crate) liveness: Arc<PeerLiveness>,
    pub(crate) unavailable: Arc<UnavailableEndpoints>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) background: Arc<BackgroundTasks>,
}

impl Heartbeats {
    /// Announces this node under the name that people call it, until the vault closes. Each difference to another node is
    /// logged once.
    pub(crate) fn announce(self: &Arc<Self>, nodes: Arc<dyn NodeStore>, name: &str) {
        self.liveness.join();
        if let Err(error) = data_dir_nodes::register(&self.node.data_dir, self.node.id) {
            let data_dir = self.node.data_dir.display();
            tracing::warn!(%data_dir, %error, "this node cannot be registered; after a crash its attempts wait a little longer");
        }
        let (heartbeats, warned) = (Arc::clone(self), Warned::default());
        let step =
            Announce { heartbeats, nodes, name: name.to_owned(), heartbeat: None, began: None, warned };
        self.background.start(TASK, step);
    }

    /// The other nodes that are alive, and what people should know of them.
    ///
    /// # Errors
    /// The store could not be asked.
    pub(crate) async fn peers(&self, nodes: &dyn NodeStore) -> Result<Peers, StoreError> {
        // It asks and lives for no time: nobody ever counts this process among the nodes.
        let question = self.heartbeat("", Duration::ZERO);
        let before = self.node.clock.node_clock();
        let reply = nodes.record_heartbeat(question.clone()).await?;
        let clock = self.node.clock.warning(reply.now, before);
        nodes.forget(question.node).await?;
        self.unavailable.note_peers(&reply.others);
        let mut warnings: Vec<String> = clock.into_iter().collect();
        let other_definitions =
            reply.others.iter().filter_map(|other| difference(&question, other)).collect();
        warnings.extend(reply.others.iter().filter_map(|other| clone_warning(&self.node.host, other)));
        warnings.extend(reply.others.iter().flat_map(failing_tasks));
        Ok(Peers { nodes: reply.others, warnings, other_definitions })
    }

    /// Why the last heartbeat is not in the store, if that is so.
    pub(crate) fn failure(&self) -> Option<String> {
        self.background.last_error(TASK)
    }

    fn heartbeat(&self, name: &str, life: Duration) -> Heartbeat {
        Heartbeat {
            node: self.node.id,
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            definitions: digest(&self.node, &self.definitions),
            tasks: Vec::new(),
            unavailable: self.unavailable.own(),
            host: self.node.host.clone(),
            life,
        }
    }

    /// Stops spending where a clone of this data directory has another node that was there before. It is alive for certain only
    /// once it was heard of after `began`, when this one was first heard of: a node that died leaves a heartbeat behind, and its
    /// disk may have moved here.
    fn check_clones(&self, reply: &HeartbeatReply, began: Timestamp) {
        let host = &self.node.host;
        let is_first = |other: &&LiveNode| {
            let was_before = (other.started_at, other.node) < (began, self.node.id);
            was_before && other.seen_at > began && host.is_clone_of(&other.host)
        };
        if let Some(other) = reply.others.iter().find(is_first) {
            self.store.mark_cloned(&other.name);
        }
    }
}

/// Announces this node again and again.
struct Announce {
    heartbeats: Arc<Heartbeats>,
    nodes: Arc<dyn NodeStore>,
    name: String,
    /// Made by the first run: with very many definitions their digest takes a moment, and nobody's start waits for it.
    heartbeat: Option<Heartbeat>,
    /// The first heartbeat, by the clock of the store.
    began: Option<Timestamp>,
    warned: Warned,
}

impl Step for Announce {
    async fn run(&mut self) -> Run {
        let Heartbeats { node, store, liveness, unavailable, lifecycle, .. } = &*self.heartbeats;
        let heartbeat = self.heartbeat.get_or_insert_with(|| self.heartbeats.heartbeat(&self.name, TTL));
        heartbeat.tasks = self.heartbeats.background.list();
        heartbeat.unavailable = unavailable.own();
        if store.hold().is_some() {
            // It spends nothing, and is in the way of no other node on this data directory or a clone of it.
            heartbeat.host.data_dir = None;
        }
        let asked_at = node.clock.uptime();
        let answer = tokio::select! {
            answer = self.nodes.record_heartbeat(heartbeat.clone()) => answer,
            () = lifecycle.closed() => return Run::done(INTERVAL),
        };
        match answer {
            Ok(reply) => {
                node.clock.learn(reply.now, asked_at);
                liveness.note_reply(&reply, asked_at);
                unavailable.note_peers(&reply.others);
                self.heartbeats.check_clones(&reply, *self.began.get_or_insert(reply.now));
                for warning in self.warned.new_differences(heartbeat, &reply) {
                    tracing::warn!("{warning}");
                }
                Run::done(INTERVAL)
            }
            Err(error) => {
                liveness.note_failure();
                unavailable.note_peers(&[]);
                Run::failed(
                    INTERVAL,
                    &format!(
                        "the heartbeat is not recorded, and other nodes count this one as gone: {error}"
                    ),
                )
            }
        }
    }

    async fn end(&mut self) {
        let left = self.nodes.forget(self.heartbeats.node.id);
        if !matches!(timeout(LEAVE_TIMEOUT, left).await, Ok(Ok(()))) {
            tracing::debug!(
                "the other nodes could not be told that this one ends; it counts as live for {TTL:?} more"
            );
        }
    }
}

/// The warnings that were given already.
#[derive(Default)]
struct Warned {
    /// The definitions of each node whose difference was logged.
    differences: HashMap<NodeId, String>,
}

impl Warned {
    /// One sentence for each difference that is new.
    fn new_differences(&mut self, own: &Heartbeat, reply: &HeartbeatReply) -> Vec<String> {
        let mut warnings = Vec::new();
        for other in &reply.others {
            if self.differences.get(&other.node) == Some(&other.definitions) {
                continue;
            }
            self.differences.insert(other.node, other.definitions.clone());
            warnings.extend(difference(own, other));
        }
        self.differences.retain(|node, _| reply.others.iter().any(|other| other.node == *node));
        warnings
    }
}

/// One sentence where another node has other definitions.
fn difference(own: &Heartbeat, other: &LiveNode) -> Option<String> {
    // Another version may digest the same definitions otherwise.
    let differs = other.version == own.version && other.definitions != own.definitions;
    differs.then(|| {
        format!(
            "the node {} has other definitions than this one, and each keeps alive only what it defines: give all nodes \
             the same settings, and restart those that started with older ones",
            other.name
        )
    })
}

/// One sentence where another node lives on a clone of this data directory.
fn clone_warning(own: &NodeHost, other: &LiveNode) -> Option<String> {
    own.is_clone_of(&other.host).then(|| {
        format!(
            "the node {} has this data directory in another place, as on the clone of a disk: end one of the two, and adopt the \
             data directory of the one that is to be a node of its own",
            other.name
        )
    })
}

/// One sentence for each background task of another node whose last run failed.
fn failing_tasks(other: &LiveNode) -> impl Iterator<Item = String> {
    other.tasks.iter().filter_map(|task| {
        let error = task.last_error.as_ref()?;
        Some(format!("the background task `{}` of the node {} fails: {error}", task.name, other.name))
    })
}

/// A digest of all definitions, keyed by the sealing key, which all nodes share, so that nobody else can try secrets on it.
fn digest(node: &Node, definitions: &Definitions) -> String {
    let mut all = String::new();
    for def in definitions.all() {
        all.extend([def.name.as_str(), "=", &text(def), "\n"]);
    }
    node.sealer.fingerprint(&Secret::from(all)).to_string()
}

/// A definition as a text that is the same on every node. It holds secrets.
fn text(def: &ConnectionDef) -> String {
    let definition = &def.definition;
    let client = definition.client();
    let vars: Vec<_> = definition.vars().iter().map(|(name, value)| (name, value.reveal())).collect();
    let secret = client.secret.as_ref().map(Secret::reveal);
    let emulator = definition.emulator().map(ToString::to_string);
    format!(
        "{:?}",
        (
            def.provider.as_str(),
            vars,
            &client.id,
            secret,
            &client.redirect_uri,
            definition.policy(),
            emulator
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Heartbeat {
        Heartbeat {
            node: NodeId::from_bytes([1; 16]),
            name: "one".to_owned(),
            version: "1.0.0".to_owned(),
            definitions: "aa".to_owned(),
            tasks: Vec::new(),
            unavailable: Vec::new(),
            host: NodeHost::default(),
            life: TTL,
        }
    }

    fn other(definitions: &str) -> LiveNode {
        LiveNode {
            node: NodeId::from_bytes([2; 16]),
            name: "two".to_owned(),
            version: "1.0.0".to_owned(),
            definitions: definitions.to_owned(),
            tasks: Vec::new(),
            unavailable: Vec::new(),
            host: NodeHost::default(),
            started_at: Timestamp::from_secs(1),
            seen_at: Timestamp::from_secs(2),
        }
    }

    #[test]
    fn a_difference_names_the_node_and_the_cure() {
        let warning = difference(&own(), &other("bb")).unwrap();
        assert!(warning.starts_with("the node two has other definitions"), "{warning}");
        assert!(
            warning.ends_with(
                "give all nodes the same settings, and restart those that started with older ones"
            ),
            "{warning}"
        );
        assert_eq!(difference(&own(), &other("aa")), None);
        let newer = LiveNode { version: "1.1.0".to_owned(), ..other("bb") };
        assert_eq!(difference(&own(), &newer), None, "another version digests otherwise");
    }

    #[test]
    fn each_difference_is_told_once_and_again_when_something_else_differs() {
        let mut warned = Warned::default();
        let mut count = |definitions: &str| {
            let reply = HeartbeatReply { now: Timestamp::from_secs(5), others: vec![other(definitions)] };
            warned.new_differences(&own(), &reply).len()
        };
        assert_eq!(["bb", "bb", "cc", "aa", "bb"].map(&mut count), [1, 0, 1, 0, 1]);
    }
}
