//! Requests that two servers may read differently: none reaches an API.

use jeton_testkit::TestApi;

use crate::fixture::{API_KEY, Fixture, raw_head};

/// An API that echoes, and a gateway to it.
struct EchoFixture {
    api: TestApi,
    fixture: Fixture,
}

impl EchoFixture {
    async fn new() -> Self {
        let (api, fixture) = Fixture::with_echo().await;
        Self { api, fixture }
    }

    /// What the gateway answers to a request of these lines.
    async fn send(&self, line: &str, headers: &str, body: &str) -> String {
        let request = format!("{line}\r\nX-API-KEY: {API_KEY}\r\nConnection: close\r\n{headers}\r\n{body}");
        self.fixture.send_raw(request).await
    }

    async fn assert_refused(&self, line: &str, headers: &str, body: &str) {
        let answer = self.send(line, headers, body).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{line}: {answer}");
        let received = self.api.received();
        assert!(received.is_empty(), "{line}: {received:?}");
    }
}

#[tokio::test]
async fn an_ordinary_request_is_answered() {
    let fixture = EchoFixture::new().await;
    let answer = fixture.send("GET /api/v1/proxy/acme/x HTTP/1.1", "Host: jeton\r\n", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(fixture.api.received().len(), 1);
}

#[tokio::test]
async fn paths_that_lead_elsewhere_are_refused() {
    let fixture = EchoFixture::new().await;
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
        "/api/v1/proxy/acme/a\\..\\b",
        "/api/v1/proxy/acme@evil.example/x",
        "/api/v1/proxy/https://evil.example/x",
        "/api/v1/proxy//evil.example/x",
        "/api/v1/proxy/%61cme/x",
    ] {
        fixture.assert_refused(&format!("GET {path} HTTP/1.1"), "Host: jeton\r\n", "").await;
    }
}

#[tokio::test]
async fn targets_that_name_a_host_are_refused() {
    let fixture = EchoFixture::new().await;
    fixture
        .assert_refused("GET http://evil.example/api/v1/proxy/acme/x HTTP/1.1", "Host: jeton\r\n", "")
        .await;
    fixture.assert_refused("CONNECT evil.example:443 HTTP/1.1", "Host: jeton\r\n", "").await;
    fixture.assert_refused("TRACE /api/v1/proxy/acme/x HTTP/1.1", "Host: jeton\r\n", "").await;
}

#[tokio::test]
async fn no_host_two_hosts_and_a_host_that_differs_from_the_target_are_refused() {
    let fixture = EchoFixture::new().await;
    fixture.assert_refused("GET /api/v1/proxy/acme/x HTTP/1.1", "", "").await;
    fixture
        .assert_refused("GET /api/v1/proxy/acme/x HTTP/1.1", "Host: jeton\r\nHost: evil.example\r\n", "")
        .await;
}

#[tokio::test]
async fn lengths_that_contradict_each_other_are_refused() {
    let fixture = EchoFixture::new().await;
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
        fixture.assert_refused(line, &format!("Host: jeton\r\n{headers}"), "abc").await;
    }
}

#[tokio::test]
async fn a_length_beside_chunks_counts_for_nothing_and_nothing_behind_it_is_a_request() {
    let smuggled = raw_head("GET /api/v1/proxy/acme/smuggled", API_KEY, "");
    let chunked = format!("0\r\n\r\n{smuggled}");
    for order in [
        "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: {}\r\n",
    ] {
        let headers = order.replace("{}", &chunked.len().to_string());
        let (api, fixture) = Fixture::with_echo().await;
        let request = raw_head("POST /api/v1/proxy/acme/x", API_KEY, &headers) + &chunked;
        // It answers once, and closes: otherwise this would wait for ever.
        let answer = fixture.send_raw(request).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
        for request in api.received() {
            assert_eq!((request.uri.path(), request.body.len()), ("/x", 0));
            assert!(!request.headers.contains_key("content-length"), "{request:?}");
        }
    }
}

#[tokio::test]
async fn line_breaks_inside_headers_are_refused() {
    let fixture = EchoFixture::new().await;
    let line = "GET /api/v1/proxy/acme/x HTTP/1.1";
    fixture.assert_refused(line, "Host: jeton\r\nX-A: a\rHost: evil.example\r\n", "").await;
    fixture.assert_refused(line, "Host: jeton\r\nX-A: a\r\n folded: b\r\n", "").await;
    fixture.assert_refused(line, "Host: jeton\r\nX-A: a\0b\r\n", "").await;
    fixture.assert_refused(line, "Host: jeton\r\nX-A\r\n", "").await;
}

#[tokio::test]
async fn oversize_heads_are_refused() {
    let fixture = EchoFixture::new().await;
    let line = "GET /api/v1/proxy/acme/x HTTP/1.1";
    fixture.assert_refused(line, &format!("Host: jeton\r\nX-A: {}\r\n", "a".repeat(70_000)), "").await;
    fixture.assert_refused(line, &format!("Host: jeton\r\n{}", "X-A: 1\r\n".repeat(300)), "").await;
    fixture
        .assert_refused(
            &format!("GET /api/v1/proxy/acme/{} HTTP/1.1", "a".repeat(70_000)),
            "Host: jeton\r\n",
            "",
        )
        .await;
}
