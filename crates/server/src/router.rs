//! Which URL leads where.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use jeton_issuer::Access;
use jeton_keeper::Vault;

use crate::access::Asks;
use crate::api::{audit, connections, diagnostics, health, refresh, service_tokens, token, verify};
use crate::door::{Door, Proof};
use crate::oauth::{self, status};
use crate::{fault, openapi, passage, refusals};

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

/// Every URL, and the function behind it, with what the document says of it.
pub(crate) fn doors() -> Vec<Door> {
    let mut all = connections();
    all.extend(service_tokens());
    all.extend(open());
    all.extend(consent());
    all
}

fn connections() -> Vec<Door> {
    // What operators do asks for a scope that the API key has not.
    let (read, token, admin) =
        (Proof::Scope(Asks::Read), Proof::Scope(Asks::Token), Proof::Scope(Asks::Admin));
    vec![
        Door::get("/api/v1/connections", connections::list)
            .says(
                "connections",
                "listConnections",
                "Lists what is defined, and what is stored without a definition, by name.",
            )
            .asks(read)
            .refuses(&["STORE_UNAVAILABLE"]),
        Door::get("/api/v1/connections/{name}", connections::show)
            .says("connections", "showConnection", "Tells how a connection stands.")
            .asks(read)
            .refuses(refusals::LOOK),
        Door::delete("/api/v1/connections/{name}", connections::disconnect)
            .says("connections", "disconnect", "Gives the grant of a connection up; its log stays.")
            .asks(admin)
            .refuses(refusals::GRANT),
        Door::post("/api/v1/connections/{name}/pause", connections::pause)
            .says("connections", "pauseConnection", "Spends nothing of a connection until it is resumed.")
            .asks(admin)
            .refuses(refusals::GRANT),
        Door::post("/api/v1/connections/{name}/resume", connections::resume)
            .says("connections", "resumeConnection", "Goes on with a connection that was paused.")
            .asks(admin)
            .refuses(refusals::GRANT),
        Door::post("/api/v1/connections/{name}/refresh", refresh::refresh)
            .says(
                "tokens",
                "refresh",
                "Refreshes a token now, if it is due or forced, and waits for the outcome.",
            )
            .asks(token)
            .refuses(refusals::TOKEN),
        Door::get("/api/v1/connections/{name}/token", token::current)
            .says("tokens", "getToken", "Gives a living token, refreshing it first where it must be.")
            .asks(token)
            .refuses(refusals::TOKEN),
        Door::post("/api/v1/connections/{name}/token/reject", token::reject)
            .says("tokens", "rejectToken", "Reports that an API refused a token, and gives a newer one.")
            .asks(token)
            .refuses(refusals::REJECT),
        Door::get("/api/v1/diagnostics/token-status", diagnostics::token_status)
            .says(
                "diagnostics",
                "examineToken",
                "Examines what is stored of a connection, and refreshes nothing.",
            )
            .asks(read)
            .refuses(refusals::EXAMINE),
        Door::get("/api/v1/diagnostics/config", diagnostics::config)
            .says("diagnostics", "showConfig", "Tells how a connection is set up, without a secret.")
            .asks(read)
            .refuses(refusals::LOOK),
    ]
}

fn service_tokens() -> Vec<Door> {
    let admin = Proof::Scope(Asks::Admin);
    vec![
        Door::get("/api/v1/service-tokens", service_tokens::list)
            .says(
                "service-tokens",
                "listServiceTokens",
                "Lists all service tokens, ended ones too, the oldest first.",
            )
            .asks(admin),
        Door::post("/api/v1/service-tokens", service_tokens::create)
            .says(
                "service-tokens",
                "createServiceToken",
                "Makes a service token and shows its text, this once.",
            )
            .asks(admin)
            .refuses(&["SERVICE_TOKEN_CONFLICT"]),
        Door::delete("/api/v1/service-tokens/{id}", service_tokens::revoke)
            .says("service-tokens", "revokeServiceToken", "Revokes a service token for good; its row stays.")
            .asks(admin),
        Door::post("/api/v1/service-tokens/{id}/rotate", service_tokens::rotate)
            .says(
                "service-tokens",
                "rotateServiceToken",
                "Makes a service token in place of another, which counts for a while still.",
            )
            .asks(admin)
            .refuses(&["SERVICE_TOKEN_CONFLICT"]),
        Door::get("/api/v1/audit", audit::list)
            .says(
                "service-tokens",
                "listAudit",
                "Lists who did what to which connection or service token, the newest first.",
            )
            .asks(admin),
    ]
}

/// Open to everyone who can reach the port; what is verified is what the caller presents.
fn open() -> Vec<Door> {
    vec![
        Door::get("/api/v1/verify", verify::verify)
            .says(
                "service-tokens",
                "verify",
                "Says whether the credential of the request is good, for others who must know.",
            )
            .asks(Proof::Credential),
        Door::get("/health", health::gateway_is_running).says(
            "health",
            "health",
            "Says that the process runs, in the words of the gateway that jeton replaces.",
        ),
        Door::get("/healthz", health::process_lives).says(
            "health",
            "lives",
            "Says that the process answers; it looks at nothing else.",
        ),
        Door::get("/readyz", health::ready)
            .says("health", "ready", "Says whether the store answers, so that tokens can be kept alive.")
            .refuses(&["STORE_UNAVAILABLE"]),
        Door::get("/openapi.json", openapi::show).says("reference", "openapi", "Gives this document."),
    ]
}

/// Each has a proof of its own: the ticket of a link, the state and the cookie of the browser, the ticket or the credential.
fn consent() -> Vec<Door> {
    vec![
        Door::get("/oauth/authorize", oauth::look)
            .says(
                "consent",
                "lookAtLink",
                "Shows a person what a link asks for, with a button that opens it.",
            )
            .shows(oauth::LOOK),
        Door::post("/oauth/authorize", oauth::open)
            .says(
                "consent",
                "openLink",
                "Opens a link, once, from its own page, and sends the browser on to the provider.",
            )
            .shows(oauth::OPEN),
        Door::get("/oauth/callback", oauth::callback)
            .says("consent", "callback", "Takes the answer of a provider, which a browser brings.")
            .shows(oauth::CALLBACK),
        Door::get("/oauth/status", status::status)
            .says(
                "consent",
                "consentStatus",
                "Tells how far consents have come: that of a link, or of all connections.",
            )
            .asks(Proof::TicketOrRead)
            .refuses(&["UNKNOWN_LINK", "STORE_UNAVAILABLE"]),
    ]
}

/// The router of all doors.
pub fn router(doors: Doors) -> Router {
    let state = Arc::new(doors);
    let all = self::doors().into_iter();
    let router = all.fold(Router::new(), |router, door| router.route(door.path, door.open(&state)));
    dress(router).with_state(state)
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
