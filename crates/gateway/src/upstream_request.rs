//! The request that goes to the API: the caller's, with the token put in. A header for all calls is added in [`head`].

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use jeton_core::keep::provider::Injection;
use jeton_core::media_type::{essence, is_json};
use jeton_core::secret::Secret;
use jeton_keeper::Call;
use serde_json::value::RawValue;
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use crate::error::ProxyError;
use crate::header_names::remove_other_spellings;
use crate::proxy_request::ProxyRequest;
use crate::replay_body::ReplayBody;

/// The head of the request to the API, each time that it is sent.
///
/// # Errors
/// The token or the path does not fit into it.
pub(crate) fn head(request: &ProxyRequest, call: &Call, body: &UpstreamBody) -> Result<Parts, ProxyError> {
    let mut headers = request.head.headers.clone();
    inject_into_headers(&mut headers, &call.injections)?;
    let host = HeaderValue::from_str(&authority(&call.base.url));
    headers
        .insert(header::HOST, host.map_err(|_| ProxyError::Path("the base of the API has no usable host"))?);
    if let Some(protocol) = &request.head.upgrade_to {
        set_upgrade(&mut headers, protocol);
    }
    if let Some(whole) = &body.whole {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    } else if request.head.chunked {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = request.method.clone();
    head.uri = target(request, call)?;
    head.headers = headers;
    Ok(head)
}

/// Sets the headers of an upgrade to a protocol, in a request or in its answer.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: &HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol.clone());
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Where the call goes at the host of the API.
pub(crate) fn target(request: &ProxyRequest, call: &Call) -> Result<Uri, ProxyError> {
    // The path is joined as text: nothing in it is read as a URL, so that nothing in it can change the host.
    let base = call.base.url.path();
    let mut target = if request.path.is_empty() { base } else { base.trim_end_matches('/') }.to_owned();
    target.push_str(&request.path);
    if let Some(query) = inject_into_query(request.query.as_deref(), &call.injections) {
        target.push('?');
        target.push_str(&query);
    }
    let target = target.parse::<Uri>().ok().filter(|uri| uri.scheme().is_none() && uri.authority().is_none());
    target.ok_or(ProxyError::Path("it does not make a URL with the base of the API"))
}

/// The body of a request to an API.
pub(crate) struct UpstreamBody {
    pub(crate) replay: ReplayBody,
    /// The whole body as it is sent, where the token is put into it.
    pub(crate) whole: Option<Bytes>,
}

impl UpstreamBody {
    /// The body of a caller: streamed, unless the token goes into it.
    ///
    /// # Errors
    /// The token goes into it, and it is too large, too slow, or neither a JSON object nor a form. `idle` is how long it may
    /// take then.
    pub(crate) async fn new(
        request: &ProxyRequest,
        call: &Call,
        limit: usize,
        idle: Duration,
    ) -> Result<Self, ProxyError> {
        let replay = request.body.clone();
        if !call.injections.iter().any(|injection| matches!(injection, Injection::Body(..))) {
            return Ok(Self { replay, whole: None });
        }
        let read = timeout(idle, replay.read_whole()).await.map_err(|_| ProxyError::BodyTooSlow(idle))?;
        let body = read.map_err(|_| ProxyError::BodyBroken)?.ok_or(ProxyError::BodyTooLarge { limit })?;
        let whole = inject_into_body(&body, &request.head.headers, &call.injections)?;
        Ok(Self { replay, whole: Some(whole) })
    }

    /// The body to be sent; `None` where its beginning is gone.
    pub(crate) fn start(&self) -> Option<Body> {
        match &self.whole {
            Some(whole) => Some(Body::from(whole.clone())),
            None => self.replay.start(),
        }
    }

    /// Whether it can be sent once more.
    pub(crate) fn can_repeat(&self) -> bool {
        self.whole.is_some() || self.replay.can_repeat()
    }
}

/// Sets headers and cookies, in place of those of the same name.
fn inject_into_headers(headers: &mut HeaderMap, injections: &[Injection]) -> Result<(), ProxyError> {
    let invalid =
        |_| ProxyError::Unreachable("the token holds a character that headers cannot hold".to_owned());
    let mut cookies = String::new();
    for injection in injections {
        match injection {
            Injection::Header(name, value) => {
                let name = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| ProxyError::Unreachable(format!("`{name}` is no name of a header")))?;
                let mut value = HeaderValue::from_str(value.reveal()).map_err(invalid)?;
                value.set_sensitive(true);
                remove_other_spellings(headers, &name);
                headers.insert(name, value);
            }
            Injection::Cookie(name, value) => {
                if !cookies.is_empty() {
                    cookies.push_str("; ");
                }
                cookies.push_str(name);
                cookies.push('=');
                cookies.push_str(value.reveal());
            }
            Injection::Query(..) | Injection::Body(..) => {}
        }
    }
    if !cookies.is_empty() {
        let mut value = HeaderValue::from_str(&cookies).map_err(invalid)?;
        value.set_sensitive(true);
        headers.insert(header::COOKIE, value);
    }
    Ok(())
}

/// The query of the call: the caller's as it was sent, but for the parameters that are put in.
fn inject_into_query(query: Option<&str>, injections: &[Injection]) -> Option<String> {
    let put_in: Vec<(&str, &Secret)> = injections
        .iter()
        .filter_map(|injection| match injection {
            Injection::Query(name, value) => Some((name.as_str(), value)),
            _ => None,
        })
        .collect();
    if put_in.is_empty() {
        return query.map(str::to_owned);
    }
    let replaced = |pair: &&str| {
        form_urlencoded::parse(pair.as_bytes())
            .any(|(name, _)| put_in.iter().any(|(known, _)| *known == name))
    };
    let kept = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !replaced(pair));
    let mut made: Vec<String> = kept.map(str::to_owned).collect();
    made.push(
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(put_in.iter().map(|(name, value)| (*name, value.reveal())))
            .finish(),
    );
    Some(made.join("&"))
}

/// The body with the fields that are put in.
///
/// # Errors
/// [`ProxyError::BodyKind`] where it is neither a JSON object nor a form.
fn inject_into_body(
    body: &Bytes,
    headers: &HeaderMap,
    injections: &[Injection],
) -> Result<Bytes, ProxyError> {
    let put_in = injections.iter().filter_map(|injection| match injection {
        Injection::Body(name, value) => Some((name.as_str(), value)),
        _ => None,
    });
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match content_type.map(essence).as_deref() {
        Some("application/x-www-form-urlencoded") => {
            let put_in: Vec<_> = put_in.collect();
            let kept = form_urlencoded::parse(body)
                .filter(|(name, _)| put_in.iter().all(|(known, _)| known != name));
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(kept).extend_pairs(put_in.iter().map(|(name, value)| (*name, value.reveal())));
            Ok(form.finish().into())
        }
        Some(kind) if is_json(kind) => {
            // The values stay as they were sent: a number may have more digits than a float can hold.
            let mut object: BTreeMap<String, Box<RawValue>> =
                serde_json::from_slice(body).map_err(|_| ProxyError::BodyKind)?;
            for (name, value) in put_in {
                let value = serde_json::value::to_raw_value(value.reveal()).expect("text is always JSON");
                object.insert(name.to_owned(), value);
            }
            Ok(serde_json::to_vec(&object).expect("texts and values are always JSON").into())
        }
        _ => Err(ProxyError::BodyKind),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content_type(kind: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
    }

    #[test]
    fn headers_and_cookies_replace_those_of_the_caller() {
        let mut headers = HeaderMap::new();
        headers.append("x-token", HeaderValue::from_static("mine"));
        headers.append("x-token", HeaderValue::from_static("mine too"));
        headers.append("x_token", HeaderValue::from_static("mine, respelled"));
        let injections = [
            Injection::Header("x-token".to_owned(), "at-1".into()),
            Injection::Cookie("a".to_owned(), "at-1".into()),
            Injection::Cookie("b".to_owned(), "2".into()),
        ];
        inject_into_headers(&mut headers, &injections).unwrap();
        assert_eq!(headers.get_all("x-token").iter().collect::<Vec<_>>(), ["at-1"]);
        assert!(!headers.contains_key("x_token"), "a server may read both as one");
        assert_eq!(headers["cookie"], "a=at-1; b=2");
        assert!(headers["x-token"].is_sensitive() && headers["cookie"].is_sensitive());
    }

    #[test]
    fn a_query_keeps_what_the_caller_wrote_but_the_parameters_that_are_put_in() {
        let injections = [Injection::Query("token".to_owned(), "a&b".into())];
        let query = inject_into_query(Some("x=1&%74oken=mine&y=%zz&token&x=2"), &injections);
        assert_eq!(query.as_deref(), Some("x=1&y=%zz&x=2&token=a%26b"));
        assert_eq!(inject_into_query(None, &injections).as_deref(), Some("token=a%26b"));
        assert_eq!(inject_into_query(Some("a=%zz"), &[]).as_deref(), Some("a=%zz"));
        assert_eq!(inject_into_query(None, &[]), None);
    }

    #[test]
    fn a_body_is_a_form_or_an_object_that_takes_the_field() {
        let injections = [Injection::Body("auth".to_owned(), "at-1".into())];
        let inject = |kind, body: &str| {
            inject_into_body(&Bytes::from(body.to_owned()), &content_type(kind), &injections)
        };
        let json = inject("application/json; charset=utf-8", r#"{"a":1234567890123456789012,"auth":"mine"}"#)
            .unwrap();
        assert_eq!(json, r#"{"a":1234567890123456789012,"auth":"at-1"}"#);
        let form = inject("application/x-www-form-urlencoded", "a=1&auth=mine&b=x%20y").unwrap();
        assert_eq!(form, "a=1&b=x+y&auth=at-1");
        for (kind, body) in [("application/json", "[1]"), ("application/json", "{"), ("text/plain", "x")] {
            assert_eq!(inject(kind, body), Err(ProxyError::BodyKind), "{kind} {body}");
        }
        assert_eq!(
            inject_into_body(&Bytes::new(), &HeaderMap::new(), &injections),
            Err(ProxyError::BodyKind)
        );
    }

    proptest! {
        #[test]
        fn whatever_a_caller_writes_there_is_one_parameter_of_that_name(query in "([a-z%=&+]{0,20}|(token=[a-z]{0,3}&?){0,4})") {
            let injections = [Injection::Query("token".to_owned(), "right".into())];
            let made = inject_into_query(Some(&query), &injections).unwrap();
            let found: Vec<_> =
                form_urlencoded::parse(made.as_bytes()).filter(|(name, _)| name == "token").map(|(_, value)| value.into_owned()).collect();
            prop_assert_eq!(found, ["right"]);
        }
    }
}
