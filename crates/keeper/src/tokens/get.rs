//! What callers get: a living token, at once wherever there is one.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::connection::GrantState;
use jeton_core::keep::due;
use jeton_core::keep::plan::Goal;
use jeton_core::time::Timestamp;
use tokio::time::Instant;

use super::wait::{MIN_RELOAD, WaitBudget, WaiterPermit, with_deadline};
use crate::error::TokenError;
use crate::memory::cache::CachedConnection;
use crate::refresh::run::{self, RefreshRequest};
use crate::shared::ConnectionDef;
use crate::token_crypto::does_not_open;
use crate::tokens::request::{Token, TokenRequest};
use crate::tokens::single_flight::{Join, TaskOutcome};
use crate::vault::Vault;

/// The longest that a token must live for a caller who says nothing: long enough to reach the API with it.
const USUAL_MIN_TTL: Duration = Duration::from_secs(30);

/// The least that it must live: servers count in whole seconds, so a token may die a second before it was said to.
const LEAST_MIN_TTL: Duration = Duration::from_secs(1);

/// How a store that fails is looked at.
#[derive(Clone, Copy, Debug)]
enum Reload {
    /// Once: there is something in memory to go on with.
    Once,
    /// For as long as a claim waits for it: without an answer there is nothing.
    WithRetry,
}

impl Vault {
    /// A living access token, from memory wherever it lives long enough.
    pub async fn token(&self, name: &str, request: TokenRequest) -> Result<Token, TokenError> {
        Ok(self.living(name, request).await?.token)
    }

    /// The same, with the row that it is from.
    pub(crate) async fn living(&self, name: &str, request: TokenRequest) -> Result<ServedToken, TokenError> {
        let defined = self.shared.defined(name)?;
        let asked_at = self.shared.clock.now();
        let deadline = self.deadline(request);
        let Some(known) = self.known(defined, deadline).await? else {
            return Err(TokenError::NotConnected { name: defined.name.clone() });
        };
        if let Some(given) = self.served_from_memory(defined, &known, request, asked_at) {
            return Ok(given);
        }
        let wish = Goal::Living { ttl: min_ttl(request, &known), asked_at };
        let refresh = RefreshRequest::new(wish, Trigger::OnDemand);
        self.wait_for(defined, refresh, request, WaitBudget::new(deadline, asked_at)).await
    }

    /// Until when this caller waits.
    pub(super) fn deadline(&self, request: TokenRequest) -> Instant {
        Instant::now() + request.wait.unwrap_or(self.shared.settings.wait)
    }

    /// What memory says, or the store where memory is too old for this provider or says nothing.
    async fn known(
        &self,
        defined: &ConnectionDef,
        deadline: Instant,
    ) -> Result<Option<Arc<CachedConnection>>, TokenError> {
        let shared = &*self.shared;
        let asked_at = shared.clock.uptime();
        let in_memory = || shared.memory.find(defined.name.as_str()).and_then(|slot| slot.known());
        let is_fresh = |known: &Arc<CachedConnection>| self.is_fresh(defined, known, asked_at);
        let Some(known) = in_memory() else {
            let _waiting = WaiterPermit::enter(shared)?;
            with_deadline(deadline, self.reload_shared(defined, Reload::WithRetry)).await?;
            return Ok(in_memory());
        };
        if is_fresh(&known) {
            return Ok(Some(known));
        }
        // Nobody waits for the store with a token that lives: it is looked at, and then given.
        let lives = known.lives(shared.clock.now(), Duration::ZERO);
        let until = if lives { Instant::now() + MIN_RELOAD } else { deadline };
        let reload = async {
            self.reload_shared(defined, Reload::Once).await?;
            if in_memory().as_ref().is_some_and(is_fresh) {
                return Ok(());
            }
            // That one was under way already, and is older than this caller bears; the next is not.
            self.reload_shared(defined, Reload::Once).await
        };
        if let Err(error) = with_deadline(until, reload).await {
            // A living token goes on being served while the store is away.
            tracing::warn!(connection = %defined.name, %error, "memory is older than it should be");
        }
        Ok(in_memory())
    }

    /// One look at the store for all who want one now. It goes on when nobody waits for it any more.
    async fn reload_shared(&self, defined: &ConnectionDef, how: Reload) -> TaskOutcome {
        let follower = match self.shared.reloads.join(&defined.name) {
            Join::Follower(follower) => follower,
            Join::Leader(leader, follower) => {
                let (shared, name) = (Arc::clone(&self.shared), defined.name.clone());
                self.shared.background.spawn(async move {
                    let reloaded = match how {
                        Reload::Once => shared.reload_once(&name).await.map_err(TokenError::from),
                        Reload::WithRetry => shared.reload(&name).await,
                    };
                    leader.finish(reloaded.map(drop));
                });
                follower
            }
        };
        follower.outcome().await.unwrap_or(Err(TokenError::ShuttingDown))
    }

    /// Whether memory was young enough for this provider at `asked_at`.
    pub(super) fn is_fresh(
        &self,
        defined: &ConnectionDef,
        known: &CachedConnection,
        asked_at: Duration,
    ) -> bool {
        let age = asked_at.saturating_sub(known.asked_at);
        !defined.old_access_dies() || age <= self.shared.settings.memory_age
    }

    fn served_from_memory(
        &self,
        defined: &Arc<ConnectionDef>,
        known: &Arc<CachedConnection>,
        request: TokenRequest,
        now: Timestamp,
    ) -> Option<ServedToken> {
        let wish = Goal::Living { ttl: min_ttl(request, known), asked_at: now };
        if !wish.is_satisfied_by(&known.row, &defined.pace, now) {
            return None;
        }
        if may_refresh_behind(known, defined, now) {
            // The caller is served at once; the refresh goes on behind its back.
            run::start(&self.shared, defined, RefreshRequest::new(Goal::NotDue, Trigger::OnDemand));
        }
        token_of(known, now, shorter_than_asked(known, request, now))
    }

    async fn wait_for(
        &self,
        defined: &Arc<ConnectionDef>,
        refresh: RefreshRequest,
        request: TokenRequest,
        budget: WaitBudget,
    ) -> Result<ServedToken, TokenError> {
        match self.wait_until(defined, refresh, budget).await {
            Ok(known) => self.given(defined, &known, request),
            Err(error) => self.current_instead(defined, error, budget.asked_at),
        }
    }

    pub(super) fn given(
        &self,
        defined: &ConnectionDef,
        known: &Arc<CachedConnection>,
        request: TokenRequest,
    ) -> Result<ServedToken, TokenError> {
        let now = self.shared.clock.now();
        token_of(known, now, shorter_than_asked(known, request, now)).ok_or_else(|| {
            let name = defined.name.clone();
            if known.access.is_none()
                && known.row.tokens.as_ref().is_some_and(|tokens| tokens.access.is_some())
            {
                return TokenError::Definition { message: does_not_open(&name), name };
            }
            TokenError::NotConnected { name }
        })
    }

    /// After a failure or a timeout: the current token if it still lives, with a warning, else the error.
    fn current_instead(
        &self,
        defined: &ConnectionDef,
        error: TokenError,
        asked_at: Timestamp,
    ) -> Result<ServedToken, TokenError> {
        let known = self.shared.memory.find(defined.name.as_str()).and_then(|slot| slot.known());
        let now = self.shared.clock.now().max(asked_at);
        let living = known
            .filter(|known| known.lives(now, Duration::ZERO) && known.row.state != GrantState::None)
            .and_then(|known| token_of(&known, now, Some(format!("the current token is given: {error}"))));
        match living {
            Some(given) => {
                tracing::warn!(connection = %defined.name, %error, "going on with the current token");
                Ok(given)
            }
            None => Err(error),
        }
    }
}

/// Whether a token that is served now should be refreshed behind the caller's back.
fn may_refresh_behind(known: &CachedConnection, defined: &ConnectionDef, now: Timestamp) -> bool {
    let row = &known.row;
    let due = row.tokens.as_ref().is_some_and(|tokens| due::is_due(tokens, &defined.pace, now));
    // An attempt under way or interrupted, a cool-down and a dead grant have their own pace.
    due && row.state == GrantState::Live
        && !row.paused
        && row.open_attempt.is_none()
        && row.cooling_until.is_none_or(|until| until <= now)
}

/// What a caller who says nothing needs: a tenth of the life, between a second and 30 s.
fn min_ttl(request: TokenRequest, known: &CachedConnection) -> Duration {
    request.min_ttl.unwrap_or_else(|| {
        known.life().map_or(USUAL_MIN_TTL, |life| (life / 10).clamp(LEAST_MIN_TTL, USUAL_MIN_TTL))
    })
}

fn shorter_than_asked(known: &CachedConnection, request: TokenRequest, now: Timestamp) -> Option<String> {
    if !known.lives(now, Duration::ZERO) {
        return Some("the token is past its expiry already: the provider gave it hardly any life".to_owned());
    }
    let asked = request.min_ttl.filter(|ttl| !known.lives(now, *ttl))?;
    Some(format!("the token lives shorter than the {} s that were asked for", asked.as_secs()))
}

/// A token, and the row that it is from: what else the row says belongs to this token and to no other.
#[derive(Debug)]
pub(crate) struct ServedToken {
    pub(crate) token: Token,
    pub(crate) known: Arc<CachedConnection>,
}

fn token_of(known: &Arc<CachedConnection>, now: Timestamp, warning: Option<String>) -> Option<ServedToken> {
    let tokens = known.row.tokens.as_ref()?;
    let last = (known.row.state == GrantState::Dead).then(|| {
        "the grant is dead, and this is the last token of it; a person must consent again".to_owned()
    });
    let token = Token {
        access: known.access.clone()?,
        token_type: known.token_type.clone(),
        expires_at: tokens.access_expires_at,
        expires_in: tokens.access_expires_at.map(|expiry| expiry.since(now)),
        generation: known.row.generation,
        fingerprint: tokens.access_fingerprint?,
        warning: warning.or(last),
    };
    Some(ServedToken { token, known: Arc::clone(known) })
}
