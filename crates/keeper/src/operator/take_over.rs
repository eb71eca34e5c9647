//! Taking a grant over.

use jeton_core::audit::Actor;
use jeton_core::id::{AttemptId, GrantId};
use jeton_core::keep::connection::{Generation, SealedTokens};
use jeton_core::keep::due;
use jeton_core::keep::plan::AcquirePolicy;
use jeton_core::keep::ports::{Connect, ConnectAnswer};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;

use crate::error::TokenError;
use crate::shared::{ConnectionDef, Shared};
use crate::token_crypto::{ClearTokens, seal_tokens};
use crate::tokens::request::{Connected, Grant};

/// Stores `grant` as the grant of a connection, in place of the one that it has. Nothing is sent upstream.
pub(crate) async fn take_over(
    shared: &Shared,
    defined: &ConnectionDef,
    grant: Grant,
    by: &Actor,
) -> Result<Connected, TokenError> {
    let refused = |message: String| TokenError::GrantRefused { name: defined.name.clone(), message };
    check(defined, &grant).map_err(refused)?;
    let now = shared.clock.now();
    let attempt = AttemptId::generate(now, &*shared.entropy);
    let consent = GrantId::generate(now, &*shared.entropy);
    loop {
        let known = shared.reload(&defined.name).await?;
        let generation = known.map_or(Generation::default(), |known| known.row.generation);
        let tokens = seal(shared, defined, &grant, generation.next(), now);
        let due_at = tokens.as_ref().map_or(now, |tokens| due::due_at(tokens, &defined.pace, now, 0.0));
        let connect = Connect {
            connection: defined.name.clone(),
            provider: defined.provider.clone(),
            grant: consent,
            generation,
            tokens,
            single_use: defined.spends(),
            due_at,
            attempt,
            node: shared.node,
            by: Some(by.clone()),
        };
        match shared.with_retry(|| shared.ports.connections.connect(connect.clone())).await? {
            ConnectAnswer::Connected { generation } => {
                shared.reload(&defined.name).await?;
                return Ok(Connected::Stored { generation });
            }
            // The latter is of an exchange alone; looking again does no harm.
            // On hold memory may be ahead of the store, and looking again would change nothing.
            ConnectAnswer::Moved { .. } | ConnectAnswer::Superseded => shared.check_hold()?,
            ConnectAnswer::Unchanged => return Ok(Connected::Unchanged),
            ConnectAnswer::HeldBy { connection } => {
                return Err(refused(format!(
                    "`{connection}` holds this refresh token already, and two owners would spend it twice; use that \
                     connection, or `jeton disconnect {connection}` first"
                )));
            }
            ConnectAnswer::Spent { attempt } => {
                return Err(refused(format!(
                    "attempt {attempt} has spent this refresh token already, and it must not be sent again; ask for a \
                     new consent, or, if tokens of this provider are good for more than one use, set `rotation = \
                     \"none\"` under [connections.{}.policy]",
                    defined.name
                )));
            }
        }
    }
}

fn check(defined: &ConnectionDef, grant: &Grant) -> Result<(), String> {
    let policy = defined.definition.policy();
    match &grant.refresh {
        Some(refresh) if refresh.len() < policy.min_refresh_length => Err(format!(
            "the refresh token has {} characters and tokens of `{}` have at least {}; give the whole token",
            refresh.len(),
            defined.provider,
            policy.min_refresh_length
        )),
        Some(token) => printable("refresh token", token),
        None if grant.access.is_none() && defined.acquiring() == AcquirePolicy::Never => Err(format!(
            "`{}` needs a grant to begin with; pipe a refresh token into `--refresh-token-stdin`, or give `--import`",
            defined.provider
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
    shared: &Shared,
    defined: &ConnectionDef,
    grant: &Grant,
    generation: Generation,
    now: Timestamp,
) -> Option<SealedTokens> {
    if grant.refresh.is_none() && grant.access.is_none() {
        return None;
    }
    let opened = ClearTokens { access: grant.access.clone(), refresh: grant.refresh.clone(), extras: None };
    let refresh_ttl = defined.definition.policy().refresh_ttl;
    Some(SealedTokens {
        access_expires_at: grant.access_expires_at,
        refresh_expires_at: grant
            .refresh_expires_at
            .or_else(|| grant.refresh.as_ref().and(refresh_ttl).map(|ttl| now + ttl)),
        ..seal_tokens(&shared.sealer, &*shared.entropy, &defined.name, generation, &opened, now)
    })
}
