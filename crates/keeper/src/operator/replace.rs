//! Putting a grant in place of one that works: it is used once before it replaces that.

use jeton_core::audit::Actor;
use jeton_core::id::{Generation, GrantId};
use jeton_core::keep::attempt::Act;
use jeton_core::keep::connection::{Connection, GrantState};
use jeton_core::keep::ports::{BeginConnect, BeginConnectAnswer, ConnectAnswer};
use jeton_core::keep::provider::{ErrorClass, RequestValues, Step};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;

use super::take_over::{check, refused, spent, take_over};
use crate::consent::exchange::NewGrant;
use crate::definitions::ConnectionDef;
use crate::error::TokenError;
use crate::refresh::spend::{Recorded, RedeemFailure, SpendOutcome, SpendRequest, Spender};
use crate::refresh::store_writer::{StoreAnswer, held_by, superseded};
use crate::token_metadata::TokenMetadata;
use crate::tokens::request::{Connected, Grant};

/// What became of a grant that was to replace another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// There was no grant that works, so it was stored and not used yet.
    Untried(Connected),
    /// The provider gave a token set for it, which is stored.
    Tried {
        /// The generation now.
        generation: Generation,
        /// When its access token expires.
        expires_at: Option<Timestamp>,
    },
    /// It gave no token set, or could not be renewed: the grant before it stays.
    Kept {
        /// Why, in one sentence.
        message: String,
        /// Nobody knows whether its refresh token was spent: it must not be used again.
        may_be_spent: bool,
    },
}

/// Puts `grant` in place of the one that a connection has. Where that one works, the refresh token of the new one is spent
/// first, and nothing is changed unless the provider gives a token set for it.
pub(crate) async fn replace(
    spender: &Spender,
    def: &ConnectionDef,
    grant: Grant,
    by: &Actor,
) -> Result<Replaced, TokenError> {
    check(def, &grant)?;
    let known = spender.memory.reload(&def.name).await?;
    let now = spender.node.clock.now();
    let working = known.filter(|known| works(&known.row, def, now));
    let empty = grant.refresh.is_none() && grant.access.is_none();
    match (&working, &grant.refresh) {
        (Some(_), Some(refresh)) if def.can_redeem() => {
            let refresh = refresh.clone();
            use_first(spender, def, grant, refresh, by).await
        }
        (Some(known), None) if !empty && renews(&known.row) => Ok(Replaced::Kept {
            message: "the new grant has no refresh token, so it would end with its access token".to_owned(),
            may_be_spent: false,
        }),
        _ => take_over(&spender.node, &spender.store, &spender.memory, def, grant, by)
            .await
            .map(Replaced::Untried),
    }
}

/// Whether there is something to lose: a grant of this provider that gives tokens, as far as anybody knows.
fn works(row: &Connection, def: &ConnectionDef, now: Timestamp) -> bool {
    let lives = |row: &Connection| {
        row.tokens.as_ref().is_some_and(|tokens| tokens.access_expires_at.is_none_or(|expiry| expiry > now))
    };
    row.provider == def.provider
        && matches!(row.state, GrantState::Live | GrantState::Suspended)
        && (renews(row) || lives(row))
}

fn renews(row: &Connection) -> bool {
    row.tokens.as_ref().is_some_and(|tokens| tokens.refresh_fingerprint.is_some())
}

/// Spends the refresh token, and stores what it brings.
async fn use_first(
    spender: &Spender,
    def: &ConnectionDef,
    grant: Grant,
    refresh: Secret,
    by: &Actor,
) -> Result<Replaced, TokenError> {
    let node = &spender.node;
    spender.store.check_hold()?;
    let values = RequestValues {
        access: grant.access,
        refresh: Some(refresh.clone()),
        refresh_expires_at: grant.refresh_expires_at.map(|expiry| node.clock.meant(expiry)),
        ..RequestValues::default()
    };
    let request = def.definition.request(Step::Refresh, &values);
    let request =
        request.map_err(|error| refused(def, format!("its refresh token cannot be sent: {error}")))?;
    // A person waits.
    let turn = spender.take_turn(def, true, async { Ok(()) }).await?;
    let begin = BeginConnect {
        connection: def.name.clone(),
        provider: def.provider.clone(),
        attempt: turn.attempt,
        grant: GrantId::generate(node.clock.now(), &*node.entropy),
        node: node.id,
        refresh: node.sealer.fingerprint(&refresh),
        single_use: def.spends(),
        lease_ttl: node.settings.lease,
        by: by.clone(),
    };
    let store = &spender.store;
    let at = match store.with_retry(|| store.ports.consents.begin_connect(begin.clone())).await? {
        BeginConnectAnswer::Begun { at } => at,
        BeginConnectAnswer::Unchanged => return Ok(Replaced::Untried(Connected::Unchanged)),
        BeginConnectAnswer::HeldBy { connection } => {
            return Err(TokenError::GrantHeld { name: def.name.clone(), by: connection });
        }
        BeginConnectAnswer::Spent { attempt } => return Err(spent(def, attempt)),
    };
    let target = NewGrant {
        spender,
        def,
        attempt: turn.attempt,
        grant: begin.grant,
        by: Some(by.clone()),
        what: "the first use of a new refresh token",
    };
    let sent = SpendRequest { act: Act::Redeem, request, values };
    let recorded = Recorded::now(node, at);
    // Whatever becomes of the connection meanwhile, the refresh token is new: there is nothing to check again.
    match turn.spend(sent, recorded, TokenMetadata::default(), async { Ok(()) }, &target).await {
        SpendOutcome::Tokens { stored, .. } => {
            let stored = stored?;
            let expires_at = stored.access_expires_at.map(|expiry| node.clock.shown(expiry));
            match stored.answer {
                StoreAnswer::Connect(ConnectAnswer::Connected { generation }) => {
                    tracing::info!(connection = %def.name, generation = generation.0, "a new grant was used and stored");
                    Ok(Replaced::Tried { generation, expires_at })
                }
                StoreAnswer::Connect(ConnectAnswer::HeldBy { connection }) => {
                    Err(refused(def, held_by(&connection)))
                }
                _ => Err(refused(def, superseded(&def.name))),
            }
        }
        SpendOutcome::Failed { failure, recorded } => {
            if let Err(error) = recorded {
                let attempt = target.attempt;
                tracing::error!(connection = %def.name, %attempt, %error, "the failure waits in its spill slot");
            }
            Ok(kept(&failure, &target.failure_message(&failure), def.spends()))
        }
    }
}

fn kept(failure: &RedeemFailure, why: &str, single_use: bool) -> Replaced {
    let unknown = failure.is_unknown();
    let message = if unknown {
        format!("the new refresh token was sent, and nobody knows whether the provider took it: {why}")
    } else if failure.class == ErrorClass::DeadGrant {
        format!("the provider refused the new refresh token ({}): {why}", failure.code)
    } else {
        format!("the new refresh token brought no token ({}): {why}", failure.code)
    };
    Replaced::Kept { message, may_be_spent: unknown && single_use }
}
