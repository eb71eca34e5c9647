//! Which URL leads where.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use jeton_issuer::Access;
use jeton_keeper::Vault;

use crate::api::{audit, connections, diagnostics, health, refresh, service_tokens, token, verify};
use crate::auth::RequiredScope;
use crate::oauth::{self, status};
use crate::route::{Auth, Route};
use crate::{error, error_catalogue, middleware, openapi};

/// What the state open on.
#[derive(Clone, Debug)]
pub struct AppState {
    /// Where the tokens are.
    pub vault: Vault,
    /// Who may come in.
    pub access: Access,
    /// Where the tokens are stored, for people; it holds no secret.
    pub storage: String,
}

/// Every URL, and the function behind it, with what the document says of it.
pub(crate) fn routes() -> Vec<Route> {
    let mut all = connections();
    all.extend(service_tokens());
    all.extend(public());
    all.extend(consent());
    all
}

fn connections() -> Vec<Route> {
    // What operators do asks for a scope that the API key has not.
    let (read, token, admin) = (
        Auth::Scope(RequiredScope::Read),
        Auth::Scope(RequiredScope::Token),
        Auth::Scope(RequiredScope::Admin),
    );
    vec![
        Route::get("/api/v1/connections", connections::list)
            .doc(
                "connections",
                "listConnections",
                "Lists what is defined, and what is stored without a definition, by name.",
            )
            .auth(read)
            .errors(&["STORE_UNAVAILABLE"]),
        Route::get("/api/v1/connections/{name}", connections::show)
            .doc("connections", "showConnection", "Tells how a connection stands.")
            .auth(read)
            .errors(error_catalogue::READ_CONNECTION),
        Route::delete("/api/v1/connections/{name}", connections::disconnect)
            .doc("connections", "disconnect", "DescribeOutput the grant of a connection up; its log stays.")
            .auth(admin)
            .errors(error_catalogue::CHANGE_GRANT),
        Route::post("/api/v1/connections/{name}/pause", connections::pause)
            .doc("connections", "pauseConnection", "Spends nothing of a connection until it is resumed.")
            .auth(admin)
            .errors(error_catalogue::CHANGE_GRANT),
        Route::post("/api/v1/connections/{name}/resume", connections::resume)
            .doc("connections", "resumeConnection", "Goes on with a connection that was paused.")
            .auth(admin)
            .errors(error_catalogue::CHANGE_GRANT),
        Route::post("/api/v1/connections/{name}/refresh", refresh::refresh)
            .doc(
                "tokens",
                "refresh",
                "Refreshes a token now, if it is due or forced, and waits for the outcome.",
            )
            .auth(token)
            .errors(error_catalogue::GET_TOKEN),
        Route::get("/api/v1/connections/{name}/token", token::get)
            .doc("tokens", "getToken", "DescribeOutput a living token, refreshing it first where it must be.")
            .auth(token)
            .errors(error_catalogue::GET_TOKEN),
        Route::post("/api/v1/connections/{name}/token/reject", token::reject)
            .doc("tokens", "rejectToken", "Reports that an API refused a token, and gives a newer one.")
            .auth(token)
            .errors(error_catalogue::REJECT_TOKEN),
        Route::get("/api/v1/diagnostics/token-status", diagnostics::token_status)
            .doc(
                "diagnostics",
                "examineToken",
                "Examines what is stored of a connection, and refreshes nothing.",
            )
            .auth(read)
            .errors(error_catalogue::EXAMINE_GRANT),
        Route::get("/api/v1/diagnostics/config", diagnostics::config)
            .doc("diagnostics", "showConfig", "Tells how a connection is set up, without a secret.")
            .auth(read)
            .errors(error_catalogue::READ_CONNECTION),
    ]
}

fn service_tokens() -> Vec<Route> {
    let admin = Auth::Scope(RequiredScope::Admin);
    vec![
        Route::get("/api/v1/service-tokens", service_tokens::list)
            .doc(
                "service-tokens",
                "listServiceTokens",
                "Lists all service tokens, ended ones too, the oldest first.",
            )
            .auth(admin),
        Route::post("/api/v1/service-tokens", service_tokens::create)
            .doc(
                "service-tokens",
                "createServiceToken",
                "Makes a service token and shows its text, this once.",
            )
            .auth(admin)
            .errors(&["SERVICE_TOKEN_CONFLICT"]),
        Route::delete("/api/v1/service-tokens/{id}", service_tokens::revoke)
            .doc("service-tokens", "revokeServiceToken", "Revokes a service token for good; its row stays.")
            .auth(admin),
        Route::post("/api/v1/service-tokens/{id}/rotate", service_tokens::rotate)
            .doc(
                "service-tokens",
                "rotateServiceToken",
                "Makes a service token in place of another, which counts for a while still.",
            )
            .auth(admin)
            .errors(&["SERVICE_TOKEN_CONFLICT"]),
        Route::get("/api/v1/audit", audit::list)
            .doc(
                "service-tokens",
                "listAudit",
                "Lists who did what to which connection or service token, the newest first.",
            )
            .auth(admin),
    ]
}

/// Open to everyone who can reach the port; what is verified is what the caller presents.
fn public() -> Vec<Route> {
    vec![
        Route::get("/api/v1/verify", verify::verify)
            .doc(
                "service-tokens",
                "verify",
                "Says whether the credential of the request is good, for others who must know.",
            )
            .auth(Auth::AnyCredential),
        Route::get("/health", health::health).doc(
            "health",
            "health",
            "Says that the process runs, in the words of the gateway that jeton replaces.",
        ),
        Route::get("/healthz", health::liveness).doc(
            "health",
            "lives",
            "Says that the process answers; it looks at nothing else.",
        ),
        Route::get("/readyz", health::readiness)
            .doc("health", "ready", "Says whether the store answers, so that tokens can be kept alive.")
            .errors(&["STORE_UNAVAILABLE"]),
        Route::get("/openapi.json", openapi::show).doc(
            "reference",
            "openapi",
            "DescribeOutput this document.",
        ),
    ]
}

/// Each has a proof of its own: the ticket of a link, the state and the cookie of the browser, the ticket or the credential.
fn consent() -> Vec<Route> {
    vec![
        Route::get("/oauth/authorize", oauth::show_link)
            .doc("consent", "lookAtLink", "Shows a person what a link asks for, with a button that opens it.")
            .pages(oauth::SHOW_LINK_PAGES),
        Route::post("/oauth/authorize", oauth::open_link)
            .doc(
                "consent",
                "openLink",
                "Opens a link, once, from its own page, and sends the browser on to the provider.",
            )
            .pages(oauth::OPEN_LINK_PAGES),
        Route::get("/oauth/callback", oauth::callback)
            .doc("consent", "callback", "DescribeInput the answer of a provider, which a browser brings.")
            .pages(oauth::CALLBACK_PAGES),
        Route::get("/oauth/status", status::status)
            .doc(
                "consent",
                "consentStatus",
                "Tells how far consents have come: that of a link, or of all connections.",
            )
            .auth(Auth::TicketOrRead)
            .errors(&["UNKNOWN_LINK", "STORE_UNAVAILABLE"]),
    ]
}

/// The router of all state.
pub fn router(state: AppState) -> Router {
    let state = Arc::new(state);
    let all = routes().into_iter();
    let router =
        all.fold(Router::new(), |router, route| router.route(route.path, route.into_method_router(&state)));
    add_layers(router).with_state(state)
}

/// What every answer has in common, also where there is no such URL. The last layer is the outermost.
pub(crate) fn add_layers<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(error::unknown_url)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(from_fn(middleware::catch_panic))
        .layer(from_fn(middleware::set_common_headers))
        .layer(from_fn(middleware::log_request))
}
