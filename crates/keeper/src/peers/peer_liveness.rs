//! Which nodes may still come back with a reply.
//!
//! A node whose store is out of reach may hold the reply of an attempt in a spill slot, where no other node can look. So an
//! attempt is recovered by the node that made it while its heartbeats come, and by others only once they do not: as far as a
//! node can tell that has received heartbeats for a while. Right after an outage none has.

use std::collections::BTreeSet;
use std::time::Duration;

use jeton_core::id::NodeId;
use jeton_core::keep::ports::HeartbeatReply;
use parking_lot::Mutex;

/// How long the store must have been within reach, without a break, before another node counts as gone. By then a node that
/// reaches it again has sent a heartbeat (every 5 s) and returned its slots (every 2 s), and others have learnt of it (every 5 s).
pub(crate) const GONE_AFTER: Duration = Duration::from_secs(15);

/// The longest time between two heartbeats that is no break.
const MAX_GAP: Duration = Duration::from_secs(10);

/// What this node knows of the others. Times are those of the clock that counts suspension.
#[derive(Debug, Default)]
pub(crate) struct PeerLiveness(Mutex<Option<Observed>>);

#[derive(Debug, Default)]
struct Observed {
    /// Since when every heartbeat was answered.
    since: Option<Duration>,
    last: Duration,
    live: BTreeSet<NodeId>,
}

impl PeerLiveness {
    /// From now on this process is a node.
    pub(crate) fn join(&self) {
        self.0.lock().get_or_insert_default();
    }

    /// A heartbeat that was sent at `asked_at` was answered.
    pub(crate) fn note_reply(&self, reply: &HeartbeatReply, asked_at: Duration) {
        let mut observed = self.0.lock();
        let observed = observed.get_or_insert_default();
        let broken = asked_at.saturating_sub(observed.last) > MAX_GAP;
        observed.since = observed.since.filter(|_| !broken).or(Some(asked_at));
        observed.last = asked_at;
        observed.live = reply.others.iter().map(|other| other.node).collect();
    }

    /// A heartbeat was not answered.
    pub(crate) fn note_failure(&self) {
        self.0.lock().get_or_insert_default().since = None;
    }

    /// Whether `node` may still come back with a reply of its own. A process that is no node among others cannot tell, and
    /// goes by the lease alone.
    pub(crate) fn may_still_hold_reply(&self, node: NodeId, now: Duration) -> bool {
        let observed = self.0.lock();
        let Some(observed) = &*observed else { return false };
        let settled = observed.since.is_some_and(|since| now.saturating_sub(since) >= GONE_AFTER)
            && now.saturating_sub(observed.last) <= MAX_GAP;
        !settled || observed.live.contains(&node)
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::keep::ports::{LiveNode, NodeHost};
    use jeton_core::time::Timestamp;

    use super::*;

    fn other() -> NodeId {
        NodeId::from_bytes([7; 16])
    }

    fn reply(liveness: &PeerLiveness, others: &[NodeId], at: u64) {
        let live = |node: &NodeId| LiveNode {
            node: *node,
            name: "other".to_owned(),
            version: String::new(),
            definitions: String::new(),
            tasks: Vec::new(),
            unavailable: Vec::new(),
            host: NodeHost::default(),
            started_at: Timestamp::default(),
            seen_at: Timestamp::default(),
        };
        let reply = HeartbeatReply { now: Timestamp::default(), others: others.iter().map(live).collect() };
        liveness.note_reply(&reply, Duration::from_secs(at));
    }

    fn may_still_hold_reply(liveness: &PeerLiveness, at: u64) -> bool {
        liveness.may_still_hold_reply(other(), Duration::from_secs(at))
    }

    #[test]
    fn a_process_that_is_no_node_leaves_nothing_to_others() {
        assert!(!may_still_hold_reply(&PeerLiveness::default(), 1_000));
    }

    #[test]
    fn a_node_counts_as_gone_only_for_whoever_has_not_heard_of_it_through_an_unbroken_while() {
        let liveness = PeerLiveness::default();
        liveness.join();
        assert!(may_still_hold_reply(&liveness, 100), "nothing was heard yet");
        for at in [100, 105, 110] {
            reply(&liveness, &[], at);
            assert!(may_still_hold_reply(&liveness, at + 4));
        }
        reply(&liveness, &[], 115);
        assert!(!may_still_hold_reply(&liveness, 115));
        reply(&liveness, &[other()], 120);
        assert!(may_still_hold_reply(&liveness, 120), "there it is");
    }

    #[test]
    fn an_outage_or_a_sleep_begins_the_while_anew() {
        let liveness = PeerLiveness::default();
        for at in [100, 105, 110, 115] {
            reply(&liveness, &[], at);
        }
        assert!(may_still_hold_reply(&liveness, 130), "no heartbeat was answered for too long");
        reply(&liveness, &[], 130);
        assert!(may_still_hold_reply(&liveness, 130));
        for at in [135, 140, 145] {
            reply(&liveness, &[], at);
        }
        assert!(!may_still_hold_reply(&liveness, 145));
        liveness.note_failure();
        reply(&liveness, &[], 150);
        assert!(may_still_hold_reply(&liveness, 155));
    }
}
