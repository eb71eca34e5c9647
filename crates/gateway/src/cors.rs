//! Web pages of other origins that may call (CORS, the Fetch standard, section 3.2).

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// What stands for every origin.
const ANY: &str = "*";

/// How long a browser may remember that it may call, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Headers of an answer that a page may read, besides those of every answer.
const EXPOSED: HeaderValue = HeaderValue::from_static("*, Retry-After, X-Jeton-Error, X-Jeton-Retry");

/// The origin of a page that may call. Its answers say so, errors included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AllowedOrigin {
    /// `*`, or the origin itself.
    origin: HeaderValue,
}

impl AllowedOrigin {
    /// The origin of a request, where these origins may call; `None` where no page asks, or this one may not.
    pub(crate) fn of(headers: &HeaderMap, allowed: &[String]) -> Option<Self> {
        let origin = headers.get(ORIGIN).filter(|_| !allowed.is_empty())?;
        if allowed.iter().any(|one| one == ANY) {
            return Some(Self { origin: HeaderValue::from_static(ANY) });
        }
        let is_same = |one: &String| one.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
        allowed.iter().any(is_same).then(|| Self { origin: origin.clone() })
    }

    /// The answer to a browser that asks before it calls; it carries no credential then. `methods` are those that may be
    /// used, or that of the call where any may. `None` where the request is a call itself.
    pub(crate) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
        methods: Option<HeaderValue>,
    ) -> Option<Response> {
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| method == Method::OPTIONS)?;
        let mut response = (StatusCode::OK, Body::empty()).into_response();
        let answer = response.headers_mut();
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, methods.unwrap_or_else(|| asked.clone()));
        if let Some(names) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        self.add_headers(answer);
        Some(response)
    }

    /// Lets the page read an answer.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        if self.origin != ANY {
            // Another page would get another answer.
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// Whether a text is an origin as browsers send it, or `*`.
pub fn is_origin(text: &str) -> bool {
    let plain = |url: url::Url| {
        matches!(url.scheme(), "http" | "https")
            && url.origin().ascii_serialization() == text.to_ascii_lowercase()
    };
    text == ANY || (!text.contains(ANY) && text.parse().is_ok_and(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (name.parse::<http::HeaderName>().unwrap(), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn only_a_listed_origin_may_call() {
        let allowed = ["https://app.example.com".to_owned()];
        let of = |origin, allowed: &[String]| AllowedOrigin::of(&headers(&[("origin", origin)]), allowed);
        assert!(of("https://app.example.com", &allowed).is_some());
        for other in ["https://app.example.com.evil.example", "http://app.example.com", "null", ""] {
            assert_eq!(of(other, &allowed), None, "{other}");
        }
        assert_eq!(of("https://app.example.com", &[]), None);
        assert_eq!(AllowedOrigin::of(&headers(&[]), &["*".to_owned()]), None, "no page asks");
        assert_eq!(of("https://any.example", &["*".to_owned()]).unwrap().origin, "*");
    }

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_else() {
        for right in ["*", "https://app.example.com", "http://localhost:3000", "https://App.example.com"] {
            assert!(is_origin(right), "{right}");
        }
        for wrong in
            ["", "app.example.com", "https://a.example/", "https://a.example/x", "https://*.example", "null"]
        {
            assert!(!is_origin(wrong), "{wrong}");
        }
    }
}
