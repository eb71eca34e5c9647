//! Reading a kept reply again.
//!
//! A 2xx that could not be read may hold the only living refresh token of a grant. It was kept sealed, and once the
//! provider file is mended it is read as if it came now: before anything is sent again.

use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::provider::{Reply, StepOutcome};

use super::record::{Birth, Record, kept_reply_place};
use super::{Progress, Refresh};
use crate::deliver;
use crate::error::TokenError;
use crate::redeem::step_of;

impl Refresh<'_> {
    /// Stores the token set of a kept reply in `chain`, if one can be read by now; answers whether it did.
    pub(super) async fn reread(&mut self, row: &Connection, chain: &[Attempt]) -> Result<bool, TokenError> {
        for attempt in chain.iter().filter(|attempt| attempt.generation == row.generation) {
            let Some(reply) = self.kept_reply(attempt).await? else { continue };
            let opened = self.open(row, attempt.act)?;
            let step = step_of(attempt.act);
            let read = self.defined.definition.read(step, &reply, attempt.started_at, &opened.values);
            let StepOutcome::Tokens(tokens) = read else { continue };
            let record = Record {
                shared: self.shared,
                defined: self.defined,
                row,
                attempt: attempt.id,
                act: attempt.act,
            };
            tracing::info!(connection = %row.name, attempt = %attempt.id, "a kept reply can be read now");
            let slot = deliver::reserve(self.shared).await?;
            let birth = Birth { sent_at: attempt.started_at, born_at: attempt.started_at };
            if record.tokens(&tokens, birth, opened.extras, slot, self.jitter()).await? {
                self.advance(Progress::Committed, row.generation.next());
            }
            return Ok(true);
        }
        Ok(false)
    }

    async fn kept_reply(&self, attempt: &Attempt) -> Result<Option<Reply>, TokenError> {
        let kept = self.shared.patiently(|| self.shared.ports.log.kept_reply(attempt.id)).await?;
        let Some(sealed) = kept else { return Ok(None) };
        let id = attempt.id.to_string();
        match self.shared.sealer.open(&sealed, kept_reply_place(&id)) {
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
