//! Replies that could not be read: sealed with their attempt, and read again once the provider file is mended.
//!
//! A 2xx that cannot be read may hold the only live refresh token of a grant, or the grant that a person has just given.

use jeton_core::id::AttemptId;
use jeton_core::keep::attempt::{Act, Attempt};
use jeton_core::keep::provider::{Reply, RequestValues, Step, StepOutcome, TokenReply, Vars};
use jeton_core::seal::SealContext;
use jeton_core::secret::Secret;
use zeroize::Zeroizing;

use crate::definitions::{ConnectionDef, step_of};
use crate::error::TokenError;
use crate::node::Node;
use crate::store_access::StoreAccess;
use crate::token_metadata::TokenMetadata;

/// The code of an attempt whose reply did not come, or not to its end. What is kept of such a reply may be the half of one.
pub(super) const BROKEN_OFF: &str = "no_reply";

/// Length of the variables, in front of them; the reply follows.
const LENGTH_BYTES: usize = 4;

/// A reply that was kept, in clear.
pub(crate) struct KeptReply {
    /// What the callback or an earlier reply had captured: without it a new grant is worth nothing.
    pub(crate) captured: Vars,
    reply: Reply,
}

fn context(attempt: &str) -> SealContext<'_> {
    SealContext { table: "attempts", row: attempt, field: "kept_reply", generation: 0 }
}

/// Seals a reply with the variables that were captured before it.
pub(super) fn seal(node: &Node, attempt: AttemptId, captured: &Vars, body: &[u8]) -> Vec<u8> {
    let vars = TokenMetadata { vars: captured.clone(), ..TokenMetadata::default() }.to_text();
    let length = u32::try_from(vars.len()).expect("captured variables are no longer than a reply and a URL");
    let mut clear = Zeroizing::new(Vec::with_capacity(LENGTH_BYTES + vars.len() + body.len()));
    clear.extend_from_slice(&length.to_be_bytes());
    clear.extend_from_slice(vars.reveal().as_bytes());
    clear.extend_from_slice(body);
    node.sealer.seal(&clear, context(&attempt.to_string()), &*node.entropy)
}

fn unseal(node: &Node, attempt: &Attempt, sealed: &[u8]) -> Option<KeptReply> {
    let clear = node.sealer.open(sealed, context(&attempt.id.to_string())).ok()?;
    let (length, rest) = clear.split_first_chunk::<LENGTH_BYTES>()?;
    let (vars, body) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let vars = Secret::new(std::str::from_utf8(vars).ok()?);
    let reply = Reply {
        status: attempt.http_status.unwrap_or(200),
        body: Zeroizing::new(body.to_vec()),
        cut_short: (attempt.code.as_deref() == Some(BROKEN_OFF))
            .then(|| attempt.message.clone().unwrap_or_default()),
        ..Reply::default()
    };
    Some(KeptReply { captured: TokenMetadata::from_text(Some(&vars)).vars, reply })
}

impl KeptReply {
    /// The reply that was kept with an attempt, if there is one.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub(crate) async fn find(
        node: &Node,
        store: &StoreAccess,
        attempt: &Attempt,
    ) -> Result<Option<Self>, TokenError> {
        let sealed = store.with_retry(|| store.ports.log.find_kept_reply(attempt.id)).await?;
        let Some(sealed) = sealed else { return Ok(None) };
        let kept = unseal(node, attempt, &sealed);
        if kept.is_none() {
            tracing::error!(
                connection = %attempt.connection, attempt = %attempt.id,
                "a kept reply does not open: it was changed or is damaged"
            );
        }
        Ok(kept)
    }

    /// The token set in it, if it can be read by now.
    pub(crate) fn tokens(
        &self,
        def: &ConnectionDef,
        attempt: &Attempt,
        values: &RequestValues,
    ) -> Option<Box<TokenReply>> {
        // A connect that spent a refresh token exchanged no code.
        let step = match attempt.act {
            Act::Connect if attempt.fingerprint.is_some() => Step::Refresh,
            act => step_of(act),
        };
        match def.definition.read(step, &self.reply, attempt.started_at, values) {
            StepOutcome::Tokens(tokens) => Some(tokens),
            _ => None,
        }
    }
}
