//! The way in: checked in memory, which follows the store.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use jeton_core::access::{ServiceTokenStore, TokenHash, TokenRevision, TokenStatus, raw};
use jeton_core::entropy::Entropy;
use jeton_core::keep::ports::StoreError;
use jeton_core::time::Clock;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::caller::Caller;
use crate::environment::Environment;
use crate::error::AccessError;
use crate::header;
use crate::mirror::{Entry, Mirror, newest};
use crate::sync::{Looks, Outcome};
use crate::used::Uses;

/// How many rows are read at once.
const PAGE: usize = 500;

/// How often the changes of other processes are looked for. With [`PATIENCE`] it stays below the five seconds within which a
/// revocation is noticed, though [`LOOKED_AFTER`] is added for what has begun before.
const FOLLOW: Duration = Duration::from_secs(2);

/// How long one look at the store may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The limits of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long tokens of the store are let in while it cannot be asked whether they were revoked.
    pub max_staleness: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_staleness: Duration::from_mins(5) }
    }
}

/// Who may come in. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Access {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) store: Arc<dyn ServiceTokenStore>,
    pub(crate) mirror: Mirror,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    environment: Environment,
    settings: Settings,
    /// The last revision that memory holds.
    seen: AtomicU64,
    /// When the last look that succeeded began, in microseconds of uptime: memory is as the store was then.
    confirmed: AtomicU64,
    looks: Looks,
    uses: Uses,
    tasks: TaskTracker,
    closing: CancellationToken,
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
    /// The store cannot be read: what it has revoked could not be known.
    pub async fn open(
        store: Arc<dyn ServiceTokenStore>,
        environment: Environment,
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StoreError> {
        let shared = Shared {
            store,
            mirror: Mirror::default(),
            clock,
            entropy,
            environment,
            settings,
            seen: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            looks: Looks::default(),
            uses: Uses::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        };
        shared.read_changes().await?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Begins to follow what other processes change, and to write when tokens were last used. Until [`Access::drain`].
    pub fn start(&self) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move { shared.follow().await });
    }

    /// Writes the uses that are not yet in the store, and follows no more.
    pub async fn drain(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Who sends these headers: by `X-SERVICE-TOKEN`, `X-API-KEY` or `Authorization: Bearer`.
    ///
    /// # Errors
    /// None is there, two differ, it is not valid, or the store must be asked and does not answer.
    pub async fn admit(&self, headers: &HeaderMap) -> Result<Caller, AccessError> {
        self.verify(header::presented(headers)?).await
    }

    /// Whose credential this is: a token of the store first, then one of the environment.
    ///
    /// # Errors
    /// It is nobody's, or the store must be asked and does not answer.
    pub async fn verify(&self, presented: &[u8]) -> Result<Caller, AccessError> {
        let shared = &*self.shared;
        let hash = TokenHash::of(presented);
        if let Some(entry) = shared.mirror.find(&hash) {
            return shared.judge(&hash, &entry).await;
        }
        if let Some(caller) = shared.environment.find(&hash) {
            return Ok(caller.clone());
        }
        if !raw::may_exist(presented) {
            return Err(AccessError::Invalid);
        }
        shared.look().await.map_err(|message| unavailable(&message))?;
        match shared.mirror.find(&hash) {
            Some(entry) => shared.judge(&hash, &entry).await,
            None => Err(AccessError::Invalid),
        }
    }

    /// Returns once a caller who was let in would not be let in any more: its token has expired or was revoked, or the store
    /// could not be asked about that for longer than [`Settings::max_staleness`]. What lasts, such as a WebSocket, ends
    /// with it: within a second where the token was revoked here, else within as much more as it takes to hear of it.
    pub async fn ended(&self, caller: &Caller) {
        let shared = &*self.shared;
        loop {
            let hash = caller.hash();
            let refused = match shared.mirror.find(hash) {
                Some(entry) => shared.judge(hash, &entry).await.err(),
                None => None,
            };
            if refused.is_some() {
                return;
            }
            sleep(LOOKED_AFTER).await;
        }
    }
}

/// How often it is looked whether a caller who was let in still would be.
const LOOKED_AFTER: Duration = Duration::from_secs(1);

/// What the store says is for the log, where following it has warned already: whoever is told of it may be nobody.
fn unavailable(message: &str) -> AccessError {
    tracing::debug!(error = message, "a service token could not be checked");
    AccessError::Unavailable
}

impl Shared {
    /// Lets the holder of a known token in, or does not. What has ended stays so, however old the knowledge.
    async fn judge(&self, hash: &TokenHash, entry: &Entry) -> Result<Caller, AccessError> {
        let now = self.clock.now();
        if entry.token.status_at(now) != TokenStatus::Live {
            return Err(AccessError::Invalid);
        }
        if self.is_stale() {
            self.look().await.map_err(|message| unavailable(&message))?;
            let live =
                self.mirror.find(hash).is_some_and(|entry| entry.token.status_at(now) == TokenStatus::Live);
            if !live {
                return Err(AccessError::Invalid);
            }
        }
        if entry.is_due(now) {
            self.uses.note(entry.token.id, now);
        }
        Ok(entry.caller.clone())
    }

    fn is_stale(&self) -> bool {
        let confirmed = Duration::from_micros(self.confirmed.load(Ordering::SeqCst));
        self.clock.uptime().saturating_sub(confirmed) > self.settings.max_staleness
    }

    /// Brings memory up to what the store is now, together with all who ask for it at once.
    async fn look(&self) -> Outcome {
        self.looks
            .share(async || match timeout(PATIENCE, self.read_changes()).await {
                Ok(read) => read.map_err(|error| error.to_string()),
                Err(_) => Err(format!("the store has said nothing for {} s", PATIENCE.as_secs())),
            })
            .await
    }

    async fn read_changes(&self) -> Result<(), StoreError> {
        let began = self.clock.uptime();
        loop {
            let seen = TokenRevision(self.seen.load(Ordering::SeqCst));
            let rows = self.store.tokens_changed_since(seen, PAGE).await?;
            let last_page = rows.len() < PAGE;
            let newest = newest(&rows);
            for row in rows {
                self.mirror.learn(row);
            }
            if let Some(newest) = newest {
                self.seen.fetch_max(newest.0, Ordering::SeqCst);
            }
            if last_page {
                let began = u64::try_from(began.as_micros()).unwrap_or(u64::MAX);
                self.confirmed.fetch_max(began, Ordering::SeqCst);
                return Ok(());
            }
        }
    }

    async fn follow(&self) {
        let mut away = false;
        while !self.closing.is_cancelled() {
            let rest = async {
                tokio::select! {
                    () = sleep(FOLLOW) => {}
                    () = self.closing.cancelled() => {}
                }
            };
            // Beside the rest, so that a slow write never delays the next look.
            tokio::join!(rest, self.write_uses());
            match self.look().await {
                Err(error) if !away => {
                    away = true;
                    tracing::warn!(%error, "changes of service tokens cannot be followed");
                }
                looked => away = looked.is_err(),
            }
        }
        self.write_uses().await;
    }

    /// Writes what was used. What cannot be written is kept for the next time.
    async fn write_uses(&self) {
        let uses = self.uses.take();
        if uses.is_empty() {
            return;
        }
        let written = timeout(PATIENCE, self.store.touch_tokens(uses.clone())).await;
        let error = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store does not answer".to_owned(),
        };
        tracing::debug!(%error, "the last uses of service tokens are not written yet");
        for (id, at) in uses {
            self.uses.note(id, at);
        }
    }
}
