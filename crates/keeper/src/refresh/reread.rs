//! Reading a kept reply again.
//!
//! A 2xx that could not be read may hold the only living refresh token of a grant. It was kept sealed, and once the
//! provider file is mended it is read as if it came now: before anything is sent again.

use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::provider::{Reply, StepOutcome};

use super::record::{Record, TokenAge, kept_reply_place};
use super::redeem::step_of;
use super::run::{Refresh, RefreshProgress};
use crate::error::TokenError;

impl Refresh<'_> {
    /// Stores the token set of a kept reply in `chain`, if one can be read by now; answers whether it did.
    pub(super) async fn reread(&mut self, row: &Connection, chain: &[Attempt]) -> Result<bool, TokenError> {
        for attempt in chain.iter().filter(|attempt| attempt.generation == row.generation) {
            let Some(reply) = self.kept_reply(attempt).await? else { continue };
            let opened = self.open(row, attempt.act)?;
            let step = step_of(attempt.act);
            let read = self.def.definition.read(step, &reply, attempt.started_at, &opened.values);
            let StepOutcome::Tokens(tokens) = read else { continue };
            let record =
                Record { parts: self.parts, def: self.def, row, attempt: attempt.id, act: attempt.act };
            tracing::info!(connection = %row.name, attempt = %attempt.id, "a kept reply can be read now");
            let slot = self.parts.writer.reserve().await?;
            let age = TokenAge { sent_at: attempt.started_at, issued_at: attempt.started_at };
            if record.tokens(&tokens, age, opened.extras, slot, self.parts.node.jitter()).await? {
                self.advance(RefreshProgress::Committed, row.generation.next());
            }
            return Ok(true);
        }
        Ok(false)
    }

    async fn kept_reply(&self, attempt: &Attempt) -> Result<Option<Reply>, TokenError> {
        let kept =
            self.parts.store.with_retry(|| self.parts.store.ports.log.find_kept_reply(attempt.id)).await?;
        let Some(sealed) = kept else { return Ok(None) };
        let id = attempt.id.to_string();
        match self.parts.node.sealer.open(&sealed, kept_reply_place(&id)) {
            Ok(body) => {
                Ok(Some(Reply { status: attempt.http_status.unwrap_or(200), body, ..Reply::default() }))
            }
            Err(error) => {
                tracing::error!(connection = %attempt.connection, attempt = %id, %error, "a kept reply does not open");
                Ok(None)
            }
        }
    }
}
