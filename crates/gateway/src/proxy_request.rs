//! The request of a caller: which of its headers go on to the API, and what is refused.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};
use hyper::upgrade::OnUpgrade;
use jeton_core::keep::provider::Alias;
use jeton_server::{ClientAddress, REQUEST_ID, RequestId};

use crate::error::ProxyError;
use crate::header_names::{connection_options, sanitize_request};
use crate::replay_body::ReplayBody;

/// The path before the name of the connection.
pub(crate) const PROXY_PREFIX: &str = "/api/v1/proxy/";

/// A call that a caller asks for.
pub(crate) struct ProxyRequest {
    pub(crate) connection: String,
    pub(crate) method: Method,
    /// The path below the base of the API, as it was sent; empty for the base itself.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// The headers as they were sent, for authenticating the caller.
    pub(crate) caller_headers: HeaderMap,
    /// Where the request comes from.
    pub(crate) client: Option<IpAddr>,
    /// What goes on of the headers.
    pub(crate) head: SanitizedHead,
    pub(crate) body: ReplayBody,
    /// The caller's connection, in case the API agrees to an upgrade.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// The alias that the caller asked for.
    pub(crate) alias: Option<Arc<Alias>>,
}

/// The part of a request's head that goes on to the API.
#[derive(Clone, Debug)]
pub(crate) struct SanitizedHead {
    pub(crate) headers: HeaderMap,
    /// The body is sent in chunks; its length is not known.
    pub(crate) chunked: bool,
    /// The caller asks to switch its connection to this protocol.
    pub(crate) upgrade_to: Option<HeaderValue>,
}

impl ProxyRequest {
    /// # Errors
    /// The method cannot be forwarded, or two servers could read the head differently.
    pub(crate) fn new(
        connection: String,
        path: String,
        mut head: Parts,
        body: ReplayBody,
        alias: Option<Arc<Alias>>,
    ) -> Result<Self, ProxyError> {
        let mut sanitized = sanitize(&head)?;
        if let Some(id) = RequestId::of(&head.extensions) {
            sanitized.headers.entry(REQUEST_ID).or_insert_with(|| id.to_header());
        }
        Ok(Self {
            connection,
            method: head.method,
            path,
            query: head.uri.query().map(str::to_owned),
            client: ClientAddress::of(&head.extensions),
            caller_headers: head.headers,
            head: sanitized,
            body,
            upgrade: head.extensions.remove::<OnUpgrade>(),
            alias,
        })
    }

    /// The path as scopes and the access log know it.
    pub(crate) fn checked_path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }

    /// Whether the gateway reads the answer, which must not be compressed then.
    pub(crate) fn reads_answer(&self) -> bool {
        self.alias.as_ref().is_some_and(|alias| alias.envelope().is_some())
    }

    /// Asks the API for an answer that the gateway can read.
    pub(crate) fn ask_uncompressed(&mut self) {
        self.head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
}

/// Checks the head of a request, and removes what does not go on.
fn sanitize(head: &Parts) -> Result<SanitizedHead, ProxyError> {
    if head.uri.scheme().is_some() || head.uri.authority().is_some() {
        return Err(ProxyError::Head("its target names a host; send the path alone"));
    }
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(ProxyError::Method);
    }
    let hosts = head.headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        return Err(ProxyError::Head("it must have one Host header"));
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next();
    if chunked.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
    {
        return Err(ProxyError::Head("its Transfer-Encoding must be `chunked` alone"));
    }
    let lengths = head.headers.get_all(CONTENT_LENGTH).iter().count();
    if lengths > 1 || (lengths == 1 && chunked.is_some()) {
        return Err(ProxyError::Head("it gives its length twice"));
    }
    let mut headers = head.headers.clone();
    let upgrade_to = requested_upgrade(head);
    sanitize_request(&mut headers);
    headers
        .entry(USER_AGENT)
        .or_insert_with(|| HeaderValue::from_static(concat!("jeton/", env!("CARGO_PKG_VERSION"))));
    Ok(SanitizedHead { headers, chunked: chunked.is_some(), upgrade_to })
}

/// The protocol of an upgrade that is asked for: WebSocket (RFC 6455), which begins with a GET without a body. Others are
/// ignored, as any server may (RFC 9110, section 7.8).
fn requested_upgrade(head: &Parts) -> Option<HeaderValue> {
    let protocol = head.headers.get(UPGRADE)?;
    let asked = connection_options(&head.headers).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let web_socket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    (asked && web_socket && head.method == Method::GET).then(|| protocol.clone())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Request};

    use super::*;

    fn head(lines: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::builder().uri("/x").header("host", "jeton.example.com");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn headers_of_one_connection_or_for_jeton_go_no_further() {
        let sanitized = sanitize(&head(&[
            ("connection", "close, X-Named"),
            ("connection", "content-length"),
            ("x-named", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("proxy-authorization", "Basic x"),
            ("authorization", "Bearer x"),
            ("x-api-key", "x"),
            ("x-service-token", "x"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-http-method-override", "DELETE"),
            ("x-method-override", "DELETE"),
            ("x-rewrite-url", "/admin"),
            ("x-forwarded-uri", "/admin"),
            ("upgrade", "h2c"),
            ("content-length", "3"),
            ("accept", "text/plain"),
            ("user-agent", "mine"),
        ]))
        .unwrap();
        let mut names: Vec<_> = sanitized.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "content-length", "user-agent"]);
        assert_eq!(sanitized.upgrade_to, None);
    }

    #[test]
    fn what_two_servers_could_read_differently_is_refused() {
        for lines in [
            [("host", "other.example.com"), ("accept", "*/*")],
            [("transfer-encoding", "gzip, chunked"), ("accept", "*/*")],
            [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            [("transfer-encoding", "chunked"), ("content-length", "3")],
            [("content-length", "3"), ("content-length", "3")],
        ] {
            assert!(matches!(sanitize(&head(&lines)), Err(ProxyError::Head(_))), "{lines:?}");
        }
        let absolute = Request::builder().uri("http://evil.example/x").header("host", "a").body(()).unwrap();
        assert!(matches!(sanitize(&absolute.into_parts().0), Err(ProxyError::Head(_))));
        let trace = Request::builder().method("TRACE").uri("/x").header("host", "a").body(()).unwrap();
        assert_eq!(sanitize(&trace.into_parts().0).unwrap_err(), ProxyError::Method);
        let without_host = Request::builder().uri("/x").body(()).unwrap();
        assert!(matches!(sanitize(&without_host.into_parts().0), Err(ProxyError::Head(_))));
    }

    #[test]
    fn a_web_socket_is_asked_for_by_both_headers() {
        let asked = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert_eq!(sanitize(&head(&asked)).unwrap().upgrade_to.unwrap(), "WebSocket");
        assert_eq!(sanitize(&head(&asked[1..])).unwrap().upgrade_to, None);
    }
}
