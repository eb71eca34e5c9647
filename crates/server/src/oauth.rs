//! Consent in a browser: the link, the provider's answer, and the result.

mod pages;
pub(crate) mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jeton_core::keep::consent::Progress;
use jeton_core::keep::provider::CallbackParams;
use jeton_core::seal::Fingerprint;
use jeton_core::secret::Secret;
use jeton_keeper::{AuthorizationRedirect, ConsentError, ConsentStatus, LinkPreview};
use serde_json::json;
use url::form_urlencoded;

use crate::extract::read_body;
use crate::open_connections::OpenConnection;
use crate::openapi::operation::{DescribeInput, OperationDoc};
use crate::response::NoContent;
use crate::state::AppState;
use pages::{HtmlPage, secure};

/// The pages of [`show_link`].
pub(crate) const SHOW_LINK_PAGES: &[(u16, &str)] = &[
    (200, "What the link asks for, with a button to continue."),
    (400, "The address cannot be read."),
    (404, "The link does not exist."),
    (409, "The connection has another provider by now."),
    (410, "The link was used, or it has expired."),
    (500, "The connection is not set up correctly."),
    (503, "The server cannot save a connection at the moment."),
];

/// The pages of [`open_link`].
pub(crate) const OPEN_LINK_PAGES: &[(u16, &str)] = &[
    (200, "The browser goes to the provider by itself."),
    (400, "The address cannot be read."),
    (403, "The button was pressed on another site's page."),
    (404, "The link does not exist."),
    (409, "The connection has another provider by now."),
    (410, "The link was used, or it has expired."),
    (500, "The connection is not set up correctly."),
    (503, "The server cannot save a connection at the moment."),
];

/// The pages of [`callback`].
pub(crate) const CALLBACK_PAGES: &[(u16, &str)] = &[
    (303, "The answer was used; the browser goes to the result."),
    (400, "The answer belongs to no consent, or the address cannot be read."),
    (403, "Another browser opened the link."),
    (404, "The connection is no longer defined."),
    (409, "The answer belongs into a terminal, or the connection has another provider by now."),
    (410, "The answer came too late."),
    (500, "The connection is not set up correctly, or jeton has a bug."),
    (503, "The server cannot save a connection at the moment, or a browser loads the page ahead of time."),
];

/// The pages of [`result`].
pub(crate) const RESULT_PAGES: &[(u16, &str)] = &[
    (200, "The account is connected."),
    (202, "The connection is being saved; the page updates by itself."),
    (400, "The answer was rejected, the provider refused, or the address cannot be read."),
    (403, "The person denied access."),
    (404, "There is no such result."),
    (409, "The sign-in is not finished."),
    (410, "The answer came too late."),
    (502, "The provider gave no token."),
    (503, "The result cannot be read at the moment; the page tries again by itself."),
];

/// The pages of [`callback_form`].
pub(crate) const CALLBACK_FORM_PAGES: &[(u16, &str)] =
    &[(303, "The browser brings the answer again, in the address."), (400, "The answer cannot be read.")];

/// What a cookie of a consent begins with. The state follows, so that consents in several tabs have a cookie each, and so that
/// a refusal that came without its state is known by its cookie.
const COOKIE_PREFIX: &str = "jeton-";

/// The longest answer that is passed on in an address, in bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// `GET /`: for people who open the server's address.
pub(crate) async fn home() -> Response {
    HtmlPage::home().into_response()
}

/// `GET /favicon.ico`: no icon, so that browsers report no error.
pub(crate) async fn favicon() -> NoContent {
    NoContent
}

/// `GET /oauth/authorize?ticket=`: shows what a link asks for, with a button. Programs that open links before people do
/// (mail scanners, chat previews, prefetching browsers) do not use it up.
pub(crate) async fn show_link(State(app): State<Arc<AppState>>, Ticket(ticket): Ticket) -> Response {
    match app.vault.preview_link(&ticket).await {
        Ok(preview) => HtmlPage::link(&preview).into_response(),
        Err(error) => error_page(&error),
    }
}

/// `POST /oauth/authorize?ticket=`: opens a link, once, and sends the browser to the provider.
pub(crate) async fn open_link(
    State(app): State<Arc<AppState>>,
    headers: HeaderMap,
    Ticket(ticket): Ticket,
) -> Response {
    match app.vault.preview_link(&ticket).await {
        Ok(preview) if is_own_page(&headers, &preview) => {}
        Ok(_) => return HtmlPage::foreign_button().into_response(),
        Err(error) => return error_page(&error),
    }
    match app.vault.open_link(&ticket).await {
        Ok(redirect) => redirect_to_provider(&redirect),
        Err(error) => error_page(&error),
    }
}

/// `GET /oauth/callback`: receives the provider's answer; state and cookie authorize it. Once the answer is used, the
/// browser goes on to the result, so that neither code nor state stays in its address bar and reloading is harmless.
pub(crate) async fn callback(
    State(app): State<Arc<AppState>>,
    method: Method,
    headers: HeaderMap,
    CallbackQuery(mut params): CallbackQuery,
) -> Response {
    if let Some(response) = reject_prefetch(&method, &headers) {
        return response;
    }
    if params.contains_key("error") && !params.contains_key("code") && !params.contains_key("state") {
        // Some providers leave the state out of a refusal, against RFC 6749, section 4.1.2.1. A code without it is never taken.
        params.extend(only_state(&headers).map(|state| ("state".to_owned(), state)));
    }
    let state = Secret::new(params.get("state").map(String::as_str).unwrap_or_default());
    let cookie = find_cookie(&headers, &cookie_name(state.reveal()));
    let browser = cookie.as_ref().map(|(_, value)| value);
    match app.vault.take_callback(params, browser).await {
        Ok(_)
        | Err(
            ConsentError::UsedAnswer { .. }
            | ConsentError::Denied { .. }
            | ConsentError::Foreign { .. }
            | ConsentError::Failed { .. }
            | ConsentError::Unknown { .. }
            | ConsentError::Kept { .. }
            | ConsentError::Slow { .. }
            | ConsentError::Defect { .. },
        ) => {}
        Err(error @ (ConsentError::AnotherBrowser | ConsentError::Keeper(_))) => return error_page(&error),
        Err(error) => return clear_cookie(error_page(&error), cookie.as_ref()),
    }
    // Relative, because a proxy may have removed a part of the path.
    let location = format!("result?consent={}", app.vault.fingerprint(&state));
    let response = (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response();
    clear_cookie(secure(response), cookie.as_ref())
}

/// `POST /oauth/callback`: receives the answer of a provider that sends it as a form (OAuth 2.0 Form Post Response Mode). A browser
/// sends no cookie with a form of another site, so it brings the answer once more, by itself and with its cookie.
pub(crate) async fn callback_form(CallbackForm(mut params): CallbackForm) -> Response {
    // Tokens have no place in an address, and nothing here reads them.
    params.retain(|name, _| !matches!(name.as_str(), "access_token" | "id_token"));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&params).finish();
    if query.len() > MAX_ANSWER {
        return BadParameters.into_response();
    }
    secure((StatusCode::SEE_OTHER, [(header::LOCATION, format!("callback?{query}"))]).into_response())
}

/// `GET /oauth/result?consent=`: what became of a provider's answer. The parameter is the fingerprint of its state, which
/// nobody else can compute.
pub(crate) async fn result(State(app): State<Arc<AppState>>, ResultQuery(state): ResultQuery) -> Response {
    let found = match state {
        Some(state) => app.vault.consent_by_state(state).await,
        None => Ok(None),
    };
    match found {
        Ok(Some(consent)) => result_page(&app, &consent).await.into_response(),
        Ok(None) => HtmlPage::unknown_result().into_response(),
        Err(error) => HtmlPage::unknown_yet(&error).into_response(),
    }
}

async fn result_page(app: &AppState, consent: &ConsentStatus) -> HtmlPage {
    let name = &consent.connection;
    let Progress::Done { generation } = consent.progress else {
        return HtmlPage::unfinished(name, &consent.progress);
    };
    // Where the connection is no longer known, the page says what the consent brought about.
    let renews = app.vault.renews(name.as_str()).await.unwrap_or(true);
    let status = app.vault.status(name.as_str()).await.ok().filter(|status| status.generation == generation);
    HtmlPage::connected(name, renews, status.as_ref())
}

/// The page of an error; operators find the reason in the log.
fn error_page(error: &ConsentError) -> Response {
    if matches!(error, ConsentError::Keeper(_) | ConsentError::Redefined { .. }) {
        tracing::warn!(%error, "a consent cannot go on");
    }
    HtmlPage::error(error).into_response()
}

/// Whether the button was pressed on our own page; every browser says so in one of two headers.
fn is_own_page(headers: &HeaderMap, preview: &LinkPreview) -> bool {
    let value = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match value(HeaderName::from_static("sec-fetch-site")) {
        Some(site) => site == "same-origin",
        None => value(header::ORIGIN) == Some(&preview.callback.origin().ascii_serialization()),
    }
}

/// Answers browsers that load the page ahead of time, and programs that ask for headers alone: they must not use an answer up.
fn reject_prefetch(method: &Method, headers: &HeaderMap) -> Option<Response> {
    let purpose = headers.get("sec-purpose").and_then(|value| value.to_str().ok());
    if purpose.is_some_and(|value| value.contains("prefetch")) {
        return Some(HtmlPage::prefetched().into_response());
    }
    (method == Method::HEAD).then(|| secure(StatusCode::OK.into_response()))
}

/// A parameter that comes twice or is not text.
pub(crate) struct BadParameters;

impl IntoResponse for BadParameters {
    fn into_response(self) -> Response {
        HtmlPage::bad_parameters().into_response()
    }
}

/// The ticket of a link; empty where the address has none.
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

/// The parameters of the provider's answer.
pub(crate) struct CallbackQuery(CallbackParams);

impl<S: Send + Sync> FromRequestParts<S> for CallbackQuery {
    type Rejection = BadParameters;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, BadParameters> {
        parameters(&parts.uri).map(Self)
    }
}

/// The same as a form in the body.
pub(crate) struct CallbackForm(CallbackParams);

impl<S: Send + Sync> FromRequest<S> for CallbackForm {
    type Rejection = BadParameters;

    async fn from_request(request: Request, _: &S) -> Result<Self, BadParameters> {
        let (parts, body) = request.into_parts();
        let read = read_body(&parts.headers, body);
        let body = match parts.extensions.get::<Arc<OpenConnection>>() {
            Some(open) => open.idle_while(read).await.ok_or(BadParameters)?,
            None => read.await,
        };
        let body = body.map_err(|_| BadParameters)?;
        let text = std::str::from_utf8(&body).map_err(|_| BadParameters)?;
        unique(form_urlencoded::parse(text.as_bytes()).into_owned()).map(Self)
    }
}

impl DescribeInput for CallbackForm {
    fn describe(doc: &mut OperationDoc) {
        let schema = json!({ "type": "object", "additionalProperties": { "type": "string" } });
        let content = json!({ "application/x-www-form-urlencoded": { "schema": schema } });
        let description = "The parameters of the provider's answer.";
        doc.body = Some(json!({ "description": description, "required": true, "content": content }));
    }
}

impl DescribeInput for CallbackQuery {
    fn describe(doc: &mut OperationDoc) {
        for (name, description) in [
            ("state", "Identifies the consent."),
            ("code", "The authorization code."),
            ("error", "The provider's error code."),
            ("error_description", "The provider's error in words."),
            ("iss", "The issuer (RFC 9207)."),
        ] {
            doc.parameter::<String>("query", name, description, None);
        }
    }
}

/// Which result to show; nothing where the address does not say.
pub(crate) struct ResultQuery(Option<Fingerprint>);

impl<S: Send + Sync> FromRequestParts<S> for ResultQuery {
    type Rejection = BadParameters;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, BadParameters> {
        Ok(Self(parameters(&parts.uri)?.get("consent").and_then(|text| Fingerprint::parse(text))))
    }
}

impl DescribeInput for ResultQuery {
    fn describe(doc: &mut OperationDoc) {
        doc.parameter::<String>(
            "query",
            "consent",
            "Identifies the consent, as the callback redirects.",
            None,
        );
    }
}

/// The query parameters; one that comes twice is an error (RFC 6749, section 3.1).
fn parameters(uri: &Uri) -> Result<CallbackParams, BadParameters> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| BadParameters)?;
    unique(pairs)
}

fn unique(pairs: impl IntoIterator<Item = (String, String)>) -> Result<CallbackParams, BadParameters> {
    let mut params = BTreeMap::new();
    for (name, value) in pairs {
        if params.insert(name, value).is_some() {
            return Err(BadParameters);
        }
    }
    Ok(params)
}

/// A page that goes on by itself, with the cookie. It is not a redirect, because Chromium applies the policy of the page with
/// the button (`form-action`) to every redirect that follows.
fn redirect_to_provider(redirect: &AuthorizationRedirect) -> Response {
    let prefix = if redirect.callback.scheme() == "https" { SECURE_PREFIX } else { "" };
    let name = format!("{prefix}{}", cookie_name(redirect.state.reveal()));
    let cookie = cookie_line(&name, redirect.browser.reveal(), redirect.life.as_secs());
    let Ok(cookie) = HeaderValue::from_str(&cookie) else {
        return HtmlPage::internal_error().into_response();
    };
    let mut response = HtmlPage::redirecting(redirect).into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

/// The prefix of cookies that browsers accept over https alone.
const SECURE_PREFIX: &str = "__Secure-";

/// The cookie has no path: browsers keep it for the folder of the page that sets it, as they see it behind any proxy
/// (RFC 6265, section 5.1.4). Link and callback are in one folder.
fn cookie_line(name: &str, value: &str, life: u64) -> String {
    let secure = if name.starts_with(SECURE_PREFIX) { "; Secure" } else { "" };
    format!("{name}={value}; Max-Age={life}; HttpOnly; SameSite=Lax{secure}")
}

fn cookie_name(state: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    format!("{COOKIE_PREFIX}{}", state.chars().filter(plain).collect::<String>())
}

/// The full name and the value of a cookie, which may have the secure prefix.
fn find_cookie(headers: &HeaderMap, name: &str) -> Option<(String, Secret)> {
    cookies(headers)
        .find(|(found, _)| *found == name || found.strip_prefix(SECURE_PREFIX) == Some(name))
        .map(|(found, value)| (found.to_owned(), Secret::new(value)))
}

/// The state of the one consent that this browser has begun; absent where there are several.
fn only_state(headers: &HeaderMap) -> Option<String> {
    let mut states = cookies(headers)
        .filter_map(|(name, _)| name.strip_prefix(SECURE_PREFIX).unwrap_or(name).strip_prefix(COOKIE_PREFIX));
    let state = states.next()?;
    states.next().is_none().then(|| state.to_owned())
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

fn clear_cookie(mut response: Response, cookie: Option<&(String, Secret)>) -> Response {
    let Some((name, _)) = cookie else { return response };
    if let Ok(cleared) = HeaderValue::from_str(&cookie_line(name, "", 0)) {
        response.headers_mut().insert(header::SET_COOKIE, cleared);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_come_twice_or_are_not_text_are_rejected() {
        let read = |query: &str| parameters(&format!("/oauth/callback?{query}").parse().unwrap()).ok();
        assert_eq!(read("code=a%20b&state=s").unwrap()["code"], "a b");
        assert!(read("code=a&code=b").is_none());
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn a_cookie_is_found_by_the_state_among_others() {
        let with = |line| HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(line))]);
        let headers = with("a=1; __Secure-jeton-abcdefghijkl=secret;jeton-other=2");
        let (name, value) = find_cookie(&headers, &cookie_name("abcdefghijkl")).unwrap();
        assert_eq!((name.as_str(), value.reveal()), ("__Secure-jeton-abcdefghijkl", "secret"));
        assert!(find_cookie(&headers, &cookie_name("abcdefghijkx")).is_none());
        assert_eq!(only_state(&headers), None, "there are two");
        assert_eq!(only_state(&with("a=1; __Secure-jeton-abc=secret")).as_deref(), Some("abc"));
        assert_eq!(only_state(&with("a=1")), None);
        assert_eq!(cookie_name("a;b\r\n=c"), "jeton-abc");
    }
}
