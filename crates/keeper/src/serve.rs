//! What callers get: a living token, at once wherever there is one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::connection::GrantState;
use jeton_core::keep::due;
use jeton_core::keep::plan::Wish;
use jeton_core::keep::rejection::{Rejection, RejectionAnswer};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::error::TokenError;
use crate::flight::{Landing, Seat};
use crate::memory::Known;
use crate::refresh::{self, Boarding, Order};
use crate::shared::{Defined, Shared, does_not_open};
use crate::token::{Token, TokenRequest};
use crate::vault::Vault;

/// The longest that a token must live for a caller who says nothing: long enough to reach the API with it.
const USUAL_MIN_TTL: Duration = Duration::from_secs(30);

/// What the store is given to answer a look even where the caller hardly waits: without a look there is nothing to give.
const LEAST_LOOK: Duration = Duration::from_millis(250);

/// The least that it must live: servers count in whole seconds, so a token may die a second before it was said to.
const LEAST_MIN_TTL: Duration = Duration::from_secs(1);

impl Vault {
    /// A living access token, from memory wherever it lives long enough.
    pub async fn token(&self, name: &str, request: TokenRequest) -> Result<Token, TokenError> {
        Ok(self.living(name, request).await?.token)
    }

    /// The same, with the row that it is from.
    pub(crate) async fn living(&self, name: &str, request: TokenRequest) -> Result<Given, TokenError> {
        let defined = self.shared.defined(name)?;
        let asked_at = self.shared.clock.now();
        let deadline = self.deadline(request);
        let Some(known) = self.known(defined, deadline).await? else {
            return Err(TokenError::NotConnected { name: defined.name.clone() });
        };
        if let Some(given) = self.served_from_memory(defined, &known, request, asked_at) {
            return Ok(given);
        }
        let wish = Wish::Living { ttl: min_ttl(request, &known), asked_at };
        let order = Order::new(wish, Trigger::OnDemand);
        self.wait_for(defined, order, request, Patience::new(deadline, asked_at)).await
    }

    /// Until when this caller waits.
    fn deadline(&self, request: TokenRequest) -> Instant {
        Instant::now() + request.wait.unwrap_or(self.shared.settings.wait)
    }

    /// What memory says, or the store where memory is too old for this provider or says nothing.
    async fn known(&self, defined: &Defined, deadline: Instant) -> Result<Option<Arc<Known>>, TokenError> {
        let shared = &*self.shared;
        let asked_at = shared.clock.uptime();
        let in_memory = || shared.memory.find(defined.name.as_str()).and_then(|slot| slot.known());
        let is_fresh = |known: &Arc<Known>| self.is_fresh(defined, known, asked_at);
        let Some(known) = in_memory() else {
            return in_time(deadline, shared.look(&defined.name)).await;
        };
        if is_fresh(&known) {
            return Ok(Some(known));
        }
        // Nobody waits for the store with a token that lives: it is looked at, and then given.
        let lives = known.lives(shared.clock.now(), Duration::ZERO);
        let until = if lives { Instant::now() + LEAST_LOOK } else { deadline };
        let look = async {
            self.shared_look(defined).await?;
            if in_memory().as_ref().is_some_and(is_fresh) {
                return Ok(());
            }
            // That one was under way already, and is older than this caller bears; the next is not.
            self.shared_look(defined).await
        };
        if let Err(error) = in_time(until, look).await {
            // A living token goes on being served while the store is away.
            tracing::warn!(connection = %defined.name, %error, "memory is older than it should be");
        }
        Ok(in_memory())
    }

    /// One look at the store for all who want one now. It goes on when nobody waits for it any more.
    async fn shared_look(&self, defined: &Defined) -> Landing {
        let passenger = match self.shared.looks.join(&defined.name) {
            Seat::Passenger(passenger) => passenger,
            Seat::Pilot(pilot, passenger) => {
                let (shared, name) = (Arc::clone(&self.shared), defined.name.clone());
                self.shared.background.spawn(async move {
                    let looked = shared.look_once(&name).await;
                    pilot.land(looked.map(|_| ()).map_err(TokenError::from));
                });
                passenger
            }
        };
        passenger.landed().await.unwrap_or(Err(TokenError::ShuttingDown))
    }

    /// Whether memory was young enough for this provider at `asked_at`.
    fn is_fresh(&self, defined: &Defined, known: &Known, asked_at: Duration) -> bool {
        let age = asked_at.saturating_sub(known.asked_at);
        !defined.old_access_dies() || age <= self.shared.settings.memory_age
    }

    fn served_from_memory(
        &self,
        defined: &Arc<Defined>,
        known: &Arc<Known>,
        request: TokenRequest,
        now: Timestamp,
    ) -> Option<Given> {
        let wish = Wish::Living { ttl: min_ttl(request, known), asked_at: now };
        if !wish.is_satisfied_by(&known.row, &defined.pace, now) {
            return None;
        }
        if may_refresh_behind(known, defined, now) {
            // The caller is served at once; the refresh goes on behind its back.
            refresh::begin(&self.shared, defined, Order::new(Wish::NotDue, Trigger::OnDemand));
        }
        token_of(known, now, shorter_than_asked(known, request, now))
    }

    /// A caller's token was refused by the API: gives a newer one if there is one, else refreshes, at most once.
    pub async fn reject(
        &self,
        name: &str,
        fingerprint: Fingerprint,
        request: TokenRequest,
    ) -> Result<Token, TokenError> {
        Ok(self.rejected(name, fingerprint, request, false).await?.0.token)
    }

    /// What is given for a refused token, and whether a refresh brought it: else it was there already.
    pub(crate) async fn rejected(
        &self,
        name: &str,
        fingerprint: Fingerprint,
        request: TokenRequest,
        helped_before: bool,
    ) -> Result<(Given, bool), TokenError> {
        let defined = self.shared.defined(name)?;
        if let Some(until) = self.known_brake(defined, fingerprint) {
            return Err(self.braked(defined, until));
        }
        let asked_at = self.shared.clock.now();
        let deadline = self.deadline(request);
        let mut rejection = Rejection { connection: defined.name.clone(), fingerprint, helped_before };
        let order = Order::new(Wish::Other(fingerprint), Trigger::Rejected);
        let patience = Patience::new(deadline, asked_at);
        let mut waiting = None;
        loop {
            let judged = self.shared.patiently(|| self.shared.ports.connections.reject(rejection.clone()));
            let answer = in_time(deadline, async { Ok(judged.await?) }).await?;
            match answer {
                RejectionAnswer::Unknown => {
                    return Err(TokenError::NotConnected { name: defined.name.clone() });
                }
                RejectionAnswer::Braked { until } => {
                    // Memory learns of the brake, and answers for the store from now on.
                    let look = async { Ok(self.shared.look_once(&defined.name).await?) };
                    if let Err(error) = in_time(deadline, look).await {
                        tracing::debug!(connection = %defined.name, %error, "the brake is not in memory yet");
                    }
                    return Err(self.braked(defined, until));
                }
                RejectionAnswer::Differs => {
                    drop(waiting);
                    in_time(deadline, self.shared.look(&defined.name)).await?;
                    let wait = Some(deadline.saturating_duration_since(Instant::now()));
                    return Ok((self.living(name, TokenRequest { wait, ..request }).await?, false));
                }
                RejectionAnswer::Refresh => {
                    if waiting.is_none() {
                        waiting = Some(Waiting::enter(&self.shared)?);
                    }
                    // The current token is no help to a caller whom the API refused it: an error goes through.
                    if let Some(known) = self.fly(defined, order, patience).await? {
                        return Ok((self.given(defined, &known, request)?, true));
                    }
                    // A flight that brought the refused token once more is judged by the store before there is another,
                    // and what helped before has not helped now.
                    rejection.helped_before = false;
                }
            }
        }
    }

    /// Until when the brake holds for this token, where memory knows it: an API that refuses every call for another reason
    /// than the token costs no look at the store for each of them. However the clocks of this machine and of the store
    /// differ, memory says so no longer than the brake was put on for.
    fn known_brake(&self, defined: &Defined, refused: Fingerprint) -> Option<Timestamp> {
        let known = self.shared.memory.find(defined.name.as_str())?.known()?;
        let brake = known.row.brake?;
        let current = known.row.tokens.as_ref()?.access_fingerprint == Some(refused);
        let uptime = self.shared.clock.uptime();
        let holds =
            self.shared.clock.now() < brake.until && uptime.saturating_sub(known.asked_at) < brake.step;
        (current && holds && self.is_fresh(defined, &known, uptime)).then_some(brake.until)
    }

    fn braked(&self, defined: &Defined, until: Timestamp) -> TokenError {
        let retry_after = until.since(self.shared.clock.now());
        TokenError::Braked { name: defined.name.clone(), retry_after }
    }

    async fn wait_for(
        &self,
        defined: &Arc<Defined>,
        order: Order,
        request: TokenRequest,
        patience: Patience,
    ) -> Result<Given, TokenError> {
        match self.wait_until(defined, order, patience).await {
            Ok(known) => self.given(defined, &known, request),
            Err(error) => self.current_instead(defined, error, patience.asked_at),
        }
    }

    fn given(
        &self,
        defined: &Defined,
        known: &Arc<Known>,
        request: TokenRequest,
    ) -> Result<Given, TokenError> {
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
        defined: &Defined,
        error: TokenError,
        asked_at: Timestamp,
    ) -> Result<Given, TokenError> {
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

    /// Flies, or waits for whoever flies, until the wish is satisfied.
    pub(crate) async fn wait_until(
        &self,
        defined: &Arc<Defined>,
        order: Order,
        patience: Patience,
    ) -> Result<Arc<Known>, TokenError> {
        let _waiting = Waiting::enter(&self.shared)?;
        loop {
            if let Some(known) = self.fly(defined, order, patience).await? {
                return Ok(known);
            }
        }
    }

    /// Flies once, or waits once for whoever flies; `None` where that did not satisfy the wish.
    async fn fly(
        &self,
        defined: &Arc<Defined>,
        order: Order,
        patience: Patience,
    ) -> Result<Option<Arc<Known>>, TokenError> {
        let Boarding { passenger, own } = refresh::begin(&self.shared, defined, order);
        let Ok(landed) = timeout_at(patience.deadline, passenger.landed()).await else {
            tracing::warn!(connection = %defined.name, "waiting for the refresh took too long");
            let waited = patience.started.elapsed();
            return Err(TokenError::WaitTimeout { name: defined.name.clone(), waited });
        };
        let person = matches!(order.trigger, Trigger::Manual | Trigger::Forced);
        match self.check(landed, defined) {
            // What stopped another's flight, such as a cool-down, need not stop a person's.
            Err(_) if person && !own => return Ok(None),
            landing => landing?,
        }
        let known = self.shared.memory.find(defined.name.as_str()).and_then(|slot| slot.known());
        let now = self.shared.clock.now();
        // The flight may have been begun for another wish than ours: then ours needs one more.
        Ok(known.filter(|known| {
            let newborn = known.born_since(patience.asked_at) && !order.wish.refuses(&known.row);
            newborn || order.wish.is_satisfied_by(&known.row, &defined.pace, now)
        }))
    }

    fn check(&self, landed: Option<Landing>, defined: &Defined) -> Landing {
        match landed {
            Some(landing) => landing,
            None if self.shared.is_closing() => Err(TokenError::ShuttingDown),
            None => {
                tracing::error!(connection = %defined.name, "a refresh ended without an answer");
                Err(TokenError::Busy { what: "trouble in this process" })
            }
        }
    }
}

/// Since when a caller waits, until when, and when it asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    started: Instant,
    deadline: Instant,
    asked_at: Timestamp,
}

impl Patience {
    /// From now until `deadline`.
    pub(crate) fn new(deadline: Instant, asked_at: Timestamp) -> Self {
        Self { started: Instant::now(), deadline, asked_at }
    }
}

/// What the store answers, unless the caller waits no longer.
async fn in_time<T>(
    deadline: Instant,
    asked: impl Future<Output = Result<T, TokenError>>,
) -> Result<T, TokenError> {
    timeout_at(deadline.max(Instant::now() + LEAST_LOOK), asked).await.unwrap_or_else(|_| {
        let message = "the store did not answer as long as the caller waits".to_owned();
        Err(TokenError::Store { message })
    })
}

/// Counts a caller who waits, and refuses one too many.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn enter(shared: &'a Shared) -> Result<Self, TokenError> {
        let before = shared.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Self(shared);
        if before >= shared.settings.waiters {
            return Err(TokenError::Busy { what: "waiting callers" });
        }
        Ok(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether a token that is served now should be refreshed behind the caller's back.
fn may_refresh_behind(known: &Known, defined: &Defined, now: Timestamp) -> bool {
    let row = &known.row;
    let due = row.tokens.as_ref().is_some_and(|tokens| due::is_due(tokens, &defined.pace, now));
    // An attempt under way or interrupted, a cool-down and a dead grant have their own pace.
    due && row.state == GrantState::Live
        && !row.paused
        && row.open_attempt.is_none()
        && row.cooling_until.is_none_or(|until| until <= now)
}

/// What a caller who says nothing needs: a tenth of the life, between a second and 30 s.
fn min_ttl(request: TokenRequest, known: &Known) -> Duration {
    request.min_ttl.unwrap_or_else(|| {
        known.life().map_or(USUAL_MIN_TTL, |life| (life / 10).clamp(LEAST_MIN_TTL, USUAL_MIN_TTL))
    })
}

fn shorter_than_asked(known: &Known, request: TokenRequest, now: Timestamp) -> Option<String> {
    if !known.lives(now, Duration::ZERO) {
        return Some("the token is past its expiry already: the provider gave it hardly any life".to_owned());
    }
    let asked = request.min_ttl.filter(|ttl| !known.lives(now, *ttl))?;
    Some(format!("the token lives shorter than the {} s that were asked for", asked.as_secs()))
}

/// A token, and the row that it is from: what else the row says belongs to this token and to no other.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) token: Token,
    pub(crate) known: Arc<Known>,
}

fn token_of(known: &Arc<Known>, now: Timestamp, warning: Option<String>) -> Option<Given> {
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
    Some(Given { token, known: Arc::clone(known) })
}
