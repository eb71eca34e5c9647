//! The port `ConnectionStore`.

use std::ops::Bound;
use std::time::Duration;

use async_trait::async_trait;
use jeton_core::audit::Actor;
use jeton_core::id::{ConnectionName, OperationId};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{
    Commit, CommitAnswer, Connect, ConnectAnswer, ConnectionStore, Due, Fail, ListedConnection,
    OperatorCommand, Skip, StoreError,
};
use jeton_core::keep::rejection::{self, Rejection, RejectionAnswer};
use jeton_core::time::Timestamp;

use super::snapshot::{AttemptEntry, Snapshot};
use super::transaction::Transaction;
use super::{InMemory, Persistence};
use crate::{grant_writes, refresh_writes};

fn due(
    snapshot: &Snapshot,
    now: Timestamp,
    horizon: Duration,
    after: Option<&Due>,
    limit: usize,
) -> Vec<Due> {
    let looked_for = |row: &Connection| {
        let due_at = row.due_at.filter(|due_at| *due_at <= now + horizon)?;
        let free = !row.paused && row.live_lease(now).is_none();
        free.then(|| Due { due_at, connection: row.name.clone() })
    };
    let mut due: Vec<Due> = snapshot
        .connections
        .values()
        .filter_map(|row| looked_for(&row.connection))
        .filter(|due| after.is_none_or(|after| due > after))
        .collect();
    due.sort();
    due.truncate(limit);
    due
}

/// Whether the log once had the attempt that failed, and has grown beyond it since: then nothing hangs on it any more. A
/// process that slept may come with such a failure, and must not offer it for ever.
fn has_forgotten(snapshot: &Snapshot, fail: &Fail) -> bool {
    let later = |entry: &AttemptEntry| {
        entry.attempt.connection == fail.connection && entry.attempt.generation > fail.generation
    };
    snapshot.find(&fail.connection).is_some()
        && !snapshot.attempts.contains_key(&fail.attempt)
        && snapshot.attempts.range(fail.attempt..).any(|(_, entry)| later(entry))
}

#[async_trait]
impl<P: Persistence> ConnectionStore for InMemory<P> {
    async fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, StoreError> {
        let name = name.clone();
        self.read(move |snapshot, _| snapshot.find(&name).cloned()).await
    }

    async fn list(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<ListedConnection>, StoreError> {
        let after = after.cloned();
        let list = move |snapshot: &Snapshot, _| {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let rows = snapshot.connections.range((from, Bound::Unbounded)).take(limit);
            rows.map(|(_, row)| Ok(row.connection.clone())).collect()
        };
        self.read(list).await
    }

    async fn due(
        &self,
        horizon: Duration,
        after: Option<&Due>,
        limit: usize,
    ) -> Result<(Timestamp, Vec<Due>), StoreError> {
        let after = after.cloned();
        self.read(move |snapshot, now| (now, due(snapshot, now, horizon, after.as_ref(), limit))).await
    }

    async fn connect(&self, connect: Connect) -> Result<ConnectAnswer, StoreError> {
        self.write(move |tx| grant_writes::connect(tx, &connect)).await
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError> {
        self.write(move |tx| refresh_writes::claim(tx, &claim)).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitAnswer, StoreError> {
        self.write(move |tx| refresh_writes::commit(tx, &commit)).await
    }

    async fn fail(&self, fail: Fail) -> Result<(), StoreError> {
        let record = move |tx: &Transaction<'_>| {
            if has_forgotten(&tx.snapshot(), &fail) {
                return Ok(());
            }
            refresh_writes::fail(tx, &fail)
        };
        self.write(record).await
    }

    async fn skip(&self, skip: Skip) -> Result<(), StoreError> {
        self.write(move |tx| refresh_writes::skip(tx, &skip)).await
    }

    async fn reject(&self, rejection: Rejection) -> Result<RejectionAnswer, StoreError> {
        // Most reports change nothing, and there may be one for every call of an API that is out of order.
        let report = rejection.clone();
        let judged = self
            .read(move |snapshot, now| rejection::answer(snapshot.find(&report.connection), &report, now))
            .await?;
        match judged {
            (answer, None) => Ok(answer),
            (_, Some(_)) => self.write(move |tx| grant_writes::reject(tx, &rejection)).await,
        }
    }

    async fn administer(
        &self,
        name: &ConnectionName,
        act: OperatorCommand,
        operation: OperationId,
        by: &Actor,
    ) -> Result<bool, StoreError> {
        let (name, by) = (name.clone(), by.clone());
        self.write(move |tx| grant_writes::administer(tx, &name, act, operation, &by)).await
    }
}
