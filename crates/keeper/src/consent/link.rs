//! A person consents: the link, the way to the provider and back, and what became of it.
//!
//! The rules stand in [`jeton_core::keep::consent`]; the exchange of the code is in `exchange`.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::audit::Actor;
use jeton_core::id::{ConnectionName, ConsentId};
use jeton_core::keep::consent::{
    ANSWER_LIFE, AnsweredBy, Consent, LINK_LIFE, code_challenge, one_time_text, opens, takes,
    verifier_context,
};
use jeton_core::keep::ports::{ConsentKey, ConsentStart, ConsentStartAnswer, FoundConsent, Invite};
use jeton_core::keep::provider::{CallbackParams, RequestValues, Step, Vars};
use jeton_core::seal::Fingerprint;
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use tokio::time::timeout;
use url::Url;

use super::error::ConsentError;
use super::exchange::{self, Consented};
use super::progress::{self, ConsentStatus};
use crate::definitions::{ConnectionDef, Definitions};
use crate::error::TokenError;
use crate::lifecycle::Lifecycle;
use crate::node::Node;
use crate::refresh::spend::Spender;
use crate::store_access::StoreAccess;

/// Where callbacks come in, below the URL that browsers reach this server by.
const CALLBACK_PATH: &str = "/oauth/callback";

/// Where printed links lead.
const LINK_PATH: &str = "/oauth/authorize";

/// A link for the person who consents. It works once.
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
    /// The scopes that are asked for.
    pub scopes: Vec<String>,
    /// How long the link can still be opened.
    pub left: Duration,
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

/// Asks people for consent, and takes what they answer.
#[derive(Debug)]
pub(crate) struct Consents {
    pub(crate) node: Arc<Node>,
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) store: Arc<StoreAccess>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) spender: Arc<Spender>,
}

impl Consents {
    /// Makes a link for the person who consents to a connection. The audit log names who ordered it.
    pub(crate) async fn invite(&self, name: &str, by: &Actor) -> Result<ConsentLink, ConsentError> {
        let def = self.check_ready(name).await?;
        let ticket = one_time_text(&*self.node.entropy);
        let link = link(def, &ticket)?;
        let (id, until) = self.create_consent(def, &ticket, by).await?;
        Ok(ConsentLink { id, link, until })
    }

    /// What a link asks for. Everything is checked that opening it checks, and the link stays as it is.
    pub(crate) async fn preview_link(&self, ticket: &Secret) -> Result<LinkPreview, ConsentError> {
        let (consent, def) = self.unopened_link(ticket).await?;
        let page = def.definition.endpoint(Step::Authorize, &Vars::new());
        let page = page.map_err(|error| unusable(def, error.to_string()))?;
        Ok(LinkPreview {
            name: consent.connection,
            provider: title(def),
            host: page.and_then(|page| page.url.host_str().map(str::to_owned)),
            scopes: def.definition.asked_scopes(),
            left: consent.link_until.since(self.node.clock.now()),
            callback: callback(def)?,
        })
    }

    /// Opens a link: it can be opened once. The browser is to be sent to the provider with what this answers.
    pub(crate) async fn open_link(&self, ticket: &Secret) -> Result<AuthorizationRedirect, ConsentError> {
        let (consent, def) = self.unopened_link(ticket).await?;
        let (callback, provider) = (callback(def)?, title(def));
        let browser = one_time_text(&*self.node.entropy);
        let RedirectTarget { url, state, .. } =
            self.begin_authorization(def, &consent, Some(&browser)).await?;
        Ok(AuthorizationRedirect { url, state, browser, provider, callback, life: ANSWER_LIFE })
    }

    /// The consent of a link that can be opened, and the connection that it is for.
    async fn unopened_link(&self, ticket: &Secret) -> Result<(Consent, &Arc<ConnectionDef>), ConsentError> {
        let key = ConsentKey::Ticket(self.node.sealer.fingerprint(ticket));
        let found = self.store.with_retry(|| self.store.ports.consents.find_consent(key)).await?;
        let Some(FoundConsent { consent, .. }) = found else { return Err(ConsentError::UnknownLink) };
        let closed = |closed| ConsentError::of_closed(consent.connection.clone(), closed);
        opens(&consent, self.node.clock.now()).map_err(closed)?;
        let def = self.definition_of(&consent).await?;
        Ok((consent, def))
    }

    /// Takes the answer that a provider sent a browser back with. The connection is made when this answers; a browser
    /// that goes away meanwhile changes nothing.
    pub(crate) async fn take_callback(
        &self,
        params: CallbackParams,
        browser: Option<&Secret>,
    ) -> Result<Consented, ConsentError> {
        let state = params.get("state").filter(|state| !state.is_empty()).ok_or(ConsentError::NoState)?;
        let key = ConsentKey::State(self.node.sealer.fingerprint(&Secret::new(state.as_str())));
        let found = self.store.with_retry(|| self.store.ports.consents.find_consent(key)).await?;
        let found = found.ok_or(ConsentError::UnknownState)?;
        let browser = browser.map(|browser| self.node.sealer.fingerprint(browser));
        self.take_answer(found, AnsweredBy::Browser(browser), params).await
    }

    /// Exchanges the code in a task of its own, which nobody who goes away can cancel.
    pub(super) async fn take_answer(
        &self,
        found: FoundConsent,
        answered_by: AnsweredBy,
        params: CallbackParams,
    ) -> Result<Consented, ConsentError> {
        if let Err(refusal) = takes(&found.consent, answered_by, self.node.clock.now()) {
            let ConsentStatus { connection, progress, .. } = progress::of(&self.node, found).await;
            return Err(ConsentError::of_refusal(connection, refusal, progress));
        }
        let consent = found.consent;
        let def = Arc::clone(self.definition_of(&consent).await?);
        if self.lifecycle.is_closing() {
            return Err(TokenError::ShuttingDown.into());
        }
        let settings = &self.node.settings;
        let waited = settings.redeem_timeout + settings.claim_wait * 2;
        let (spender, name) = (Arc::clone(&self.spender), def.name.clone());
        let task = self
            .lifecycle
            .attempts
            .spawn(async move { exchange::run(&spender, &def, &consent, answered_by, params).await });
        match timeout(waited, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                tracing::error!(connection = %name, %error, "the exchange of a code met a defect");
                Err(ConsentError::Defect { name })
            }
            Err(_) => Err(ConsentError::Slow { name, waited }),
        }
    }

    /// How far the consent with that id has come.
    pub(crate) async fn consent(&self, id: ConsentId) -> Result<Option<ConsentStatus>, TokenError> {
        self.consent_of(ConsentKey::Id(id)).await
    }

    /// How far the consent with that ticket has come.
    pub(crate) async fn consent_by_ticket(
        &self,
        ticket: &Secret,
    ) -> Result<Option<ConsentStatus>, TokenError> {
        self.consent_of(ConsentKey::Ticket(self.node.sealer.fingerprint(ticket))).await
    }

    /// How far the consent has come whose state has this fingerprint.
    pub(crate) async fn consent_by_state(
        &self,
        state: Fingerprint,
    ) -> Result<Option<ConsentStatus>, TokenError> {
        self.consent_of(ConsentKey::State(state)).await
    }

    async fn consent_of(&self, key: ConsentKey) -> Result<Option<ConsentStatus>, TokenError> {
        match self.store.with_retry(|| self.store.ports.consents.find_consent(key)).await? {
            Some(found) => Ok(Some(progress::of(&self.node, found).await)),
            None => Ok(None),
        }
    }

    /// The latest consent of each connection, by name: up to `limit` after `after`.
    pub(crate) async fn consents(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<ConsentStatus>, TokenError> {
        let found =
            self.store.with_retry(|| self.store.ports.consents.list_latest_consents(after, limit)).await?;
        let mut statuses = Vec::with_capacity(found.len());
        for found in found {
            statuses.push(progress::of(&self.node, found).await);
        }
        Ok(statuses)
    }

    /// A connection that consents can be asked for now.
    pub(super) async fn check_ready(&self, name: &str) -> Result<&Arc<ConnectionDef>, TokenError> {
        let def = self.definitions.get(name)?;
        self.store.check_hold()?;
        self.spender.discover(def).await?;
        def.definition.check_consent().map_err(|error| TokenError::Definition {
            name: def.name.clone(),
            message: format!("{}: {}", error.field, error.problem),
        })?;
        Ok(def)
    }

    /// The connection of a consent, if consents can be asked for now and it is still defined as it was.
    pub(super) async fn definition_of(&self, consent: &Consent) -> Result<&Arc<ConnectionDef>, ConsentError> {
        let def = self.check_ready(consent.connection.as_str()).await?;
        if def.provider == consent.provider {
            return Ok(def);
        }
        Err(ConsentError::Redefined {
            name: consent.connection.clone(),
            asked: consent.provider.clone(),
            defined: def.provider.clone(),
        })
    }

    pub(super) async fn create_consent(
        &self,
        def: &ConnectionDef,
        ticket: &Secret,
        by: &Actor,
    ) -> Result<(ConsentId, Timestamp), TokenError> {
        let id = ConsentId::generate(self.node.clock.now(), &*self.node.entropy);
        let invite = Invite {
            id,
            connection: def.name.clone(),
            provider: def.provider.clone(),
            ticket: self.node.sealer.fingerprint(ticket),
            life: LINK_LIFE,
            by: by.clone(),
        };
        let until = self.store.with_retry(|| self.store.ports.consents.invite(invite.clone())).await?;
        Ok((id, until))
    }

    /// Opens a link in the store, and makes the URL of the provider's page.
    pub(super) async fn begin_authorization(
        &self,
        def: &ConnectionDef,
        consent: &Consent,
        browser: Option<&Secret>,
    ) -> Result<RedirectTarget, ConsentError> {
        let (state, verifier) = (one_time_text(&*self.node.entropy), one_time_text(&*self.node.entropy));
        let values = RequestValues {
            state: Some(state.clone()),
            code_challenge: Some(code_challenge(&verifier)),
            ..RequestValues::default()
        };
        let request = def.definition.request(Step::Authorize, &values);
        let url = request.map_err(|error| unusable(def, error.to_string()))?.url;
        let id = consent.id.to_string();
        let opening = ConsentStart {
            ticket: consent.ticket,
            state: self.node.sealer.fingerprint(&state),
            browser: browser.map(|browser| self.node.sealer.fingerprint(browser)),
            verifier: self.node.sealer.seal(
                verifier.reveal().as_bytes(),
                verifier_context(&id),
                &*self.node.entropy,
            ),
            life: ANSWER_LIFE,
        };
        match self.store.with_retry(|| self.store.ports.consents.start_consent(opening.clone())).await? {
            ConsentStartAnswer::Started { until } => {
                tracing::info!(connection = %def.name, consent = %id, "a person is asked for consent");
                Ok(RedirectTarget { url, state, until })
            }
            ConsentStartAnswer::Closed(closed) => Err(ConsentError::of_closed(def.name.clone(), closed)),
            ConsentStartAnswer::Unknown => Err(ConsentError::UnknownLink),
        }
    }
}

/// Where a person was sent.
pub(super) struct RedirectTarget {
    pub(super) url: Url,
    state: Secret,
    pub(super) until: Timestamp,
}

/// What people call the provider. One for any server has no name of its own, so its host stands for it.
fn title(def: &ConnectionDef) -> String {
    let provider = def.definition.provider();
    let host = || {
        let page = def.definition.endpoint(Step::Authorize, &Vars::new()).ok()??;
        page.url.host_str().map(str::to_owned)
    };
    let host = if provider.hosts().is_empty() { host() } else { None };
    host.unwrap_or_else(|| provider.title().to_owned())
}

fn unusable(def: &ConnectionDef, message: String) -> TokenError {
    TokenError::Definition { name: def.name.clone(), message }
}

fn callback(def: &ConnectionDef) -> Result<Url, TokenError> {
    let written = def.definition.client().redirect_uri.as_deref().unwrap_or_default();
    written.parse().map_err(|error| unusable(def, format!("client.redirect_uri is not a URL: {error}")))
}

/// The link lies beside the callback, so that the browser brings its cookie to both.
fn link(def: &ConnectionDef, ticket: &Secret) -> Result<Secret, TokenError> {
    let mut url = callback(def)?;
    let Some(base) = url.path().strip_suffix(CALLBACK_PATH).map(str::to_owned) else {
        let message = format!(
            "its redirect URI {url} does not end in {CALLBACK_PATH}, so the browser would not come back to jeton; a \
             consent in the terminal (`--code`) needs no callback"
        );
        return Err(unusable(def, message));
    };
    url.set_path(&format!("{base}{LINK_PATH}"));
    url.query_pairs_mut().clear().append_pair("ticket", ticket.reveal());
    Ok(Secret::from(String::from(url)))
}
