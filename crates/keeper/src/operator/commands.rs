//! What operators do to connections, and what they see of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jeton_core::audit::Actor;
use jeton_core::id::{ConnectionName, Generation, OperationId};
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::connection::{Condition, Connection, GrantState};
use jeton_core::keep::force;
use jeton_core::keep::ports::{AttemptFilter, OperatorCommand, name_of};
use jeton_core::keep::refusal::REFUSALS_READ;
use jeton_core::time::Timestamp;
use tokio::time::Instant;

use super::replace::{Replaced, replace};
use super::revoke::{Revocation, revocable, revoke};
use super::take_over::{seed, take_over};
use crate::definitions::{ConnectionDef, Definitions};
use crate::error::TokenError;
use crate::memory::apply::Memory;
use crate::memory::cache::CachedConnection;
use crate::node::Node;
use crate::operator::status::{ProviderOutage, Status};
use crate::peers::unavailable::UnavailableEndpoints;
use crate::refresh::run::RefreshRequest;
use crate::refresh::spend::Spender;
use crate::store_access::StoreAccess;
use crate::tokens::get::Tokens;
use crate::tokens::request::{Connected, Grant, RefreshMode, Refreshed};
use crate::tokens::wait::WaitBudget;

/// Does what operators order, and shows what they ask for.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) node: Arc<Node>,
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) store: Arc<StoreAccess>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) spender: Arc<Spender>,
    pub(crate) unavailable: Arc<UnavailableEndpoints>,
}

impl Operator {
    /// Refreshes a connection because somebody asks for it, whom the refresh log names.
    pub(crate) async fn refresh(
        &self,
        name: &str,
        mode: RefreshMode,
        by: &Actor,
    ) -> Result<Refreshed, TokenError> {
        let def = self.definitions.get(name)?;
        let before = self.memory.reload(&def.name).await?;
        let expires_at = |known: &CachedConnection| {
            let expiry = known.row.tokens.as_ref().and_then(|tokens| tokens.access_expires_at);
            expiry.map(|expiry| self.node.clock.shown(expiry))
        };
        if let Some(known) = before.as_ref().filter(|_| mode == RefreshMode::Forced)
            && force::is_fresh(&known.row, self.node.clock.now())
        {
            return Ok(Refreshed::NotDue { expires_at: expires_at(known) });
        }
        if let Some(known) = before.as_ref().filter(|_| mode == RefreshMode::ForcedByAdministrator) {
            self.check_dead_resend(&known.row).await?;
        }
        let generation = before.as_ref().map_or(Generation::default(), |known| known.row.generation);
        let request = RefreshRequest::asked_for(mode, generation, by);
        let longest = self.node.settings.wait + self.node.settings.claim_wait;
        let budget = WaitBudget::new(Instant::now() + longest, self.node.clock.earliest());
        let known = self.tokens.wait_until(def, &request, budget).await?;
        let expires_at = expires_at(&known);
        if known.row.generation > generation {
            Ok(Refreshed::Done { generation: known.row.generation, expires_at })
        } else {
            Ok(Refreshed::NotDue { expires_at })
        }
    }

    /// A service may have the refresh token of a dead grant sent once more, and not in a loop: a dead grant has no cool-down.
    async fn check_dead_resend(&self, row: &Connection) -> Result<(), TokenError> {
        if row.state != GrantState::Dead {
            return Ok(());
        }
        let filter = AttemptFilter { connection: Some(row.name.clone()), ..AttemptFilter::default() };
        let mut sends =
            self.store.with_retry(|| self.store.ports.log.list_attempts(&filter, REFUSALS_READ)).await?;
        sends.retain(|attempt| attempt.generation == row.generation);
        let now = self.node.clock.now();
        match force::next_resend(&sends).filter(|next| now < *next) {
            None => Ok(()),
            Some(next) => Err(TokenError::CoolingDown {
                name: row.name.clone(),
                code: row.state_code.clone().unwrap_or_else(|| "dead_grant".to_owned()),
                provider_message: row.provider_message.clone(),
                retry_after: next.since(now),
            }),
        }
    }

    /// Takes a grant over, or makes a connection whose provider acquires its own. The audit log names who ordered it.
    pub(crate) async fn connect(
        &self,
        name: &str,
        grant: Grant,
        by: &Actor,
    ) -> Result<Connected, TokenError> {
        let def = self.definitions.get(name)?;
        take_over(&self.node, &self.store, &self.memory, def, grant, by).await
    }

    /// Takes a grant over where it is better than what the connection has.
    pub(crate) async fn seed(&self, name: &str, grant: Grant, by: &Actor) -> Result<Connected, TokenError> {
        let def = self.definitions.get(name)?;
        seed(&self.node, &self.store, &self.memory, def, grant, by).await
    }

    /// Puts a grant in place of one that may work. It goes to its end though whoever ordered it goes away.
    pub(crate) async fn replace(&self, name: &str, grant: Grant, by: &Actor) -> Result<Replaced, TokenError> {
        let def = Arc::clone(self.definitions.get(name)?);
        let lifecycle = &self.spender.lifecycle;
        if lifecycle.is_closing() {
            return Err(TokenError::ShuttingDown);
        }
        let (spender, by) = (Arc::clone(&self.spender), by.clone());
        let (name, task) = (
            def.name.clone(),
            lifecycle.attempts.spawn(async move { replace(&spender, &def, grant, &by).await }),
        );
        task.await.unwrap_or_else(|error| {
            tracing::error!(connection = %name, %error, "a new grant met a defect");
            let message =
                "a defect ended it, and nobody knows whether its refresh token was spent".to_owned();
            Err(TokenError::GrantRefused { name, message })
        })
    }

    /// Gives the grant of a connection up, and asks its provider once to revoke it. The audit log names who ordered it.
    pub(crate) async fn disconnect(&self, name: &str, by: &Actor) -> Result<Revocation, TokenError> {
        let name = self.any_name(name).await?;
        let def = self.definitions.find(name.as_str()).cloned();
        let known = self.memory.reload(&name).await?;
        // On hold this may be a copy: the grant is that of another installation.
        let def = def.filter(|_| self.store.hold().is_none());
        let given_up = def.zip(known).and_then(|(def, known)| {
            let tokens = revocable(&self.node, &def, &known.row)?;
            Some((def, tokens))
        });
        self.order(name.clone(), OperatorCommand::Disconnect, by).await?;
        let Some((def, tokens)) = given_up else { return Ok(Revocation::NotAsked) };
        let outbound = Arc::clone(&self.spender.outbound);
        let attempts = &self.spender.lifecycle.attempts;
        let asked = attempts.spawn(async move { revoke(&outbound, &def, &tokens).await }).await;
        Ok(asked.unwrap_or_else(|error| {
            tracing::error!(connection = %name, %error, "the revocation of a grant met a defect");
            Revocation::Failed { message: "a defect ended it".to_owned() }
        }))
    }

    /// Pauses, resumes or disconnects. The audit log names who ordered it.
    pub(crate) async fn administer(
        &self,
        name: &str,
        act: OperatorCommand,
        by: &Actor,
    ) -> Result<(), TokenError> {
        match act {
            OperatorCommand::Disconnect => self.disconnect(name, by).await.map(drop),
            OperatorCommand::Pause | OperatorCommand::Resume => {
                let name = self.any_name(name).await?;
                self.order(name, act, by).await
            }
        }
    }

    /// Has the store do it.
    async fn order(&self, name: ConnectionName, act: OperatorCommand, by: &Actor) -> Result<(), TokenError> {
        let operation = OperationId::generate(self.node.clock.now(), &*self.node.entropy);
        let connections = &self.store.ports.connections;
        let done = self.store.with_retry(|| connections.administer(&name, act, operation, by)).await?;
        if !done {
            return Err(TokenError::NotConnected { name });
        }
        self.memory.reload(&name).await?;
        Ok(())
    }

    /// The status of one connection, which has a definition, a row, or both.
    pub(crate) async fn status(&self, name: &str) -> Result<Status, TokenError> {
        let name = self.any_name(name).await?;
        let def = self.definitions.find(name.as_str());
        match (self.memory.reload(&name).await?, def) {
            (Some(known), _) => Ok(self.known_status(&known, def.map(|def| &**def))),
            (None, Some(def)) => Ok(Status::unconnected(def)),
            (None, None) => Err(self.unknown(name.as_str())),
        }
    }

    fn known_status(&self, known: &CachedConnection, def: Option<&ConnectionDef>) -> Status {
        self.status_of(&known.row, known.now(self.node.clock.readings()), def)
    }

    fn status_of(&self, row: &Connection, now: Timestamp, def: Option<&ConnectionDef>) -> Status {
        let mut status = Status::of(row, now, def).shown_by(&self.node.clock);
        let unavailable = def.filter(|def| status.waits_for_provider(def));
        status.unavailable = unavailable
            .and_then(|def| self.unavailable.find(def))
            .map(|endpoint| ProviderOutage::new(endpoint, &self.node.clock));
        status
    }

    /// The token endpoints that do not answer this process or a peer.
    pub(crate) fn unavailable(&self) -> Vec<ProviderOutage> {
        let all = self.unavailable.all().into_iter();
        all.map(|endpoint| ProviderOutage::new(endpoint, &self.node.clock)).collect()
    }

    /// The status of every connection that needs a person or waits for one, as memory holds it once the vault was started: what is
    /// not connected, dead, interrupted, or stored without a definition. By name; the store is not asked.
    pub(crate) fn needing_attention(&self) -> Vec<Status> {
        let readings = self.node.clock.readings();
        let (mut statuses, mut defined_rows) = (Vec::new(), 0);
        for def in self.definitions.all() {
            let entry = self.memory.cache.find(def.name.as_str());
            let known = entry.as_ref().and_then(|entry| entry.known());
            defined_rows += usize::from(known.is_some());
            match known.as_ref().map(|known| known.row.condition(known.now(readings))) {
                Some(Condition::Pending | Condition::Dead | Condition::Interrupted) => {
                    statuses.extend(known.map(|known| self.known_status(&known, Some(def))));
                }
                None if entry.is_none_or(|entry| !entry.is_unreadable()) => {
                    statuses.push(Status::unconnected(def));
                }
                _ => {}
            }
        }
        let all = self.memory.cache.all();
        // Nearly always there are none, and nobody looks for them.
        if all.len() > defined_rows {
            let orphaned =
                all.iter().filter(|known| self.definitions.find(known.row.name.as_str()).is_none());
            statuses.extend(orphaned.map(|known| self.known_status(known, None)));
        }
        statuses.retain(|status| status.condition != Condition::Pending || !status.starts_itself);
        statuses.sort_by(|one, other| one.name.cmp(&other.name));
        statuses
    }

    /// Up to `limit` connections by name after `after`: what is defined, and what is stored without a definition.
    pub(crate) async fn statuses(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<Status>, TokenError> {
        let now = self.node.clock.now();
        let rows = self.store.with_retry(|| self.store.ports.connections.list(after, limit)).await?;
        // No more than `limit` of them: with very many definitions each page would cost as much as all pages.
        let unconnected = |def: &Arc<ConnectionDef>| (def.name.clone(), Status::unconnected(def));
        let mut statuses: BTreeMap<ConnectionName, Status> =
            self.definitions.later_than(after).take(limit).map(unconnected).collect();
        // Beyond the last row of a full page the store has more to say: those definitions belong to later pages.
        if let Some(last) = rows.last().map(name_of).filter(|_| rows.len() == limit) {
            statuses.retain(|name, _| name <= last);
        }
        for row in rows {
            let def = self.definitions.find(name_of(&row).as_str());
            let status = match (row, def) {
                (Ok(row), _) => self.status_of(&row, now, def.map(|def| &**def)),
                (Err(_), Some(def)) => Status::unreadable(def),
                // Nobody here can say whose it is, and the log has named it.
                (Err(_), None) => continue,
            };
            statuses.insert(status.name.clone(), status);
        }
        Ok(statuses.into_values().take(limit).collect())
    }

    /// Up to `limit` attempts, newest first, with their status as it is now.
    pub(crate) async fn attempts(
        &self,
        filter: &AttemptFilter,
        limit: usize,
    ) -> Result<Vec<Attempt>, TokenError> {
        let now = self.node.clock.now();
        let mut attempts =
            self.store.with_retry(|| self.store.ports.log.list_attempts(filter, limit)).await?;
        for attempt in &mut attempts {
            attempt.status = attempt.status_at(now);
            let Attempt { started_at, completed_at, lease_until, old_expires_at, new_expires_at, .. } =
                attempt;
            for instant in [completed_at, lease_until, old_expires_at, new_expires_at].into_iter().flatten() {
                *instant = self.node.clock.shown(*instant);
            }
            *started_at = self.node.clock.shown(*started_at);
        }
        Ok(attempts)
    }

    /// A name that is defined, or that has a row: a connection without a definition can still be looked at and disconnected.
    async fn any_name(&self, name: &str) -> Result<ConnectionName, TokenError> {
        if let Ok(def) = self.definitions.get(name) {
            return Ok(def.name.clone());
        }
        let parsed: ConnectionName = name.parse().map_err(|_| self.unknown(name))?;
        match self.memory.reload(&parsed).await? {
            Some(_) => Ok(parsed),
            None => Err(self.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> TokenError {
        match self.definitions.get(name) {
            Err(error) => error,
            Ok(def) => TokenError::NotConnected { name: def.name.clone() },
        }
    }
}
