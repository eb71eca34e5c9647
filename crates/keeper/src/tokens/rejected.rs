//! What callers get whose token an API refused: another one, at most one refresh, or the brake.

use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::plan::Goal;
use jeton_core::keep::rejection::{Rejection, RejectionAnswer};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use tokio::time::Instant;

use super::get::ServedToken;
use super::wait::{WaitBudget, WaiterPermit, with_deadline};
use crate::error::TokenError;
use crate::refresh::run::RefreshRequest;
use crate::shared::ConnectionDef;
use crate::tokens::request::{Token, TokenRequest};
use crate::vault::Vault;

impl Vault {
    /// A caller's token was refused by the API: gives a newer one if there is one, else refreshes, at most once.
    pub async fn reject(
        &self,
        name: &str,
        fingerprint: Fingerprint,
        request: TokenRequest,
    ) -> Result<Token, TokenError> {
        Ok(self.rejected(name, fingerprint, request, false).await?.0.token)
    }

    /// What is given for a refused token, and whether a refresh brought it: else it was there already.
    pub(crate) async fn rejected(
        &self,
        name: &str,
        fingerprint: Fingerprint,
        request: TokenRequest,
        helped_before: bool,
    ) -> Result<(ServedToken, bool), TokenError> {
        let defined = self.shared.defined(name)?;
        if let Some(until) = self.known_backoff(defined, fingerprint) {
            return Err(self.rejected_again(defined, until));
        }
        let asked_at = self.shared.clock.now();
        let deadline = self.deadline(request);
        let mut rejection = Rejection { connection: defined.name.clone(), fingerprint, helped_before };
        let refresh = RefreshRequest::new(Goal::Other(fingerprint), Trigger::Rejected);
        let budget = WaitBudget::new(deadline, asked_at);
        let mut waiting = None;
        loop {
            let judged = self.shared.with_retry(|| self.shared.ports.connections.reject(rejection.clone()));
            let answer = with_deadline(deadline, async { Ok(judged.await?) }).await?;
            match answer {
                RejectionAnswer::Unknown => {
                    return Err(TokenError::NotConnected { name: defined.name.clone() });
                }
                RejectionAnswer::BackingOff { until } => {
                    // Memory learns of the brake, and answers for the store from now on.
                    let reload = async { Ok(self.shared.reload_once(&defined.name).await?) };
                    if let Err(error) = with_deadline(deadline, reload).await {
                        tracing::debug!(connection = %defined.name, %error, "the brake is not in memory yet");
                    }
                    return Err(self.rejected_again(defined, until));
                }
                RejectionAnswer::Differs => {
                    drop(waiting);
                    with_deadline(deadline, self.shared.reload(&defined.name)).await?;
                    let wait = Some(deadline.saturating_duration_since(Instant::now()));
                    return Ok((self.living(name, TokenRequest { wait, ..request }).await?, false));
                }
                RejectionAnswer::Refresh => {
                    if waiting.is_none() {
                        waiting = Some(WaiterPermit::enter(&self.shared)?);
                    }
                    // The current token is no help to a caller whom the API refused it: an error goes through.
                    if let Some(known) = self.join_refresh(defined, refresh, budget).await? {
                        return Ok((self.given(defined, &known, request)?, true));
                    }
                    // A flight that brought the refused token once more is judged by the store before there is another,
                    // and what helped before has not helped now.
                    rejection.helped_before = false;
                }
            }
        }
    }

    /// Until when the brake holds for this token, where memory knows it: an API that refuses every call for another reason
    /// than the token costs no look at the store for each of them. However the clocks of this machine and of the store
    /// differ, memory says so no longer than the brake was put on for.
    fn known_backoff(&self, defined: &ConnectionDef, refused: Fingerprint) -> Option<Timestamp> {
        let known = self.shared.memory.find(defined.name.as_str())?.known()?;
        let brake = known.row.backoff?;
        let current = known.row.tokens.as_ref()?.access_fingerprint == Some(refused);
        let uptime = self.shared.clock.uptime();
        let holds =
            self.shared.clock.now() < brake.until && uptime.saturating_sub(known.asked_at) < brake.step;
        (current && holds && self.is_fresh(defined, &known, uptime)).then_some(brake.until)
    }

    fn rejected_again(&self, defined: &ConnectionDef, until: Timestamp) -> TokenError {
        let retry_after = until.since(self.shared.clock.now());
        TokenError::RejectedAgain { name: defined.name.clone(), retry_after }
    }
}
