//! Taking a grant over.

use std::sync::Arc;

use jeton_core::audit::Actor;
use jeton_core::id::{AttemptId, Generation, GrantId};
use jeton_core::keep::connection::{Connection, GrantState, SealedTokens};
use jeton_core::keep::due;
use jeton_core::keep::plan::AcquirePolicy;
use jeton_core::keep::ports::{Connect, ConnectAnswer};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;

use crate::definitions::ConnectionDef;
use crate::error::TokenError;
use crate::memory::apply::Memory;
use crate::memory::cache::CachedConnection;
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
    check(def, &grant)?;
    let answer = store_grant(node, store, memory, def, &grant, by, |_| true).await?;
    answer.map_or(Ok(Connected::Unchanged), |answer| connected(def, answer))
}

/// Stores `grant` where a connection has no grant, or one with another refresh token that died or was refused before it gave a
/// token. Nothing is sent upstream.
pub(crate) async fn seed(
    node: &Node,
    store: &StoreAccess,
    memory: &Memory,
    def: &ConnectionDef,
    grant: Grant,
    by: &Actor,
) -> Result<Connected, TokenError> {
    let refresh = grant.refresh.as_ref().map(|refresh| node.sealer.fingerprint(refresh));
    let helps = |row: Option<&Connection>| {
        let Some(row) = row.filter(|row| row.state != GrantState::None) else { return true };
        let tokens = row.tokens.as_ref();
        // Refused once, and it never gave a token: there is nothing to lose.
        let useless =
            row.state_code.is_some() && tokens.is_none_or(|tokens| tokens.access_fingerprint.is_none());
        (row.state == GrantState::Dead || useless)
            && tokens.is_none_or(|tokens| tokens.refresh_fingerprint != refresh)
    };
    let known = memory.reload(&def.name).await?;
    if !helps(known.as_ref().map(|known| &known.row)) {
        return Ok(Connected::Unchanged);
    }
    check(def, &grant)?;
    let answer = store_grant(node, store, memory, def, &grant, by, helps).await?;
    let had_grant = known.is_some_and(|known| known.row.state != GrantState::None);
    match answer {
        None => Ok(Connected::Unchanged),
        // The dead grant began with it.
        Some(ConnectAnswer::Spent { .. }) if had_grant => Ok(Connected::Unchanged),
        Some(answer) => match connected(def, answer) {
            // Another process seeded it first, and may have spent it by now.
            Err(_) if !helps(memory.reload(&def.name).await?.as_ref().map(|known| &known.row)) => {
                Ok(Connected::Unchanged)
            }
            connected => connected,
        },
    }
}

/// Offers a grant to the store until it is answered, while it is `wanted` in place of what the connection has.
async fn store_grant(
    node: &Node,
    store: &StoreAccess,
    memory: &Memory,
    def: &ConnectionDef,
    grant: &Grant,
    by: &Actor,
    wanted: impl Fn(Option<&Connection>) -> bool,
) -> Result<Option<ConnectAnswer>, TokenError> {
    let now = node.clock.earliest();
    let attempt = AttemptId::generate(now, &*node.entropy);
    let consent = GrantId::generate(now, &*node.entropy);
    loop {
        let known = memory.reload(&def.name).await?;
        if !wanted(known.as_ref().map(|known| &known.row)) {
            return Ok(None);
        }
        let generation = known.map_or(Generation::default(), |known| known.row.generation);
        let tokens = seal(node, def, grant, generation.next(), now);
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
            // The latter is of an exchange alone; reading again does no harm.
            // On hold memory may be ahead of the store, and reading again would change nothing.
            ConnectAnswer::Moved { .. } | ConnectAnswer::Superseded => store.check_hold()?,
            answer => {
                if matches!(answer, ConnectAnswer::Connected { .. }) {
                    memory.reload(&def.name).await?;
                }
                return Ok(Some(answer));
            }
        }
    }
}

/// Makes the row of a connection that starts by itself ([`Definition::starts_itself`]), unless there is one. The first token is
/// due at once. Answers the row.
///
/// [`Definition::starts_itself`]: jeton_core::keep::provider::Definition::starts_itself
pub(crate) async fn begin(
    node: &Node,
    store: &StoreAccess,
    memory: &Memory,
    def: &ConnectionDef,
) -> Result<Option<Arc<CachedConnection>>, TokenError> {
    store.check_hold()?;
    let now = node.clock.earliest();
    let connect = Connect {
        connection: def.name.clone(),
        provider: def.provider.clone(),
        grant: GrantId::generate(now, &*node.entropy),
        generation: Generation::default(),
        tokens: None,
        single_use: def.spends(),
        due_at: now,
        attempt: AttemptId::generate(now, &*node.entropy),
        node: node.id,
        by: None,
    };
    // Whatever the answer is, there is a row now.
    let answer = store.with_retry(|| store.ports.connections.connect(connect.clone())).await?;
    if matches!(answer, ConnectAnswer::Connected { .. }) {
        tracing::info!(connection = %def.name, "nobody needs to connect it: its first token is acquired now");
    }
    memory.reload(&def.name).await
}

/// What the answer of the store means for whoever gave the grant.
fn connected(def: &ConnectionDef, answer: ConnectAnswer) -> Result<Connected, TokenError> {
    match answer {
        ConnectAnswer::Connected { generation } => Ok(Connected::Stored { generation }),
        ConnectAnswer::HeldBy { connection } => {
            Err(TokenError::GrantHeld { name: def.name.clone(), by: connection })
        }
        ConnectAnswer::Spent { attempt } => Err(spent(def, attempt)),
        ConnectAnswer::Unchanged | ConnectAnswer::Moved { .. } | ConnectAnswer::Superseded => {
            Ok(Connected::Unchanged)
        }
    }
}

pub(super) fn refused(def: &ConnectionDef, message: String) -> TokenError {
    TokenError::GrantRefused { name: def.name.clone(), message }
}

/// The error of a refresh token that an attempt has spent.
pub(super) fn spent(def: &ConnectionDef, attempt: AttemptId) -> TokenError {
    refused(
        def,
        format!(
            "attempt {attempt} has spent this refresh token already, and it must not be sent again; ask for a new \
             consent, or, if tokens of this provider are good for more than one use, set `rotation = \"none\"` under \
             [connections.{}.policy]",
            def.name
        ),
    )
}

/// Checks that a grant can be one of this provider, before anything is done with it.
pub(super) fn check(def: &ConnectionDef, grant: &Grant) -> Result<(), TokenError> {
    shape(def, grant).map_err(|message| refused(def, message))
}

fn shape(def: &ConnectionDef, grant: &Grant) -> Result<(), String> {
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
