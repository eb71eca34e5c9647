//! A person consents: the link, the way to the provider and back, and what became of it.
//!
//! The rules stand in [`jeton_core::keep::consent`]; the exchange of the code is in `exchange`.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::audit::Actor;
use jeton_core::id::{ConnectionName, ConsentId};
use jeton_core::keep::connection::Generation;
use jeton_core::keep::consent::{
    ANSWER_LIFE, AnsweredBy, ClosedLink, Consent, LINK_LIFE, code_challenge, one_time_text, opens, takes,
    verifier_context,
};
use jeton_core::keep::ports::{ConsentKey, ConsentStart, ConsentStartAnswer, FoundConsent, Invite};
use jeton_core::keep::provider::{CallbackParams, RequestValues, Step, Vars};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use tokio::time::timeout;
use url::Url;

use super::error::ConsentError;
use super::exchange;
use super::progress::{self, ConsentStatus};
use crate::error::TokenError;
use crate::shared::{ConnectionDef, Shared};
use crate::vault::Vault;

/// Where callbacks come in, below the URL that browsers reach this server by.
const CALLBACK_PATH: &str = "/oauth/callback";

/// Where printed links lead.
const LINK_PATH: &str = "/oauth/authorize";

/// A link for the person who consents. It opens once.
#[derive(Clone, Debug)]
pub struct ConsentLink {
    /// Names the consent.
    pub id: ConsentId,
    /// The link; whoever has it can give the grant.
    pub link: Secret,
    /// Until when it can be opened.
    pub until: Timestamp,
}

/// What a link asks for; looking at it opens nothing.
#[derive(Clone, Debug)]
pub struct LinkPreview {
    /// The connection.
    pub name: ConnectionName,
    /// What people call its provider.
    pub provider: String,
    /// The host of the provider's page.
    pub host: Option<String>,
    /// Until when the link can be opened.
    pub until: Timestamp,
    /// Where the provider sends the browser back to. The link lies beside it.
    pub callback: Url,
}

/// What a browser that opened a link is sent on with.
#[derive(Clone, Debug)]
pub struct AuthorizationRedirect {
    /// The provider's page.
    pub url: Url,
    /// The state that is in it.
    pub state: Secret,
    /// What the browser must bring back, as a cookie.
    pub browser: Secret,
    /// What people call the provider.
    pub provider: String,
    /// Where the provider sends the browser back to.
    pub callback: Url,
    /// How long the answer is waited for.
    pub life: Duration,
}

/// A connection that a person's consent has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consented {
    /// The connection.
    pub name: ConnectionName,
    /// The generation that it brought.
    pub generation: Generation,
    /// When its access token dies.
    pub expires_at: Option<Timestamp>,
    /// Whether the connection can be kept alive beyond that.
    pub renews: bool,
}

impl Vault {
    /// Whether a person gives the grant of this connection in a browser.
    pub fn asks_for_consent(&self, name: &str) -> Result<bool, TokenError> {
        Ok(self.shared.defined(name)?.definition.asks_for_consent())
    }

    /// Makes a link for the person who consents to a connection. Who orders it is on record.
    pub async fn invite(&self, name: &str, by: &Actor) -> Result<ConsentLink, ConsentError> {
        let shared = &*self.shared;
        let defined = check_ready(shared, name)?;
        let ticket = one_time_text(&*shared.entropy);
        let link = link(defined, &ticket)?;
        let (id, until) = create_consent(shared, defined, &ticket, by).await?;
        Ok(ConsentLink { id, link, until })
    }

    /// What a link asks for. Everything is checked that opening it checks, and the link stays as it is.
    pub async fn preview_link(&self, ticket: &Secret) -> Result<LinkPreview, ConsentError> {
        let (consent, defined) = self.unopened_link(ticket).await?;
        let page = defined.definition.endpoint(Step::Authorize, &Vars::new());
        let page = page.map_err(|error| unusable(defined, error.to_string()))?;
        Ok(LinkPreview {
            name: consent.connection,
            provider: title(defined),
            host: page.and_then(|page| page.url.host_str().map(str::to_owned)),
            until: consent.link_until,
            callback: callback(defined)?,
        })
    }

    /// Opens a link: it can be opened once. The browser is to be sent to the provider with what this answers.
    pub async fn open_link(&self, ticket: &Secret) -> Result<AuthorizationRedirect, ConsentError> {
        let shared = &*self.shared;
        let (consent, defined) = self.unopened_link(ticket).await?;
        let (callback, provider) = (callback(defined)?, title(defined));
        let browser = one_time_text(&*shared.entropy);
        let RedirectTarget { url, state, .. } =
            begin_authorization(shared, defined, &consent, Some(&browser)).await?;
        Ok(AuthorizationRedirect { url, state, browser, provider, callback, life: ANSWER_LIFE })
    }

    /// The consent of a link that can be opened, and the connection that it is for.
    async fn unopened_link(&self, ticket: &Secret) -> Result<(Consent, &Arc<ConnectionDef>), ConsentError> {
        let shared = &*self.shared;
        let key = ConsentKey::Ticket(shared.sealer.fingerprint(ticket));
        let found = shared.with_retry(|| shared.ports.consents.find_consent(key)).await?;
        let Some(FoundConsent { consent, .. }) = found else { return Err(ConsentError::UnknownLink) };
        let closed = |closed| ConsentError::of_closed(consent.connection.clone(), closed);
        opens(&consent, shared.clock.now()).map_err(closed)?;
        let defined = definition_of(shared, &consent)?;
        Ok((consent, defined))
    }

    /// Takes the answer that a provider sent a browser back with. The connection is made when this answers; a browser
    /// that goes away meanwhile changes nothing.
    pub async fn take_callback(
        &self,
        params: CallbackParams,
        browser: Option<&Secret>,
    ) -> Result<Consented, ConsentError> {
        let shared = &*self.shared;
        let state = params.get("state").filter(|state| !state.is_empty()).ok_or(ConsentError::NoState)?;
        let key = ConsentKey::State(shared.sealer.fingerprint(&Secret::new(state.as_str())));
        let found = shared.with_retry(|| shared.ports.consents.find_consent(key)).await?;
        let found = found.ok_or(ConsentError::UnknownState)?;
        let browser = browser.map(|browser| shared.sealer.fingerprint(browser));
        self.take_answer(found, AnsweredBy::Browser(browser), params).await
    }

    /// Exchanges the code in a task of its own, which nobody who goes away can cancel.
    pub(super) async fn take_answer(
        &self,
        found: FoundConsent,
        bearer: AnsweredBy,
        params: CallbackParams,
    ) -> Result<Consented, ConsentError> {
        if let Err(unfit) = takes(&found.consent, bearer, self.shared.clock.now()) {
            let ConsentStatus { connection, progress, .. } = progress::of(&self.shared, found).await;
            return Err(ConsentError::of_unfit(connection, unfit, progress));
        }
        let consent = found.consent;
        let defined = Arc::clone(definition_of(&self.shared, &consent)?);
        if self.shared.is_closing() {
            return Err(TokenError::ShuttingDown.into());
        }
        let settings = &self.shared.settings;
        let waited = settings.redeem_timeout + settings.claim_wait * 2;
        let (shared, name) = (Arc::clone(&self.shared), defined.name.clone());
        let task = self
            .shared
            .tracker
            .spawn(async move { exchange::run(&shared, &defined, &consent, bearer, params).await });
        match timeout(waited, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                tracing::error!(connection = %name, %error, "the exchange of a code met a defect");
                Err(ConsentError::Defect { name })
            }
            Err(_) => Err(ConsentError::Slow { name, waited }),
        }
    }
}

/// A connection that consents can be asked for now.
pub(super) fn check_ready<'a>(shared: &'a Shared, name: &str) -> Result<&'a Arc<ConnectionDef>, TokenError> {
    let defined = shared.defined(name)?;
    shared.check_hold()?;
    defined.definition.check_consent().map_err(|error| TokenError::Definition {
        name: defined.name.clone(),
        message: format!("{}: {}", error.field, error.problem),
    })?;
    Ok(defined)
}

/// The connection of a consent, if consents can be asked for now and it is still defined as it was.
pub(super) fn definition_of<'a>(
    shared: &'a Shared,
    consent: &Consent,
) -> Result<&'a Arc<ConnectionDef>, ConsentError> {
    let defined = check_ready(shared, consent.connection.as_str())?;
    if defined.provider == consent.provider {
        return Ok(defined);
    }
    Err(ConsentError::Redefined {
        name: consent.connection.clone(),
        asked: consent.provider.clone(),
        defined: defined.provider.clone(),
    })
}

fn title(defined: &ConnectionDef) -> String {
    defined.definition.provider().title().to_owned()
}

pub(super) async fn create_consent(
    shared: &Shared,
    defined: &ConnectionDef,
    ticket: &Secret,
    by: &Actor,
) -> Result<(ConsentId, Timestamp), TokenError> {
    let id = ConsentId::generate(shared.clock.now(), &*shared.entropy);
    let invite = Invite {
        id,
        connection: defined.name.clone(),
        provider: defined.provider.clone(),
        ticket: shared.sealer.fingerprint(ticket),
        life: LINK_LIFE,
        by: by.clone(),
    };
    let until = shared.with_retry(|| shared.ports.consents.invite(invite.clone())).await?;
    Ok((id, until))
}

/// Where a person was sent.
pub(super) struct RedirectTarget {
    pub(super) url: Url,
    state: Secret,
    pub(super) until: Timestamp,
}

/// Opens a link in the store, and makes the URL of the provider's page.
pub(super) async fn begin_authorization(
    shared: &Shared,
    defined: &ConnectionDef,
    consent: &Consent,
    browser: Option<&Secret>,
) -> Result<RedirectTarget, ConsentError> {
    let (state, verifier) = (one_time_text(&*shared.entropy), one_time_text(&*shared.entropy));
    let values = RequestValues {
        state: Some(state.clone()),
        code_challenge: Some(code_challenge(&verifier)),
        ..RequestValues::default()
    };
    let request = defined.definition.request(Step::Authorize, &values);
    let url = request.map_err(|error| unusable(defined, error.to_string()))?.url;
    let id = consent.id.to_string();
    let opening = ConsentStart {
        ticket: consent.ticket,
        state: shared.sealer.fingerprint(&state),
        browser: browser.map(|browser| shared.sealer.fingerprint(browser)),
        verifier: shared.sealer.seal(verifier.reveal().as_bytes(), verifier_context(&id), &*shared.entropy),
        life: ANSWER_LIFE,
    };
    match shared.with_retry(|| shared.ports.consents.start_consent(opening.clone())).await? {
        ConsentStartAnswer::Started { until } => {
            tracing::info!(connection = %defined.name, consent = %id, "a person is asked for consent");
            Ok(RedirectTarget { url, state, until })
        }
        ConsentStartAnswer::Closed(closed) => Err(ConsentError::of_closed(defined.name.clone(), closed)),
        ConsentStartAnswer::Unknown => Err(ConsentError::UnknownLink),
    }
}

fn unusable(defined: &ConnectionDef, message: String) -> TokenError {
    TokenError::Definition { name: defined.name.clone(), message }
}

fn callback(defined: &ConnectionDef) -> Result<Url, TokenError> {
    let written = defined.definition.client().redirect_uri.as_deref().unwrap_or_default();
    written.parse().map_err(|error| unusable(defined, format!("client.redirect_uri is not a URL: {error}")))
}

/// The link lies beside the callback, so that the browser brings its cookie to both.
fn link(defined: &ConnectionDef, ticket: &Secret) -> Result<Secret, TokenError> {
    let mut url = callback(defined)?;
    let Some(base) = url.path().strip_suffix(CALLBACK_PATH).map(str::to_owned) else {
        let message = format!(
            "its redirect URI {url} does not end in {CALLBACK_PATH}, so the browser would not come back to jeton; use \
             `jeton connect {} --code`",
            defined.name
        );
        return Err(unusable(defined, message));
    };
    url.set_path(&format!("{base}{LINK_PATH}"));
    url.query_pairs_mut().clear().append_pair("ticket", ticket.reveal());
    Ok(Secret::from(String::from(url)))
}

impl ConsentError {
    fn of_closed(name: ConnectionName, closed: ClosedLink) -> Self {
        match closed {
            ClosedLink::Used => Self::UsedLink { name },
            ClosedLink::Late => Self::LateLink { name },
        }
    }
}
