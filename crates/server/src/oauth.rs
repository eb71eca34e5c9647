//! Consent in a browser: the link, the way back, and the pages that people see.
//!
//! Nothing here may outlive its one use: no page is cached, no referrer is sent on, and no page runs a script or loads
//! anything.

mod messages;
mod page;
pub(crate) mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jeton_core::keep::provider::CallbackParams;
use jeton_core::secret::Secret;
use jeton_keeper::{AuthorizationRedirect, ConsentError, LinkPreview};

use crate::openapi::operation::{DescribeInput, OperationDoc};
use crate::state::AppState;
use page::add_headers;

/// What the page of a link may be.
pub(crate) const SHOW_LINK_PAGES: &[(u16, &str)] = &[
    (200, "What the link asks for, with a button that opens it."),
    (400, "The address cannot be read."),
    (404, "There is no such link."),
    (410, "The link was used, or its time is over."),
    (500, "The connection cannot be used as it is defined."),
    (503, "jeton cannot go on now."),
];

/// What opening a link may lead to.
pub(crate) const OPEN_LINK_PAGES: &[(u16, &str)] = &[
    (200, "The browser goes on to the provider by itself."),
    (400, "The address cannot be read."),
    (403, "The button was not pressed on the page that has it."),
    (404, "There is no such link."),
    (409, "The connection is defined at another provider by now."),
    (410, "The link was used, or its time is over."),
    (500, "The connection cannot be used as it is defined."),
    (503, "jeton cannot go on now."),
];

/// What the answer of a provider may lead to.
pub(crate) const CALLBACK_PAGES: &[(u16, &str)] = &[
    (200, "The connection is made."),
    (202, "The answer is safe, and what comes of it is not stored yet."),
    (400, "The answer belongs to no consent, cannot be read, or says that the provider refused."),
    (403, "The person refused, or another browser began this."),
    (404, "The connection is not defined any more."),
    (409, "The answer was taken before, belongs into a terminal, or the connection is defined anew."),
    (410, "The answer came too late."),
    (500, "A defect, or the connection cannot be used as it is defined."),
    (502, "The provider did not give a token."),
    (503, "jeton cannot go on now, or a browser only looks ahead."),
];

/// How many characters of the state name the cookie, so that consents in several tabs do not take each other's.
const COOKIE_STATE_CHARS: usize = 12;

/// `GET /oauth/authorize?ticket=`: says what a link asks for, with a button that opens it. The link stays as it is, so that
/// programs which look at links before people do (of mail, of chats, of browsers that look ahead) use none up.
pub(crate) async fn show_link(State(app): State<Arc<AppState>>, Ticket(ticket): Ticket) -> Response {
    match app.vault.preview_link(&ticket).await {
        Ok(prospect) => messages::link(&prospect).into_response(),
        Err(error) => messages::error(&error).into_response(),
    }
}

/// `POST /oauth/authorize?ticket=`: opens a link, once, and sends the browser to the provider.
pub(crate) async fn open_link(
    State(app): State<Arc<AppState>>,
    headers: HeaderMap,
    Ticket(ticket): Ticket,
) -> Response {
    match app.vault.preview_link(&ticket).await {
        Ok(prospect) if is_own_page(&headers, &prospect) => {}
        Ok(_) => return messages::foreign_button().into_response(),
        Err(error) => return messages::error(&error).into_response(),
    }
    match app.vault.open_link(&ticket).await {
        Ok(asking) => redirect_to_provider(&asking),
        Err(error) => messages::error(&error).into_response(),
    }
}

/// `GET /oauth/callback`: takes the answer of a provider. Open to everyone: the state and the cookie are the proof.
pub(crate) async fn callback(
    State(app): State<Arc<AppState>>,
    method: Method,
    headers: HeaderMap,
    CallbackQuery(params): CallbackQuery,
) -> Response {
    if let Some(early) = reject_prefetch(&method, &headers) {
        return early;
    }
    let name = params.get("state").map(|state| cookie_name(state)).unwrap_or_default();
    let found = find_cookie(&headers, &name);
    let browser = found.as_ref().map(|(_, value)| value);
    match app.vault.take_callback(params, browser).await {
        Ok(consented) => clear_cookie(messages::connected(&consented).into_response(), found.as_ref()),
        Err(error @ (ConsentError::AnotherBrowser | ConsentError::Keeper(_))) => {
            messages::error(&error).into_response()
        }
        Err(error) => clear_cookie(messages::error(&error).into_response(), found.as_ref()),
    }
}

/// Whether the button was pressed on our own page: every browser says where a request comes from, in one way or the other.
fn is_own_page(headers: &HeaderMap, prospect: &LinkPreview) -> bool {
    let said = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match said(HeaderName::from_static("sec-fetch-site")) {
        Some(site) => site == "same-origin",
        None => said(header::ORIGIN) == Some(&prospect.callback.origin().ascii_serialization()),
    }
}

/// Browsers that look ahead, and programs that ask for headers alone, must not use an answer up.
fn reject_prefetch(method: &Method, headers: &HeaderMap) -> Option<Response> {
    let ahead = headers.get("sec-purpose").and_then(|value| value.to_str().ok());
    if ahead.is_some_and(|value| value.contains("prefetch")) {
        return Some(messages::prefetched().into_response());
    }
    (method == Method::HEAD).then(|| add_headers(StatusCode::OK.into_response()))
}

/// A parameter came twice, or is no text.
pub(crate) struct BadParameters;

impl IntoResponse for BadParameters {
    fn into_response(self) -> Response {
        messages::bad_parameters().into_response()
    }
}

/// The ticket of a link; nothing where the address has none.
pub(crate) struct Ticket(Secret);

impl<S: Send + Sync> FromRequestParts<S> for Ticket {
    type Rejection = BadParameters;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, BadParameters> {
        Ok(Self(Secret::from(parameters(&parts.uri)?.remove("ticket").unwrap_or_default())))
    }
}

impl DescribeInput for Ticket {
    fn describe(doc: &mut OperationDoc) {
        doc.parameter::<String>("query", "ticket", "The ticket of the link.", None);
    }
}

/// What a browser brings from a provider.
pub(crate) struct CallbackQuery(CallbackParams);

impl<S: Send + Sync> FromRequestParts<S> for CallbackQuery {
    type Rejection = BadParameters;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, BadParameters> {
        parameters(&parts.uri).map(Self)
    }
}

impl DescribeInput for CallbackQuery {
    fn describe(doc: &mut OperationDoc) {
        for (name, means) in [
            ("state", "Which consent it answers."),
            ("code", "What the provider gives a token for."),
            ("error", "Why the provider gives none."),
            ("error_description", "The same, for people."),
            ("iss", "Which provider answers (RFC 9207)."),
        ] {
            doc.parameter::<String>("query", name, means, None);
        }
    }
}

/// The parameters of a request; one that comes twice makes it bad (RFC 6749, section 3.1).
fn parameters(uri: &Uri) -> Result<CallbackParams, BadParameters> {
    let pairs =
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| BadParameters)?;
    let mut params = BTreeMap::new();
    for (name, value) in pairs.0 {
        if params.insert(name, value).is_some() {
            return Err(BadParameters);
        }
    }
    Ok(params)
}

/// A page that goes on by itself. It is no redirect: Chromium would hold the provider's page, and every page that this one
/// redirects to, to the policy of the page with the button (`form-action`).
fn redirect_to_provider(asking: &AuthorizationRedirect) -> Response {
    let secure = asking.callback.scheme() == "https";
    let name = format!("{}{}", if secure { SECURE_PREFIX } else { "" }, cookie_name(asking.state.reveal()));
    let set = set_cookie(&name, asking.browser.reveal(), asking.life.as_secs());
    let refresh = HeaderValue::from_str(&format!("0; url={}", asking.url));
    let (Ok(refresh), Ok(set)) = (refresh, HeaderValue::from_str(&set)) else {
        // A URL is ASCII, and so are cookies made of base64: what is left is a defect.
        return messages::internal_error().into_response();
    };
    let mut response = messages::redirecting(asking).into_response();
    response.headers_mut().insert(header::REFRESH, refresh);
    response.headers_mut().insert(header::SET_COOKIE, set);
    response
}

/// What the names of cookies begin with that browsers take over https alone.
const SECURE_PREFIX: &str = "__Secure-";

/// The cookie has no path, so that browsers keep it for the folder of the page that sets it, as they know it whatever a
/// proxy makes of the path (RFC 6265, section 5.1.4). The link lies beside the callback: one folder for setting, reading
/// and dismissing it.
fn set_cookie(name: &str, value: &str, life: u64) -> String {
    let secure = if name.starts_with(SECURE_PREFIX) { "; Secure" } else { "" };
    format!("{name}={value}; Max-Age={life}; HttpOnly; SameSite=Lax{secure}")
}

fn cookie_name(state: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    format!("jeton-{}", state.chars().filter(plain).take(COOKIE_STATE_CHARS).collect::<String>())
}

/// The cookie of that name, with or without the prefix that secure ones have: its full name and its value.
fn find_cookie(headers: &HeaderMap, name: &str) -> Option<(String, Secret)> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    pairs.flat_map(|line| line.split(';')).find_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        let own = found == name || found.strip_prefix(SECURE_PREFIX) == Some(name);
        own.then(|| (found.to_owned(), Secret::new(value)))
    })
}

/// The cookie has done what it was for.
fn clear_cookie(mut response: Response, cookie: Option<&(String, Secret)>) -> Response {
    let Some((name, _)) = cookie else { return response };
    if let Ok(gone) = HeaderValue::from_str(&set_cookie(name, "", 0)) {
        response.headers_mut().insert(header::SET_COOKIE, gone);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_come_twice_or_are_no_text_are_refused() {
        let read = |query: &str| parameters(&format!("/oauth/callback?{query}").parse().unwrap()).ok();
        assert_eq!(read("code=a%20b&state=s").unwrap()["code"], "a b");
        assert!(read("code=a&code=b").is_none());
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn a_cookie_is_found_by_the_state_whatever_stands_beside_it() {
        let line = HeaderValue::from_static("a=1; __Secure-jeton-abcdefghijkl=secret;jeton-other=2");
        let headers = HeaderMap::from_iter([(header::COOKIE, line)]);
        let (name, value) = find_cookie(&headers, &cookie_name("abcdefghijklmnop")).unwrap();
        assert_eq!((name.as_str(), value.reveal()), ("__Secure-jeton-abcdefghijkl", "secret"));
        assert!(find_cookie(&headers, &cookie_name("abcdefghijkx")).is_none());
        assert_eq!(cookie_name("a;b\r\n=c"), "jeton-abc");
    }
}
