//! Callers who wait: for a refresh or for the store, and never longer than they said.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jeton_core::keep::attempt::Trigger;
use jeton_core::time::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::error::TokenError;
use crate::memory::cache::CachedConnection;
use crate::refresh::run::{self, RefreshHandle, RefreshRequest};
use crate::shared::{ConnectionDef, Shared};
use crate::tokens::single_flight::TaskOutcome;
use crate::vault::Vault;

/// What the store is given to answer a look even where the caller hardly waits: without a look there is nothing to give.
pub(super) const MIN_RELOAD: Duration = Duration::from_millis(250);

impl Vault {
    /// Flies, or waits for whoever flies, until the wish is satisfied.
    pub(crate) async fn wait_until(
        &self,
        defined: &Arc<ConnectionDef>,
        request: RefreshRequest,
        budget: WaitBudget,
    ) -> Result<Arc<CachedConnection>, TokenError> {
        let _waiting = WaiterPermit::enter(&self.shared)?;
        loop {
            if let Some(known) = self.join_refresh(defined, request, budget).await? {
                return Ok(known);
            }
        }
    }

    /// Flies once, or waits once for whoever flies; `None` where that did not satisfy the wish.
    pub(super) async fn join_refresh(
        &self,
        defined: &Arc<ConnectionDef>,
        request: RefreshRequest,
        budget: WaitBudget,
    ) -> Result<Option<Arc<CachedConnection>>, TokenError> {
        let RefreshHandle { follower, own } = run::start(&self.shared, defined, request);
        let Ok(ended) = timeout_at(budget.deadline, follower.outcome()).await else {
            tracing::warn!(connection = %defined.name, "waiting for the refresh took too long");
            let waited = budget.started.elapsed();
            return Err(TokenError::WaitTimeout { name: defined.name.clone(), waited });
        };
        let person = matches!(request.trigger, Trigger::Manual | Trigger::Forced);
        match self.check(ended, defined) {
            // What stopped another's flight, such as a cool-down, need not stop a person's.
            Err(_) if person && !own => return Ok(None),
            outcome => outcome?,
        }
        let known = self.shared.memory.find(defined.name.as_str()).and_then(|slot| slot.known());
        let now = self.shared.clock.now();
        // The flight may have been begun for another wish than ours: then ours needs one more.
        Ok(known.filter(|known| {
            let newborn = known.refreshed_since(budget.asked_at) && !request.wish.refuses(&known.row);
            newborn || request.wish.is_satisfied_by(&known.row, &defined.pace, now)
        }))
    }

    fn check(&self, ended: Option<TaskOutcome>, defined: &ConnectionDef) -> TaskOutcome {
        match ended {
            Some(outcome) => outcome,
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
pub(crate) struct WaitBudget {
    started: Instant,
    deadline: Instant,
    pub(super) asked_at: Timestamp,
}

impl WaitBudget {
    /// From now until `deadline`.
    pub(crate) fn new(deadline: Instant, asked_at: Timestamp) -> Self {
        Self { started: Instant::now(), deadline, asked_at }
    }
}

/// What the store answers, unless the caller waits no longer.
pub(super) async fn with_deadline<T>(
    deadline: Instant,
    asked: impl Future<Output = Result<T, TokenError>>,
) -> Result<T, TokenError> {
    timeout_at(deadline.max(Instant::now() + MIN_RELOAD), asked).await.unwrap_or_else(|_| {
        let message = "the store did not answer as long as the caller waits".to_owned();
        Err(TokenError::Store { message })
    })
}

/// Counts a caller who waits, and refuses one too many.
pub(super) struct WaiterPermit<'a>(&'a Shared);

impl<'a> WaiterPermit<'a> {
    pub(super) fn enter(shared: &'a Shared) -> Result<Self, TokenError> {
        let before = shared.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Self(shared);
        if before >= shared.settings.waiters {
            return Err(TokenError::Busy { what: "waiting callers" });
        }
        Ok(waiting)
    }
}

impl Drop for WaiterPermit<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
