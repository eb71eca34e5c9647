//! A consent without a browser at hand: the person opens the provider's page anywhere, and brings the answer to the
//! terminal, which takes the place of the browser's cookie.

use jeton_core::audit::Actor;
use jeton_core::id::ConsentId;
use jeton_core::keep::consent::{AnsweredBy, one_time_text};
use jeton_core::keep::ports::{ConsentKey, FoundConsent};
use jeton_core::keep::provider::CallbackParams;
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use url::Url;

use super::{ConsentError, Consented, Sent, invite, meant, ready, send_off};
use crate::vault::Vault;

/// A consent whose answer a terminal waits for.
#[derive(Clone, Debug)]
pub struct TerminalConsent {
    /// Names the consent.
    pub id: ConsentId,
    /// The provider's page.
    pub url: Url,
    /// Until when the answer counts.
    pub until: Timestamp,
    /// Whether [`Brought::Code`] is taken.
    pub takes_code: bool,
}

/// What a person brought to the terminal.
#[derive(Clone, Debug)]
pub enum Brought {
    /// All parameters of the callback.
    Address(CallbackParams),
    /// Its code alone.
    Code(Secret),
}

impl Vault {
    /// Begins a consent without a browser at hand. Who orders it is on record.
    pub async fn ask_in_terminal(&self, name: &str, by: &Actor) -> Result<TerminalConsent, ConsentError> {
        let shared = &*self.shared;
        let defined = ready(shared, name)?;
        let ticket = one_time_text(&*shared.entropy);
        let (id, _) = invite(shared, defined, &ticket, by).await?;
        let found = shared.patiently(|| shared.ports.consents.find_consent(ConsentKey::Id(id))).await?;
        let FoundConsent { consent, .. } = found.ok_or(ConsentError::UnknownLink)?;
        let Sent { url, until, .. } = send_off(shared, defined, &consent, None).await?;
        Ok(TerminalConsent { id, url, until, takes_code: defined.definition.takes_bare_code() })
    }

    /// Takes the answer that a person brought to the terminal. What does not say that it answers this very consent is
    /// refused with [`ConsentError::Stateless`], uses nothing up, and may be brought again.
    pub async fn finish_in_terminal(
        &self,
        id: ConsentId,
        brought: Brought,
    ) -> Result<Consented, ConsentError> {
        let shared = &*self.shared;
        let found = shared.patiently(|| shared.ports.consents.find_consent(ConsentKey::Id(id))).await?;
        let found = found.ok_or(ConsentError::UnknownState)?;
        let stateless = || ConsentError::Stateless { name: found.consent.connection.clone() };
        let params = match brought {
            Brought::Address(params) => {
                let state = params.get("state").filter(|state| !state.is_empty()).ok_or_else(stateless)?;
                let own = found.consent.asked.as_ref().map(|asked| asked.state);
                if own != Some(shared.sealer.fingerprint(&Secret::new(state.as_str()))) {
                    return Err(ConsentError::UnknownState);
                }
                params
            }
            Brought::Code(code) => {
                if !meant(shared, &found.consent)?.definition.takes_bare_code() {
                    return Err(stateless());
                }
                CallbackParams::from([("code".to_owned(), code.reveal().to_owned())])
            }
        };
        self.go_on(found, AnsweredBy::Terminal, params).await
    }
}
