//! Asking a provider to revoke the grant of a connection that was disconnected (RFC 7009).

use std::time::Duration;

use jeton_core::keep::connection::Connection;
use jeton_core::keep::provider::{RequestValues, SentAt, Step, StepOutcome};

use crate::definitions::ConnectionDef;
use crate::node::Node;
use crate::outbound::exchange::{ExchangeOutcome, Outbound};
use crate::token_crypto::{ClearTokens, unseal_tokens};
use crate::token_metadata::TokenMetadata;

/// How long an answer is waited for: whoever disconnects waits for it too.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether the grant of a connection that was disconnected still works at its provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The provider said that it is revoked.
    Revoked,
    /// Nobody was asked: there was no grant, the provider file has no step for it, or the installation is on hold.
    NotAsked,
    /// The provider was asked once, and did not revoke it as far as anybody knows.
    Failed {
        /// Why, in one sentence.
        message: String,
    },
}

/// The tokens of a row that its provider can revoke.
pub(super) fn revocable(node: &Node, def: &ConnectionDef, row: &Connection) -> Option<ClearTokens> {
    let tokens =
        row.tokens.as_ref().filter(|_| def.definition.has(Step::Revoke) && row.provider == def.provider)?;
    unseal_tokens(&node.sealer, &row.name, row.generation, tokens).ok()
}

/// Asks the provider once. Whatever it answers is logged.
pub(super) async fn revoke(outbound: &Outbound, def: &ConnectionDef, tokens: &ClearTokens) -> Revocation {
    let asked = ask(outbound, def, tokens).await;
    match asked {
        Ok(()) => {
            tracing::info!(connection = %def.name, "the provider has revoked the grant that was given up");
            Revocation::Revoked
        }
        Err(message) => {
            tracing::warn!(connection = %def.name, reason = message, "the provider did not revoke the grant that was given up");
            Revocation::Failed { message }
        }
    }
}

async fn ask(outbound: &Outbound, def: &ConnectionDef, tokens: &ClearTokens) -> Result<(), String> {
    let definition = &def.definition;
    let values = RequestValues {
        access: tokens.access.clone(),
        refresh: tokens.refresh.clone(),
        captured: TokenMetadata::from_text(tokens.extras.as_ref()).vars,
        ..RequestValues::default()
    };
    let request = definition.request(Step::Revoke, &values).map_err(|error| error.to_string())?;
    let clock = &outbound.node.clock;
    let instant = clock.earliest();
    let asked_at = SentAt { instant, civil: clock.shown(instant) };
    let write_until = clock.uptime() + ANSWER_TIMEOUT;
    match outbound.exchange(request, ANSWER_TIMEOUT, write_until, async { Ok(()) }).await {
        ExchangeOutcome::NotSent { why, .. } | ExchangeOutcome::Broken { why, .. } => Err(why),
        ExchangeOutcome::Replied(reply) => match definition.read(Step::Revoke, &reply, asked_at, &values) {
            StepOutcome::Failed(failure) => Err(failure.message),
            StepOutcome::Done | StepOutcome::Tokens(_) | StepOutcome::Introspection(_) => Ok(()),
        },
    }
}
