//! The gateway as the binary mounts it: its routes, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, delete};
use jeton_core::entropy::Entropy;
use jeton_core::time::Clock;
use jeton_issuer::Access;
use jeton_keeper::Vault;
use tokio::time::timeout;

use crate::alias::ConnectionAlias;
use crate::handlers::{self, AliasRoute};
use crate::proxy_request::PROXY_PREFIX;
use crate::settings::Settings;
use crate::state::GatewayState;

/// How long [`Gateway::drain`] waits for upgraded connections to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Forwards calls to APIs, with the token put in. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Gateway {
    state: Arc<GatewayState>,
    aliases: Vec<ConnectionAlias>,
}

impl Gateway {
    /// A gateway to the connections of a vault, for the callers that `access` admits.
    pub fn new(
        vault: Vault,
        access: Access,
        aliases: Vec<ConnectionAlias>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { state: Arc::new(GatewayState::new(vault, access, settings, clock, entropy)), aliases }
    }

    /// The routes: the proxy and the aliases. They write their own access log, format their own errors and catch panics.
    pub fn router(&self) -> Router {
        let proxy = Router::new()
            .route(&format!("{PROXY_PREFIX}{{*rest}}"), any(handlers::proxy))
            .route("/api/v1/connections/{name}/rate-limits", delete(handlers::clear_rate_limits))
            .with_state(Arc::clone(&self.state));
        self.aliases.iter().fold(proxy, |router, alias| {
            let ConnectionAlias { connection, alias } = alias.clone();
            let path = alias.path().to_owned();
            let route = AliasRoute { state: Arc::clone(&self.state), connection, alias: Arc::new(alias) };
            router.merge(Router::new().route(&path, any(handlers::alias)).with_state(Arc::new(route)))
        })
    }

    /// Ends upgraded connections and closes idle ones. Whoever serves the routes waits for the calls under way.
    pub async fn drain(&self) {
        let state = &self.state;
        state.closing.cancel();
        state.upstream.close();
        state.tasks.close();
        if timeout(DRAIN_TIMEOUT, state.tasks.wait()).await.is_err() {
            tracing::debug!("some connections to APIs did not end in time");
        }
    }
}
