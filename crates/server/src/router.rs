//! Which URL leads where.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use jeton_issuer::Access;
use jeton_keeper::Vault;

use crate::access::{Asks, guard};
use crate::api::{audit, connections, diagnostics, health, refresh, service_tokens, token, verify};
use crate::oauth::{self, status};
use crate::{fault, passage};

/// What the doors open on.
#[derive(Clone, Debug)]
pub struct Doors {
    /// Where the tokens are.
    pub vault: Vault,
    /// Who may come in.
    pub access: Access,
    /// Where the tokens are stored, for people; it holds no secret.
    pub storage: String,
}

/// Every URL, and the function behind it.
pub fn router(doors: Doors) -> Router {
    let doors = Arc::new(doors);

    let asking = |asks| from_fn_with_state((Arc::clone(&doors), asks), guard);

    // With the scope `read`.
    let reading = Router::new()
        .route("/api/v1/connections", get(connections::list))
        .route("/api/v1/connections/{name}", get(connections::show))
        .route("/api/v1/diagnostics/token-status", get(diagnostics::token_status))
        .route("/api/v1/diagnostics/config", get(diagnostics::config))
        .route_layer(asking(Asks::Read));

    // With the scope `token:NAME`.
    let tokens = Router::new()
        .route("/api/v1/connections/{name}/token", get(token::current))
        .route("/api/v1/connections/{name}/token/reject", post(token::reject))
        .route("/api/v1/connections/{name}/refresh", post(refresh::refresh))
        .route_layer(asking(Asks::Token));

    // With the scope `admin`, which the API key has not.
    let administering = Router::new()
        .route("/api/v1/connections/{name}", delete(connections::disconnect))
        .route("/api/v1/connections/{name}/pause", post(connections::pause))
        .route("/api/v1/connections/{name}/resume", post(connections::resume))
        .route("/api/v1/audit", get(audit::list))
        .route("/api/v1/service-tokens", get(service_tokens::list).post(service_tokens::create))
        .route("/api/v1/service-tokens/{id}", delete(service_tokens::revoke))
        .route("/api/v1/service-tokens/{id}/rotate", post(service_tokens::rotate))
        .route_layer(asking(Asks::Admin));

    // Open to everyone who can reach the port; what is verified is what the caller presents.
    let open = Router::new()
        .route("/api/v1/verify", get(verify::verify))
        .route("/health", get(health::gateway_is_running))
        .route("/healthz", get(health::process_lives))
        .route("/readyz", get(health::ready));

    // Each has a proof of its own: the ticket of a link, the state and the cookie of the browser, the ticket or the key.
    let consent = Router::new()
        .route("/oauth/authorize", get(oauth::look).post(oauth::open))
        .route("/oauth/callback", get(oauth::callback))
        .route("/oauth/status", get(status::status));

    dress(reading.merge(tokens).merge(administering).merge(open).merge(consent)).with_state(doors)
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
