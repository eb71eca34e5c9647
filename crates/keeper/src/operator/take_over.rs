//! Taking a grant over.

use jeton_core::audit::Actor;
use jeton_core::id::{AttemptId, Generation, GrantId};
use jeton_core::keep::connection::SealedTokens;
use jeton_core::keep::due;
use jeton_core::keep::plan::AcquirePolicy;
use jeton_core::keep::ports::{Connect, ConnectAnswer};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;

use crate::definitions::ConnectionDef;
use crate::error::TokenError;
use crate::memory::apply::Memory;
use crate::node::Node;
use crate::store_access::StoreAccess;
use crate::token_crypto::{ClearTokens, seal_tokens};
use crate::tokens::request::{Connected, Grant};

/// Stores `grant` as the grant of a connection, in place of the one that it has. Nothing is sent upstream.
pub(crate) async fn take_over(
    node: &Node,
    store: &StoreAccess,
    memory: &Memory,
    def: &ConnectionDef,
    grant: Grant,
    by: &Actor,
) -> Result<Connected, TokenError> {
    let refused = |message: String| TokenError::GrantRefused { name: def.name.clone(), message };
    check(def, &grant).map_err(refused)?;
    let now = node.clock.earliest();
    let attempt = AttemptId::generate(now, &*node.entropy);
    let consent = GrantId::generate(now, &*node.entropy);
    loop {
        let known = memory.reload(&def.name).await?;
        let generation = known.map_or(Generation::default(), |known| known.row.generation);
        let tokens = seal(node, def, &grant, generation.next(), now);
        let due_at = tokens.as_ref().map_or(now, |tokens| due::due_at(tokens, &def.timing, now, 0.0));
        let connect = Connect {
            connection: def.name.clone(),
            provider: def.provider.clone(),
            grant: consent,
            generation,
            tokens,
            single_use: def.spends(),
            due_at,
            attempt,
            node: node.id,
            by: Some(by.clone()),
        };
        match store.with_retry(|| store.ports.connections.connect(connect.clone())).await? {
            ConnectAnswer::Connected { generation } => {
                memory.reload(&def.name).await?;
                return Ok(Connected::Stored { generation });
            }
            // The latter is of an exchange alone; reading again does no harm.
            // On hold memory may be ahead of the store, and reading again would change nothing.
            ConnectAnswer::Moved { .. } | ConnectAnswer::Superseded => store.check_hold()?,
            ConnectAnswer::Unchanged => return Ok(Connected::Unchanged),
            ConnectAnswer::HeldBy { connection } => {
                return Err(TokenError::GrantHeld { name: def.name.clone(), by: connection });
            }
            ConnectAnswer::Spent { attempt } => {
                return Err(refused(format!(
                    "attempt {attempt} has spent this refresh token already, and it must not be sent again; ask for a \
                     new consent, or, if tokens of this provider are good for more than one use, set `rotation = \
                     \"none\"` under [connections.{}.policy]",
                    def.name
                )));
            }
        }
    }
}

fn check(def: &ConnectionDef, grant: &Grant) -> Result<(), String> {
    let policy = def.definition.policy();
    match &grant.refresh {
        Some(refresh) if refresh.len() < policy.min_refresh_length => Err(format!(
            "the refresh token has {} characters and tokens of `{}` have at least {}; give the whole token",
            refresh.len(),
            def.provider,
            policy.min_refresh_length
        )),
        Some(token) => printable("refresh token", token),
        None if grant.access.is_none() && def.acquiring() == AcquirePolicy::Never => Err(format!(
            "`{}` needs a grant to begin with; give a refresh token, or an access token",
            def.provider
        )),
        None => Ok(()),
    }?;
    grant.access.as_ref().map_or(Ok(()), |access| printable("access token", access))
}

/// RFC 6749, appendix A: tokens are visible ASCII characters and spaces.
fn printable(what: &str, token: &Secret) -> Result<(), String> {
    let ok = !token.is_empty() && token.reveal().bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if ok {
        Ok(())
    } else {
        Err(format!(
            "the {what} is empty or holds characters that no token has, such as a line break; give it as one line"
        ))
    }
}

fn seal(
    node: &Node,
    def: &ConnectionDef,
    grant: &Grant,
    generation: Generation,
    now: Timestamp,
) -> Option<SealedTokens> {
    if grant.refresh.is_none() && grant.access.is_none() {
        return None;
    }
    let opened = ClearTokens { access: grant.access.clone(), refresh: grant.refresh.clone(), extras: None };
    let refresh_ttl = def.definition.policy().refresh_ttl;
    Some(SealedTokens {
        access_expires_at: grant.access_expires_at.map(|expiry| node.clock.meant(expiry)),
        refresh_expires_at: grant
            .refresh_expires_at
            .map(|expiry| node.clock.meant(expiry))
            .or_else(|| grant.refresh.as_ref().and(refresh_ttl).map(|ttl| now + ttl)),
        ..seal_tokens(&node.sealer, &*node.entropy, &def.name, generation, &opened, now)
    })
}
