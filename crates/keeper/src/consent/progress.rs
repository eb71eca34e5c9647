//! How far consents have come.

use jeton_core::id::{AttemptId, ConnectionName, ConsentId, ProviderName};
use jeton_core::keep::consent::{Consent, ConsentOutcome, Progress, progress};
use jeton_core::keep::plan::AcquirePolicy;
use jeton_core::keep::ports::{ConsentKey, FoundConsent};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::error::TokenError;
use crate::shared::{ConnectionDef, Shared};
use crate::spill::inspect::{SlotState, inspect_spill_slots};
use crate::token_crypto::unseal_tokens;
use crate::vault::Vault;

/// How far the consent to a connection has come; it holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Consent"))]
pub struct ConsentStatus {
    /// The connection.
    pub connection: ConnectionName,
    /// Its provider at that time.
    pub provider: ProviderName,
    /// When the link was made.
    pub created_at: Timestamp,
    /// How far it has come.
    #[serde(flatten)]
    pub progress: Progress,
}

impl Vault {
    /// How far the consent with that id has come.
    pub async fn consent(&self, id: ConsentId) -> Result<Option<ConsentStatus>, TokenError> {
        self.consent_of(ConsentKey::Id(id)).await
    }

    /// How far the consent with that ticket has come.
    pub async fn consent_by_ticket(&self, ticket: &Secret) -> Result<Option<ConsentStatus>, TokenError> {
        self.consent_of(ConsentKey::Ticket(self.shared.sealer.fingerprint(ticket))).await
    }

    async fn consent_of(&self, key: ConsentKey) -> Result<Option<ConsentStatus>, TokenError> {
        let shared = &*self.shared;
        match shared.with_retry(|| shared.ports.consents.find_consent(key)).await? {
            Some(found) => Ok(Some(of(shared, found).await)),
            None => Ok(None),
        }
    }

    /// The latest consent of each connection, by name: up to `limit` after `after`.
    pub async fn consents(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<ConsentStatus>, TokenError> {
        let shared = &*self.shared;
        let found = shared.with_retry(|| shared.ports.consents.list_latest_consents(after, limit)).await?;
        let mut statuses = Vec::with_capacity(found.len());
        for found in found {
            statuses.push(of(shared, found).await);
        }
        Ok(statuses)
    }

    /// Whether the grant of a connection outlives its access token: the provider gave a refresh token, or new tokens can
    /// be acquired without one.
    ///
    /// # Errors
    /// There is no such connection, or the store cannot be reached.
    pub async fn renews(&self, name: &str) -> Result<bool, TokenError> {
        let defined = self.shared.defined(name)?;
        let known = self.shared.reload(&defined.name).await?;
        let tokens =
            known.as_ref().and_then(|known| known.row.tokens.as_ref().map(|tokens| (&known.row, tokens)));
        let opened = tokens.and_then(|(row, tokens)| {
            unseal_tokens(&self.shared.sealer, &row.name, row.generation, tokens).ok()
        });
        Ok(renews(defined, opened.is_some_and(|opened| opened.refresh.is_some())))
    }
}

/// Whether a grant outlives its access token.
pub(super) fn renews(defined: &ConnectionDef, has_refresh: bool) -> bool {
    (has_refresh && defined.can_redeem()) || defined.acquiring() != AcquirePolicy::Never
}

/// How far a consent has come. One whose exchange nobody vouches for any more is not over while its reply waits in a spill
/// slot: it comes back by itself.
pub(super) async fn of(shared: &Shared, found: FoundConsent) -> ConsentStatus {
    let FoundConsent { consent, attempt } = found;
    let mut progress = progress(&consent, attempt.as_ref(), shared.clock.now());
    if let (Progress::Unknown, Some(ConsentOutcome::Exchange(attempt))) = (&progress, &consent.outcome)
        && is_spilled(shared, *attempt).await
    {
        progress = Progress::Exchanging;
    }
    let Consent { connection, provider, created_at, .. } = consent;
    ConsentStatus { connection, provider, created_at, progress }
}

async fn is_spilled(shared: &Shared, exchange: AttemptId) -> bool {
    let data_dir = shared.data_dir.clone();
    let holds =
        |state: &SlotState| matches!(state, SlotState::Filled { attempt, .. } if *attempt == exchange);
    match spawn_blocking(move || inspect_spill_slots(&data_dir)).await {
        Ok(Ok(slots)) => slots.iter().any(|(_, state)| holds(state)),
        // Then it is as unknown as it was.
        Ok(Err(error)) => {
            tracing::warn!(%error, "the spill slots cannot be looked at");
            false
        }
        Err(_) => false,
    }
}
