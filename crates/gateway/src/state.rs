//! What every call of the gateway uses.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::access::Permission;
use jeton_core::audit::Actor;
use jeton_core::entropy::Entropy;
use jeton_core::secret::Secret;
use jeton_core::time::Clock;
use jeton_issuer::{Access, Caller};
use jeton_keeper::{TokenError, Vault};
use jeton_server::visible_error;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call_rate::CallRates;
use crate::error::ErrorResponse;
use crate::rate_limits::RateLimits;
use crate::replay_body::ReplayBudget;
use crate::settings::Settings;
use crate::trace_context::Traces;
use crate::upstream::UpstreamClient;

/// How long administrators are given the same consent link: each new one is a row in the store.
const LINK_REUSE: Duration = Duration::from_mins(1);

/// What every call uses.
#[derive(Debug)]
pub(crate) struct GatewayState {
    pub(crate) vault: Vault,
    pub(crate) access: Access,
    pub(crate) upstream: UpstreamClient,
    pub(crate) rate_limits: RateLimits,
    pub(crate) call_rates: CallRates,
    pub(crate) traces: Traces,
    /// The memory for bodies that may be sent once more.
    pub(crate) replay_budget: Arc<ReplayBudget>,
    /// A permit for each upgraded connection that may be open.
    pub(crate) tunnels: Arc<Semaphore>,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) tasks: TaskTracker,
    pub(crate) closing: CancellationToken,
    /// Consent links by connection, with the uptime at which each was made.
    links: Mutex<HashMap<String, (Secret, Duration)>>,
}

impl GatewayState {
    pub(crate) fn new(
        vault: Vault,
        access: Access,
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let tasks = TaskTracker::new();
        Self {
            vault,
            access,
            upstream: UpstreamClient::new(tasks.clone(), &settings),
            rate_limits: RateLimits::new(Arc::clone(&clock)),
            call_rates: CallRates::default(),
            traces: Traces::new(&*entropy),
            replay_budget: Arc::new(ReplayBudget::new(settings.replay_memory)),
            tunnels: Arc::new(Semaphore::new(settings.tunnels.min(Semaphore::MAX_PERMITS))),
            settings,
            clock,
            entropy,
            tasks,
            closing: CancellationToken::new(),
            links: Mutex::default(),
        }
    }

    /// The answer to a caller for whom there is no token. Where the grant is dead, an administrator gets a consent link.
    pub(crate) async fn no_token(&self, caller: &Caller, error: TokenError) -> ErrorResponse {
        let dead = if let TokenError::Dead { name, .. } = &error { Some(name.clone()) } else { None };
        let response = ErrorResponse::from(visible_error(&self.vault, caller, error));
        let Some(name) = dead.filter(|_| caller.require(&Permission::Admin).is_ok()) else { return response };
        match self.consent_link(name.as_str(), caller).await {
            Some(link) => response.with("consent_link", link.reveal()),
            None => response,
        }
    }

    async fn consent_link(&self, name: &str, caller: &Caller) -> Option<Secret> {
        let now = self.clock.uptime();
        let known = self.links.lock().get(name).cloned();
        if let Some((link, created_at)) = known
            && now.saturating_sub(created_at) < LINK_REUSE
        {
            return Some(link);
        }
        match self.vault.invite(name, &Actor::Service(caller.service().clone())).await {
            Ok(invitation) => {
                self.links.lock().insert(name.to_owned(), (invitation.link.clone(), now));
                Some(invitation.link)
            }
            Err(error) => {
                tracing::debug!(connection = name, %error, "no consent link can be made");
                None
            }
        }
    }
}
