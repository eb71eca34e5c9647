//! The port `AttemptLog`.

use std::ops::Bound;

use async_trait::async_trait;
use jeton_core::id::AttemptId;
use jeton_core::keep::attempt::{Attempt, AttemptStatus};
use jeton_core::keep::ports::{AttemptFilter, AttemptLog, StoreError};
use jeton_core::time::Timestamp;

use super::snapshot::Snapshot;
use super::{InMemory, Persistence};

fn admits(filter: &AttemptFilter, attempt: &Attempt, now: Timestamp) -> bool {
    // What still runs under a lapsed lease is interrupted, though nobody has recorded it yet.
    let failed = || matches!(attempt.status_at(now), AttemptStatus::Failed | AttemptStatus::Interrupted);
    filter.connection.as_ref().is_none_or(|name| attempt.connection == *name)
        && filter.provider.as_ref().is_none_or(|name| attempt.provider == *name)
        && filter.status.is_none_or(|status| attempt.status == status)
        && filter.trigger.is_none_or(|trigger| attempt.trigger == trigger)
        && filter.since.is_none_or(|since| attempt.started_at >= since)
        && (!filter.failed_only || failed())
}

#[async_trait]
impl<P: Persistence> AttemptLog for InMemory<P> {
    async fn find_attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError> {
        self.read(move |snapshot, _| snapshot.attempts.get(&id).map(|entry| entry.attempt.clone())).await
    }

    async fn list_attempts(&self, filter: &AttemptFilter, limit: usize) -> Result<Vec<Attempt>, StoreError> {
        let filter = filter.clone();
        let list = move |snapshot: &Snapshot, now| {
            let before = filter.before.map_or(Bound::Unbounded, Bound::Excluded);
            let entries = snapshot.attempts.range((Bound::Unbounded, before)).rev();
            let attempts = entries.map(|(_, entry)| &entry.attempt);
            attempts.filter(|attempt| admits(&filter, attempt, now)).take(limit).cloned().collect()
        };
        self.read(list).await
    }

    async fn find_kept_reply(&self, id: AttemptId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |snapshot, _| snapshot.attempts.get(&id)?.kept_reply.clone()).await
    }
}
