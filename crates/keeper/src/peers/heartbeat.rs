//! Being one of several nodes on one store: equal, with no leader. A node says that it lives, hears who else does, and
//! tells people what would keep them from working as one: other definitions, or another time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::NodeId;
use jeton_core::keep::ports::{Heartbeat, HeartbeatReply, LiveNode, NodeStore, StoreError};
use jeton_core::secret::Secret;
use tokio::time::timeout;

use crate::peers::data_dir_nodes;
use crate::shared::{ConnectionDef, Shared};
use crate::vault::Vault;

/// How often a node says that it lives.
const EVERY: Duration = Duration::from_secs(5);

/// How long it counts as live after its last sign: three in a row may be late.
const LIFE: Duration = Duration::from_secs(20);

/// How long the end of a node waits to be told to the others, who would notice anyhow.
const FAREWELL: Duration = Duration::from_secs(2);

/// More connections than this are told as one digest: a sign of life stays short.
const MOST_NAMED: usize = 200;

impl Vault {
    /// Says regularly that this node lives, under the name that people call it, until [`Vault::drain`]. Differences to other
    /// nodes are logged, each once.
    pub fn announce(&self, nodes: Arc<dyn NodeStore>, name: &str) {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        shared.liveness.begin();
        if let Err(error) = data_dir_nodes::register(&shared.data_dir, shared.node) {
            let data_dir = shared.data_dir.display();
            tracing::warn!(%data_dir, %error, "this node cannot be recorded; after a crash its attempts wait a little longer");
        }
        self.shared.background.spawn(async move {
            // With very many definitions their digest takes a moment, and nobody's start waits for it.
            let beat = beat(&shared, &name, LIFE);
            live(&shared, &*nodes, beat).await;
        });
    }

    /// The other nodes that are alive, and what people should know of them.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn peers(&self, nodes: &dyn NodeStore) -> Result<Peers, StoreError> {
        // A sign of no life: it asks, and nobody ever counts this process among the nodes.
        let question = beat(&self.shared, "", Duration::ZERO);
        let before = self.shared.clock.now();
        let heard = nodes.record_heartbeat(question.clone()).await?;
        let after = self.shared.clock.now();
        nodes.forget(question.node).await?;
        let mut warnings: Vec<String> = heard.clock_warning(before, after).into_iter().collect();
        warnings.extend(heard.others.iter().filter_map(|other| difference(&question, other)));
        Ok(Peers { nodes: heard.others, warnings })
    }
}

/// Who lives on the store besides the one who asks.
#[derive(Clone, Debug)]
pub struct Peers {
    /// The nodes, by id.
    pub nodes: Vec<LiveNode>,
    /// One sentence for each thing that keeps them from working as one.
    pub warnings: Vec<String>,
}

fn beat(shared: &Shared, name: &str, life: Duration) -> Heartbeat {
    Heartbeat {
        node: shared.node,
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        definitions: digests(shared),
        life,
    }
}

async fn live(shared: &Shared, nodes: &dyn NodeStore, beat: Heartbeat) {
    let mut told = Told::default();
    while !shared.is_closing() {
        let (before, asked_at) = (shared.clock.now(), shared.clock.uptime());
        let answer = tokio::select! {
            answer = nodes.record_heartbeat(beat.clone()) => answer,
            () = shared.closed() => break,
        };
        match answer {
            Ok(heard) => {
                shared.liveness.heard(&heard, asked_at);
                let clock = heard.clock_warning(before, shared.clock.now());
                told.news(&beat, &heard, clock).iter().for_each(|news| tracing::warn!("{news}"));
            }
            Err(error) => {
                shared.liveness.lost();
                if let Some(news) = told.refusal(&error) {
                    tracing::warn!("{news}");
                } else {
                    tracing::debug!(%error, "no sign of life could be given");
                }
            }
        }
        shared.pause(EVERY).await;
    }
    if !matches!(timeout(FAREWELL, nodes.forget(beat.node)).await, Ok(Ok(()))) {
        tracing::debug!("the end of this node could not be told; it counts as live for {LIFE:?} more");
    }
}

/// What was said already.
#[derive(Default)]
struct Told {
    /// The definitions of each node for which its difference was told.
    differences: HashMap<NodeId, String>,
    clock: bool,
    refusal: bool,
}

impl Told {
    /// A warning that no sign of life is taken, unless it was given since the last one that was. Of a store that is away
    /// whoever needs it says so louder.
    fn refusal(&mut self, error: &StoreError) -> Option<String> {
        let is_new = !error.is_transient() && !std::mem::replace(&mut self.refusal, true);
        is_new.then(|| {
            format!("no sign of life of this node is taken, and other nodes count it as gone: {error}")
        })
    }

    /// The warnings that are new.
    fn news(&mut self, own: &Heartbeat, heard: &HeartbeatReply, clock: Option<String>) -> Vec<String> {
        self.refusal = false;
        let mut news = Vec::new();
        let clock_was_told = std::mem::replace(&mut self.clock, clock.is_some());
        news.extend(clock.filter(|_| !clock_was_told));
        for other in &heard.others {
            if self.differences.get(&other.node) == Some(&other.definitions) {
                continue;
            }
            self.differences.insert(other.node, other.definitions.clone());
            news.extend(difference(own, other));
        }
        self.differences.retain(|node, _| heard.others.iter().any(|other| other.node == *node));
        news
    }
}

/// One sentence when another node defines other connections, or defines them otherwise.
fn difference(own: &Heartbeat, other: &LiveNode) -> Option<String> {
    // Another version may digest the same definitions otherwise.
    if other.version != own.version || other.definitions == own.definitions {
        return None;
    }
    let (ours, theirs) = (parse(&own.definitions), parse(&other.definitions));
    let names: BTreeSet<&str> = ours.keys().chain(theirs.keys()).copied().collect();
    let mut which = Vec::new();
    for name in names {
        match (ours.get(name), theirs.get(name)) {
            (Some(_), None) => which.push(format!("only this node defines `{name}`")),
            (None, Some(_)) => which.push(format!("only that node defines `{name}`")),
            (ours, theirs) if ours != theirs => which.push(format!("`{name}` is defined otherwise")),
            _ => {}
        }
    }
    let which = match which.as_slice() {
        [] => "there are too many to say which".to_owned(),
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        all => all.join(", "),
    };
    Some(format!(
        "the node {} has other definitions than this one ({which}), and each keeps alive only what it defines: give all \
         nodes the same settings",
        other.name
    ))
}

/// What this node defines: a digest of everything, then one of each connection unless there are too many.
fn digests(shared: &Shared) -> String {
    let mut all: Vec<&ConnectionDef> = shared.definitions.values().map(|defined| &**defined).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    let each: Vec<_> =
        all.iter().map(|defined| (defined.name.as_str(), digest(shared, &text(defined)))).collect();
    let whole = each.iter().fold(String::new(), |text, (name, digest)| text + name + "=" + digest + " ");
    let mut digests = digest(shared, &whole);
    if each.len() <= MOST_NAMED {
        for (name, digest) in &each {
            write!(digests, " {name}={digest}").expect("a String takes everything");
        }
    }
    digests
}

/// The digests of connections, by name.
fn parse(definitions: &str) -> BTreeMap<&str, &str> {
    definitions.split(' ').filter_map(|part| part.split_once('=')).collect()
}

/// Keyed by the sealing key, which all nodes share, so that nobody else can try secrets on it.
fn digest(shared: &Shared, text: &str) -> String {
    let mut digest = shared.sealer.fingerprint(&Secret::new(text)).to_string();
    digest.truncate(12);
    digest
}

/// A definition as a text that is the same on every node. It holds secrets.
fn text(defined: &ConnectionDef) -> String {
    let definition = &defined.definition;
    let client = definition.client();
    let vars: Vec<_> = definition.vars().iter().map(|(name, value)| (name, value.reveal())).collect();
    let secret = client.secret.as_ref().map(Secret::reveal);
    let emulator = definition.emulator().map(ToString::to_string);
    format!(
        "{:?}",
        (
            defined.provider.as_str(),
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
    use jeton_core::time::Timestamp;

    use super::*;

    fn own(definitions: &str) -> Heartbeat {
        Heartbeat {
            node: NodeId::from_bytes([1; 16]),
            name: "one".to_owned(),
            version: "1.0.0".to_owned(),
            definitions: definitions.to_owned(),
            life: LIFE,
        }
    }

    fn other(definitions: &str) -> LiveNode {
        LiveNode {
            node: NodeId::from_bytes([2; 16]),
            name: "two".to_owned(),
            version: "1.0.0".to_owned(),
            definitions: definitions.to_owned(),
            started_at: Timestamp::from_secs(1),
            seen_at: Timestamp::from_secs(2),
        }
    }

    #[test]
    fn a_difference_names_the_connections_and_the_cure() {
        let told = difference(&own("aa a=1 b=2 c=3"), &other("bb b=2 c=9 d=4")).unwrap();
        assert!(told.starts_with("the node two has other definitions"), "{told}");
        for part in ["only this node defines `a`", "only that node defines `d`", "`c` is defined otherwise"] {
            assert!(told.contains(part), "{told}");
        }
        assert!(told.ends_with("give all nodes the same settings"), "{told}");
        assert!(difference(&own("aa"), &other("bb")).unwrap().contains("too many to say which"));
        assert!(difference(&own("x"), &other("y a=1 b=1 c=1 d=1 e=1")).unwrap().contains("and 2 more"));
        assert_eq!(difference(&own("aa a=1"), &other("aa a=1")), None);
        let newer = LiveNode { version: "1.1.0".to_owned(), ..other("bb") };
        assert_eq!(difference(&own("aa"), &newer), None, "another version digests otherwise");
    }

    #[test]
    fn each_warning_is_given_once_and_again_when_something_else_differs() {
        let mut told = Told::default();
        let heard = |definitions: &str| HeartbeatReply {
            now: Timestamp::from_secs(5),
            others: vec![other(definitions)],
        };
        let late = || Some("the clock is late".to_owned());
        let mut news = |definitions: &str, clock| told.news(&own("aa"), &heard(definitions), clock).len();
        assert_eq!(news("bb", late()), 2);
        assert_eq!(news("bb", late()), 0);
        assert_eq!(news("cc", None), 1);
        assert_eq!(news("aa", late()), 1, "the clock went wrong again, and the definitions are the same now");
        assert_eq!(news("bb", late()), 1);
    }

    #[test]
    fn a_sign_of_life_that_is_refused_is_told_once_until_one_is_taken() {
        let mut told = Told::default();
        let refused = StoreError::Refused("the user lacks a right".to_owned());
        assert_eq!(told.refusal(&StoreError::Unavailable("away".to_owned())), None);
        assert!(told.refusal(&refused).unwrap().contains("count it as gone: "));
        assert_eq!(told.refusal(&refused), None);
        told.news(&own("aa"), &HeartbeatReply { now: Timestamp::from_secs(5), others: Vec::new() }, None);
        assert!(told.refusal(&refused).unwrap().contains("lacks a right"));
    }
}
