//! Which headers go on, in either direction.

use http::header::{
    ACCEPT_ENCODING, ALT_SVC, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT, VIA,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, response};
use jeton_issuer::CREDENTIAL_HEADERS;

use crate::fault::{ERROR, Fault};

/// The header that says why a call that might have been repeated was not.
pub(crate) const RETRY: HeaderName = HeaderName::from_static("x-jeton-retry");

/// Headers between two neighbours (RFC 9110, section 7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What a caller says to jeton and not to the API: who it is, where it is, and what this server does by itself.
const FOR_US: [HeaderName; 20] = [
    HOST,
    COOKIE,
    EXPECT,
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("http2-settings"),
    // These would change the method or the path that was judged by the caller's scopes.
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-forwarded-method"),
    HeaderName::from_static("x-forwarded-path"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-uri"),
];

/// What an API would say to a browser about the host that it believes to be, or to a proxy of its own: it would be believed
/// of this host, and obeyed by the proxy before jeton.
const FOR_ITS_HOST: [HeaderName; 13] = [
    SET_COOKIE,
    ALT_SVC,
    STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("set-cookie2"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("x-accel-buffering"),
    HeaderName::from_static("x-accel-charset"),
    HeaderName::from_static("x-accel-expires"),
    HeaderName::from_static("x-accel-limit-rate"),
    HeaderName::from_static("x-accel-redirect"),
    HeaderName::from_static("x-lighttpd-send-file"),
    HeaderName::from_static("x-sendfile"),
];

/// What a request is about to be, once it is passed on.
#[derive(Clone, Debug)]
pub(crate) struct Cleared {
    /// The headers that go on.
    pub(crate) headers: HeaderMap,
    /// The body is sent in chunks, its length is not known.
    pub(crate) chunked: bool,
    /// The caller asks for this protocol on the same connection.
    pub(crate) upgrade: Option<HeaderValue>,
}

/// Checks the head of a request, and takes off what does not go on.
///
/// # Errors
/// Two servers could read it differently.
pub(crate) fn clear(head: &Parts) -> Result<Cleared, Fault> {
    if head.uri.scheme().is_some() || head.uri.authority().is_some() {
        return Err(Fault::Headers("its target names a host; send the path alone"));
    }
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Fault::Method);
    }
    let hosts = head.headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        return Err(Fault::Headers("it must have one Host header"));
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next();
    if chunked.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
    {
        return Err(Fault::Headers("its Transfer-Encoding must be `chunked` alone"));
    }
    let lengths = head.headers.get_all(CONTENT_LENGTH).iter().count();
    if lengths > 1 || (lengths == 1 && chunked.is_some()) {
        return Err(Fault::Headers("it says its length twice"));
    }
    let mut headers = head.headers.clone();
    let upgrade = wanted_upgrade(head);
    drop_named_by_connection(&mut headers);
    for name in HOP_BY_HOP.iter().chain(&FOR_US).chain(&CREDENTIAL_HEADERS) {
        headers.remove(name);
    }
    headers
        .entry(USER_AGENT)
        .or_insert_with(|| HeaderValue::from_static(concat!("jeton/", env!("CARGO_PKG_VERSION"))));
    Ok(Cleared { chunked: chunked.is_some(), headers, upgrade })
}

/// Asks for an answer that can be read on the way.
pub(crate) fn ask_uncompressed(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Makes the head of an upgrade that is passed on.
pub(crate) fn ask_upgrade(headers: &mut HeaderMap, protocol: &HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol.clone());
}

/// Refuses an answer whose end two readers could see at different places (RFC 9112, section 6.3).
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_framing(headers: &HeaderMap) -> Result<(), String> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if headers.contains_key(CONTENT_LENGTH) {
        return Err("its answer says its length twice, by Content-Length and by Transfer-Encoding".to_owned());
    }
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err("the Transfer-Encoding of its answer is not `chunked` alone".to_owned());
    }
    Ok(())
}

/// Takes off an answer what does not go on. Beside headers that is its reason phrase, which HTTP keeps in the extensions: it
/// means nothing to programs (RFC 9112, section 4), and may hold anything, such as the token.
pub(crate) fn clear_answer(head: &mut response::Parts) {
    drop_named_by_connection(&mut head.headers);
    for name in HOP_BY_HOP.iter().chain(&FOR_ITS_HOST).chain([&ERROR, &RETRY]) {
        head.headers.remove(name);
    }
    head.extensions.clear();
}

fn drop_named_by_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = options(headers).filter_map(|name| name.parse().ok()).collect();
    for name in named {
        // Nobody may take off what says where the body ends.
        if name != CONTENT_LENGTH {
            headers.remove(name);
        }
    }
}

fn options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// The protocol of an upgrade that is asked for: WebSocket (RFC 6455), which begins with a GET without a body. Others are
/// ignored, as any server may (RFC 9110, section 7.8).
fn wanted_upgrade(head: &Parts) -> Option<HeaderValue> {
    let protocol = head.headers.get(UPGRADE)?;
    let asked = options(&head.headers).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let web_socket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    (asked && web_socket && head.method == Method::GET).then(|| protocol.clone())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(lines: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::builder().uri("/x").header("host", "jeton.example.com");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_is_between_neighbours_or_for_jeton_goes_no_further() {
        let cleared = clear(&head(&[
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
        let mut names: Vec<_> = cleared.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "content-length", "user-agent"]);
        assert_eq!(cleared.upgrade, None);
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
            assert!(matches!(clear(&head(&lines)), Err(Fault::Headers(_))), "{lines:?}");
        }
        let absolute = Request::builder().uri("http://evil.example/x").header("host", "a").body(()).unwrap();
        assert!(matches!(clear(&absolute.into_parts().0), Err(Fault::Headers(_))));
        let trace = Request::builder().method("TRACE").uri("/x").header("host", "a").body(()).unwrap();
        assert_eq!(clear(&trace.into_parts().0).unwrap_err(), Fault::Method);
        let nowhere = Request::builder().uri("/x").body(()).unwrap();
        assert!(matches!(clear(&nowhere.into_parts().0), Err(Fault::Headers(_))));
    }

    #[test]
    fn a_web_socket_is_asked_for_by_both_headers() {
        let asked = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert_eq!(clear(&head(&asked)).unwrap().upgrade.unwrap(), "WebSocket");
        assert_eq!(clear(&head(&asked[1..])).unwrap().upgrade, None);
    }

    #[test]
    fn an_answer_says_nothing_about_this_host() {
        let mut head = http::Response::new(()).into_parts().0;
        for name in [
            "connection",
            "x-named",
            "set-cookie",
            "x-accel-redirect",
            "x-jeton-error",
            "x-jeton-retry",
            "content-type",
        ] {
            head.headers.insert(name, HeaderValue::from_static("x-named"));
        }
        clear_answer(&mut head);
        assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-type"]);
    }
}
