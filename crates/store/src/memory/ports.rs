//! The ports of a store whose rows all stand in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use async_trait::async_trait;
use jeton_core::audit::Actor;
use jeton_core::clocks::StoreReading;
use jeton_core::id::{AttemptId, ConnectionName, InstanceId, NodeId, OperationId, Revision};
use jeton_core::keep::attempt::{Attempt, AttemptStatus};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::consent::{Consent, ConsentOutcome};
use jeton_core::keep::ports::{
    AttemptFilter, AttemptLog, BeginConnect, BeginConnectAnswer, Callback, CallbackAnswer, ChangeFeed,
    Commit, CommitAnswer, Connect, ConnectAnswer, ConnectionStore, ConsentKey, ConsentStart,
    ConsentStartAnswer, ConsentStore, Due, Fail, FailExchange, FoundConsent, Heartbeat, HeartbeatReply,
    Identity, Invite, ListedConnection, LiveNode, Maintenance, NodeStore, OperatorCommand, Skip, StoreError,
};
use jeton_core::keep::rejection::{self, Rejection, RejectionAnswer};
use jeton_core::time::Timestamp;

use super::snapshot::{AttemptEntry, Installation, NodeRow, SealedBytes, Snapshot};
use super::transaction::Transaction;
use super::{InMemory, Persistence};
use crate::changes::wait_for_change;
use crate::rules::NODES_REMEMBERED;
use crate::write_tx::{WriteTx as _, run_ready};
use crate::{consent_writes, grant_writes, refresh_writes};

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
        self.write(move |tx| run_ready(grant_writes::connect(tx, &connect))).await
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError> {
        self.write(move |tx| run_ready(refresh_writes::claim(tx, &claim))).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitAnswer, StoreError> {
        self.write(move |tx| run_ready(refresh_writes::commit(tx, &commit))).await
    }

    async fn fail(&self, fail: Fail) -> Result<(), StoreError> {
        let record = move |tx: &mut Transaction<'_>| {
            if has_forgotten(tx.snapshot(), &fail) {
                return Ok(());
            }
            run_ready(refresh_writes::fail(tx, &fail))
        };
        self.write(record).await
    }

    async fn skip(&self, skip: Skip) -> Result<(), StoreError> {
        self.write(move |tx| run_ready(refresh_writes::skip(tx, &skip))).await
    }

    async fn reject(&self, rejection: Rejection) -> Result<RejectionAnswer, StoreError> {
        // Most reports change nothing, and there may be one for every call of an API that is out of order.
        let report = rejection.clone();
        let judged = self
            .read(move |snapshot, now| rejection::answer(snapshot.find(&report.connection), &report, now))
            .await?;
        match judged {
            (answer, None) => Ok(answer),
            (_, Some(_)) => self.write(move |tx| run_ready(grant_writes::reject(tx, &rejection))).await,
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
        self.write(move |tx| run_ready(grant_writes::administer(tx, &name, act, operation, &by))).await
    }
}

#[async_trait]
impl<P: Persistence> ChangeFeed for InMemory<P> {
    async fn clock(&self) -> Result<StoreReading, StoreError> {
        Ok(StoreReading { now: self.shared.clock.now(), civil: None })
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.read(|snapshot, _| snapshot.revision).await
    }

    async fn changed_since(&self, seen: Revision, limit: usize) -> Result<Vec<ListedConnection>, StoreError> {
        let changed = move |snapshot: &Snapshot, _| {
            let rows = snapshot.connections.values().map(|row| &row.connection);
            let mut changed: Vec<_> = rows.filter(|row| row.revision > seen).cloned().collect();
            changed.sort_by_key(|row| row.revision);
            changed.truncate(limit);
            changed.into_iter().map(Ok).collect()
        };
        self.read(changed).await
    }

    async fn wait_for_change(&self, seen: Revision) {
        wait_for_change(self.shared.revision.subscribe(), seen, P::POLL, || self.revision()).await;
    }
}

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
        self.read(move |snapshot, _| Some(snapshot.attempts.get(&id)?.kept_reply.clone()?.0)).await
    }
}

fn with_attempt(snapshot: &Snapshot, consent: &Consent) -> FoundConsent {
    let attempt = match consent.outcome {
        Some(ConsentOutcome::Exchange(attempt)) => snapshot.attempts.get(&attempt),
        _ => None,
    };
    FoundConsent { consent: consent.clone(), attempt: attempt.map(|entry| entry.attempt.clone()) }
}

#[async_trait]
impl<P: Persistence> ConsentStore for InMemory<P> {
    async fn invite(&self, order: Invite) -> Result<Timestamp, StoreError> {
        self.write(move |tx| run_ready(consent_writes::invite(tx, &order))).await
    }

    async fn start_consent(&self, opening: ConsentStart) -> Result<ConsentStartAnswer, StoreError> {
        self.write(move |tx| run_ready(consent_writes::start(tx, &opening))).await
    }

    async fn record_callback(&self, callback: Callback) -> Result<CallbackAnswer, StoreError> {
        self.write(move |tx| run_ready(consent_writes::record_callback(tx, &callback))).await
    }

    async fn begin_connect(&self, begin: BeginConnect) -> Result<BeginConnectAnswer, StoreError> {
        self.write(move |tx| run_ready(grant_writes::begin_connect(tx, &begin))).await
    }

    async fn fail_exchange(&self, fail: FailExchange) -> Result<(), StoreError> {
        self.write(move |tx| run_ready(consent_writes::fail_exchange(tx, &fail))).await
    }

    async fn find_consent(&self, key: ConsentKey) -> Result<Option<FoundConsent>, StoreError> {
        self.read(move |snapshot, _| {
            snapshot.find_consent(key).map(|consent| with_attempt(snapshot, consent))
        })
        .await
    }

    async fn list_latest_consents(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<FoundConsent>, StoreError> {
        let after = after.cloned();
        let latest = move |snapshot: &Snapshot, _| {
            // Ids sort by time: the last of each connection takes the place of those before it.
            let by_name: BTreeMap<_, _> =
                snapshot.consents.values().map(|consent| (&consent.connection, consent)).collect();
            let wanted =
                by_name.into_iter().filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
            wanted.take(limit).map(|(_, consent)| with_attempt(snapshot, consent)).collect()
        };
        self.read(latest).await
    }
}

fn identity_of(Installation { instance, key_check }: Installation) -> Identity {
    Identity { instance, key_check: key_check.0 }
}

#[async_trait]
impl<P: Persistence> Maintenance for InMemory<P> {
    async fn identity(&self) -> Result<Option<Identity>, StoreError> {
        self.read(|snapshot, _| snapshot.installation.clone().map(identity_of)).await
    }

    async fn initialise(&self, identity: Identity) -> Result<Identity, StoreError> {
        self.write(move |tx| {
            if let Some(winner) = tx.snapshot().installation.clone() {
                return Ok(identity_of(winner));
            }
            let Identity { instance, key_check } = identity.clone();
            tx.change().installation = Some(Installation { instance, key_check: SealedBytes(key_check) });
            Ok(identity)
        })
        .await
    }

    async fn adopt(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.write(move |tx| {
            let Some(known) = tx.snapshot().installation.clone() else {
                let text = "the store is new and belongs to nobody: there is nothing to adopt";
                return Err(StoreError::Refused(text.into()));
            };
            tx.change().installation = Some(Installation { instance, ..known });
            Ok(())
        })
        .await
    }

    async fn find_setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.to_owned();
        self.read(move |snapshot, _| Some(snapshot.settings.get(&name)?.0.clone())).await
    }

    async fn insert_setting(&self, name: &str, value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let name = name.to_owned();
        self.write(move |tx| {
            if let Some(known) = tx.snapshot().settings.get(&name) {
                return Ok(known.0.clone());
            }
            tx.change().settings.insert(name, SealedBytes(value.clone()));
            Ok(value)
        })
        .await
    }
}

fn beat(tx: &mut Transaction<'_>, beat: Heartbeat) -> HeartbeatReply {
    let now = tx.now();
    let snapshot = tx.change();
    snapshot.nodes.retain(|_, known| known.node.seen_at >= now - NODES_REMEMBERED);
    let started_at = snapshot.nodes.get(&beat.node).map_or(now, |known| known.node.started_at);
    let Heartbeat { node: id, name, version, definitions, tasks, unavailable, host, life } = beat;
    let seen_at = now;
    let node =
        LiveNode { node: id, name, version, definitions, started_at, seen_at, tasks, unavailable, host };
    snapshot.nodes.insert(id, NodeRow { node, live_until: now + life });
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
