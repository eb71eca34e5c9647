//! One attempt: prepare, claim, redeem, and record the result.

use std::time::Duration;

use jeton_core::id::AttemptId;
use jeton_core::keep::attempt::{Act, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::provider::{ErrorClass, OutboundRequest, RequestValues};
use jeton_core::time::Timestamp;

use super::budget::{self, ExhaustedBudget};
use super::consequence::{self, Circumstances, Consequence, FollowUp};
use super::record::{Record, TokenAge};
use super::redeem::{RedeemFailure, RedeemLimits, RedeemOutcome, redeem, step_of};
use super::run::{NextRound, Refresh, RefreshProgress};
use super::withdraw;
use crate::error::TokenError;
use crate::peers::data_dir_nodes;
use crate::peers::peer_liveness::GONE_AFTER;
use crate::spill::inspect::{SlotState, inspect_spill_slots};
use crate::spill::slots::SpillSlot;
use crate::token_crypto::{ClearTokens, does_not_open, unseal_tokens};
use crate::token_metadata::TokenMetadata;

/// How long the first resend inside the provider's grace waits for the send before it; each further one waits twice
/// as long.
const GRACE_PAUSE: Duration = Duration::from_millis(500);

/// How long after its claim a request may be written without reading its row again.
const REREAD_AFTER: Duration = Duration::from_millis(250);

/// What is needed to attempt an act.
struct Prepared {
    act: Act,
    recovers: Option<AttemptId>,
    inputs: RequestInputs,
    /// Absent for an act that calls nobody.
    request: Option<OutboundRequest>,
}

/// What is stored, in clear.
pub(super) struct RequestInputs {
    opened: ClearTokens,
    pub(super) values: RequestValues,
    pub(super) extras: TokenMetadata,
}

impl Refresh<'_> {
    pub(super) async fn attempt(
        &mut self,
        row: &Connection,
        act: Act,
        recovers: Option<AttemptId>,
        before: Option<Timestamp>,
    ) -> Result<NextRound, TokenError> {
        self.parts.store.check_hold()?;
        // Queueing and dialling take a while: the leave to send it ends when it ends, and not when it was planned.
        let sendable_until = before.map(|before| self.uptime_at(before));
        self.check_provider(row)?;
        let prepared = self.prepare(row, act, recovers)?;
        let _permit = self.def.permits.acquire().await.map_err(|_| TokenError::ShuttingDown)?;
        self.check_budget(act).await?;
        if recovers.is_some() {
            // The process that was interrupted may have left its reply in a slot: then the claim finds that it moved.
            self.parts.writer.return_spilled().await;
            self.check_slots()?;
            self.check_owners()?;
        }
        let slot = self.parts.writer.reserve().await?;
        if self.parts.lifecycle.is_closing() {
            // WaiterPermit for a turn takes a while.
            return Err(TokenError::ShuttingDown);
        }
        let attempt = AttemptId::generate(self.parts.node.clock.now(), &*self.parts.node.entropy);
        // Ack before the claim, so that our idea of the lease ends no later than the store's.
        let claimed_at = self.parts.node.clock.uptime();
        if sendable_until.is_some_and(|until| until <= claimed_at) {
            return Ok(NextRound::AtOnce);
        }
        let lease_until = claimed_at + self.parts.node.settings.lease;
        let write_until = sendable_until.map_or(lease_until, |until| until.min(lease_until));
        let limits = RedeemLimits { write_until, lease_until };
        let claim = self.claim(row, &prepared, attempt);
        let seen = self.parts.store.high_water.seen();
        let answer =
            self.parts.store.with_retry(|| self.parts.store.ports.connections.claim(claim.clone())).await;
        let answer = answer.inspect_err(|error| withdraw::unless_refused(self.parts, &claim, error))?;
        match answer {
            ClaimAnswer::Won { .. } => {
                // Whatever the store had come to before, the claim is at least one change more.
                self.parts.store.high_water.mark(seen.next());
                self.redeem_claimed(row, prepared, attempt, limits, slot).await
            }
            ClaimAnswer::Held { .. } => Ok(NextRound::After(self.parts.node.settings.poll)),
            ClaimAnswer::Moved { .. } | ClaimAnswer::Interrupted { .. } | ClaimAnswer::Closed => {
                Ok(NextRound::AtOnce)
            }
            ClaimAnswer::CoolingDown { until } => {
                tracing::debug!(connection = %self.def.name, %until, "the last attempt failed too recently");
                Err(TokenError::CoolingDown {
                    name: self.def.name.clone(),
                    code: row.last_error.clone().unwrap_or_else(|| "failed".to_owned()),
                    retry_after: until.since(self.parts.node.clock.now()),
                })
            }
        }
    }

    /// When it will be `instant` of the store, by the clock that counts suspension.
    fn uptime_at(&self, instant: Timestamp) -> Duration {
        self.store_clock.uptime + instant.since(self.store_clock.now)
    }

    /// What one provider gave is not shown to another: neither its refresh token nor its variables.
    fn check_provider(&self, row: &Connection) -> Result<(), TokenError> {
        if row.provider == self.def.provider {
            return Ok(());
        }
        Err(self.unusable(format!(
            "it was connected at `{}` and is defined for `{}` now; `jeton connect {}` connects it anew",
            row.provider, self.def.provider, self.def.name
        )))
    }

    /// The reply of an interrupted attempt may lie in a slot that another process holds, or that the store does not take
    /// yet: then nothing is sent again, for it will be back.
    fn check_slots(&self) -> Result<(), TokenError> {
        let store = |message: String| TokenError::Store { message };
        let slots = inspect_spill_slots(&self.parts.node.data_dir)
            .map_err(|error| store(format!("the spill slots cannot be read: {error}")))?;
        for (path, state) in slots {
            match state {
                SlotState::Filled { attempt, .. } | SlotState::SetAside { attempt, .. }
                    if self.chain.iter().any(|open| open.id == attempt) =>
                {
                    return Err(store(format!("the reply of attempt {attempt} waits in {}", path.display())));
                }
                SlotState::Damaged { why } => {
                    return Err(store(format!("{} cannot be read ({why})", path.display())));
                }
                SlotState::Filled { .. } | SlotState::SetAside { .. } | SlotState::Free => {}
            }
        }
        Ok(())
    }

    /// The reply may also lie with another node, where nobody can look: while that may come back with it, the attempt is left
    /// to it, unless a person decides.
    fn check_owners(&self) -> Result<(), TokenError> {
        let now = self.parts.node.clock.uptime();
        let elsewhere = self.chain.iter().find(|attempt| {
            attempt.fingerprint.is_some()
                && attempt.node != self.parts.node.id
                && self.parts.peers.may_still_hold_reply(attempt.node, now)
                && !data_dir_nodes::contains(&self.parts.node.data_dir, attempt.node).unwrap_or(false)
        });
        match elsewhere.filter(|_| !self.request.person_decides) {
            None => Ok(()),
            Some(attempt) => {
                let name = self.def.name.clone();
                tracing::debug!(connection = %name, attempt = %attempt.id, node = %attempt.node, "left to its node");
                let until = Some(self.parts.node.clock.now() + GONE_AFTER);
                Err(TokenError::Interrupted { name, attempt: attempt.id, until })
            }
        }
    }

    /// Whether the provider allows one more request now, for all we have asked of it.
    async fn check_budget(&self, act: Act) -> Result<(), TokenError> {
        if act == Act::Orphan {
            return Ok(());
        }
        let now = self.parts.node.clock.now();
        let exhausted = self
            .parts
            .store
            .with_retry(|| {
                budget::exhausted(&*self.parts.store.ports.log, &self.parts.definitions, self.def, now)
            })
            .await?;
        exhausted.map_or(Ok(()), |ExhaustedBudget { budget, rest }| {
            Err(TokenError::Failed {
                name: self.def.name.clone(),
                class: ErrorClass::RateLimited,
                code: "budget".to_owned(),
                message: format!(
                    "the provider allows {} token requests in {}, and they are used up",
                    budget.max, budget.within
                ),
                retry_after: Some(rest),
            })
        })
    }

    fn claim(&self, row: &Connection, prepared: &Prepared, attempt: AttemptId) -> Claim {
        let spends = prepared.act == Act::Redeem && self.def.spends();
        Claim {
            connection: row.name.clone(),
            attempt,
            node: self.parts.node.id,
            trigger: self.request.trigger,
            act: prepared.act,
            generation: row.generation,
            spends: row.tokens.as_ref().filter(|_| spends).and_then(|tokens| tokens.refresh_fingerprint),
            lease_ttl: self.parts.node.settings.lease,
            through_cooldown: self.request.trigger == Trigger::Forced,
            recovers: prepared.recovers,
        }
    }

    /// Everything that can fail without anything being spent, before anything is claimed.
    fn prepare(
        &self,
        row: &Connection,
        act: Act,
        recovers: Option<AttemptId>,
    ) -> Result<Prepared, TokenError> {
        let inputs = self.open(row, act)?;
        let shortest = self.def.definition.policy().min_refresh_length;
        if act == Act::Redeem && inputs.values.refresh.as_ref().is_none_or(|refresh| refresh.len() < shortest)
        {
            return Err(self.unusable(format!(
                "its refresh token is shorter than the {shortest} characters that this provider's tokens have, so it \
                 was not sent; `jeton connect {}` replaces it",
                self.def.name
            )));
        }
        let request = match act {
            Act::Orphan => None,
            _ => Some(
                self.def
                    .definition
                    .request(step_of(act), &inputs.values)
                    .map_err(|error| self.unusable(error.to_string()))?,
            ),
        };
        Ok(Prepared { act, recovers, inputs, request })
    }

    fn unusable(&self, message: String) -> TokenError {
        TokenError::Definition { name: self.def.name.clone(), message }
    }

    /// Opens what the act works with: the stored token set, or that of a stray.
    pub(super) fn open(&self, row: &Connection, act: Act) -> Result<RequestInputs, TokenError> {
        let (generation, tokens) = match row.usable_orphan().filter(|_| act == Act::Orphan) {
            Some(stray) => (stray.generation, Some(&stray.tokens)),
            None => (row.generation, row.tokens.as_ref()),
        };
        let opened = match tokens {
            Some(tokens) => unseal_tokens(&self.parts.node.sealer, &row.name, generation, tokens)
                .map_err(|_| self.unusable(does_not_open(&row.name)))?,
            None => ClearTokens::default(),
        };
        let extras = TokenMetadata::from_text(opened.extras.as_ref());
        let values = RequestValues {
            access: opened.access.clone(),
            refresh: opened.refresh.clone(),
            refresh_expires_at: tokens.and_then(|tokens| tokens.refresh_expires_at),
            captured: extras.vars.clone(),
            ..RequestValues::default()
        };
        Ok(RequestInputs { opened, values, extras })
    }

    /// The lease is ours: redeem, and record the result.
    async fn redeem_claimed(
        &mut self,
        row: &Connection,
        prepared: Prepared,
        attempt: AttemptId,
        limits: RedeemLimits,
        slot: SpillSlot<'_>,
    ) -> Result<NextRound, TokenError> {
        let Prepared { act, recovers, inputs: RequestInputs { opened, values, extras }, request } = prepared;
        let record = Record { parts: self.parts, def: self.def, row, attempt, act };
        let Some(request) = request else {
            record.orphan(&opened, slot).await?;
            self.advance(RefreshProgress::Begun, row.generation);
            return Ok(NextRound::AtOnce);
        };
        let recheck = self.check_claim(row, attempt, limits);
        match redeem(&self.parts.outbound, self.def, act, request, &values, limits, recheck).await {
            RedeemOutcome::Tokens { reply, sent_at } => {
                let issued_at = self.issued_at(act, sent_at);
                let age = TokenAge { sent_at, issued_at };
                let stored = record.tokens(&reply, age, extras, slot, self.parts.node.jitter()).await?;
                let (progress, of) = match stored {
                    true if age.is_over(&reply) => (RefreshProgress::RecoveredTooLate, row.generation.next()),
                    true => (RefreshProgress::Committed, row.generation.next()),
                    false => (RefreshProgress::Begun, row.generation),
                };
                self.advance(progress, of);
                Ok(NextRound::AtOnce)
            }
            RedeemOutcome::Failed(refusal) => {
                let circumstances = Circumstances {
                    pause: self.parts.node.settings.cooldown,
                    failures: row.failures,
                    recovery: recovers.is_some(),
                    act,
                    has_orphan: act == Act::Redeem && row.usable_orphan().is_some(),
                };
                let consequence = consequence::of(&refusal, self.def, circumstances);
                record.failure(&refusal, &consequence, slot).await?;
                self.after_failure(row, refusal, consequence, attempt).await
            }
        }
    }

    /// Where reaching the provider took a while, asks the store whether the claim still stands before the token is sent. An
    /// undisturbed refresh asks nothing.
    async fn check_claim(
        &self,
        row: &Connection,
        attempt: AttemptId,
        limits: RedeemLimits,
    ) -> Result<(), String> {
        let claimed_at = limits.lease_until.saturating_sub(self.parts.node.settings.lease);
        if self.parts.node.clock.uptime().saturating_sub(claimed_at) <= REREAD_AFTER {
            return Ok(());
        }
        let found = self.parts.store.ports.connections.find(&row.name).await;
        let found = found.map_err(|error| format!("the claim could not be read again: {error}"))?;
        let stands = found.is_some_and(|now| {
            now.generation == row.generation
                && !now.paused
                && now.lease.is_some_and(|lease| lease.attempt == attempt)
        });
        let fell = "the connection was paused, given up or taken over while its provider was being reached";
        if stands { Ok(()) } else { Err(fell.to_owned()) }
    }

    /// When a pair may have been issued that comes now: inside the provider's grace it may be one that was issued before.
    fn issued_at(&self, act: Act, sent_at: Timestamp) -> Timestamp {
        let grace = self.def.recovery.reuse_grace;
        let earlier = self.recovers_since.filter(|since| act == Act::Redeem && sent_at < *since + grace);
        earlier.unwrap_or(sent_at)
    }

    async fn after_failure(
        &mut self,
        row: &Connection,
        refusal: RedeemFailure,
        consequence: Consequence,
        attempt: AttemptId,
    ) -> Result<NextRound, TokenError> {
        let name = self.def.name.clone();
        match consequence.next {
            FollowUp::UseOrphan | FollowUp::Acquire => {
                self.advance(RefreshProgress::RefusedAsDead, row.generation);
                Ok(NextRound::AtOnce)
            }
            FollowUp::Resolve => {
                self.left_unknown += 1;
                tracing::warn!(connection = %name, %attempt, "the outcome is not known; policy decides");
                let pause = GRACE_PAUSE * (1 << (self.left_unknown - 1).min(6));
                // When the vault closes, the next round ends the refresh.
                self.parts.lifecycle.pause(pause).await;
                Ok(NextRound::AtOnce)
            }
            FollowUp::GiveUp if consequence.is_dead() => {
                Err(TokenError::Dead { name, code: consequence.code })
            }
            FollowUp::GiveUp => Err(TokenError::Failed {
                name,
                class: refusal.class,
                code: refusal.code,
                message: refusal.message,
                retry_after: Some(consequence.cooldown),
            }),
        }
    }
}
