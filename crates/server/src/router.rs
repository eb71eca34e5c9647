//! Which URL leads where.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use jeton_keeper::Vault;

use crate::access::{self, ApiKey};
use crate::api::{connections, diagnostics, health, refresh, token};
use crate::oauth::{self, status};
use crate::{fault, passage};

/// What the doors open on.
#[derive(Clone, Debug)]
pub struct Doors {
    /// Where the tokens are.
    pub vault: Vault,
    /// Who may come in.
    pub api_key: ApiKey,
    /// Where the tokens are stored, for people; it holds no secret.
    pub storage: String,
}

/// Every URL, and the function behind it.
pub fn router(doors: Doors) -> Router {
    let doors = Arc::new(doors);

    // With the header X-API-KEY.
    let kept = Router::new()
        .route("/api/v1/connections", get(connections::list))
        .route("/api/v1/connections/{name}", get(connections::show).delete(connections::disconnect))
        .route("/api/v1/connections/{name}/pause", post(connections::pause))
        .route("/api/v1/connections/{name}/resume", post(connections::resume))
        .route("/api/v1/connections/{name}/token", get(token::current))
        .route("/api/v1/connections/{name}/token/reject", post(token::reject))
        .route("/api/v1/connections/{name}/refresh", post(refresh::refresh))
        .route("/api/v1/diagnostics/token-status", get(diagnostics::token_status))
        .route("/api/v1/diagnostics/config", get(diagnostics::config))
        .route_layer(from_fn_with_state(Arc::clone(&doors), access::require_key));

    // Open to everyone who can reach the port.
    let open = Router::new()
        .route("/health", get(health::gateway_is_running))
        .route("/healthz", get(health::process_lives))
        .route("/readyz", get(health::ready));

    // Each has a proof of its own: the ticket of a link, the state and the cookie of the browser, the ticket or the key.
    let consent = Router::new()
        .route("/oauth/authorize", get(oauth::look).post(oauth::open))
        .route("/oauth/callback", get(oauth::callback))
        .route("/oauth/status", get(status::status));

    dress(kept.merge(open).merge(consent)).with_state(doors)
}

/// What every answer has in common, also where there is no such URL. The last layer is the outermost.
pub(crate) fn dress<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(fault::no_such_url)
        .method_not_allowed_fallback(fault::no_such_method)
        .layer(from_fn(passage::catch_panic))
        .layer(from_fn(passage::common_headers))
        .layer(from_fn(passage::log))
}
