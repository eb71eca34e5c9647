//! A request as it goes over the wire: HTTP/1.1, one request per connection.

use jeton_core::keep::provider::{Method, OutboundRequest};
use zeroize::Zeroizing;

/// The whole request. What a step writes as its own headers replaces ours.
///
/// # Errors
/// A header has a value that headers cannot hold.
pub(super) fn request_bytes(request: &OutboundRequest) -> Result<Zeroizing<Vec<u8>>, String> {
    let url = &request.url;
    let mut target = url.path().to_owned();
    if let Some(query) = url.query() {
        target.push('?');
        target.push_str(query);
    }
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let mut bytes = Zeroizing::new(Vec::with_capacity(1024 + request.body.len()));
    let mut line = |parts: [&str; 3]| {
        for part in parts {
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
    };
    line([request.method.as_str(), " ", &format!("{target} HTTP/1.1")]);
    line(["Host", ": ", &host]);
    let ours = [
        ("user-agent", concat!("jeton/", env!("CARGO_PKG_VERSION"))),
        // Without this header a server may choose any coding (RFC 9110, section 12.5.3).
        ("accept-encoding", "identity"),
    ];
    for (name, value) in ours {
        if !request.headers.iter().any(|(written, _)| written == name) {
            line([&title_case(name), ": ", value]);
        }
    }
    for (name, value) in &request.headers {
        if value.reveal().bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(format!(
                "the value of the header `{name}` holds a character that headers cannot hold"
            ));
        }
        line([&title_case(name), ": ", value.reveal()]);
    }
    let bodiless = matches!(request.method, Method::Get | Method::Delete);
    if !(bodiless && request.body.is_empty()) {
        line(["Content-Length", ": ", &request.body.len().to_string()]);
    }
    // One request per connection: a connection that was idle may be gone, and then nobody knows what arrived.
    line(["Connection", ": ", "close\r\n"]);
    bytes.extend_from_slice(&request.body);
    Ok(bytes)
}

/// The name of a header as people write it: `user-agent` as `User-Agent`. Some old servers look for no other case.
pub fn title_case(name: &str) -> String {
    let mut first = true;
    let letter = |c: char| {
        let shown = if first { c.to_ascii_uppercase() } else { c };
        first = c == '-';
        shown
    };
    name.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use jeton_core::secret::Secret;

    use super::*;

    fn request(method: Method, headers: &[(&str, &str)], body: &str) -> OutboundRequest {
        let headers = headers.iter().map(|&(name, value)| (name.to_owned(), Secret::new(value))).collect();
        OutboundRequest {
            method,
            url: "http://sso.test:8080/token?x=1".parse().unwrap(),
            headers,
            body: body.as_bytes().to_vec().into(),
            content_type: None,
            captured_host: false,
            certificate: None,
        }
    }

    fn text(request: &OutboundRequest) -> String {
        String::from_utf8(request_bytes(request).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_request_is_whole_and_ends_its_connection() {
        let version = env!("CARGO_PKG_VERSION");
        let post = request(Method::Post, &[("accept", "application/json"), ("x-api-key", "k")], "a=b");
        let expected = format!(
            "POST /token?x=1 HTTP/1.1\r\nHost: sso.test:8080\r\nUser-Agent: jeton/{version}\r\nAccept-Encoding: identity\r\n\
             Accept: application/json\r\nX-Api-Key: k\r\nContent-Length: 3\r\nConnection: close\r\n\r\na=b"
        );
        assert_eq!(text(&post), expected);
        assert!(text(&request(Method::Post, &[], "")).contains("Content-Length: 0\r\n"));
        assert!(!text(&request(Method::Get, &[], "")).contains("Content-Length"));
    }

    #[test]
    fn headers_of_the_step_replace_ours() {
        let own = [("user-agent", "linux:bot:v1"), ("accept-encoding", "gzip")];
        let sent = text(&request(Method::Get, &own, "")).to_ascii_lowercase();
        assert!(
            sent.contains("\r\nuser-agent: linux:bot:v1\r\n")
                && sent.contains("\r\naccept-encoding: gzip\r\n")
        );
        assert_eq!((sent.matches("user-agent").count(), sent.matches("accept-encoding").count()), (1, 1));
    }

    #[test]
    fn a_value_never_begins_another_header() {
        let refused = request_bytes(&request(Method::Get, &[("x-a", "b\r\nx-c: d")], "")).unwrap_err();
        assert!(refused.contains("`x-a`") && !refused.contains("x-c"), "{refused}");
    }
}
