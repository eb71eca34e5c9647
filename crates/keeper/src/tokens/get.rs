//! What callers get: a living token, at once wherever there is one.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::connection::GrantState;
use jeton_core::keep::due;
use jeton_core::keep::plan::Goal;
use jeton_core::time::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::early_expiry::EarlyExpiryTracker;
use super::wait::{MIN_RELOAD, WaitBudget, Waiters, with_deadline};
use crate::definitions::{ConnectionDef, Definitions};
use crate::error::TokenError;
use crate::lifecycle::Lifecycle;
use crate::memory::apply::{Memory, Reload};
use crate::memory::cache::CachedConnection;
use crate::node::Node;
use crate::operator::take_over::begin;
use crate::refresh::run::{RefreshHandle, RefreshRequest, Refresher};
use crate::store_access::StoreAccess;
use crate::token_crypto::DOES_NOT_OPEN;
use crate::tokens::request::{Token, TokenRequest};
use crate::tokens::single_flight::TaskOutcome;

/// The default `min_ttl` is a tenth of the token's life, at most this: long enough to reach the API with it.
const USUAL_MIN_TTL: Duration = Duration::from_secs(30);

/// And at least this: servers count in whole seconds, so a token may die a second before its expiry.
const LEAST_MIN_TTL: Duration = Duration::from_secs(1);

/// Gives living tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) node: Arc<Node>,
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) store: Arc<StoreAccess>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) refresher: Arc<Refresher>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) early_expiry: EarlyExpiryTracker,
    pub(crate) waiters: Waiters,
}

impl Tokens {
    /// A living access token, from memory wherever it lives long enough, and the row that it is from.
    pub(crate) async fn living(&self, name: &str, request: TokenRequest) -> Result<ServedToken, TokenError> {
        let def = self.definitions.get(name)?;
        let asked_at = self.node.clock.earliest();
        let deadline = self.deadline(&request);
        let known = match self.known(def, deadline).await? {
            None if def.definition.starts_itself() => {
                with_deadline(deadline, begin(&self.node, &self.store, &self.memory, def)).await?
            }
            known => known,
        };
        let Some(known) = known else {
            return Err(TokenError::NotConnected { name: def.name.clone() });
        };
        if let Some(given) = self.served_from_memory(def, &known, &request, asked_at) {
            return Ok(given);
        }
        let goal = Goal::Living { ttl: min_ttl(&request, &known), asked_at };
        let refresh = RefreshRequest::new(goal, Trigger::OnDemand, request.by.clone());
        self.wait_for(def, &refresh, &request, WaitBudget::new(deadline, asked_at)).await
    }

    /// Until when this caller waits.
    pub(super) fn deadline(&self, request: &TokenRequest) -> Instant {
        Instant::now() + request.wait.unwrap_or(self.node.settings.wait)
    }

    /// What memory says, or the store where memory is too old for this provider or says nothing.
    async fn known(
        &self,
        def: &ConnectionDef,
        deadline: Instant,
    ) -> Result<Option<Arc<CachedConnection>>, TokenError> {
        let asked_at = self.node.clock.uptime();
        let in_memory = || self.memory.known(&def.name);
        let is_fresh = |known: &Arc<CachedConnection>| self.is_fresh(def, known, asked_at);
        let Some(known) = in_memory() else {
            let _waiting = self.waiters.enter()?;
            with_deadline(deadline, self.memory.reload_shared(&def.name, Reload::WithRetry)).await?;
            return Ok(in_memory());
        };
        if is_fresh(&known) {
            return Ok(Some(known));
        }
        // Nobody waits for the store with a token that lives: it is looked at, and then given.
        let lives = known.lives(known.now(self.node.clock.readings()), Duration::ZERO);
        let until = if lives { Instant::now() + MIN_RELOAD } else { deadline };
        let reload = async {
            self.memory.reload_shared(&def.name, Reload::Once).await?;
            if in_memory().as_ref().is_some_and(is_fresh) {
                return Ok(());
            }
            // That one was under way already, and is older than this caller bears; the next is not.
            self.memory.reload_shared(&def.name, Reload::Once).await
        };
        if let Err(error) = with_deadline(until, reload).await {
            // A living token goes on being served while the store is away.
            tracing::warn!(connection = %def.name, %error, "memory is older than it should be");
        }
        Ok(in_memory())
    }

    /// Whether memory was young enough for this provider at `asked_at`.
    pub(super) fn is_fresh(&self, def: &ConnectionDef, known: &CachedConnection, asked_at: Duration) -> bool {
        let age = asked_at.saturating_sub(known.asked_at);
        !def.old_access_dies() || age <= self.node.settings.memory_age
    }

    fn served_from_memory(
        &self,
        def: &Arc<ConnectionDef>,
        known: &Arc<CachedConnection>,
        request: &TokenRequest,
        asked_at: Timestamp,
    ) -> Option<ServedToken> {
        let goal = Goal::Living { ttl: min_ttl(request, known), asked_at };
        let now = known.now(self.node.clock.readings());
        if !goal.is_satisfied_by(&known.row, &def.timing, now) {
            return None;
        }
        if may_refresh_behind(known, def, now) && def.limiter.may_start(&def.name) {
            // The caller is served at once; the refresh goes on behind its back.
            self.refresher
                .start(def, &RefreshRequest::new(Goal::NotDue, Trigger::OnDemand, request.by.clone()));
        }
        self.token_of(known, now, shorter_than_asked(known, request, now))
    }

    async fn wait_for(
        &self,
        def: &Arc<ConnectionDef>,
        refresh: &RefreshRequest,
        request: &TokenRequest,
        budget: WaitBudget,
    ) -> Result<ServedToken, TokenError> {
        match self.wait_until(def, refresh, budget).await {
            Ok(known) => self.given(def, &known, request),
            Err(error) => self.current_instead(def, error),
        }
    }

    /// Refreshes, or waits for who does, until the goal of `request` is reached.
    pub(crate) async fn wait_until(
        &self,
        def: &Arc<ConnectionDef>,
        request: &RefreshRequest,
        budget: WaitBudget,
    ) -> Result<Arc<CachedConnection>, TokenError> {
        let _waiting = self.waiters.enter()?;
        loop {
            if let Some(known) = self.join_refresh(def, request, budget).await? {
                return Ok(known);
            }
        }
    }

    /// Refreshes once, or waits once for who does; `None` where that did not reach the goal.
    pub(super) async fn join_refresh(
        &self,
        def: &Arc<ConnectionDef>,
        request: &RefreshRequest,
        budget: WaitBudget,
    ) -> Result<Option<Arc<CachedConnection>>, TokenError> {
        let RefreshHandle { follower, own } = self.refresher.start(def, request);
        let Ok(ended) = timeout_at(budget.deadline, follower.outcome()).await else {
            tracing::warn!(connection = %def.name, "waiting for the refresh took too long");
            let waited = budget.started.elapsed();
            return Err(TokenError::WaitTimeout { name: def.name.clone(), waited });
        };
        let person = matches!(request.trigger, Trigger::Manual | Trigger::Forced);
        match self.check(ended, def) {
            // What stopped another's refresh, such as a cool-down, need not stop a person's.
            Err(_) if person && !own => return Ok(None),
            outcome => outcome?,
        }
        let known = self.memory.known(&def.name);
        let readings = self.node.clock.readings();
        // It may have been started for another goal than ours: then ours needs one more.
        Ok(known.filter(|known| {
            let now = known.now(readings);
            let is_new = known.refreshed_since(budget.asked_at) && !request.goal.refuses(&known.row);
            is_new || request.goal.is_satisfied_by(&known.row, &def.timing, now)
        }))
    }

    fn check(&self, ended: Option<TaskOutcome>, def: &ConnectionDef) -> TaskOutcome {
        match ended {
            Some(outcome) => outcome,
            None if self.lifecycle.is_closing() => Err(TokenError::ShuttingDown),
            None => {
                tracing::error!(connection = %def.name, "a refresh ended without an answer");
                Err(TokenError::Busy { what: "trouble in this process" })
            }
        }
    }

    pub(super) fn given(
        &self,
        def: &ConnectionDef,
        known: &Arc<CachedConnection>,
        request: &TokenRequest,
    ) -> Result<ServedToken, TokenError> {
        let now = known.now(self.node.clock.readings());
        self.token_of(known, now, shorter_than_asked(known, request, now)).ok_or_else(|| {
            let name = def.name.clone();
            if known.access.is_none()
                && known.row.tokens.as_ref().is_some_and(|tokens| tokens.access.is_some())
            {
                return TokenError::GrantUnusable { message: DOES_NOT_OPEN.to_owned(), name };
            }
            TokenError::NotConnected { name }
        })
    }

    /// After a failure or a timeout: the current token if it still lives, with a warning, else the error.
    fn current_instead(&self, def: &ConnectionDef, error: TokenError) -> Result<ServedToken, TokenError> {
        let readings = self.node.clock.readings();
        let living = self.memory.known(&def.name).and_then(|known| {
            let now = known.now(readings);
            let lives = known.lives(now, Duration::ZERO) && known.row.state != GrantState::None;
            let warning = || Some(format!("the current token is given: {error}"));
            if lives { self.token_of(&known, now, warning()) } else { None }
        });
        match living {
            Some(given) => {
                tracing::warn!(connection = %def.name, %error, "going on with the current token");
                Ok(given)
            }
            None => Err(error),
        }
    }

    fn token_of(
        &self,
        known: &Arc<CachedConnection>,
        now: Timestamp,
        warning: Option<String>,
    ) -> Option<ServedToken> {
        let tokens = known.row.tokens.as_ref()?;
        let last = (known.row.state == GrantState::Dead).then(|| {
            "the grant is dead, and this is the last token of it; a person must consent again".to_owned()
        });
        let token = Token {
            access: known.access.clone()?,
            token_type: known.token_type.clone(),
            expires_at: tokens.access_expires_at.map(|expiry| self.node.clock.shown(expiry)),
            expires_in: tokens.access_expires_at.map(|expiry| expiry.since(now)),
            generation: known.row.generation,
            fingerprint: tokens.access_fingerprint?,
            warning: warning.or(last),
        };
        Some(ServedToken { token, known: Arc::clone(known) })
    }
}

/// Whether a token that is served now should be refreshed behind the caller's back.
fn may_refresh_behind(known: &CachedConnection, def: &ConnectionDef, now: Timestamp) -> bool {
    let row = &known.row;
    let due = row.tokens.as_ref().is_some_and(|tokens| due::is_due(tokens, &def.timing, now));
    // An attempt under way or interrupted, a cool-down and a dead grant have their own pace.
    due && row.state == GrantState::Live
        && !row.paused
        && row.open_attempt.is_none()
        && row.cooling_until.is_none_or(|until| until <= now)
}

/// What a caller who says nothing needs: a tenth of the life, between a second and 30 s.
fn min_ttl(request: &TokenRequest, known: &CachedConnection) -> Duration {
    request.min_ttl.unwrap_or_else(|| {
        known.life().map_or(USUAL_MIN_TTL, |life| (life / 10).clamp(LEAST_MIN_TTL, USUAL_MIN_TTL))
    })
}

fn shorter_than_asked(known: &CachedConnection, request: &TokenRequest, now: Timestamp) -> Option<String> {
    if !known.lives(now, Duration::ZERO) {
        return Some("the token is past its expiry already: the provider gave it hardly any life".to_owned());
    }
    if known.lives(now, min_ttl(request, known)) {
        return None;
    }
    Some(match request.min_ttl {
        Some(asked) => format!("the token lives shorter than the {} s that were asked for", asked.as_secs()),
        None => "the token expires in a moment, and the provider does not refresh it before".to_owned(),
    })
}

/// A token, and the row that it is from: what else the row says belongs to this token and to no other.
#[derive(Debug)]
pub(crate) struct ServedToken {
    pub(crate) token: Token,
    pub(crate) known: Arc<CachedConnection>,
}
