//! What the parts of one keeper have in common.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jeton_core::entropy::Entropy;
use jeton_core::id::{ConnectionName, NodeId, ProviderName};
use jeton_core::keep::connection::Revision;
use jeton_core::keep::due::{AfterHold, RecoveryPolicy, RefreshTiming};
use jeton_core::keep::plan::AcquirePolicy;
use jeton_core::keep::ports::{AttemptLog, ChangeFeed, ConnectionStore, ConsentStore, StoreError};
use jeton_core::keep::provider::{Definition, OldAccess, OnDead, OnUnknown, Step};
use jeton_core::seal::Sealer;
use jeton_core::suggest;
use jeton_core::time::Clock;
use tokio::sync::{Notify, Semaphore, SetOnce};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::TokenError;
use crate::installation::Installation;
use crate::memory::cache::Cache;
use crate::memory::high_water::{HighWater, Hold};
use crate::outbound::exchange::Outbound;
use crate::peers::peer_liveness::PeerLiveness;
use crate::settings::Settings;
use crate::spill::slots::SpillSlots;
use crate::tokens::early_expiry::EarlyExpiryTracker;
use crate::tokens::single_flight::SingleFlight;

/// The store, by the journeys that the keeper makes.
#[derive(Clone)]
pub struct Ports {
    /// Connections.
    pub connections: Arc<dyn ConnectionStore>,
    /// Changes that others made.
    pub feed: Arc<dyn ChangeFeed>,
    /// The refresh log.
    pub log: Arc<dyn AttemptLog>,
    /// People who consent.
    pub consents: Arc<dyn ConsentStore>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}

/// Why a vault cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The spill slots cannot be made: without one, nothing may be spent.
    #[error(
        "the spill slots below {} cannot be made: {source}; they need {mib} MiB of space, see `keeper.spill_slots`",
        .data_dir.display()
    )]
    SpillSlots {
        /// The data directory.
        data_dir: PathBuf,
        /// How much they need.
        mib: usize,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A defined connection, with what follows from its definition.
#[derive(Debug)]
pub(crate) struct ConnectionDef {
    pub(crate) name: ConnectionName,
    pub(crate) definition: Definition,
    pub(crate) provider: ProviderName,
    pub(crate) pace: RefreshTiming,
    pub(crate) recovery: RecoveryPolicy,
    /// Bounds how many redeems run at once at this provider.
    pub(crate) gate: Arc<Semaphore>,
}

impl ConnectionDef {
    pub(crate) fn acquiring(&self) -> AcquirePolicy {
        if !self.definition.has(Step::Acquire) {
            return AcquirePolicy::Never;
        }
        match self.definition.policy().on_dead {
            OnDead::Acquire => AcquirePolicy::WhenDead,
            OnDead::Ask => AcquirePolicy::WithoutGrant,
        }
    }

    pub(crate) fn can_redeem(&self) -> bool {
        self.definition.has(Step::Refresh)
    }

    pub(crate) fn old_access_dies(&self) -> bool {
        self.definition.policy().old_access == OldAccess::Dies
    }

    /// Whether sending the refresh token may use it up.
    pub(crate) fn spends(&self) -> bool {
        self.definition.spends(Step::Refresh)
    }
}

/// What the parts of one keeper have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) sealer: Sealer,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) node: NodeId,
    hold: OnceLock<Hold>,
    pub(crate) high_water: HighWater,
    pub(crate) definitions: BTreeMap<String, Arc<ConnectionDef>>,
    pub(crate) memory: Cache,
    pub(crate) early_expiry: EarlyExpiryTracker,
    pub(crate) refreshes: Arc<SingleFlight>,
    /// Looks at the store that callers share.
    pub(crate) reloads: Arc<SingleFlight>,
    pub(crate) outbound: Outbound,
    pub(crate) liveness: PeerLiveness,
    pub(crate) slots: SpillSlots,
    pub(crate) data_dir: PathBuf,
    /// Refreshes: shutdown waits for them.
    pub(crate) tracker: TaskTracker,
    /// Tasks that run until the vault closes.
    pub(crate) background: TaskTracker,
    pub(crate) waiting: AtomicUsize,
    /// Set once every row has been read into memory.
    pub(crate) loaded: SetOnce<()>,
    /// Wakes the reconciler when others changed something.
    pub(crate) wake: Notify,
    closing: CancellationToken,
}

impl Shared {
    pub(crate) fn new(
        ports: Ports,
        installation: Installation,
        definitions: BTreeMap<ConnectionName, Definition>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, VaultError> {
        let hold = installation.hold().map_or_else(OnceLock::new, OnceLock::from);
        let slots = SpillSlots::open(&installation.data_dir, settings.spill_slots).map_err(|source| {
            VaultError::SpillSlots {
                data_dir: installation.data_dir.clone(),
                mib: settings.spill_slots * 2,
                source,
            }
        })?;
        Ok(Self {
            ports,
            sealer: installation.sealer,
            node: NodeId::generate(clock.now(), &*entropy),
            hold,
            high_water: HighWater::new(installation.data_dir.clone(), installation.seen),
            definitions: define(definitions, &settings),
            memory: Cache::default(),
            early_expiry: EarlyExpiryTracker::new(Arc::clone(&clock)),
            refreshes: Arc::default(),
            reloads: Arc::default(),
            outbound: Outbound::new(
                Arc::clone(&clock),
                settings.allow_private_captured_hosts,
                &settings.roots,
            ),
            liveness: PeerLiveness::default(),
            slots,
            data_dir: installation.data_dir,
            tracker: TaskTracker::new(),
            background: TaskTracker::new(),
            waiting: AtomicUsize::new(0),
            loaded: SetOnce::new(),
            wake: Notify::new(),
            closing: CancellationToken::new(),
            settings,
            clock,
            entropy,
        })
    }

    pub(crate) fn defined(&self, name: &str) -> Result<&Arc<ConnectionDef>, TokenError> {
        self.definitions.get(name).ok_or_else(|| TokenError::UnknownConnection {
            name: name.chars().take(64).collect(),
            near: self.near(name),
        })
    }

    fn near(&self, name: &str) -> Vec<String> {
        suggest::nearest_name(name, self.definitions.keys().map(String::as_str))
            .map(str::to_owned)
            .into_iter()
            .collect()
    }

    /// Asks the store until it answers, for at most `claim_wait`.
    pub(crate) async fn with_retry<T, F, Fut>(&self, ask: F) -> Result<T, StoreError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, StoreError>>,
    {
        let deadline = tokio::time::Instant::now() + self.settings.claim_wait;
        loop {
            match ask().await {
                Err(error) if error.is_transient() && tokio::time::Instant::now() < deadline => {
                    tracing::debug!(%error, "the store is asked again");
                    tokio::time::sleep(self.settings.poll).await;
                }
                answer => return answer,
            }
        }
    }

    /// Why nothing may be spent, where that is so.
    pub(crate) fn hold(&self) -> Option<Hold> {
        self.hold.get().copied()
    }

    /// Refuses what would spend while the installation is on hold.
    pub(crate) fn check_hold(&self) -> Result<(), TokenError> {
        match self.hold() {
            None => Ok(()),
            Some(Hold::Copied) => Err(TokenError::OnHold),
            Some(Hold::RolledBack { found, seen }) => Err(TokenError::RolledBack { found, seen }),
        }
    }

    /// The store is not what it was: it is at `found`, and was further before, or what it says contradicts what it said.
    /// Nothing is spent from now on, and by no later process either.
    pub(crate) fn mark_rolled_back(&self, found: Revision) {
        let seen = self.high_water.seen();
        let hold = Hold::RolledBack { found, seen };
        if self.hold.set(hold).is_ok() {
            // Numbers of changes may have been jumped over: the mark is beyond what the store has come to in any case.
            self.high_water.mark(seen.max(found.next()));
            tracing::error!(
                "on hold: {hold}; living tokens are served, and nothing is spent until `jeton adopt`"
            );
        }
    }

    /// No new attempt is begun from now on.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Waits for `pause`; answers whether the vault is still open.
    pub(crate) async fn pause(&self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.closing.cancelled()).await.is_err()
    }

    /// Returns once the vault closes.
    pub(crate) async fn closed(&self) {
        self.closing.cancelled().await;
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }
}

fn define(
    definitions: BTreeMap<ConnectionName, Definition>,
    settings: &Settings,
) -> BTreeMap<String, Arc<ConnectionDef>> {
    let mut gates: HashMap<ProviderName, Arc<Semaphore>> = HashMap::new();
    let of = |(name, definition): (ConnectionName, Definition)| {
        let provider = definition.provider().name().clone();
        let gate = gates
            .entry(provider.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(settings.provider_concurrency)));
        let defined = ConnectionDef {
            pace: pace(&definition, settings.visit),
            recovery: recovery(&definition),
            gate: Arc::clone(gate),
            provider,
            definition,
            name: name.clone(),
        };
        (name.as_str().to_owned(), Arc::new(defined))
    };
    definitions.into_iter().map(of).collect()
}

fn pace(definition: &Definition, visit: Duration) -> RefreshTiming {
    let policy = definition.policy();
    RefreshTiming {
        margin: policy.margin,
        earliest: policy.earliest,
        refresh_idle_ttl: policy.refresh_idle_ttl,
        idle_keepalive: policy.idle_keepalive,
        visit,
    }
}

fn recovery(definition: &Definition) -> RecoveryPolicy {
    let policy = definition.policy();
    RecoveryPolicy {
        hold: policy.unknown_hold,
        reuse_grace: policy.reuse_grace,
        after_hold: match policy.on_unknown {
            OnUnknown::ResendOnce => AfterHold::Resend,
            OnUnknown::Ask => AfterHold::Ask,
            OnUnknown::Acquire => AfterHold::Acquire,
        },
    }
}
