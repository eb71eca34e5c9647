//! The gateway as a whole: what it works with, its routes, and its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use jeton_core::access::Permission;
use jeton_core::audit::Actor;
use jeton_core::secret::Secret;
use jeton_core::time::Clock;
use jeton_issuer::{Access, Caller};
use jeton_keeper::{TokenError, Vault};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alias::AliasOf;
use crate::door::{self, AliasDoor, PROXY};
use crate::fault::Refusal;
use crate::kept::Room;
use crate::rate::Rates;
use crate::settings::Settings;
use crate::upstream::Upstreams;

/// How long the end waits for upgraded connections to notice it.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a consent link that an administrator was told is told again: each that is made is a row in the store.
const SAME_LINK: Duration = Duration::from_mins(1);

/// Calls APIs for callers, with the token put in. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Gateway {
    gate: Arc<Gate>,
    aliases: Vec<AliasOf>,
}

/// What calls are made with.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) vault: Vault,
    pub(crate) access: Access,
    pub(crate) upstreams: Upstreams,
    pub(crate) rates: Rates,
    /// What bodies that may be sent once more are kept in.
    pub(crate) room: Arc<Room>,
    /// One permit for each upgraded connection that may be open.
    pub(crate) tunnels: Arc<Semaphore>,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: TaskTracker,
    pub(crate) closing: CancellationToken,
    /// Consent links by connection, with the uptime at which each was made.
    links: Mutex<HashMap<String, (Secret, Duration)>>,
}

impl Gateway {
    /// A gateway to the connections of a vault, for the callers that `access` lets in.
    pub fn new(
        vault: Vault,
        access: Access,
        aliases: Vec<AliasOf>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let tasks = TaskTracker::new();
        let gate = Gate {
            vault,
            access,
            upstreams: Upstreams::new(Arc::clone(&clock), tasks.clone(), &settings),
            rates: Rates::new(Arc::clone(&clock)),
            room: Arc::new(Room::new(settings.replay_memory)),
            tunnels: Arc::new(Semaphore::new(settings.tunnels.min(Semaphore::MAX_PERMITS))),
            settings,
            clock,
            tasks,
            closing: CancellationToken::new(),
            links: Mutex::default(),
        };
        Self { gate: Arc::new(gate), aliases }
    }

    /// Its routes: the proxy and the aliases. They bring their own access log, errors and net for panics.
    pub fn router(&self) -> Router {
        let proxy = Router::new()
            .route(&format!("{PROXY}{{*rest}}"), any(door::proxied))
            .with_state(Arc::clone(&self.gate));
        self.aliases.iter().fold(proxy, |router, alias| {
            let door = AliasDoor { gate: Arc::clone(&self.gate), alias: alias.clone() };
            let path = alias.alias.path();
            router.merge(Router::new().route(path, any(door::aliased)).with_state(Arc::new(door)))
        })
    }

    /// Ends upgraded connections and closes those that are idle. Calls under way are waited for by whoever serves them.
    pub async fn drain(&self) {
        self.gate.closing.cancel();
        self.gate.upstreams.close();
        self.gate.tasks.close();
        if timeout(DRAIN, self.gate.tasks.wait()).await.is_err() {
            tracing::debug!("some connections to APIs did not end in time");
        }
    }
}

impl Gate {
    /// What a caller is told who gets no token: an administrator is told the link by which a person consents again.
    pub(crate) async fn without_token(&self, caller: &Caller, error: TokenError) -> Refusal {
        let dead = if let TokenError::Dead { name, .. } = &error { Some(name.clone()) } else { None };
        let refusal = Refusal::from(error);
        let Some(name) = dead.filter(|_| caller.require(&Permission::Admin).is_ok()) else { return refusal };
        match self.consent_link(name.as_str(), caller).await {
            Some(link) => refusal.with("consent_link", link.reveal()),
            None => refusal,
        }
    }

    async fn consent_link(&self, name: &str, caller: &Caller) -> Option<Secret> {
        let now = self.clock.uptime();
        let told = self.links.lock().expect("no panic happens under this lock").get(name).cloned();
        if let Some((link, made_at)) = told
            && now.saturating_sub(made_at) < SAME_LINK
        {
            return Some(link);
        }
        match self.vault.invite(name, &Actor::Service(caller.service().clone())).await {
            Ok(invitation) => {
                let mut links = self.links.lock().expect("no panic happens under this lock");
                links.insert(name.to_owned(), (invitation.link.clone(), now));
                Some(invitation.link)
            }
            Err(error) => {
                tracing::debug!(connection = name, %error, "there is no link for a consent");
                None
            }
        }
    }
}
