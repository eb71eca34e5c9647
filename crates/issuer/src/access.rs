//! Checks credentials against a cache of the store's service tokens, and keeps that cache up to date.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use jeton_core::access::{ServiceTokenStore, TokenHash, TokenRevision, TokenStatus, raw};
use jeton_core::entropy::Entropy;
use jeton_core::keep::ports::StoreError;
use jeton_core::time::Clock;
use tokio::time::{sleep, timeout};

use crate::cache::{CachedToken, PendingUses, TokenCache};
use crate::caller::Caller;
use crate::credential;
use crate::environment::Environment;
use crate::error::AccessError;
use crate::failure_limit::FailureLimit;
use crate::shared_reload::SharedReload;

/// How many rows are read at once.
const PAGE: usize = 500;

/// How often [`Access::sync`] is to be called: then a revocation by another process is noticed within five seconds, and a call
/// that has begun before ends a second later at most.
pub const SYNC_PERIOD: Duration = Duration::from_secs(2);

/// How long one read or write of the store may take.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a caller of [`Access::wait_until_refused`] is checked again.
const RECHECK_PERIOD: Duration = Duration::from_secs(1);

/// The limits of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long service tokens are accepted from memory while the store cannot say whether they were revoked.
    pub max_staleness: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_staleness: Duration::from_mins(5) }
    }
}

/// Checks credentials and changes service tokens. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Access {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) store: Arc<dyn ServiceTokenStore>,
    pub(crate) cache: TokenCache,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) environment: Environment,
    settings: Settings,
    /// The last revision in the cache.
    seen: AtomicU64,
    /// When the last successful reload began, in microseconds of uptime: the cache is as the store was then.
    confirmed: AtomicU64,
    reload: SharedReload,
    uses: PendingUses,
    failures: FailureLimit,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("environment", &self.shared.environment).finish_non_exhaustive()
    }
}

impl Access {
    /// Reads every service token of the store.
    ///
    /// # Errors
    /// The store cannot be read, so that revoked tokens could not be told from valid ones.
    pub async fn open(
        store: Arc<dyn ServiceTokenStore>,
        environment: Environment,
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StoreError> {
        let shared = Shared {
            store,
            cache: TokenCache::default(),
            clock,
            entropy,
            environment,
            settings,
            seen: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            reload: SharedReload::default(),
            uses: PendingUses::default(),
            failures: FailureLimit::default(),
        };
        shared.read_changes().await?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Writes the uses that are not in the store yet: the last call, once nobody calls [`Access::sync`] any more.
    pub async fn drain(&self) {
        self.shared.write_uses().await;
    }

    /// Brings the cache up to date with the store, and writes when tokens were last used. It may run at any time and be
    /// cancelled at any time: what was not written is written by the next call.
    ///
    /// # Errors
    /// The store cannot be read within two seconds. A failed write is no error: nothing depends on it.
    pub async fn sync(&self) -> Result<(), StoreError> {
        // Side by side, so that a slow write never delays the noticing of a revocation.
        let ((), reloaded) = tokio::join!(self.shared.write_uses(), self.shared.reload());
        reloaded
    }

    /// The caller that sends these headers: `X-SERVICE-TOKEN`, `X-API-KEY` or `Authorization: Bearer`. An address `client` that
    /// sends many wrong credentials is answered slowly; a valid one is accepted at once, whatever came before it.
    ///
    /// # Errors
    /// There is no credential, there are two that differ, it is not valid, or the store must be asked and does not answer.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        client: Option<IpAddr>,
    ) -> Result<Caller, AccessError> {
        self.admit(credential::from_headers(headers)?, client).await
    }

    /// The same for a request that another server received and asks about. Its `Authorization` counts only where neither
    /// `X-SERVICE-TOKEN` nor `X-API-KEY` carries a credential.
    ///
    /// # Errors
    /// As [`Access::authenticate`].
    pub async fn authenticate_forwarded(
        &self,
        headers: &HeaderMap,
        client: Option<IpAddr>,
    ) -> Result<Caller, AccessError> {
        self.admit(credential::from_forwarded_headers(headers)?, client).await
    }

    async fn admit(&self, presented: &[u8], client: Option<IpAddr>) -> Result<Caller, AccessError> {
        let verified = self.verify(presented).await;
        let (Err(AccessError::Invalid), Some(client)) = (&verified, client) else { return verified };
        match self.shared.failures.count(client, self.shared.clock.uptime()).await {
            Some(retry_after) => Err(AccessError::TooManyFailures { retry_after }),
            None => verified,
        }
    }

    /// The caller that a credential belongs to: a service token of the store, else one of the environment.
    ///
    /// # Errors
    /// It is not valid, or the store must be asked and does not answer.
    pub async fn verify(&self, presented: &[u8]) -> Result<Caller, AccessError> {
        let shared = &*self.shared;
        let hash = TokenHash::of(presented);
        if let Some(cached) = shared.cache.find(&hash) {
            return shared.check(&cached).await;
        }
        if let Some(caller) = shared.environment.find(&hash) {
            return Ok(caller.clone());
        }
        if !raw::may_exist(presented) {
            return Err(AccessError::Invalid);
        }
        shared.reload().await.map_err(|error| unavailable(&error))?;
        match shared.cache.find(&hash) {
            Some(cached) => shared.check(&cached).await,
            None => Err(AccessError::Invalid),
        }
    }

    /// Returns once this caller would be refused: its token has expired or was revoked, or the store could not be asked for
    /// longer than [`Settings::max_staleness`]. Long-lived connections such as WebSocket tunnels end then: within a second where the
    /// token was revoked in this process, within six elsewhere.
    pub async fn wait_until_refused(&self, caller: &Caller) {
        while match self.shared.cache.find(caller.hash()) {
            Some(cached) => self.shared.check(&cached).await.is_ok(),
            None => true,
        } {
            sleep(RECHECK_PERIOD).await;
        }
    }
}

/// The store's message goes to the log at `debug`, because the driver of [`Access::sync`] has warned already; the caller may be
/// anybody and does not see it.
fn unavailable(error: &StoreError) -> AccessError {
    tracing::debug!(%error, "a service token could not be checked");
    AccessError::Unavailable
}

impl Shared {
    /// Accepts a known token while it is live. An ended one is refused however old the cache is.
    async fn check(&self, cached: &CachedToken) -> Result<Caller, AccessError> {
        let now = self.clock.now();
        let is_live = |cached: &CachedToken| cached.token.status_at(now) == TokenStatus::Live;
        if !is_live(cached) {
            return Err(AccessError::Invalid);
        }
        if self.is_stale() {
            self.reload().await.map_err(|error| unavailable(&error))?;
            if !self.cache.find(&cached.token.hash).is_some_and(|cached| is_live(&cached)) {
                return Err(AccessError::Invalid);
            }
        }
        if cached.begin_use(now) {
            self.uses.add(cached.token.id, now);
        }
        Ok(cached.caller.clone())
    }

    fn is_stale(&self) -> bool {
        let confirmed = Duration::from_micros(self.confirmed.load(Ordering::SeqCst));
        self.clock.uptime().saturating_sub(confirmed) > self.settings.max_staleness
    }

    /// Reads the changes of the store into the cache. All who call at once share one read.
    async fn reload(&self) -> Result<(), StoreError> {
        self.reload
            .share(async || {
                timeout(STORE_TIMEOUT, self.read_changes()).await.unwrap_or_else(|_| Err(no_answer()))
            })
            .await
    }

    async fn read_changes(&self) -> Result<(), StoreError> {
        let began = u64::try_from(self.clock.uptime().as_micros()).unwrap_or(u64::MAX);
        loop {
            let seen = TokenRevision(self.seen.load(Ordering::SeqCst));
            let rows = self.store.tokens_changed_since(seen, PAGE).await?;
            let (count, newest) = (rows.len(), rows.iter().map(|row| row.revision.0).max());
            for row in rows {
                self.cache.insert(row);
            }
            self.seen.fetch_max(newest.unwrap_or_default(), Ordering::SeqCst);
            if count < PAGE {
                self.confirmed.fetch_max(began, Ordering::SeqCst);
                return Ok(());
            }
        }
    }

    /// Writes the pending uses. Those that cannot be written stay pending.
    async fn write_uses(&self) {
        let uses = self.uses.list();
        if uses.is_empty() {
            return;
        }
        let written = timeout(STORE_TIMEOUT, self.store.touch_tokens(uses.clone()));
        match written.await.unwrap_or_else(|_| Err(no_answer())) {
            Ok(()) => self.uses.remove(&uses),
            Err(error) => tracing::debug!(%error, "the last uses of service tokens are not written yet"),
        }
    }
}

fn no_answer() -> StoreError {
    StoreError::Unavailable(format!("it has not answered for {} s", STORE_TIMEOUT.as_secs()))
}
