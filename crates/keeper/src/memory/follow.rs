//! Following what others change: other processes on the same store, and other nodes.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::Revision;
use jeton_core::keep::ports::{StoreError, revision_of};

use super::apply::Memory;
use crate::background::{Run, Step};

/// How many changed rows are read at once.
const PAGE: usize = 500;

/// How long a store that failed is left alone.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a store may be silent before it is asked how far it has come: one that went back in time announces nothing.
const SILENCE: Duration = Duration::from_secs(2);

/// Puts every change after `seen` into memory.
pub(crate) struct FollowChanges {
    memory: Arc<Memory>,
    seen: Revision,
    /// The store has announced a change.
    announced: bool,
}

impl FollowChanges {
    pub(crate) fn new(memory: Arc<Memory>, seen: Revision) -> Self {
        Self { memory, seen, announced: false }
    }

    /// Puts the changes that were announced into memory.
    async fn apply_changes(&mut self) -> Result<(), StoreError> {
        let memory = &self.memory;
        let asked_at = memory.node.clock.uptime();
        for row in memory.store.ports.feed.changed_since(self.seen, PAGE).await? {
            self.seen = self.seen.max(revision_of(&row));
            memory.apply_listed(row, asked_at);
        }
        self.announced = false;
        memory.changed.notify_one();
        Ok(())
    }

    /// Nothing was announced: the store is where it was, or a backup is in its place now.
    async fn check_revision(&mut self) -> Result<(), StoreError> {
        let found = self.memory.store.ports.feed.revision().await?;
        if found < self.seen {
            self.memory.store.mark_rolled_back(found);
            self.seen = found;
        }
        Ok(())
    }
}

impl Step for FollowChanges {
    async fn run(&mut self) -> Run {
        let followed = if self.announced { self.apply_changes().await } else { self.check_revision().await };
        match followed {
            Ok(()) => Run::done(SILENCE),
            Err(error) => Run::failed(PAUSE, &error),
        }
    }

    async fn woken(&mut self) {
        self.memory.store.ports.feed.wait_for_change(self.seen).await;
        self.announced = true;
    }
}
