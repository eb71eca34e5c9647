//! Asking a provider how long a new access token lives, where its replies do not say it (RFC 7662).
//!
//! It spends nothing, and the token set is durable in its spill slot meanwhile: whatever happens here, nothing is lost,
//! and the token lives by what the provider file says besides.

use std::time::Duration;

use jeton_core::keep::provider::{Introspection, RequestValues, SentAt, Step, StepOutcome};
use jeton_core::time::Timestamp;

use crate::definitions::ConnectionDef;
use crate::outbound::exchange::{ExchangeOutcome, Outbound};
use crate::token_crypto::ClearTokens;
use crate::token_metadata::TokenMetadata;

/// How long an answer is waited for: callers wait for it too.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// When the access token of `opened` expires by the word of the provider.
///
/// # Errors
/// One sentence that says why it is not known.
pub(crate) async fn expiry(
    outbound: &Outbound,
    def: &ConnectionDef,
    opened: &ClearTokens,
) -> Result<Timestamp, String> {
    let Introspection { active, expires_at, .. } = ask(outbound, def, opened)
        .await
        .map_err(|why| format!("introspection did not tell how long the access token lives: {why}"))?;
    match expires_at {
        _ if !active => Err("introspection calls the new access token inactive".to_owned()),
        Some(at) if at > outbound.node.clock.now() => Ok(at),
        Some(_) => Err("introspection says that the new access token has expired already".to_owned()),
        None => Err("introspection does not say when the access token expires".to_owned()),
    }
}

async fn ask(
    outbound: &Outbound,
    def: &ConnectionDef,
    opened: &ClearTokens,
) -> Result<Introspection, String> {
    let captured = TokenMetadata::from_text(opened.extras.as_ref()).vars;
    let values = RequestValues { access: opened.access.clone(), captured, ..RequestValues::default() };
    let definition = &def.definition;
    let request = definition.request(Step::Introspect, &values).map_err(|error| error.to_string())?;
    let instant = outbound.node.clock.earliest();
    let asked_at = SentAt { instant, civil: outbound.node.clock.shown(instant) };
    let write_until = outbound.node.clock.uptime() + ANSWER_TIMEOUT;
    match outbound.exchange(request, ANSWER_TIMEOUT, write_until, async { Ok(()) }).await {
        ExchangeOutcome::NotSent { why, .. } | ExchangeOutcome::Broken { why, .. } => Err(why),
        ExchangeOutcome::Replied(reply) => {
            match definition.read(Step::Introspect, &reply, asked_at, &values) {
                StepOutcome::Introspection(said) => Ok(said),
                StepOutcome::Failed(failure) => Err(failure.message),
                StepOutcome::Tokens(_) | StepOutcome::Done => {
                    Err("the provider file reads no introspection from this step".to_owned())
                }
            }
        }
    }
}
