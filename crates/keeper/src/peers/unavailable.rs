//! Which token endpoints do not answer: this process, as its limiters know, and its peers, as their heartbeats say.
//!
//! A command has no limiter that has seen anything. It goes by what the running nodes say.

use std::sync::Arc;

use jeton_core::keep::ports::LiveNode;
use jeton_core::keep::unavailable::UnavailableEndpoint;
use parking_lot::Mutex;

use crate::definitions::{ConnectionDef, Definitions};

/// What is known of token endpoints that do not answer. Instants are those of the store.
#[derive(Debug)]
pub(crate) struct UnavailableEndpoints {
    definitions: Arc<Definitions>,
    /// As the last heartbeats of the peers said.
    of_peers: Mutex<Vec<UnavailableEndpoint>>,
}

impl UnavailableEndpoints {
    pub(crate) fn new(definitions: Arc<Definitions>) -> Self {
        Self { definitions, of_peers: Mutex::default() }
    }

    /// Learns from the heartbeats of all peers.
    pub(crate) fn note_peers(&self, peers: &[LiveNode]) {
        *self.of_peers.lock() = peers.iter().flat_map(|peer| peer.unavailable.clone()).collect();
    }

    /// Those that do not answer this process.
    pub(crate) fn own(&self) -> Vec<UnavailableEndpoint> {
        let limiters = self.definitions.limiters().iter();
        limiters.filter_map(|limiter| Some(limiter.outage()?.endpoint)).collect()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<UnavailableEndpoint> {
        let mut all = self.own();
        all.extend(self.of_peers.lock().iter().cloned());
        UnavailableEndpoint::merge(all)
    }

    /// The one that the token requests of `def` go to, if that does not answer.
    pub(crate) fn find(&self, def: &ConnectionDef) -> Option<UnavailableEndpoint> {
        let own = def.limiter.outage().map(|outage| outage.endpoint);
        let of_peers = self.of_peers.lock();
        let same = of_peers.iter().filter(|endpoint| def.limiter.is_of(endpoint)).cloned();
        UnavailableEndpoint::merge(own.into_iter().chain(same)).pop()
    }
}
