//! Recording what an attempt brought: in the store, or in its spill slot until the store takes it.

use jeton_core::id::AttemptId;
use jeton_core::keep::attempt::Act;
use jeton_core::keep::connection::{Connection, SealedTokens};
use jeton_core::keep::due;
use jeton_core::keep::ports::{Commit, CommitAnswer, Fail};
use jeton_core::keep::provider::TokenReply;
use jeton_core::seal::SealContext;
use jeton_core::time::Timestamp;

use super::consequence::Consequence;
use super::introspect;
use super::redeem::RedeemFailure;
use super::run::Refresher;
use super::store_writer::{Ack, spill_first};
use crate::definitions::ConnectionDef;
use crate::error::TokenError;
use crate::spill::slots::SpillSlot;
use crate::spill::store_write::StoreWrite;
use crate::token_crypto::{ClearTokens, seal_tokens};
use crate::token_metadata::TokenMetadata;

/// Where the reply is sealed that is kept with an attempt.
pub(super) fn kept_reply_place(attempt: &str) -> SealContext<'_> {
    SealContext { table: "attempts", row: attempt, field: "kept_reply", generation: 0 }
}

/// How old a token set is.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenAge {
    /// The instant before the request was sent that brought it.
    pub(super) sent_at: Timestamp,
    /// When it may have been issued: earlier, where the request recovers one whose reply was lost.
    pub(super) issued_at: Timestamp,
}

impl TokenAge {
    /// When the access token dies: a pair that is given a second time may repeat the life that it had the first time.
    fn expiry(self, reply: &TokenReply) -> Option<Timestamp> {
        let aged = self.sent_at.since(self.issued_at);
        let over = reply.over && !aged.is_zero();
        reply.expires_at.map(|expiry| expiry - aged).or(over.then_some(self.sent_at))
    }

    /// Whether the set is past its end already, as one that is given a second time may be.
    pub(super) fn is_over(self, reply: &TokenReply) -> bool {
        self.issued_at < self.sent_at && self.expiry(reply).is_some_and(|expiry| expiry <= self.sent_at)
    }
}

/// One attempt whose lease is ours.
pub(super) struct Record<'a> {
    pub(super) parts: &'a Refresher,
    pub(super) def: &'a ConnectionDef,
    pub(super) row: &'a Connection,
    pub(super) attempt: AttemptId,
    pub(super) act: Act,
}

impl Record<'_> {
    /// Stores the token set of a reply; answers whether it is the present one now, and not an orphan.
    pub(super) async fn tokens(
        &self,
        reply: &TokenReply,
        age: TokenAge,
        extras: TokenMetadata,
        mut slot: SpillSlot<'_>,
        jitter: f64,
    ) -> Result<bool, TokenError> {
        for warning in &reply.warnings {
            tracing::warn!(connection = %self.row.name, warning, "the token reply is strange");
        }
        let opened = ClearTokens {
            access: Some(reply.access.clone()),
            refresh: reply.refresh.clone(),
            extras: Some(extras.after(reply).to_text()),
        };
        let tokens = SealedTokens {
            access_expires_at: age.expiry(reply),
            refresh_expires_at: reply.refresh_expires_at,
            ..self.seal(&opened, age.issued_at)
        };
        let commit = |tokens, message| self.commit(tokens, None, jitter, message);
        let mut write = commit(tokens.clone(), reply.warnings.first().cloned());
        if reply.ask_introspection && spill_first(&mut slot, &StoreWrite::Commit(write.clone())).await {
            write = match introspect::expiry(&self.parts.outbound, self.def, &opened).await {
                Ok(at) => commit(SealedTokens { access_expires_at: Some(at), ..tokens }, write.message),
                Err(why) => {
                    tracing::warn!(connection = %self.row.name, why, "the life of an access token is not known");
                    Commit { message: Some(why), ..write }
                }
            };
        }
        self.finish(write, slot).await
    }

    /// Stores the token set of an orphan reply as the present one: its refresh token is due at once.
    pub(super) async fn orphan(&self, opened: &ClearTokens, slot: SpillSlot<'_>) -> Result<bool, TokenError> {
        let Some(stray) = self.row.usable_orphan() else { return Ok(false) };
        let tokens = SealedTokens {
            access_expires_at: stray.tokens.access_expires_at,
            refresh_expires_at: stray.tokens.refresh_expires_at,
            ..self.seal(opened, stray.tokens.obtained_at)
        };
        let message = format!("the reply of attempt {} came too late then and is used now", stray.attempt);
        let commit = self.commit(tokens, Some(stray.attempt), 0.0, Some(message));
        self.finish(commit, slot).await
    }

    fn commit(
        &self,
        tokens: SealedTokens,
        stray: Option<AttemptId>,
        jitter: f64,
        message: Option<String>,
    ) -> Commit {
        let due_at = due::due_at(&tokens, &self.def.timing, tokens.obtained_at, jitter);
        Commit {
            connection: self.row.name.clone(),
            attempt: self.attempt,
            generation: self.row.generation,
            replaces: self.row.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint),
            tokens,
            due_at: Some(due_at),
            orphan: stray,
            message,
        }
    }

    async fn finish(&self, commit: Commit, slot: SpillSlot<'_>) -> Result<bool, TokenError> {
        let expires_at = commit.tokens.access_expires_at;
        let name = &self.row.name;
        match self.parts.writer.write(&StoreWrite::Commit(commit), slot).await? {
            Ack::Commit(CommitAnswer::Committed { generation }) => {
                let expires_at = expires_at.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
                tracing::info!(connection = %name, generation = generation.0, expires_at, "refreshed");
                Ok(true)
            }
            Ack::Commit(CommitAnswer::Orphaned { generation }) => {
                tracing::warn!(
                    connection = %name, attempt = %self.attempt, generation = generation.0,
                    "the reply came too late: another token set was stored meanwhile; it is kept beside the connection"
                );
                Ok(false)
            }
            Ack::Fail | Ack::Connect(_) => Ok(false),
        }
    }

    /// Records a failure, with the reply if it could not be read.
    pub(super) async fn failure(
        &self,
        refusal: &RedeemFailure,
        consequence: &Consequence,
        slot: SpillSlot<'_>,
    ) -> Result<(), TokenError> {
        self.log(refusal, consequence);
        let attempt = self.attempt.to_string();
        let place = kept_reply_place(&attempt);
        let kept_reply = refusal
            .unread
            .as_ref()
            .map(|body| self.parts.node.sealer.seal(body, place, &*self.parts.node.entropy));
        let fail = Fail {
            connection: self.row.name.clone(),
            attempt: self.attempt,
            generation: self.row.generation,
            effect: consequence.verdict,
            code: consequence.code.clone(),
            http_status: refusal.status,
            message: refusal.message.clone(),
            cooldown: consequence.cooldown,
            due_in: consequence.due_in,
            kept_reply,
        };
        self.parts.writer.write(&StoreWrite::Fail(fail), slot).await.map(|_| ())
    }

    fn log(&self, refusal: &RedeemFailure, consequence: &Consequence) {
        let name = &self.row.name;
        let (code, class, reason) = (&consequence.code, refusal.class.as_str(), &refusal.message);
        let status = refusal.status.unwrap_or_default();
        if consequence.is_dead() {
            tracing::error!(
                connection = %name, code, class, status, reason,
                "CRITICAL: refresh token revoked, manual re-authorization required"
            );
        } else {
            tracing::warn!(connection = %name, act = self.act.as_str(), code, class, status, reason, "refresh failed");
        }
    }

    fn seal(&self, opened: &ClearTokens, obtained_at: Timestamp) -> SealedTokens {
        let generation = self.row.generation.next();
        seal_tokens(
            &self.parts.node.sealer,
            &*self.parts.node.entropy,
            &self.row.name,
            generation,
            opened,
            obtained_at,
        )
    }
}
