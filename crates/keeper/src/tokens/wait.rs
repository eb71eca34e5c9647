//! Callers who wait: for a refresh or for the store, and never longer than they said.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jeton_core::time::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::error::TokenError;

/// What the store is given to answer even where the caller hardly waits: without its answer there is nothing to give.
pub(super) const MIN_RELOAD: Duration = Duration::from_millis(250);

/// Since when a caller waits, until when, and when it asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitBudget {
    pub(super) started: Instant,
    pub(super) deadline: Instant,
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

/// Callers who wait, so that there are not too many.
#[derive(Debug)]
pub(crate) struct Waiters {
    count: AtomicUsize,
    limit: usize,
}

/// Leave to wait; dropping it gives it back.
#[derive(Debug)]
pub(super) struct WaiterPermit<'a>(&'a Waiters);

impl Waiters {
    pub(crate) fn new(limit: usize) -> Self {
        Self { count: AtomicUsize::new(0), limit }
    }

    /// Counts a caller who waits, and refuses one too many.
    pub(super) fn enter(&self) -> Result<WaiterPermit<'_>, TokenError> {
        let before = self.count.fetch_add(1, Ordering::AcqRel);
        let permit = WaiterPermit(self);
        if before >= self.limit {
            return Err(TokenError::Busy { what: "waiting callers" });
        }
        Ok(permit)
    }
}

impl Drop for WaiterPermit<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}
