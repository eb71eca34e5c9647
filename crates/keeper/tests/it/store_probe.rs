//! A probe between a vault and its store: it counts the calls, it can be closed, as when a store is out of reach, its answers
//! can come late, and it can lead to another store, as when a backup takes the place of the database.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use jeton_core::audit::Actor;
use jeton_core::clocks::StoreReading;
use jeton_core::id::{ConnectionName, Generation, OperationId, Revision};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::{Connection, SealedTokens};
use jeton_core::keep::ports::{
    BeginConnect, BeginConnectAnswer, Callback, CallbackAnswer, ChangeFeed, Commit, CommitAnswer, Connect,
    ConnectAnswer, ConnectionStore, ConsentKey, ConsentStart, ConsentStartAnswer, ConsentStore, Due, Fail,
    FailExchange, FoundConsent, Invite, ListedConnection, OperatorCommand, Skip, StoreError,
};
use jeton_core::keep::rejection::{Rejection, RejectionAnswer};
use jeton_core::time::Timestamp;
use tokio::time::sleep;

use crate::stores::Kept;

/// The real store behind a probe.
#[derive(Debug)]
pub(crate) struct StoreProbe {
    store: RwLock<Kept>,
    closed: AtomicBool,
    late_by_ms: AtomicU64,
    calls: AtomicU64,
    sealed: Mutex<Vec<(ConnectionName, Generation, SealedTokens)>>,
}

impl StoreProbe {
    pub(crate) fn new(store: Kept) -> Self {
        Self {
            store: RwLock::new(store),
            closed: AtomicBool::new(false),
            late_by_ms: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            sealed: Mutex::default(),
        }
    }

    /// Every call fails while the probe is closed.
    pub(crate) fn set_out_of_reach(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
    }

    /// What `find` has read arrives this much later.
    pub(crate) fn delay_reads_by(&self, late_by: Duration) {
        let ms = u64::try_from(late_by.as_millis()).expect("tests wait for seconds, not ages");
        self.late_by_ms.store(ms, Ordering::SeqCst);
    }

    /// How many calls were made, whether they failed or not.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Every token set that was brought here to be stored, and the generation that it is sealed for.
    pub(crate) fn sealed(&self) -> Vec<(ConnectionName, Generation, SealedTokens)> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, name: &ConnectionName, before: Generation, tokens: &SealedTokens) {
        let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        sealed.push((name.clone(), before.next(), tokens.clone()));
    }

    /// From now on every call goes to that store.
    pub(crate) fn lead_to(&self, store: &Kept) {
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = store.clone();
    }

    fn behind(&self) -> Kept {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn through(&self) -> Result<Kept, StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the probe is closed".to_owned()));
        }
        Ok(self.behind())
    }
}

#[async_trait]
impl ConnectionStore for StoreProbe {
    async fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, StoreError> {
        let found = self.through()?.find(name).await;
        sleep(Duration::from_millis(self.late_by_ms.load(Ordering::SeqCst))).await;
        found
    }

    async fn list(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<ListedConnection>, StoreError> {
        self.through()?.list(after, limit).await
    }

    async fn due(
        &self,
        horizon: Duration,
        after: Option<&Due>,
        limit: usize,
    ) -> Result<(Timestamp, Vec<Due>), StoreError> {
        self.through()?.due(horizon, after, limit).await
    }

    async fn connect(&self, connect: Connect) -> Result<ConnectAnswer, StoreError> {
        if let Some(tokens) = &connect.tokens {
            self.note(&connect.connection, connect.generation, tokens);
        }
        self.through()?.connect(connect).await
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError> {
        self.through()?.claim(claim).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitAnswer, StoreError> {
        self.note(&commit.connection, commit.generation, &commit.tokens);
        self.through()?.commit(commit).await
    }

    async fn fail(&self, fail: Fail) -> Result<(), StoreError> {
        self.through()?.fail(fail).await
    }

    async fn skip(&self, skip: Skip) -> Result<(), StoreError> {
        self.through()?.skip(skip).await
    }

    async fn reject(&self, rejection: Rejection) -> Result<RejectionAnswer, StoreError> {
        self.through()?.reject(rejection).await
    }

    async fn administer(
        &self,
        name: &ConnectionName,
        act: OperatorCommand,
        operation: OperationId,
        by: &Actor,
    ) -> Result<bool, StoreError> {
        self.through()?.administer(name, act, operation, by).await
    }
}

/// What follows the store is not counted, and goes through a closed probe.
#[async_trait]
impl ChangeFeed for StoreProbe {
    async fn clock(&self) -> Result<StoreReading, StoreError> {
        self.behind().clock().await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.behind().revision().await
    }

    async fn changed_since(&self, seen: Revision, limit: usize) -> Result<Vec<ListedConnection>, StoreError> {
        self.behind().changed_since(seen, limit).await
    }

    async fn wait_for_change(&self, seen: Revision) {
        self.behind().wait_for_change(seen).await;
    }
}

#[async_trait]
impl ConsentStore for StoreProbe {
    async fn invite(&self, invite: Invite) -> Result<Timestamp, StoreError> {
        self.through()?.invite(invite).await
    }

    async fn start_consent(&self, opening: ConsentStart) -> Result<ConsentStartAnswer, StoreError> {
        self.through()?.start_consent(opening).await
    }

    async fn record_callback(&self, callback: Callback) -> Result<CallbackAnswer, StoreError> {
        self.through()?.record_callback(callback).await
    }

    async fn begin_connect(&self, begin: BeginConnect) -> Result<BeginConnectAnswer, StoreError> {
        self.through()?.begin_connect(begin).await
    }

    async fn fail_exchange(&self, fail: FailExchange) -> Result<(), StoreError> {
        self.through()?.fail_exchange(fail).await
    }

    async fn find_consent(&self, key: ConsentKey) -> Result<Option<FoundConsent>, StoreError> {
        self.through()?.find_consent(key).await
    }

    async fn list_latest_consents(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<FoundConsent>, StoreError> {
        self.through()?.list_latest_consents(after, limit).await
    }
}
