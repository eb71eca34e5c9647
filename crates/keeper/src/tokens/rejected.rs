//! What callers get whose token an API refused: another one, at most one refresh, or a pause.

use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::plan::Goal;
use jeton_core::keep::rejection::{Rejection, RejectionAnswer};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use tokio::time::Instant;

use super::get::{ServedToken, Tokens};
use super::wait::{WaitBudget, with_deadline};
use crate::definitions::ConnectionDef;
use crate::error::TokenError;
use crate::refresh::run::RefreshRequest;
use crate::tokens::request::TokenRequest;

impl Tokens {
    /// What is given for a refused token, and whether a refresh brought it: else it was there already.
    pub(crate) async fn rejected(
        &self,
        name: &str,
        fingerprint: Fingerprint,
        request: TokenRequest,
        helped_before: bool,
    ) -> Result<(ServedToken, bool), TokenError> {
        let def = self.definitions.get(name)?;
        if let Some(until) = self.known_backoff(def, fingerprint) {
            return Err(self.rejected_again(def, until));
        }
        let asked_at = self.node.clock.earliest();
        let deadline = self.deadline(&request);
        let mut rejection = Rejection { connection: def.name.clone(), fingerprint, helped_before };
        let refresh = RefreshRequest::new(Goal::Other(fingerprint), Trigger::Rejected, request.by.clone());
        let budget = WaitBudget::new(deadline, asked_at);
        let mut waiting = None;
        loop {
            let judged = self.store.with_retry(|| self.store.ports.connections.reject(rejection.clone()));
            let answer = with_deadline(deadline, async { Ok(judged.await?) }).await?;
            match answer {
                RejectionAnswer::Unknown => {
                    return Err(TokenError::NotConnected { name: def.name.clone() });
                }
                RejectionAnswer::BackingOff { until } => {
                    // Memory learns of the backoff, and answers for the store from now on.
                    let reload = async { Ok(self.memory.reload_once(&def.name).await?) };
                    if let Err(error) = with_deadline(deadline, reload).await {
                        tracing::debug!(connection = %def.name, %error, "the backoff is not in memory yet");
                    }
                    return Err(self.rejected_again(def, until));
                }
                RejectionAnswer::Differs => {
                    drop(waiting);
                    with_deadline(deadline, self.memory.reload(&def.name)).await?;
                    let wait = Some(deadline.saturating_duration_since(Instant::now()));
                    return Ok((self.living(name, TokenRequest { wait, ..request }).await?, false));
                }
                RejectionAnswer::Refresh => {
                    if waiting.is_none() {
                        waiting = Some(self.waiters.enter()?);
                    }
                    // The current token is no help to a caller whom the API refused it: an error goes through.
                    if let Some(known) = self.join_refresh(def, &refresh, budget).await? {
                        return Ok((self.given(def, &known, &request)?, true));
                    }
                    // A refresh that brought the refused token once more is judged by the store before there is another,
                    // and what helped before has not helped now.
                    rejection.helped_before = false;
                }
            }
        }
    }

    /// Until when the backoff lasts for this token, where memory knows it: an API that refuses every call for another reason
    /// than the token costs no read of the store for each of them. However the clocks of this machine and of the store
    /// differ, memory says so no longer than the backoff was set for.
    fn known_backoff(&self, def: &ConnectionDef, refused: Fingerprint) -> Option<Timestamp> {
        let known = self.memory.known(&def.name)?;
        let backoff = known.row.backoff?;
        let current = known.row.tokens.as_ref()?.access_fingerprint == Some(refused);
        let uptime = self.node.clock.uptime();
        let holds =
            self.node.clock.now() < backoff.until && uptime.saturating_sub(known.asked_at) < backoff.step;
        (current && holds && self.is_fresh(def, &known, uptime)).then_some(backoff.until)
    }

    fn rejected_again(&self, def: &ConnectionDef, until: Timestamp) -> TokenError {
        let retry_after = until.since(self.node.clock.now());
        TokenError::RejectedAgain { name: def.name.clone(), retry_after }
    }
}
