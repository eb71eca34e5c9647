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

use super::error::ConsentError;
use super::exchange::Consented;
use super::link::{Consents, RedirectTarget};

/// A consent whose answer a terminal waits for.
#[derive(Clone, Debug)]
pub struct TerminalConsent {
    /// Names the consent.
    pub id: ConsentId,
    /// The provider's page.
    pub url: Url,
    /// Until when the answer counts.
    pub until: Timestamp,
    /// Whether [`PastedAnswer::Code`] is taken.
    pub takes_code: bool,
}

/// What a person brought to the terminal.
#[derive(Clone, Debug)]
pub enum PastedAnswer {
    /// All parameters of the callback.
    Address(CallbackParams),
    /// Its code alone.
    Code(Secret),
}

impl Consents {
    /// Begins a consent without a browser at hand. The audit log names who ordered it.
    pub(crate) async fn start_terminal_consent(
        &self,
        name: &str,
        by: &Actor,
    ) -> Result<TerminalConsent, ConsentError> {
        let def = self.check_ready(name).await?;
        let ticket = one_time_text(&*self.node.entropy);
        let (id, _) = self.create_consent(def, &ticket, by).await?;
        let found =
            self.store.with_retry(|| self.store.ports.consents.find_consent(ConsentKey::Id(id))).await?;
        let FoundConsent { consent, .. } = found.ok_or(ConsentError::UnknownLink)?;
        let RedirectTarget { url, until, .. } = self.begin_authorization(def, &consent, None).await?;
        Ok(TerminalConsent { id, url, until, takes_code: def.definition.takes_bare_code() })
    }

    /// Takes the answer that a person brought to the terminal. What does not say that it answers this very consent is
    /// refused with [`ConsentError::Stateless`], uses nothing up, and may be brought again.
    pub(crate) async fn finish_terminal_consent(
        &self,
        id: ConsentId,
        brought: PastedAnswer,
    ) -> Result<Consented, ConsentError> {
        let found =
            self.store.with_retry(|| self.store.ports.consents.find_consent(ConsentKey::Id(id))).await?;
        let found = found.ok_or(ConsentError::UnknownState)?;
        let stateless = || ConsentError::Stateless { name: found.consent.connection.clone() };
        let params = match brought {
            PastedAnswer::Address(params) => {
                let state = params.get("state").filter(|state| !state.is_empty()).ok_or_else(stateless)?;
                let own = found.consent.authorization.as_ref().map(|asked| asked.state);
                if own != Some(self.node.sealer.fingerprint(&Secret::new(state.as_str()))) {
                    return Err(ConsentError::UnknownState);
                }
                params
            }
            PastedAnswer::Code(code) => {
                if !self.definition_of(&found.consent).await?.definition.takes_bare_code() {
                    return Err(stateless());
                }
                CallbackParams::from([("code".to_owned(), code.reveal().to_owned())])
            }
        };
        self.take_answer(found, AnsweredBy::Terminal, params).await
    }
}
