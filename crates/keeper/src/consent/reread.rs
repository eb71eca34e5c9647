//! Replies to exchanges that could not be read, read again.
//!
//! A 2xx that could not be read may hold the grant that a person has just given, and a code is exchanged only once. It is kept
//! sealed with its attempt, and once the provider file is mended it is read as if it came now.

use jeton_core::id::GrantId;
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus};
use jeton_core::keep::ports::{AttemptFilter, ConnectAnswer};
use jeton_core::keep::provider::RequestValues;

use super::exchange::NewGrant;
use crate::definitions::Definitions;
use crate::error::TokenError;
use crate::refresh::kept_reply::KeptReply;
use crate::refresh::spend::{ReceivedTokens, Spender};
use crate::refresh::store_writer::StoreAnswer;
use crate::token_metadata::{TokenMetadata, asked_scope};

/// How many attempts of unknown outcome are looked through, newest first.
const MOST: usize = 1_000;

/// Reads every reply to an exchange that is kept, and stores the grants of those that can be read by now. Answers whether
/// it got through; on hold nothing is read.
pub(crate) async fn read_kept_replies(spender: &Spender, definitions: &Definitions) -> bool {
    if spender.store.hold().is_some() {
        return false;
    }
    match read_each(spender, definitions).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "kept replies to exchanges cannot be read yet");
            false
        }
    }
}

async fn read_each(spender: &Spender, definitions: &Definitions) -> Result<(), TokenError> {
    let unknown = AttemptFilter { status: Some(AttemptStatus::Interrupted), ..AttemptFilter::default() };
    let attempts = spender.store.ports.log.list_attempts(&unknown, MOST).await?;
    for attempt in attempts.iter().filter(|attempt| attempt.act == Act::Connect) {
        read(spender, definitions, attempt).await?;
    }
    Ok(())
}

async fn read(spender: &Spender, definitions: &Definitions, attempt: &Attempt) -> Result<(), TokenError> {
    let name = &attempt.connection;
    let def = definitions.find(name.as_str());
    let Some(def) = def.filter(|def| def.provider == attempt.provider) else { return Ok(()) };
    let Some(kept) = KeptReply::find(&spender.node, &spender.store, attempt).await? else { return Ok(()) };
    let values = RequestValues { captured: kept.captured.clone(), ..RequestValues::default() };
    let Some(reply) = kept.tokens(def, attempt, &values) else { return Ok(()) };
    // A refresh token that stays the same is not in the reply, and nothing kept it: whoever has it gives it again.
    if attempt.fingerprint.is_some() && reply.refresh.is_none() {
        return Ok(());
    }
    let scope = asked_scope(&def.definition);
    let metadata = TokenMetadata { vars: kept.captured, scope, ..TokenMetadata::default() };
    let mut received = ReceivedTokens::new(reply, attempt.started_at, metadata);
    // As old as its exchange: what was connected or given up since has the last word.
    let grant = GrantId::generate(attempt.started_at, &*spender.node.entropy);
    let target =
        NewGrant { spender, def, attempt: attempt.id, grant, by: None, what: "the exchange of a code" };
    let slot = spender.writer.reserve().await?;
    match spender.store_tokens(def, &mut received, slot, &target).await?.answer {
        StoreAnswer::Connect(ConnectAnswer::Connected { generation }) => tracing::info!(
            connection = %name, attempt = %attempt.id, generation = generation.0,
            "the kept reply to an exchange can be read now, and its grant is stored"
        ),
        other => tracing::info!(
            connection = %name, attempt = %attempt.id, answer = ?other,
            "the kept reply to an exchange can be read now, and its grant is not used"
        ),
    }
    Ok(())
}
