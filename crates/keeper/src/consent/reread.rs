//! Replies to exchanges that could not be read, read again.
//!
//! A 2xx that could not be read may hold the grant that a person has just given, and a code buys it once. It is kept sealed
//! with its attempt, and once the provider file is mended it is read as if it came now.

use jeton_core::id::{AttemptId, GrantId};
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus};
use jeton_core::keep::ports::{AttemptFilter, ConnectAnswer};
use jeton_core::keep::provider::{Reply, RequestValues, Step, StepOutcome, Vars};
use jeton_core::seal::SealContext;
use jeton_core::secret::Secret;
use zeroize::Zeroizing;

use super::exchange::{CodeExchange, ExchangedCode, grant};
use crate::definitions::Definitions;
use crate::error::TokenError;
use crate::node::Node;
use crate::refresh::store_writer::Ack;
use crate::spill::store_write::StoreWrite;
use crate::token_metadata::TokenMetadata;

/// How many attempts of unknown outcome are looked through, newest first.
const MOST: usize = 1_000;

/// Length of the variables, in front of them; the reply follows.
const LENGTH_BYTES: usize = 4;

fn place(attempt: &str) -> SealContext<'_> {
    SealContext { table: "attempts", row: attempt, field: "kept_exchange", generation: 0 }
}

/// Seals a reply with the variables that the callback brought: without them its grant is worth nothing.
pub(super) fn seal(node: &Node, attempt: AttemptId, captured: &Vars, body: &[u8]) -> Vec<u8> {
    let vars = TokenMetadata { vars: captured.clone(), ..TokenMetadata::default() }.to_text();
    let length = u32::try_from(vars.len()).expect("a callback is no longer than its URL");
    let mut kept = Zeroizing::new(Vec::with_capacity(LENGTH_BYTES + vars.len() + body.len()));
    kept.extend_from_slice(&length.to_be_bytes());
    kept.extend_from_slice(vars.reveal().as_bytes());
    kept.extend_from_slice(body);
    node.sealer.seal(&kept, place(&attempt.to_string()), &*node.entropy)
}

fn open(node: &Node, attempt: AttemptId, sealed: &[u8]) -> Option<(Vars, Zeroizing<Vec<u8>>)> {
    let opened = node.sealer.open(sealed, place(&attempt.to_string())).ok()?;
    let (length, rest) = opened.split_first_chunk::<LENGTH_BYTES>()?;
    let (vars, body) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let vars = Secret::new(std::str::from_utf8(vars).ok()?);
    Some((TokenMetadata::from_text(Some(&vars)).vars, Zeroizing::new(body.to_vec())))
}

/// Reads every reply to an exchange that is kept, and stores the grants of those that can be read by now. Answers whether
/// it got through; on hold nothing is read.
pub(crate) async fn read_kept_replies(parts: &CodeExchange, definitions: &Definitions) -> bool {
    if parts.store.hold().is_some() {
        return false;
    }
    match read_each(parts, definitions).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "kept replies to exchanges cannot be read yet");
            false
        }
    }
}

async fn read_each(parts: &CodeExchange, definitions: &Definitions) -> Result<(), TokenError> {
    let unknown = AttemptFilter { status: Some(AttemptStatus::Interrupted), ..AttemptFilter::default() };
    let attempts = parts.store.ports.log.list_attempts(&unknown, MOST).await?;
    for attempt in attempts.iter().filter(|attempt| attempt.act == Act::Connect) {
        read(parts, definitions, attempt).await?;
    }
    Ok(())
}

async fn read(parts: &CodeExchange, definitions: &Definitions, attempt: &Attempt) -> Result<(), TokenError> {
    let name = &attempt.connection;
    let def = definitions.find(name.as_str());
    let Some(def) = def.filter(|def| def.provider == attempt.provider) else { return Ok(()) };
    let Some(sealed) = parts.store.ports.log.find_kept_reply(attempt.id).await? else { return Ok(()) };
    let Some((captured, body)) = open(&parts.node, attempt.id, &sealed) else {
        tracing::error!(connection = %name, attempt = %attempt.id, "the kept reply to an exchange does not open");
        return Ok(());
    };
    let values = RequestValues { captured: captured.clone(), ..RequestValues::default() };
    let reply = Reply { status: attempt.http_status.unwrap_or(200), body, ..Reply::default() };
    let StepOutcome::Tokens(reply) = def.definition.read(Step::Exchange, &reply, attempt.started_at, &values)
    else {
        return Ok(());
    };
    let bought = ExchangedCode {
        attempt: attempt.id,
        // As old as its exchange: what was connected or given up since has the last word.
        grant: GrantId::generate(attempt.started_at, &*parts.node.entropy),
        sent_at: attempt.started_at,
        captured,
        by: None,
    };
    let (_, connect) = grant(parts, def, &reply, &bought, reply.expires_at);
    let slot = parts.writer.reserve().await?;
    match parts.writer.write(&StoreWrite::Connect(connect), slot).await? {
        Ack::Connect(ConnectAnswer::Connected { generation }) => tracing::info!(
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
