//! Taking back a claim that nobody answered.
//!
//! When the connection to the store is lost at COMMIT, the claim may stand: then its attempt would count as interrupted, and
//! hold the connection for an outcome that is known. Nothing was sent.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::claim::Claim;
use jeton_core::keep::ports::{Fail, FailureEffect, StoreError};

use super::run::Refresher;
use crate::lifecycle::Lifecycle;
use crate::node::Node;
use crate::store_access::StoreAccess;

/// How long a store that answers again is asked about an attempt that it does not have: a COMMIT that was under way may
/// take a moment to be seen.
const MAY_STILL_COME: Duration = Duration::from_secs(10);

/// The longest pause between two offers.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Records that nothing was sent for `claim`, in a task of its own, unless `error` says that the store refused it.
pub(super) fn unless_refused(parts: &Refresher, claim: &Claim, error: &StoreError) {
    if !matches!(error, StoreError::Unavailable(_)) {
        return;
    }
    let fail = Fail {
        connection: claim.connection.clone(),
        attempt: claim.attempt,
        generation: claim.generation,
        effect: FailureEffect::Retry,
        code: "not_sent".to_owned(),
        http_status: None,
        message: "nothing was sent: the store did not say in time whether it took the claim".to_owned(),
        provider_message: None,
        cooldown: Duration::ZERO,
        due_in: Some(parts.node.settings.cooldown),
        kept_reply: None,
    };
    let (node, store, lifecycle) =
        (Arc::clone(&parts.node), Arc::clone(&parts.store), Arc::clone(&parts.lifecycle));
    parts.lifecycle.background.spawn(async move { withdraw(&node, &store, &lifecycle, fail).await });
}

/// Offers the failure until the store takes it, or has shown for a while that there is no such attempt.
async fn withdraw(node: &Node, store: &StoreAccess, lifecycle: &Lifecycle, fail: Fail) {
    let mut pause = node.settings.poll;
    let mut missing_since = None;
    loop {
        match store.ports.connections.fail(fail.clone()).await {
            Ok(()) => {
                tracing::info!(connection = %fail.connection, attempt = %fail.attempt, "a claim was taken back");
                return;
            }
            Err(error) if error.is_transient() => tracing::debug!(%error, "a claim cannot be taken back yet"),
            // No such attempt: the claim was never committed.
            Err(_) => {
                let now = node.clock.uptime();
                let since = *missing_since.get_or_insert(now);
                if now.saturating_sub(since) >= MAY_STILL_COME {
                    return;
                }
            }
        }
        if !lifecycle.pause(pause).await {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
