//! Consent in a browser: the link, the way back, and the pages that people see.
//!
//! Nothing here may outlive its one use: no page is cached, no referrer is sent on, and no page runs a script or loads
//! anything.

mod page;
pub(crate) mod status;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use jeton_core::keep::provider::CallbackParams;
use jeton_core::secret::Secret;
use jeton_keeper::{Asking, ConsentError};

use crate::router::Doors;
use page::clothe;

/// How many characters of the state name the cookie, so that consents in several tabs do not take each other's.
const NAMING: usize = 12;

/// Where the cookie is sent: to this folder of the server alone.
const FOLDER: &str = "oauth";

/// `GET /oauth/authorize?ticket=`: opens a link, once, and sends the browser to the provider.
pub(crate) async fn authorize(
    State(doors): State<Arc<Doors>>,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    if let Some(early) = not_a_person(&method, &headers) {
        return early;
    }
    let Ok(mut params) = parameters(&uri) else { return words::unreadable().into_response() };
    let ticket = Secret::from(params.remove("ticket").unwrap_or_default());
    match doors.vault.open_link(&ticket).await {
        Ok(asking) => send_on(&asking),
        Err(error) => words::of_error(&error).into_response(),
    }
}

/// `GET /oauth/callback`: takes the answer of a provider. Open to everyone: the state and the cookie are the proof.
pub(crate) async fn callback(
    State(doors): State<Arc<Doors>>,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    if let Some(early) = not_a_person(&method, &headers) {
        return early;
    }
    let Ok(params) = parameters(&uri) else { return words::unreadable().into_response() };
    let name = params.get("state").map(|state| cookie_name(state)).unwrap_or_default();
    let found = cookie(&headers, &name);
    let browser = found.as_ref().map(|(_, value)| value);
    match doors.vault.call_back(params, browser).await {
        Ok(consented) => dismiss(words::of_success(&consented).into_response(), found.as_ref()),
        Err(error @ (ConsentError::AnotherBrowser | ConsentError::Keeper(_))) => {
            words::of_error(&error).into_response()
        }
        Err(error) => dismiss(words::of_error(&error).into_response(), found.as_ref()),
    }
}

/// Programs that look at links before people do (previews, prefetching browsers) must not use them up.
fn not_a_person(method: &Method, headers: &HeaderMap) -> Option<Response> {
    let ahead = ["sec-purpose", "purpose", "x-moz"].iter().any(|name| {
        headers
            .get(*name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.contains("prefetch"))
    });
    if ahead {
        return Some(StatusCode::SERVICE_UNAVAILABLE.into_response());
    }
    (method == Method::HEAD).then(|| clothe(StatusCode::OK.into_response()))
}

/// A parameter came twice, or is no text.
struct Unreadable;

/// The parameters of a request; one that comes twice makes it bad (RFC 6749, section 3.1).
fn parameters(uri: &Uri) -> Result<CallbackParams, Unreadable> {
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| Unreadable)?;
    let mut params = BTreeMap::new();
    for (name, value) in pairs.0 {
        if params.insert(name, value).is_some() {
            return Err(Unreadable);
        }
    }
    Ok(params)
}

fn send_on(asking: &Asking) -> Response {
    let mut response = clothe(StatusCode::SEE_OTHER.into_response());
    let secure = asking.callback.scheme() == "https";
    let folder = asking.callback.path().rsplit_once('/').map_or("/oauth", |(folder, _)| folder);
    let set = format!(
        "{}{}={}; Path={folder}; Max-Age={}; HttpOnly; SameSite=Lax{}",
        if secure { "__Secure-" } else { "" },
        cookie_name(asking.state.reveal()),
        asking.browser.reveal(),
        asking.life.as_secs(),
        if secure { "; Secure" } else { "" },
    );
    let (Ok(location), Ok(set)) = (HeaderValue::from_str(asking.url.as_str()), HeaderValue::from_str(&set))
    else {
        // A URL is ASCII, and so are cookies made of base64: what is left is a defect.
        return words::defect().into_response();
    };
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::SET_COOKIE, set);
    response
}

fn cookie_name(state: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    format!("jeton-{}", state.chars().filter(plain).take(NAMING).collect::<String>())
}

/// The cookie of that name, with or without the prefix that secure ones have: its full name and its value.
fn cookie(headers: &HeaderMap, name: &str) -> Option<(String, Secret)> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    pairs.flat_map(|line| line.split(';')).find_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        let own = found == name || found.strip_prefix("__Secure-") == Some(name);
        own.then(|| (found.to_owned(), Secret::new(value)))
    })
}

/// The cookie has done what it was for.
fn dismiss(mut response: Response, cookie: Option<&(String, Secret)>) -> Response {
    let Some((name, _)) = cookie else { return response };
    let secure = if name.starts_with("__Secure-") { "; Secure" } else { "" };
    let gone = format!("{name}=; Path=/{FOLDER}; Max-Age=0; HttpOnly; SameSite=Lax{secure}");
    if let Ok(gone) = HeaderValue::from_str(&gone) {
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
        let (name, value) = cookie(&headers, &cookie_name("abcdefghijklmnop")).unwrap();
        assert_eq!((name.as_str(), value.reveal()), ("__Secure-jeton-abcdefghijkl", "secret"));
        assert!(cookie(&headers, &cookie_name("abcdefghijkx")).is_none());
        assert_eq!(cookie_name("a;b\r\n=c"), "jeton-abc");
    }
}
