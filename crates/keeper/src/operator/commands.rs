//! What operators do to connections, and what they see of them.

use std::collections::BTreeMap;
use std::ops::Bound;

use jeton_core::audit::Actor;
use jeton_core::id::{ConnectionName, OperationId};
use jeton_core::keep::attempt::{Attempt, Trigger};
use jeton_core::keep::connection::{Condition, Generation};
use jeton_core::keep::plan::Goal;
use jeton_core::keep::ports::{AttemptFilter, OperatorCommand, name_of};
use tokio::time::Instant;

use crate::error::TokenError;
use crate::operator::status::Status;
use crate::operator::take_over;
use crate::refresh::run::RefreshRequest;
use crate::tokens::request::{Connected, Grant, Refreshed};
use crate::tokens::wait::WaitBudget;
use crate::vault::Vault;

impl Vault {
    /// Refreshes a connection because a person asks for it: [`Trigger::Forced`] though it is not due, else if it is.
    pub async fn refresh(&self, name: &str, trigger: Trigger) -> Result<Refreshed, TokenError> {
        let defined = self.shared.defined(name)?;
        let before = self.shared.reload(&defined.name).await?;
        let generation = before.as_ref().map_or(Generation::default(), |known| known.row.generation);
        let wish = if trigger == Trigger::Forced { Goal::Beyond(generation) } else { Goal::NotDue };
        let request = RefreshRequest { wish, trigger, person_decides: trigger == Trigger::Forced };
        let longest = self.shared.settings.wait + self.shared.settings.claim_wait;
        let budget = WaitBudget::new(Instant::now() + longest, self.shared.clock.now());
        let known = self.wait_until(defined, request, budget).await?;
        let expires_at = known.row.tokens.as_ref().and_then(|tokens| tokens.access_expires_at);
        if known.row.generation > generation {
            Ok(Refreshed::Done { generation: known.row.generation, expires_at })
        } else {
            Ok(Refreshed::NotDue { expires_at })
        }
    }

    /// Takes a grant over, or makes a connection whose provider acquires its own. Who orders it is on record.
    pub async fn connect(&self, name: &str, grant: Grant, by: &Actor) -> Result<Connected, TokenError> {
        let defined = self.shared.defined(name)?;
        take_over::take_over(&self.shared, defined, grant, by).await
    }

    /// Pauses, resumes or disconnects. Who orders it is on record.
    pub async fn administer(&self, name: &str, act: OperatorCommand, by: &Actor) -> Result<(), TokenError> {
        let name = self.any_name(name).await?;
        let operation = OperationId::generate(self.shared.clock.now(), &*self.shared.entropy);
        let connections = &self.shared.ports.connections;
        let done = self.shared.with_retry(|| connections.administer(&name, act, operation, by)).await?;
        if !done {
            return Err(TokenError::NotConnected { name });
        }
        self.shared.reload(&name).await?;
        Ok(())
    }

    /// The status of one connection, defined or orphaned.
    pub async fn status(&self, name: &str) -> Result<Status, TokenError> {
        let name = self.any_name(name).await?;
        let now = self.shared.clock.now();
        let defined = self.shared.definitions.get(name.as_str());
        match (self.shared.reload(&name).await?, defined) {
            (Some(known), _) => Ok(Status::of(&known.row, now, defined.is_none())),
            (None, Some(defined)) => Ok(Status::unconnected(name, defined.provider.clone())),
            (None, None) => Err(self.unknown(name.as_str())),
        }
    }

    /// The status of every connection that needs a person or waits for one, as memory holds it once the vault was started: what is
    /// not connected, dead, interrupted, or stored without a definition. By name; the store is not asked.
    pub fn needing_attention(&self) -> Vec<Status> {
        let (shared, now) = (&self.shared, self.shared.clock.now());
        let (mut statuses, mut defined_rows) = (Vec::new(), 0);
        for defined in shared.definitions.values() {
            let slot = shared.memory.find(defined.name.as_str());
            let known = slot.as_ref().and_then(|slot| slot.known());
            defined_rows += usize::from(known.is_some());
            match known.as_ref().map(|known| known.row.condition(now)) {
                Some(Condition::Pending | Condition::Dead | Condition::Interrupted) => {
                    statuses.extend(known.map(|known| Status::of(&known.row, now, false)));
                }
                None if slot.is_none_or(|slot| !slot.is_unreadable()) => {
                    statuses.push(Status::unconnected(defined.name.clone(), defined.provider.clone()));
                }
                _ => {}
            }
        }
        let all = shared.memory.all();
        // Nearly always there are none, and nobody looks for them.
        if all.len() > defined_rows {
            let orphaned =
                all.iter().filter(|known| !shared.definitions.contains_key(known.row.name.as_str()));
            statuses.extend(orphaned.map(|known| Status::of(&known.row, now, true)));
        }
        statuses.sort_by(|one, other| one.name.cmp(&other.name));
        statuses
    }

    /// Up to `limit` connections by name after `after`: what is defined, and what is stored without a definition.
    pub async fn statuses(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<Status>, TokenError> {
        let now = self.shared.clock.now();
        let rows = self.shared.with_retry(|| self.shared.ports.connections.list(after, limit)).await?;
        // No more than `limit` of them: with very many definitions each page would cost as much as all pages.
        let later =
            (after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_str())), Bound::Unbounded);
        let defined = self.shared.definitions.range::<str, _>(later).take(limit);
        let mut statuses: BTreeMap<ConnectionName, Status> = defined
            .map(|(_, defined)| {
                (defined.name.clone(), Status::unconnected(defined.name.clone(), defined.provider.clone()))
            })
            .collect();
        // Beyond the last row of a full page the store has more to say: those definitions belong to later pages.
        if let Some(last) = rows.last().map(name_of).filter(|_| rows.len() == limit) {
            statuses.retain(|name, _| name <= last);
        }
        for row in rows {
            let defined = self.shared.definitions.get(name_of(&row).as_str());
            let status = match (row, defined) {
                (Ok(row), _) => Status::of(&row, now, defined.is_none()),
                (Err(row), Some(defined)) => Status::unreadable(row.name, defined.provider.clone()),
                // Nobody here can say whose it is, and the log has named it.
                (Err(_), None) => continue,
            };
            statuses.insert(status.name.clone(), status);
        }
        Ok(statuses.into_values().take(limit).collect())
    }

    /// Up to `limit` attempts, newest first, with their status as it is now.
    pub async fn attempts(&self, filter: &AttemptFilter, limit: usize) -> Result<Vec<Attempt>, TokenError> {
        let now = self.shared.clock.now();
        let mut attempts =
            self.shared.with_retry(|| self.shared.ports.log.list_attempts(filter, limit)).await?;
        for attempt in &mut attempts {
            attempt.status = attempt.status_at(now);
        }
        Ok(attempts)
    }

    /// A name that is defined, or that has a row: an orphan can still be looked at and disconnected.
    async fn any_name(&self, name: &str) -> Result<ConnectionName, TokenError> {
        if let Ok(defined) = self.shared.defined(name) {
            return Ok(defined.name.clone());
        }
        let parsed: ConnectionName = name.parse().map_err(|_| self.unknown(name))?;
        match self.shared.reload(&parsed).await? {
            Some(_) => Ok(parsed),
            None => Err(self.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> TokenError {
        match self.shared.defined(name) {
            Err(error) => error,
            Ok(defined) => TokenError::NotConnected { name: defined.name.clone() },
        }
    }
}
