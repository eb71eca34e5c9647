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
use super::link::{
    Consented, RedirectTarget, begin_authorization, check_ready, create_consent, definition_of,
};
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

impl Vault {
    /// Begins a consent without a browser at hand. Who orders it is on record.
    pub async fn start_terminal_consent(
        &self,
        name: &str,
        by: &Actor,
    ) -> Result<TerminalConsent, ConsentError> {
        let shared = &*self.shared;
        let defined = check_ready(shared, name)?;
        let ticket = one_time_text(&*shared.entropy);
        let (id, _) = create_consent(shared, defined, &ticket, by).await?;
        let found = shared.with_retry(|| shared.ports.consents.find_consent(ConsentKey::Id(id))).await?;
        let FoundConsent { consent, .. } = found.ok_or(ConsentError::UnknownLink)?;
        let RedirectTarget { url, until, .. } = begin_authorization(shared, defined, &consent, None).await?;
        Ok(TerminalConsent { id, url, until, takes_code: defined.definition.takes_bare_code() })
    }

    /// Takes the answer that a person brought to the terminal. What does not say that it answers this very consent is
    /// refused with [`ConsentError::Stateless`], uses nothing up, and may be brought again.
    pub async fn finish_terminal_consent(
        &self,
        id: ConsentId,
        brought: PastedAnswer,
    ) -> Result<Consented, ConsentError> {
        let shared = &*self.shared;
        let found = shared.with_retry(|| shared.ports.consents.find_consent(ConsentKey::Id(id))).await?;
        let found = found.ok_or(ConsentError::UnknownState)?;
        let stateless = || ConsentError::Stateless { name: found.consent.connection.clone() };
        let params = match brought {
            PastedAnswer::Address(params) => {
                let state = params.get("state").filter(|state| !state.is_empty()).ok_or_else(stateless)?;
                let own = found.consent.authorization.as_ref().map(|asked| asked.state);
                if own != Some(shared.sealer.fingerprint(&Secret::new(state.as_str()))) {
                    return Err(ConsentError::UnknownState);
                }
                params
            }
            PastedAnswer::Code(code) => {
                if !definition_of(shared, &found.consent)?.definition.takes_bare_code() {
                    return Err(stateless());
                }
                CallbackParams::from([("code".to_owned(), code.reveal().to_owned())])
            }
        };
        self.take_answer(found, AnsweredBy::Terminal, params).await
    }
}
