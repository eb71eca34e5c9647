//! How many token requests a provider allows, by the record of those that were made.
//!
//! The refresh log counts, not this process: what other processes and earlier runs asked for counts as well.

use std::time::Duration;

use jeton_core::keep::attempt::{Act, Attempt};
use jeton_core::keep::ports::{AttemptFilter, AttemptLog, StoreError};
use jeton_core::keep::provider::{Budget, BudgetPer};
use jeton_core::time::Timestamp;

use crate::definitions::{ConnectionDef, Definitions};

/// How many rows of the log are read at once.
const PAGE: usize = 500;

/// A budget that is used up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExhaustedBudget {
    pub(crate) budget: Budget,
    /// How long until it allows the next request.
    pub(crate) rest: Duration,
}

/// The budget of a connection that allows no request at `now`, the one with the longest rest.
pub(crate) async fn exhausted(
    log: &dyn AttemptLog,
    definitions: &Definitions,
    def: &ConnectionDef,
    now: Timestamp,
) -> Result<Option<ExhaustedBudget>, StoreError> {
    let mut longest: Option<ExhaustedBudget> = None;
    for budget in &def.definition.policy().budget {
        let calls = calls(log, definitions, def, budget, now).await?;
        let max = usize::try_from(budget.max).unwrap_or(usize::MAX);
        // Newest first: once this one is out of the span, there is room for one more.
        let Some(oldest) = max.checked_sub(1).and_then(|index| calls.get(index)) else { continue };
        let rest = (*oldest + budget.within.0).since(now);
        if longest.is_none_or(|longest| longest.rest < rest) {
            longest = Some(ExhaustedBudget { budget: *budget, rest });
        }
    }
    Ok(longest.filter(|longest| !longest.rest.is_zero()))
}

/// When requests were made that count towards `budget`, newest first.
async fn calls(
    log: &dyn AttemptLog,
    definitions: &Definitions,
    def: &ConnectionDef,
    budget: &Budget,
    now: Timestamp,
) -> Result<Vec<Timestamp>, StoreError> {
    let alone = budget.per == BudgetPer::Connection;
    let mut filter = AttemptFilter {
        connection: alone.then(|| def.name.clone()),
        provider: Some(def.provider.clone()),
        since: Some(now - budget.within.0),
        ..AttemptFilter::default()
    };
    let mut calls = Vec::new();
    loop {
        let page = log.list_attempts(&filter, PAGE).await?;
        let counted =
            page.iter().filter(|attempt| called(attempt) && shares_client(definitions, def, attempt));
        calls.extend(counted.map(|attempt| attempt.started_at));
        filter.before = page.last().map(|attempt| attempt.id);
        if page.len() < PAGE {
            return Ok(calls);
        }
    }
}

/// Whether the attempt called the provider.
fn called(attempt: &Attempt) -> bool {
    matches!(attempt.act, Act::Redeem | Act::Acquire) && attempt.code.as_deref() != Some("not_sent")
}

/// Whether the attempt was made with the credentials of `def`.
fn shares_client(definitions: &Definitions, def: &ConnectionDef, attempt: &Attempt) -> bool {
    let client = |def: &ConnectionDef| def.definition.client().id.clone();
    definitions
        .find(attempt.connection.as_str())
        .is_some_and(|other| other.name == def.name || client(other) == client(def))
}
