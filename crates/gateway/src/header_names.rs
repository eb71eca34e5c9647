//! Which headers end at jeton, in either direction.
//!
//! Servers that hand headers to programs as variables (CGI, WSGI, PHP) make one name of `X-Token`, `X_Token` and `X.Token`
//! (RFC 9110, section 17.10). So what ends here ends in every such spelling: all bytes but letters and digits count as one.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALT_SVC, CONNECTION,
    CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName};
use jeton_issuer::CREDENTIAL_HEADERS;

use crate::error::ERROR_HEADER;

/// The header that says why a call was not repeated though its token had expired.
pub(crate) const RETRY_HEADER: HeaderName = HeaderName::from_static("x-jeton-retry");

/// Whether a proxy before jeton may collect an answer before it passes it on.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Headers of one connection (RFC 9110, section 7.6.1), besides those that `Connection` names.
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

/// Headers that are meant for jeton and not for the API: who and where the caller is, and what this server does by itself.
const FOR_JETON: [HeaderName; 25] = [
    HOST,
    COOKIE,
    EXPECT,
    FORWARDED,
    VIA,
    HeaderName::from_static("http2-settings"),
    // Programs behind CGI take it for the proxy of their own requests (CVE-2016-5385).
    HeaderName::from_static("proxy"),
    // Where the caller is, which only a proxy in front of an API may say.
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("cf-connecting-ipv6"),
    HeaderName::from_static("client-ip"),
    HeaderName::from_static("fastly-client-ip"),
    HeaderName::from_static("front-end-https"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-remote-addr"),
    HeaderName::from_static("x-remote-user"),
    HeaderName::from_static("x-scheme"),
    // An API may take these for the method, the host or the path, which the caller's scopes were checked against.
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-override-url"),
    HeaderName::from_static("x-url-scheme"),
];

/// How names begin that are meant for jeton, too: many servers add members to these families.
const FOR_JETON_FAMILIES: [&str; 6] =
    ["x-forwarded", "x-original-", "x-rewrite-", "x-envoy-", "x-http-method-", "x-http-host-"];

/// Headers by which an API instructs browsers about its host, or its own proxy: a browser would apply them to this host, and
/// the proxy before jeton would obey them. `X-Accel-Buffering: no` goes on: it only makes a proxy pass on sooner.
const FOR_ITS_HOST: [HeaderName; 18] = [
    SET_COOKIE,
    ALT_SVC,
    STRICT_TRANSPORT_SECURITY,
    // Which pages may call is the gateway's to say.
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("set-cookie2"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("x-accel-charset"),
    HeaderName::from_static("x-accel-expires"),
    HeaderName::from_static("x-accel-limit-rate"),
    HeaderName::from_static("x-accel-redirect"),
    HeaderName::from_static("x-lighttpd-send-file"),
    HeaderName::from_static("x-sendfile"),
];

/// Removes from a caller's request what must not reach an API.
pub(crate) fn sanitize_request(headers: &mut HeaderMap) {
    remove_connection_options(headers);
    let lists: [&[HeaderName]; 3] = [&HOP_BY_HOP, &FOR_JETON, &CREDENTIAL_HEADERS];
    for name in lists.into_iter().flatten() {
        headers.remove(name);
    }
    remove_where(headers, |name| {
        is_of_family(name)
            || (is_respelled(name)
                && lists.into_iter().flatten().chain([&CONTENT_LENGTH]).any(|known| is_same(known, name)))
    });
}

/// Removes from the answer of an API what must not reach a caller.
pub(crate) fn sanitize_answer(headers: &mut HeaderMap) {
    remove_connection_options(headers);
    let own = [ERROR_HEADER, RETRY_HEADER];
    let lists: [&[HeaderName]; 3] = [&HOP_BY_HOP, &FOR_ITS_HOST, &own];
    for name in lists.into_iter().flatten() {
        headers.remove(name);
    }
    remove_where(headers, |name| {
        is_respelled(name)
            && lists.into_iter().flatten().chain([&CONTENT_LENGTH]).any(|known| is_same(known, name))
    });
    if headers.get(BUFFERING).is_some_and(|value| value != "no") {
        headers.remove(BUFFERING);
    }
}

/// Removes every other spelling of a header, which stays as it is itself.
pub(crate) fn remove_other_spellings(headers: &mut HeaderMap, kept: &HeaderName) {
    remove_where(headers, |name| name != kept && is_same(kept, name));
}

/// The options of `Connection`: names of headers, and words such as `close`.
pub(crate) fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Removes the headers that `Connection` names.
fn remove_connection_options(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(headers)
        .filter(|option| !option.eq_ignore_ascii_case("keep-alive") && !option.eq_ignore_ascii_case("close"))
        .filter_map(|name| name.parse().ok())
        .collect();
    for option in named {
        // Nobody may remove the header that says where the body ends.
        if option != CONTENT_LENGTH {
            headers.remove(&option);
            remove_other_spellings(headers, &option);
        }
    }
}

fn remove_where(headers: &mut HeaderMap, ends_here: impl Fn(&HeaderName) -> bool) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| ends_here(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Whether a name has a byte that no usual name has, and a program may read as another one.
fn is_respelled(name: &HeaderName) -> bool {
    name.as_str().bytes().any(|byte| !byte.is_ascii_alphanumeric() && byte != b'-')
}

/// Names are in lower case already.
fn same_byte(one: u8, other: u8) -> bool {
    one == other || (!one.is_ascii_alphanumeric() && !other.is_ascii_alphanumeric())
}

/// Whether two names are one to a program that reads headers as variables.
fn is_same(one: &HeaderName, other: &HeaderName) -> bool {
    let (one, other) = (one.as_str().as_bytes(), other.as_str().as_bytes());
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_byte(*one, *other))
}

fn is_of_family(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    FOR_JETON_FAMILIES.iter().any(|family| {
        name.len() >= family.len() && family.bytes().zip(name).all(|(one, other)| same_byte(one, *other))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(names: &[&str]) -> HeaderMap {
        let value = HeaderValue::from_static("1");
        names.iter().map(|name| (name.parse::<HeaderName>().unwrap(), value.clone())).collect()
    }

    fn left(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn names_with_underscores_that_mean_nothing_here_go_on() {
        let mut sent = headers(&["api_key", "x_my_header", "idempotency-key", "x.trace", "content-length"]);
        sanitize_request(&mut sent);
        assert_eq!(left(&sent), ["api_key", "content-length", "idempotency-key", "x.trace", "x_my_header"]);
    }

    #[test]
    fn families_of_headers_end_here_whatever_their_members_are_called() {
        let mut sent = headers(&[
            "x-forwarded",
            "x-forwarded-for",
            "x_forwarded_user",
            "x-forwarded-client-cert",
            "x-original-uri",
            "x-original-method",
            "x-original-host",
            "x_original_url",
            "x-rewrite-url",
            "x-envoy-original-path",
            "x-http-method-override",
            "x-http_method_override",
            "x-originator",
        ]);
        sanitize_request(&mut sent);
        assert_eq!(left(&sent), ["x-originator"]);
    }

    #[test]
    fn what_connection_names_ends_here_in_every_spelling() {
        let mut sent = headers(&["x-named", "x_named", "x-other"]);
        sent.insert(CONNECTION, HeaderValue::from_static("close, X-Named, content-length"));
        sent.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
        sanitize_request(&mut sent);
        assert_eq!(left(&sent), ["content-length", "x-other"]);
    }

    #[test]
    fn an_answer_has_no_headers_about_this_host_in_any_spelling() {
        let mut answer = headers(&[
            "x-named",
            "set-cookie",
            "set_cookie",
            "x-accel-redirect",
            "x_accel_redirect",
            "x-sendfile",
            "content_length",
            "transfer_encoding",
            "x-jeton-error",
            "x_jeton_error",
            "x-jeton-retry",
            "content-type",
            "x-accel-buffering",
        ]);
        answer.insert(CONNECTION, HeaderValue::from_static("x-named"));
        sanitize_answer(&mut answer);
        assert_eq!(left(&answer), ["content-type"], "a proxy is not told to buffer");
        answer.insert(BUFFERING, HeaderValue::from_static("no"));
        sanitize_answer(&mut answer);
        assert_eq!(left(&answer), ["content-type", "x-accel-buffering"]);
    }

    proptest! {
        #[test]
        fn nothing_that_ends_here_goes_on_in_a_spelling_that_a_variable_hides(
            index in 0_usize..64,
            bytes in prop::collection::vec(prop::sample::select(&b"-_.!~'#$%&*+^`|"[..]), 24),
        ) {
            let lists: [&[HeaderName]; 3] = [&HOP_BY_HOP, &FOR_JETON, &CREDENTIAL_HEADERS];
            let all: Vec<&HeaderName> = lists.into_iter().flatten().collect();
            let name = all[index % all.len()].as_str();
            let spelled: String = name
                .bytes()
                .enumerate()
                .map(|(at, byte)| char::from(if byte == b'-' { bytes[at] } else { byte }))
                .collect();
            let mut sent = headers(&[&spelled]);
            sanitize_request(&mut sent);
            prop_assert!(sent.is_empty(), "{}", spelled);
        }
    }
}
