//! How far consents have come.

use jeton_core::id::{AttemptId, ConnectionName, ProviderName};
use jeton_core::keep::consent::{Consent, ConsentOutcome, Progress, progress};
use jeton_core::keep::plan::AcquirePolicy;
use jeton_core::keep::ports::FoundConsent;
use jeton_core::time::Timestamp;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::definitions::ConnectionDef;
use crate::node::Node;
use crate::spill::inspect::{SlotState, inspect_spill_slots};

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

/// Whether a grant outlives its access token.
pub(crate) fn renews(def: &ConnectionDef, has_refresh: bool) -> bool {
    (has_refresh && def.can_redeem()) || def.acquiring() != AcquirePolicy::Never
}

/// How far a consent has come. One whose exchange nobody vouches for any more is not over while its reply waits in a spill
/// slot: it comes back by itself.
pub(super) async fn of(node: &Node, found: FoundConsent) -> ConsentStatus {
    let FoundConsent { consent, attempt } = found;
    let mut progress = progress(&consent, attempt.as_ref(), node.clock.now());
    if let (Progress::Unknown, Some(ConsentOutcome::Exchange(attempt))) = (&progress, &consent.outcome)
        && is_spilled(node, *attempt).await
    {
        progress = Progress::Exchanging;
    }
    let Consent { connection, provider, created_at, .. } = consent;
    ConsentStatus { connection, provider, created_at, progress }
}

async fn is_spilled(node: &Node, exchange: AttemptId) -> bool {
    let data_dir = node.data_dir.clone();
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
