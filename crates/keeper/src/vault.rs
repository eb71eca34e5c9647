//! The way in, from opening to draining. What callers get is in `serve`; what operators do is in `operate`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jeton_core::entropy::Entropy;
use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::Definition;
use jeton_core::seal::Fingerprint;
use jeton_core::secret::Secret;
use jeton_core::time::Clock;
use tokio::time::{Instant, timeout_at};

use crate::error::TokenError;
use crate::installation::Installation;
use crate::memory::high_water::Hold;
use crate::memory::{follow, load};
use crate::refresh::reconciler;
use crate::settings::Settings;
use crate::shared::{Ports, Shared, VaultError};

/// Gives living tokens, and keeps them alive. Cheap to clone; all clones are one vault.
#[derive(Clone, Debug)]
pub struct Vault {
    pub(crate) shared: Arc<Shared>,
}

impl Vault {
    /// Opens a vault over a store, and gives the store what lies in spill slots. Nothing is spent.
    pub async fn open(
        ports: Ports,
        installation: Installation,
        definitions: BTreeMap<ConnectionName, Definition>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, VaultError> {
        let shared = Shared::new(ports, installation, definitions, settings, clock, entropy)?;
        let vault = Self { shared: Arc::new(shared) };
        reconciler::return_spills(&vault.shared).await;
        Ok(vault)
    }

    /// Begins to keep every connection alive by itself: looks at what is due, follows what others change, returns what
    /// was spilled, until [`Vault::drain`]. Every connection is read into memory behind that: [`Vault::loaded`].
    ///
    /// # Errors
    /// The store could not be asked how far it has come; nothing has begun.
    pub async fn start(&self) -> Result<(), VaultError> {
        let seen = self.shared.ports.feed.revision().await?;
        // A backup may have been put in its place since it was opened.
        if seen < self.shared.high_water.seen() {
            self.shared.mark_rolled_back(seen);
        }
        let shared = Arc::clone(&self.shared);
        self.shared.background.spawn(async move { follow::follow(&shared, seen).await });
        let shared = Arc::clone(&self.shared);
        self.shared.background.spawn(async move { reconciler::reconcile(&shared).await });
        let shared = Arc::clone(&self.shared);
        self.shared.background.spawn(async move { reconciler::keep_returning_spills(&shared).await });
        let shared = Arc::clone(&self.shared);
        self.shared.background.spawn(async move { load::load(&shared).await });
        Ok(())
    }

    /// Returns once every connection has been read into memory. Until then, whoever asks for one that was not read yet
    /// waits for one look at the store.
    pub async fn loaded(&self) {
        self.shared.loaded.wait().await;
    }

    /// Begins no new attempt, waits for those under way, and leaves what the store does not take in its spill slots.
    pub async fn drain(&self) {
        self.shared.close();
        self.shared.tracker.close();
        self.shared.background.close();
        let deadline = Instant::now() + self.shared.settings.drain;
        if timeout_at(deadline, self.shared.tracker.wait()).await.is_err() {
            tracing::warn!(
                "some refreshes did not end in time; their attempts are recorded and will be recovered"
            );
        }
        // The background tasks hold nothing: they notice the closing at their next step.
        drop(timeout_at(deadline, self.shared.background.wait()).await);
    }

    /// The names that are defined, in order.
    pub fn names(&self) -> Vec<ConnectionName> {
        let mut names: Vec<_> =
            self.shared.definitions.values().map(|defined| defined.name.clone()).collect();
        names.sort();
        names
    }

    /// Whether nothing may be spent.
    pub fn on_hold(&self) -> bool {
        self.hold().is_some()
    }

    /// Why nothing may be spent, where that is so.
    pub fn hold(&self) -> Option<Hold> {
        self.shared.hold()
    }

    /// The fingerprint by which records name a token.
    pub fn fingerprint(&self, token: &Secret) -> Fingerprint {
        self.shared.sealer.fingerprint(token)
    }

    /// Asks the store for a sign of life.
    ///
    /// # Errors
    /// [`TokenError::Store`] when it gives none.
    pub async fn ping(&self) -> Result<(), TokenError> {
        self.shared.ports.feed.revision().await?;
        Ok(())
    }
}
