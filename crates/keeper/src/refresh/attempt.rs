//! One attempt of a refresh: prepare, claim, spend, and what follows from the result.

use std::time::Duration;

use jeton_core::id::AttemptId;
use jeton_core::keep::attempt::{Act, Attempt, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::{Connection, SealedTokens};
use jeton_core::keep::due;
use jeton_core::keep::ports::{AttemptFilter, Commit, CommitAnswer, Fail};
use jeton_core::keep::provider::{ErrorClass, OutboundRequest, RequestValues, TokenReply};
use jeton_core::keep::refusal::{self, REFUSALS_READ, RepeatedRefusal};
use jeton_core::time::Timestamp;

use super::budget::{self, ExhaustedBudget};
use super::consequence::{self, Circumstances, Consequence, FollowUp};
use super::kept_reply::KeptReply;
use super::run::{NextRound, Refresh, RefreshProgress};
use super::spend::{
    ReceivedTokens, Recorded, RedeemFailure, SpendOutcome, SpendRequest, SpendTarget, StoredTokens, Turn,
    provider_unavailable,
};
use super::store_writer::StoreAnswer;
use super::withdraw;
use crate::definitions::{ConnectionDef, step_of};
use crate::error::TokenError;
use crate::node::Node;
use crate::peers::data_dir_nodes;
use crate::peers::peer_liveness::GONE_AFTER;
use crate::spill::inspect::{SlotState, inspect_spill_slots};
use crate::spill::store_write::StoreWrite;
use crate::token_crypto::{ClearTokens, DOES_NOT_OPEN, seal_tokens, unseal_tokens};
use crate::token_metadata::{TokenMetadata, asked_scope};

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
struct RequestInputs {
    opened: ClearTokens,
    values: RequestValues,
    metadata: TokenMetadata,
}

/// A claimed connection: where the result of its attempt goes.
struct ClaimedRow<'a> {
    node: &'a Node,
    def: &'a ConnectionDef,
    row: &'a Connection,
    attempt: AttemptId,
    act: Act,
    /// How often the refresh token was sent before without a known outcome, where it is sent again.
    resends: Option<usize>,
    /// The provider has refused the refresh token before.
    refused_before: bool,
    /// When the attempt began that is recovered: inside the provider's grace the token set may have been issued then.
    reissued_since: Option<Timestamp>,
    /// The rest of the access token's life: nothing where an API has refused it.
    access_left: Duration,
    /// Moves the next refresh, between 0 and 1.
    jitter: f64,
}

impl<'a> Refresh<'a> {
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
        // A person decides for themselves, a grace does not wait, and an orphan reply calls nobody.
        let regardless = self.request.at_once || before.is_some() || act == Act::Orphan;
        let limiter = &self.def.limiter;
        if let Some(down) = limiter.outage().filter(|_| !regardless && !limiter.may_start(&self.def.name)) {
            return Err(provider_unavailable(self.def, down));
        }
        if act != Act::Orphan {
            self.parts.spender.discover(self.def).await?;
        }
        let prepared = self.prepare(row, act, recovers)?;
        let skips_cooldown = limiter.may_skip_cooldown(&self.def.name, row.last_error.as_deref());
        let check = self.check_before_claim(act, recovers.is_some());
        let mut turn = self.parts.spender.take_turn(self.def, regardless, check).await?;
        if let Some(until) = sendable_until {
            if until <= turn.claimed_at {
                return Ok(NextRound::AtOnce);
            }
            turn.write_until = turn.write_until.min(until);
        }
        let mut claim = self.claim(row, &prepared, turn.attempt);
        claim.through_cooldown |= skips_cooldown;
        let seen = self.parts.store.high_water.seen();
        let answer =
            self.parts.store.with_retry(|| self.parts.store.ports.connections.claim(claim.clone())).await;
        let answer = answer.inspect_err(|error| withdraw::unless_refused(self.parts, &claim, error))?;
        match answer {
            ClaimAnswer::Won { until } => {
                let recorded = Recorded::now(&self.parts.node, until - claim.lease_ttl);
                self.parts.node.clock.learn(until - claim.lease_ttl, turn.claimed_at);
                // Whatever the store had come to before, the claim is at least one change more.
                self.parts.store.mark_spent(seen.next());
                self.spend_claimed(row, prepared, turn, recorded).await
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
                    provider_message: row.provider_message.clone(),
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
        Err(self.grant_unusable(format!(
            "it was connected at `{}` and is defined for `{}` now",
            row.provider, self.def.provider
        )))
    }

    /// What must hold once it is this connection's turn, before anything is claimed.
    async fn check_before_claim(&self, act: Act, recovery: bool) -> Result<(), TokenError> {
        self.check_budget(act).await?;
        if recovery {
            // The process that was interrupted may have left its reply in a slot: then the claim finds that it moved.
            // What stays in a slot is found by `check_slots`.
            let _ = self.parts.spender.writer.return_spilled().await;
            self.check_slots()?;
            self.check_owners()?;
        }
        Ok(())
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
                Err(TokenError::Interrupted { name, attempt: attempt.id, until, endpoint: None })
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
                provider_message: None,
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
            asked_by: self.request.by.clone(),
            act: prepared.act,
            generation: row.generation,
            spends: row.tokens.as_ref().filter(|_| spends).and_then(|tokens| tokens.refresh_fingerprint),
            lease_ttl: self.parts.node.settings.lease,
            through_cooldown: self.request.at_once,
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
            return Err(self.grant_unusable(format!(
                "its refresh token is shorter than the {shortest} characters that this provider's tokens have, so it \
                 was not sent"
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

    fn grant_unusable(&self, message: String) -> TokenError {
        TokenError::GrantUnusable { name: self.def.name.clone(), message }
    }

    /// Opens what the act works with: the stored token set, or that of an orphan reply.
    fn open(&self, row: &Connection, act: Act) -> Result<RequestInputs, TokenError> {
        let (generation, tokens) = match row.usable_orphan().filter(|_| act == Act::Orphan) {
            Some(orphan) => (orphan.generation, Some(&orphan.tokens)),
            None => (row.generation, row.tokens.as_ref()),
        };
        let opened = match tokens {
            Some(tokens) => unseal_tokens(&self.parts.node.sealer, &row.name, generation, tokens)
                .map_err(|_| self.grant_unusable(DOES_NOT_OPEN.to_owned()))?,
            None => ClearTokens::default(),
        };
        let mut metadata = TokenMetadata::from_text(opened.extras.as_ref());
        if act == Act::Acquire {
            metadata.scope = asked_scope(&self.def.definition);
        }
        let values = RequestValues {
            access: opened.access.clone(),
            refresh: opened.refresh.clone(),
            refresh_expires_at: tokens.and_then(|tokens| tokens.refresh_expires_at),
            captured: metadata.vars.clone(),
            ..RequestValues::default()
        };
        Ok(RequestInputs { opened, values, metadata })
    }

    /// The lease is ours: spend, and see what follows.
    async fn spend_claimed(
        &mut self,
        row: &Connection,
        prepared: Prepared,
        turn: Turn<'_>,
        recorded: Recorded,
    ) -> Result<NextRound, TokenError> {
        let Prepared { act, recovers, inputs: RequestInputs { opened, values, metadata }, request } =
            prepared;
        let recovered: &[Attempt] = if recovers.is_some() && act == Act::Redeem { &self.chain } else { &[] };
        let sends = recovered.iter().filter(|attempt| attempt.fingerprint.is_some()).count();
        let target = ClaimedRow {
            resends: (sends > 0).then_some(sends),
            refused_before: act == Act::Redeem && refusal::is_confirmed(row, recovered),
            ..self.target(row, turn.attempt, act)
        };
        let Some(request) = request else {
            if let Some(commit) = target.orphan_commit(&opened) {
                target.log(&turn.store(&StoreWrite::Commit(commit)).await?);
            }
            self.advance(RefreshProgress::Begun, row.generation);
            return Ok(NextRound::AtOnce);
        };
        let recheck = self.check_claim(row, turn.attempt, turn.claimed_at);
        let sent = SpendRequest { act, request, values };
        match turn.spend(sent, recorded, metadata, recheck, &target).await {
            SpendOutcome::Tokens { received, stored } => {
                let (progress, of) = if !target.log(&stored?) {
                    (RefreshProgress::Begun, row.generation)
                } else if target.age(received.sent_at).is_over(&received.reply) {
                    (RefreshProgress::RecoveredTooLate, row.generation.next())
                } else {
                    (RefreshProgress::Committed, row.generation.next())
                };
                self.advance(progress, of);
                Ok(NextRound::AtOnce)
            }
            SpendOutcome::Failed { failure, recorded } => {
                recorded?;
                let consequence = target.consequence(&failure);
                self.after_failure(row, failure, consequence, target.attempt).await
            }
        }
    }

    fn target<'r>(&self, row: &'r Connection, attempt: AttemptId, act: Act) -> ClaimedRow<'r>
    where
        'a: 'r,
    {
        let node = &*self.parts.node;
        let reissued_since = self.recovers_since.filter(|_| act == Act::Redeem);
        let tokens = row.tokens.as_ref().filter(|_| self.request.trigger != Trigger::Rejected);
        let expiry = tokens.and_then(|tokens| tokens.access_expires_at);
        let access_left = expiry.map_or(Duration::ZERO, |expiry| expiry.since(node.clock.now()));
        ClaimedRow {
            node,
            def: self.def,
            row,
            attempt,
            act,
            resends: None,
            refused_before: false,
            reissued_since,
            access_left,
            jitter: node.jitter(),
        }
    }

    /// Stores the token set of a kept reply in `chain`, if one can be read by now: as if it came now, and before anything is
    /// sent again. Answers whether it did.
    pub(super) async fn read_kept_replies(
        &mut self,
        row: &Connection,
        chain: &[Attempt],
    ) -> Result<bool, TokenError> {
        let spender = &*self.parts.spender;
        for attempt in chain.iter().filter(|attempt| attempt.generation == row.generation) {
            let Some(kept) = KeptReply::find(&spender.node, &spender.store, attempt).await? else { continue };
            let inputs = self.open(row, attempt.act)?;
            let Some(reply) = kept.tokens(self.def, attempt, &inputs.values) else { continue };
            tracing::info!(connection = %row.name, attempt = %attempt.id, "a kept reply can be read now");
            let slot = spender.writer.reserve().await?;
            let mut received = ReceivedTokens::new(reply, attempt.started_at, inputs.metadata);
            let target = ClaimedRow { reissued_since: None, ..self.target(row, attempt.id, attempt.act) };
            let stored = spender.store_tokens(self.def, &mut received, slot, &target).await?;
            if target.log(&stored) {
                self.advance(RefreshProgress::Committed, row.generation.next());
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Where reaching the provider took a while, asks the store whether the claim still stands before the token is sent. An
    /// undisturbed refresh asks nothing.
    async fn check_claim(
        &self,
        row: &Connection,
        attempt: AttemptId,
        claimed_at: Duration,
    ) -> Result<(), String> {
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
                tracing::warn!(connection = %name, %attempt, "outcome unknown: the refresh token may have been spent");
                let pause = GRACE_PAUSE * (1 << (self.left_unknown - 1).min(6));
                // When the vault closes, the next round ends the refresh.
                self.parts.lifecycle.pause(pause).await;
                Ok(NextRound::AtOnce)
            }
            FollowUp::Confirm => Ok(NextRound::AtOnce),
            FollowUp::GiveUp if consequence.is_dead() => {
                let (code, provider_message) = (consequence.code, refusal.provider_message);
                Err(TokenError::Dead { name, code, provider_message })
            }
            FollowUp::GiveUp => {
                if refusal.class == ErrorClass::Unknown
                    && let Err(error) = self.report_lasting_refusal().await
                {
                    tracing::warn!(connection = %name, %error, "how long it has been refused is not known");
                }
                Err(TokenError::Failed {
                    name,
                    class: refusal.class,
                    code: refusal.code,
                    message: consequence.message,
                    provider_message: refusal.provider_message,
                    retry_after: consequence.due_in.map(|_| consequence.cooldown),
                })
            }
        }
    }

    /// Tells people, once, of a refusal that nothing explains and that is repeated for an hour.
    async fn report_lasting_refusal(&self) -> Result<(), TokenError> {
        let filter = AttemptFilter { connection: Some(self.def.name.clone()), ..AttemptFilter::default() };
        let log = &self.parts.store.ports.log;
        let attempts = self.parts.store.with_retry(|| log.list_attempts(&filter, REFUSALS_READ)).await?;
        if let Some(RepeatedRefusal { code, count, since, .. }) =
            RepeatedRefusal::that_became_lasting(&attempts)
        {
            tracing::error!(
                connection = %self.def.name, code, count, %since,
                "CRITICAL: the provider goes on refusing the refresh token, and its file does not explain why"
            );
        }
        Ok(())
    }
}

/// How old a token set is.
#[derive(Clone, Copy, Debug)]
struct TokenAge {
    /// The instant before the request was sent that brought it.
    sent_at: Timestamp,
    /// When it may have been issued: earlier, where the request recovers one whose reply was lost.
    issued_at: Timestamp,
}

impl TokenAge {
    /// When the access token dies: a pair that is given a second time may repeat the life that it had the first time.
    fn expiry(self, reply: &TokenReply) -> Option<Timestamp> {
        let aged = self.sent_at.since(self.issued_at);
        let over = reply.over && !aged.is_zero();
        if over { Some(self.sent_at) } else { reply.expires_at.map(|expiry| expiry - aged) }
    }

    /// Whether the set is past its end already, as one that is given a second time may be.
    fn is_over(self, reply: &TokenReply) -> bool {
        self.issued_at < self.sent_at && self.expiry(reply).is_some_and(|expiry| expiry <= self.sent_at)
    }
}

impl ClaimedRow<'_> {
    /// The age of a token set whose request was sent at `sent_at`: inside the provider's grace it may have been issued when the
    /// attempt began that is recovered.
    fn age(&self, sent_at: Timestamp) -> TokenAge {
        let grace = self.def.recovery.reuse_grace;
        let earlier = self.reissued_since.filter(|since| sent_at < *since + grace);
        TokenAge { sent_at, issued_at: earlier.unwrap_or(sent_at) }
    }

    /// The commit of an orphan reply: its refresh token is due at once.
    fn orphan_commit(&self, opened: &ClearTokens) -> Option<Commit> {
        let orphan = self.row.usable_orphan()?;
        let tokens = SealedTokens {
            access_expires_at: orphan.tokens.access_expires_at,
            refresh_expires_at: orphan.tokens.refresh_expires_at,
            scope: orphan.tokens.scope.clone(),
            ..self.seal(opened, orphan.tokens.obtained_at)
        };
        let message = format!("the reply of attempt {} came too late then and is used now", orphan.attempt);
        let due_at = due::due_at(&tokens, &self.def.timing, tokens.obtained_at, 0.0);
        Some(Commit { orphan: Some(orphan.attempt), ..self.commit(tokens, due_at, Some(message)) })
    }

    fn commit(&self, tokens: SealedTokens, due_at: Timestamp, message: Option<String>) -> Commit {
        Commit {
            connection: self.row.name.clone(),
            attempt: self.attempt,
            generation: self.row.generation,
            replaces: self.row.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint),
            tokens,
            due_at: Some(due_at),
            orphan: None,
            message,
        }
    }

    fn seal(&self, opened: &ClearTokens, obtained_at: Timestamp) -> SealedTokens {
        let (node, next) = (self.node, self.row.generation.next());
        seal_tokens(&node.sealer, &*node.entropy, &self.row.name, next, opened, obtained_at)
    }

    fn consequence(&self, failure: &RedeemFailure) -> Consequence {
        let circumstances = Circumstances {
            pause: self.node.settings.cooldown,
            failures: self.row.failures,
            resends: self.resends,
            refused_before: self.refused_before,
            act: self.act,
            has_orphan: self.act == Act::Redeem && self.row.usable_orphan().is_some(),
            access_left: self.access_left,
            jitter: self.jitter,
        };
        consequence::of(failure, self.def, circumstances)
    }

    /// Logs what the store answered to a commit; answers whether the token set is the present one now, and not an orphan.
    fn log(&self, StoredTokens { answer, access_expires_at }: &StoredTokens) -> bool {
        let name = &self.row.name;
        match answer {
            StoreAnswer::Commit(CommitAnswer::Committed { generation }) => {
                let expires_at = access_expires_at.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
                tracing::info!(connection = %name, generation = generation.0, expires_at, "refreshed");
                true
            }
            StoreAnswer::Commit(CommitAnswer::Orphaned { generation }) => {
                tracing::warn!(
                    connection = %name, attempt = %self.attempt, generation = generation.0,
                    "the reply came too late: another token set was stored meanwhile; it is kept beside the connection"
                );
                false
            }
            StoreAnswer::Fail | StoreAnswer::Connect(_) => false,
        }
    }
}

impl SpendTarget for ClaimedRow<'_> {
    fn token_write(&self, received: &ReceivedTokens, expires_at: Option<Timestamp>) -> StoreWrite {
        let age = self.age(received.sent_at);
        let tokens = SealedTokens {
            access_expires_at: expires_at.or_else(|| age.expiry(&received.reply)),
            refresh_expires_at: received.reply.refresh_expires_at,
            scope: received.scope(),
            ..self.seal(&received.clear_tokens(), age.issued_at)
        };
        let due_at = due::due_at(&tokens, &self.def.timing, tokens.obtained_at, self.jitter);
        StoreWrite::Commit(self.commit(tokens, due_at, received.message.clone()))
    }

    fn failure_write(&self, failure: &RedeemFailure, kept_reply: Option<Vec<u8>>) -> StoreWrite {
        let Consequence { effect, code, message, cooldown, due_in, .. } = self.consequence(failure);
        StoreWrite::Fail(Fail {
            connection: self.row.name.clone(),
            attempt: self.attempt,
            generation: self.row.generation,
            effect,
            code,
            http_status: failure.status,
            message,
            provider_message: failure.provider_message.clone(),
            cooldown,
            due_in,
            kept_reply,
        })
    }

    fn log_failure(&self, failure: &RedeemFailure) {
        let consequence = self.consequence(failure);
        let (name, code) = (&self.row.name, &consequence.code);
        let (class, reason) = (failure.class.as_str(), &failure.message);
        let status = failure.status.unwrap_or_default();
        let provider_message = failure.provider_message.as_deref();
        if consequence.is_dead() {
            tracing::error!(
                connection = %name, code, class, status, reason, provider_message,
                "CRITICAL: refresh token revoked, manual re-authorization required"
            );
        } else if consequence.is_to_be_confirmed() && consequence.due_in.is_none() {
            tracing::warn!(
                connection = %name, code, class, status, reason, provider_message,
                "refused once: a person decides whether the refresh token is sent once more"
            );
        } else if consequence.is_to_be_confirmed() {
            let again_in = consequence.cooldown.as_secs();
            tracing::warn!(
                connection = %name, code, class, status, reason, provider_message, again_in,
                "refused once: the refresh token is sent once more before the grant is taken for dead"
            );
        } else {
            let act = self.act.as_str();
            tracing::warn!(connection = %name, act, code, class, status, reason, provider_message, "refresh failed");
        }
    }
}
