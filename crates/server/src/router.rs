//! Which URL leads to which handler.

use std::sync::{Arc, LazyLock};

use axum::http::Method;
use axum::middleware::from_fn;
use axum::{Extension, Router};

use crate::api::{audit, connections, diagnostics, health, refresh, service_tokens, token, verify};
use crate::auth::RequiredScope;
use crate::error::{ApiError, RequestError};
use crate::error_catalogue as errors;
use crate::middleware::add_layers;
use crate::oauth::{self, status};
use crate::old_gateway;
use crate::openapi::{self, Document};
use crate::route::{Auth, Route};
use crate::state::AppState;
use crate::unknown_url::unknown_url;

const READ: Auth = Auth::Scope(RequiredScope::Read);
const TOKEN: Auth = Auth::Scope(RequiredScope::Token);
const OPERATE: Auth = Auth::Scope(RequiredScope::Operate);
const TOKEN_OR_OPERATE: Auth = Auth::Scope(RequiredScope::TokenOrOperate);
/// The API key does not have this scope.
const ADMIN: Auth = Auth::Scope(RequiredScope::Admin);

/// The router of the HTTP API.
pub fn router(state: AppState) -> Router {
    let app = Arc::new(state);
    let router = routes().into_iter().fold(Router::new(), |router, route| route.add_to(router, &app));
    let router = router
        .fallback(unknown_url)
        .method_not_allowed_fallback(async || ApiError::from(RequestError::MethodNotAllowed))
        .layer(Extension(&*DOCUMENT));
    let router =
        if app.old_gateway.is_some() { router.layer(from_fn(old_gateway::allow_browsers)) } else { router };
    add_layers(router).with_state(app)
}

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| Document::new(&routes()));

/// The `OpenAPI` 3.1 document, as `/openapi.json` serves it.
pub fn openapi() -> &'static str {
    &DOCUMENT.text
}

fn routes() -> Vec<Route> {
    let document = Route::new(Method::GET, "/openapi.json", openapi::show);
    let document = document.doc("openapi", "Returns this document.");
    let groups = [
        ("connections", connections()),
        ("diagnostics", diagnostics()),
        ("tokens", tokens()),
        ("service-tokens", service_tokens()),
        ("health", health()),
        ("reference", vec![document]),
        ("consent", consent()),
    ];
    let with_tag = |(tag, routes): (_, Vec<Route>)| routes.into_iter().map(move |route| route.tag(tag));
    groups.into_iter().flat_map(with_tag).collect()
}

fn connections() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/api/v1/connections", connections::list)
            .doc(
                "listConnections",
                "Lists all connections by name, including stored ones that are no longer defined.",
            )
            .auth(READ)
            .errors(&["STORE_UNAVAILABLE"]),
        Route::new(Method::GET, "/api/v1/connections/{name}", connections::show)
            .doc("showConnection", "Shows the state of a connection.")
            .auth(READ)
            .errors(errors::READ_CONNECTION),
        Route::new(Method::DELETE, "/api/v1/connections/{name}", connections::disconnect)
            .doc("disconnect", "Deletes the grant of a connection; its log stays.")
            .auth(ADMIN)
            .errors(errors::CHANGE_GRANT),
        Route::new(Method::POST, "/api/v1/connections/{name}/pause", connections::pause)
            .doc("pauseConnection", "Stops all refreshes of a connection until it is resumed.")
            .auth(OPERATE)
            .errors(errors::CHANGE_GRANT),
        Route::new(Method::POST, "/api/v1/connections/{name}/resume", connections::resume)
            .doc("resumeConnection", "Resumes a paused connection.")
            .auth(OPERATE)
            .errors(errors::CHANGE_GRANT),
    ]
}

fn diagnostics() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/api/v1/diagnostics/token-status", diagnostics::token_status)
            .doc(
                "examineToken",
                "Checks the stored tokens of a connection, if there are any; refreshes nothing.",
            )
            .auth(READ)
            .errors(errors::READ_CONNECTION),
        Route::new(Method::GET, "/api/v1/diagnostics/config", diagnostics::config)
            .doc("showConfig", "Shows the configuration of a connection, without secrets.")
            .auth(READ)
            .errors(errors::READ_CONNECTION),
        Route::new(Method::GET, "/api/v1/diagnostics/background-tasks", diagnostics::background_tasks)
            .doc(
                "listBackgroundTasks",
                "Lists the background tasks of this process: when each ran last, and why it failed.",
            )
            .auth(READ),
        Route::new(Method::GET, "/api/v1/diagnostics/token-endpoints", diagnostics::token_endpoints)
            .doc(
                "listUnavailableTokenEndpoints",
                "Lists the token endpoints that do not answer: since when, why, and when each is tried next.",
            )
            .auth(READ),
    ]
}

fn tokens() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/api/v1/connections/{name}/token", token::get)
            .doc("getToken", "Returns a valid access token, refreshed first if necessary.")
            .auth(TOKEN)
            .errors(errors::GET_TOKEN),
        Route::new(Method::POST, "/api/v1/connections/{name}/token/reject", token::reject)
            .doc("rejectToken", "Reports that the API rejected a token, and returns a newer one.")
            .auth(TOKEN)
            .errors(errors::REJECT_TOKEN),
        Route::new(Method::POST, "/api/v1/connections/{name}/refresh", refresh::refresh)
            .doc(
                "refresh",
                "Refreshes the token now, if it is due or `force` is set, and waits for the outcome.",
            )
            .auth(TOKEN_OR_OPERATE)
            .errors(errors::GET_TOKEN),
    ]
}

fn service_tokens() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/api/v1/service-tokens", service_tokens::list)
            .doc("listServiceTokens", "Lists all service tokens, oldest first, including expired and revoked ones.")
            .auth(ADMIN),
        Route::new(Method::POST, "/api/v1/service-tokens", service_tokens::create)
            .doc("createServiceToken", "Creates a service token; its text is in this response only.")
            .auth(ADMIN)
            .errors(&["SERVICE_TOKEN_CONFLICT"]),
        Route::new(Method::DELETE, "/api/v1/service-tokens/{id}", service_tokens::revoke)
            .doc("revokeServiceToken", "Revokes a service token for good; it stays in the list.")
            .auth(ADMIN),
        Route::new(Method::POST, "/api/v1/service-tokens/{id}/rotate", service_tokens::rotate)
            .doc("rotateServiceToken", "Creates a successor of a service token; the old one stays valid for the overlap.")
            .auth(ADMIN)
            .errors(&["SERVICE_TOKEN_CONFLICT"]),
        Route::new(Method::GET, "/api/v1/audit", audit::list)
            .doc("listAudit", "Lists administrative actions, newest first: who did what to which connection or service token.")
            .auth(ADMIN),
        Route::for_any_method("/api/v1/verify", verify::verify)
            .doc("verify", "Checks the service token of this request, for other back ends and reverse proxies.")
            .auth(Auth::AnyToken),
        Route::for_any_method("/api/v1/verify/envoy", verify::verify_for_envoy)
            .and_any_rest()
            .doc(
                "verifyForEnvoy",
                "Checks the service token of this request, for Envoy, which appends the path and query of its own request.",
            )
            .auth(Auth::AnyToken),
    ]
}

/// Routes that need no service token.
fn health() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/", oauth::home)
            .doc("home", "Says to a person at a browser that jeton runs.")
            .pages(&[(200, "That jeton runs.")]),
        Route::new(Method::GET, "/favicon.ico", oauth::favicon)
            .doc("favicon", "Answers the request of every browser for an icon: there is none."),
        Route::new(Method::GET, "/health", health::health)
            .doc("health", "Says that the process runs, in the format of the older gateway."),
        Route::new(Method::GET, "/healthz", health::liveness)
            .doc("liveness", "Says that the process responds; checks nothing else."),
        Route::new(Method::GET, "/readyz", health::readiness)
            .doc(
                "readiness",
                "Says whether the store responds and can be written, so that tokens can be refreshed.",
            )
            .errors(&["STORE_UNAVAILABLE"]),
    ]
}

/// Routes for the person who consents, authorized by the link's ticket or by state and cookie.
fn consent() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/oauth/authorize", oauth::show_link)
            .doc("showLink", "Shows what a consent link asks for, with a button to continue.")
            .pages(oauth::SHOW_LINK_PAGES),
        Route::new(Method::POST, "/oauth/authorize", oauth::open_link)
            .doc("openLink", "Opens a consent link, which works once, and sends the browser to the provider.")
            .pages(oauth::OPEN_LINK_PAGES),
        Route::new(Method::GET, "/oauth/callback", oauth::callback)
            .doc("callback", "Receives the provider's answer from the browser.")
            .pages(oauth::CALLBACK_PAGES),
        Route::new(Method::POST, "/oauth/callback", oauth::callback_form)
            .doc("callbackForm", "Receives the provider's answer as a form (`response_mode=form_post`).")
            .pages(oauth::CALLBACK_FORM_PAGES),
        Route::new(Method::GET, "/oauth/result", oauth::result)
            .doc("consentResult", "Shows what became of the provider's answer.")
            .pages(oauth::RESULT_PAGES),
        Route::new(Method::GET, "/oauth/status", status::status)
            .doc("consentStatus", "Shows the latest consent of every connection.")
            .auth(Auth::ReadOrOldGateway)
            .errors(&["STORE_UNAVAILABLE"]),
        Route::new(Method::POST, "/oauth/status", status::progress)
            .doc("consentProgress", "Shows the progress of one consent by the ticket of its link.")
            .errors(&["UNKNOWN_LINK", "STORE_UNAVAILABLE"]),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Method, path and operation of all routes.
    fn operations() -> Vec<(String, String, Value)> {
        let document: Value = serde_json::from_str(openapi()).unwrap();
        let mut all = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                all.push((method.clone(), path.clone(), operation.clone()));
            }
        }
        all
    }

    #[test]
    fn every_operation_has_a_unique_id_a_declared_tag_and_a_sentence() {
        let document: Value = serde_json::from_str(openapi()).unwrap();
        let tags: BTreeSet<&str> =
            document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
        let mut ids = BTreeSet::new();
        for (method, path, operation) in operations() {
            let what = format!("{method} {path}");
            let text = |member: &str| operation[member].as_str().unwrap_or_default().to_owned();
            assert!(!text("operationId").is_empty() && ids.insert(text("operationId")), "{what}");
            let summary = text("summary");
            assert!(
                summary.ends_with('.') && summary.starts_with(|c: char| c.is_ascii_uppercase()),
                "{what}"
            );
            let tag = operation["tags"][0].as_str().unwrap();
            assert!(tags.contains(tag), "{what}: {tag}");
            let statuses: Vec<&String> = operation["responses"].as_object().unwrap().keys().collect();
            assert!(
                statuses.iter().any(|status| status.starts_with(['2', '3']) || *status == "default"),
                "{what}"
            );
        }
    }

    #[test]
    fn every_part_of_a_path_in_braces_is_described_and_nothing_else() {
        for (method, path, operation) in operations() {
            let named: BTreeSet<&str> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let described: BTreeSet<&str> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(described, named, "{method} {path}");
            assert!(
                parameters.iter().all(|parameter| parameter["description"].is_string()),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn every_member_of_an_error_is_described() {
        let document: Value = serde_json::from_str(openapi()).unwrap();
        let properties = &document["components"]["schemas"]["Problem"]["properties"];
        for problem in errors::catalogue().into_values() {
            let written = serde_json::to_value(&problem).unwrap();
            for member in written.as_object().unwrap().keys() {
                assert!(!properties[member].is_null(), "{}: {member}", problem.code);
            }
        }
    }

    #[test]
    fn every_reference_is_resolved() {
        let document: Value = serde_json::from_str(openapi()).unwrap();
        let mut references = 0;
        for part in openapi().split("\"$ref\": \"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
            references += 1;
        }
        assert!(references > 50, "{references}");
    }

    #[test]
    fn no_url_is_served_outside_the_list() {
        let source = include_str!("router.rs").split("#[cfg(test)]").next().unwrap();
        let middleware = include_str!("middleware.rs").split("#[cfg(test)]").next().unwrap();
        for (calls, expected) in
            [(".route(", 0), (".route_service(", 0), (".nest(", 0), (".merge(", 0), (".fallback(", 1)]
        {
            let count = source.matches(calls).count() + middleware.matches(calls).count();
            assert_eq!(count, expected, "{calls}: a URL that is not in the list would not be documented");
        }
    }
}
