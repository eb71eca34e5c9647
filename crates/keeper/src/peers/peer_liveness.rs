//! Whose recoveries are left to others.
//!
//! A node whose store is out of reach may hold the reply of an attempt in a spill slot, where no other node can look. So an
//! attempt is recovered by the node that made it as long as that beats, and by others only once it does not: as far as can be
//! told by a node that has heard of the others for a while. Right after an outage nobody has.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jeton_core::id::NodeId;
use jeton_core::keep::ports::HeartbeatReply;

/// How long the store must have been within reach, without a break, before another node counts as gone. By then a node that
/// reaches it again has beaten (every 5 s) and returned its slots (every 2 s), and that has been heard (every 5 s).
pub(crate) const GONE_AFTER: Duration = Duration::from_secs(15);

/// The longest time between two beats that is no break.
const LONGEST_GAP: Duration = Duration::from_secs(10);

/// What this node has heard of the others. Times are those of the clock that counts suspension.
#[derive(Debug, Default)]
pub(crate) struct PeerLiveness(Mutex<Option<Hearing>>);

#[derive(Debug, Default)]
struct Hearing {
    /// Since when every beat was answered.
    since: Option<Duration>,
    last: Duration,
    live: BTreeSet<NodeId>,
}

impl PeerLiveness {
    fn locked(&self) -> MutexGuard<'_, Option<Hearing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this process is a node.
    pub(crate) fn begin(&self) {
        self.locked().get_or_insert_default();
    }

    /// A beat that was sent at `asked_at` was answered.
    pub(crate) fn heard(&self, heard: &HeartbeatReply, asked_at: Duration) {
        let mut hearing = self.locked();
        let hearing = hearing.get_or_insert_default();
        let broken = asked_at.saturating_sub(hearing.last) > LONGEST_GAP;
        hearing.since = hearing.since.filter(|_| !broken).or(Some(asked_at));
        hearing.last = asked_at;
        hearing.live = heard.others.iter().map(|other| other.node).collect();
    }

    /// A beat was not answered.
    pub(crate) fn lost(&self) {
        self.locked().get_or_insert_default().since = None;
    }

    /// Whether `node` may still come back with a reply of its own. A process that is no node among others cannot tell, and
    /// goes by the lease alone.
    pub(crate) fn may_still_hold_reply(&self, node: NodeId, now: Duration) -> bool {
        let hearing = self.locked();
        let Some(hearing) = &*hearing else { return false };
        let settled = hearing.since.is_some_and(|since| now.saturating_sub(since) >= GONE_AFTER)
            && now.saturating_sub(hearing.last) <= LONGEST_GAP;
        !settled || hearing.live.contains(&node)
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::keep::ports::LiveNode;
    use jeton_core::time::Timestamp;

    use super::*;

    fn other() -> NodeId {
        NodeId::from_bytes([7; 16])
    }

    fn beat(contact: &PeerLiveness, others: &[NodeId], at: u64) {
        let live = |node: &NodeId| LiveNode {
            node: *node,
            name: "other".to_owned(),
            version: String::new(),
            definitions: String::new(),
            started_at: Timestamp::default(),
            seen_at: Timestamp::default(),
        };
        let heard = HeartbeatReply { now: Timestamp::default(), others: others.iter().map(live).collect() };
        contact.heard(&heard, Duration::from_secs(at));
    }

    fn may_still_hold_reply(contact: &PeerLiveness, at: u64) -> bool {
        contact.may_still_hold_reply(other(), Duration::from_secs(at))
    }

    #[test]
    fn a_process_that_is_no_node_leaves_nothing_to_others() {
        assert!(!may_still_hold_reply(&PeerLiveness::default(), 1_000));
    }

    #[test]
    fn a_node_counts_as_gone_only_for_whoever_has_not_heard_of_it_through_an_unbroken_while() {
        let contact = PeerLiveness::default();
        contact.begin();
        assert!(may_still_hold_reply(&contact, 100), "nothing was heard yet");
        for at in [100, 105, 110] {
            beat(&contact, &[], at);
            assert!(may_still_hold_reply(&contact, at + 4));
        }
        beat(&contact, &[], 115);
        assert!(!may_still_hold_reply(&contact, 115));
        beat(&contact, &[other()], 120);
        assert!(may_still_hold_reply(&contact, 120), "there it is");
    }

    #[test]
    fn an_outage_or_a_sleep_begins_the_while_anew() {
        let contact = PeerLiveness::default();
        for at in [100, 105, 110, 115] {
            beat(&contact, &[], at);
        }
        assert!(may_still_hold_reply(&contact, 130), "no beat was answered for too long");
        beat(&contact, &[], 130);
        assert!(may_still_hold_reply(&contact, 130));
        for at in [135, 140, 145] {
            beat(&contact, &[], at);
        }
        assert!(!may_still_hold_reply(&contact, 145));
        contact.lost();
        beat(&contact, &[], 150);
        assert!(may_still_hold_reply(&contact, 155));
    }
}
