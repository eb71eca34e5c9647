//! Heads that servers may read differently: nothing of them reaches an API.

use crate::api::Api;
use crate::place::{API_KEY, Place};

/// An API that echoes, and a gateway to it.
struct Way {
    api: Api,
    place: Place,
}

impl Way {
    async fn new() -> Self {
        let api = Api::echo().await;
        let place = Place::at(&api.base()).await;
        Self { api, place }
    }

    /// What the gateway answers to a request of these lines.
    async fn asked(&self, line: &str, headers: &str, body: &str) -> String {
        let request = format!("{line}\r\nX-API-KEY: {API_KEY}\r\nConnection: close\r\n{headers}\r\n{body}");
        self.place.raw(request).await
    }

    async fn refuses(&self, line: &str, headers: &str, body: &str) {
        let answer = self.asked(line, headers, body).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{line}: {answer}");
        let got = self.api.got();
        assert!(got.is_empty(), "{line}: {got:?}");
    }
}

#[tokio::test]
async fn an_ordinary_request_is_answered() {
    let way = Way::new().await;
    let answer = way.asked("GET /api/v1/proxy/acme/x HTTP/1.1", "Host: jeton\r\n", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(way.api.got().len(), 1);
}

#[tokio::test]
async fn paths_that_lead_elsewhere_are_refused() {
    let way = Way::new().await;
    for path in [
        "/api/v1/proxy/acme/../../connections",
        "/api/v1/proxy/acme/a/../b",
        "/api/v1/proxy/acme/%2e%2e/admin",
        "/api/v1/proxy/acme/.%2E/admin",
        "/api/v1/proxy/acme/%252e%252e/admin",
        "/api/v1/proxy/acme/%25zz/%252e%252e/admin",
        "/api/v1/proxy/acme/x%25zz%252fadmin",
        "/api/v1/proxy/acme/a%2f..%2fadmin",
        "/api/v1/proxy/acme/..;/admin",
        "/api/v1/proxy/acme/a%5c..%5cadmin",
        "/api/v1/proxy/acme//evil.example/x",
        "/api/v1/proxy/acme/a//b",
        "/api/v1/proxy/acme/x%0d%0aHost:%20evil.example",
        "/api/v1/proxy/acme/x%00",
        "/api/v1/proxy/acme/%zz",
        "/api/v1/proxy/acme@evil.example/x",
        "/api/v1/proxy/https://evil.example/x",
        "/api/v1/proxy//evil.example/x",
        "/api/v1/proxy/%61cme/x",
    ] {
        way.refuses(&format!("GET {path} HTTP/1.1"), "Host: jeton\r\n", "").await;
    }
}

#[tokio::test]
async fn a_backslash_in_a_path_is_refused() {
    let way = Way::new().await;
    way.refuses("GET /api/v1/proxy/acme/a\\..\\b HTTP/1.1", "Host: jeton\r\n", "").await;
}

#[tokio::test]
async fn targets_that_name_a_host_are_refused() {
    let way = Way::new().await;
    way.refuses("GET http://evil.example/api/v1/proxy/acme/x HTTP/1.1", "Host: jeton\r\n", "").await;
    way.refuses("CONNECT evil.example:443 HTTP/1.1", "Host: jeton\r\n", "").await;
    way.refuses("TRACE /api/v1/proxy/acme/x HTTP/1.1", "Host: jeton\r\n", "").await;
}

#[tokio::test]
async fn no_host_two_hosts_and_a_host_that_differs_from_the_target_are_refused() {
    let way = Way::new().await;
    way.refuses("GET /api/v1/proxy/acme/x HTTP/1.1", "", "").await;
    way.refuses("GET /api/v1/proxy/acme/x HTTP/1.1", "Host: jeton\r\nHost: evil.example\r\n", "").await;
}

#[tokio::test]
async fn lengths_that_contradict_each_other_are_refused() {
    let way = Way::new().await;
    let line = "POST /api/v1/proxy/acme/x HTTP/1.1";
    for headers in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -1\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ] {
        way.refuses(line, &format!("Host: jeton\r\n{headers}"), "abc").await;
    }
}

#[tokio::test]
async fn a_length_beside_chunks_counts_for_nothing_and_nothing_behind_it_is_a_request() {
    let smuggled =
        format!("GET /api/v1/proxy/acme/smuggled HTTP/1.1\r\nHost: jeton\r\nX-API-KEY: {API_KEY}\r\n\r\n");
    let chunked = format!("0\r\n\r\n{smuggled}");
    for order in [
        "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: {}\r\n",
    ] {
        let headers = order.replace("{}", &chunked.len().to_string());
        let api = Api::echo().await;
        let place = Place::at(&api.base()).await;
        let request = format!(
            "POST /api/v1/proxy/acme/x HTTP/1.1\r\nHost: jeton\r\nX-API-KEY: {API_KEY}\r\n{headers}\r\n{chunked}"
        );
        // It answers once, and closes: otherwise this would wait for ever.
        let answer = place.raw(request).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
        for got in api.got() {
            assert_eq!((got.uri.path(), got.body.len()), ("/x", 0));
            assert!(!got.headers.contains_key("content-length"), "{got:?}");
        }
    }
}

#[tokio::test]
async fn line_breaks_inside_headers_are_refused() {
    let way = Way::new().await;
    let line = "GET /api/v1/proxy/acme/x HTTP/1.1";
    way.refuses(line, "Host: jeton\r\nX-A: a\rHost: evil.example\r\n", "").await;
    way.refuses(line, "Host: jeton\r\nX-A: a\r\n folded: b\r\n", "").await;
    way.refuses(line, "Host: jeton\r\nX-A: a\0b\r\n", "").await;
    way.refuses(line, "Host: jeton\r\nX-A\r\n", "").await;
}

#[tokio::test]
async fn oversize_heads_are_refused() {
    let way = Way::new().await;
    let line = "GET /api/v1/proxy/acme/x HTTP/1.1";
    way.refuses(line, &format!("Host: jeton\r\nX-A: {}\r\n", "a".repeat(20_000)), "").await;
    way.refuses(line, &format!("Host: jeton\r\n{}", "X-A: 1\r\n".repeat(120)), "").await;
    way.refuses(&format!("GET /api/v1/proxy/acme/{} HTTP/1.1", "a".repeat(20_000)), "Host: jeton\r\n", "")
        .await;
}
