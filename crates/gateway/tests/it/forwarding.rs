//! What is forwarded: heads, bodies, and the token.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use http::Response;
use jeton_core::keep::provider::Provider;
use jeton_testkit::{TestApi, TestServer};
use serde_json::json;

use crate::fixture::{
    API_KEY, Fixture, Options, echo_api, error_code, own_provider, raw_head, read_head, send,
};

/// A provider that carries its token as `inject` says.
fn provider(inject: &str) -> Arc<Provider> {
    own_provider(&format!("[api]\nbase = '${{api_base}}'\n{inject}"))
}

async fn injecting(inject: &str) -> (TestApi, Fixture) {
    let api = echo_api().await;
    let fixture =
        Fixture::with_options(&api.base_url(), Options { provider: provider(inject), ..Options::default() })
            .await;
    (api, fixture)
}

#[tokio::test]
async fn method_path_query_headers_and_body_go_on_as_they_are() {
    let api = echo_api().await;
    let fixture = Fixture::new(&format!("{}/base/", api.base_url())).await;
    let request = raw_head(
        "PROPFIND /api/v1/proxy/acme/a%2Fb/c;v=1?x=%zz&y=%20z",
        API_KEY,
        "Cookie: session=1\r\nX-Mine: yes\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nContent-Length: 5\r\n",
    ) + "hello";
    let answer = fixture.send_raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let [request] = api.received().try_into().unwrap();
    assert_eq!(request.method.as_str(), "PROPFIND");
    assert_eq!(request.uri.to_string(), "/base/a%2Fb/c;v=1?x=%zz&y=%20z");
    assert_eq!(request.body, "hello");
    let mut names: Vec<_> = request.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["authorization", "content-length", "host", "traceparent", "user-agent", "x-mine", "x-request-id"]
    );
    assert_eq!(request.headers["host"], api.address().to_string());
}

#[tokio::test]
async fn the_base_itself_can_be_called_with_and_without_a_slash() {
    let (api, fixture) = Fixture::with_echo().await;
    for path in ["/api/v1/proxy/acme", "/api/v1/proxy/acme/", "/api/v1/proxy/acme?a=1"] {
        assert_eq!(fixture.client().get(path).await.unwrap().status, 200, "{path}");
    }
    let uris: Vec<_> = api.received().iter().map(|request| request.uri.to_string()).collect();
    assert_eq!(uris, ["/", "/", "/?a=1"]);
    let fixture = Fixture::new(&format!("{}/graphql", api.base_url())).await;
    for path in
        ["/api/v1/proxy/acme", "/api/v1/proxy/acme?a=1", "/api/v1/proxy/acme/", "/api/v1/proxy/acme/x"]
    {
        assert_eq!(fixture.client().get(path).await.unwrap().status, 200, "{path}");
    }
    let uris: Vec<_> = api.received()[3..].iter().map(|request| request.uri.to_string()).collect();
    assert_eq!(uris, ["/graphql", "/graphql?a=1", "/graphql/", "/graphql/x"]);
}

#[tokio::test]
async fn an_answer_passes_as_it_is_but_for_headers_of_one_connection_or_about_this_host() {
    let api = TestApi::answering(|_| {
        Response::builder()
            .status(418)
            .header("content-type", "text/x-tea")
            .header("x-theirs", "kept")
            .header("etag", "\"1\"")
            .header("cache-control", "public, s-maxage=600, max-age=60")
            .header("cdn-cache-control", "max-age=600")
            .header("set-cookie", "session=theirs")
            .header("x-jeton-error", "NOT_OURS")
            .header("location", "https://elsewhere.example/")
            .body(Body::from("short and stout"))
            .unwrap()
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let reply = fixture.get("/tea").await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (418, "short and stout"));
    for (name, value) in
        [("content-type", "text/x-tea"), ("x-theirs", "kept"), ("etag", "\"1\""), ("content-length", "15")]
    {
        assert_eq!(reply.headers[name], value);
    }
    assert_eq!(reply.headers["cache-control"], "private, max-age=60", "no shared cache may store it");
    for name in ["set-cookie", "cdn-cache-control", "x-jeton-error", "x-jeton-retry"] {
        assert!(!reply.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let elsewhere = echo_api().await;
    let there = format!("{}/stolen", elsewhere.base_url());
    let api = TestApi::answering(move |_| {
        Response::builder().status(302).header("location", there.clone()).body(Body::empty()).unwrap()
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let reply = fixture.get("/x").await;
    assert_eq!(reply.status, 302);
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn a_redirect_within_the_api_leads_to_the_gateway() {
    let api = TestApi::answering(|request| match request.uri.path() {
        "/v2/old" => {
            Response::builder().status(307).header("location", "/v2/new?a=1").body(Body::empty()).unwrap()
        }
        "/v2/out" => Response::builder().status(302).header("location", "/v1/x").body(Body::empty()).unwrap(),
        path => Response::new(Body::from(path.to_owned())),
    })
    .await;
    let fixture = Fixture::new(&format!("{}/v2", api.base_url())).await;
    let reply = fixture.get("/old").await;
    assert_eq!(
        (reply.status.as_u16(), &reply.headers["location"]),
        (307, &"/api/v1/proxy/acme/new?a=1".parse().unwrap())
    );
    let followed = fixture.client().get(reply.headers["location"].to_str().unwrap()).await.unwrap();
    assert_eq!(followed.text(), "/v2/new");
    assert_eq!(fixture.get("/out").await.headers["location"], "/v1/x", "the gateway does not lead there");
}

#[tokio::test]
async fn a_head_request_and_an_empty_answer_have_no_body() {
    let api = TestApi::answering(|request| {
        let status = if request.uri.path() == "/gone" { 204 } else { 200 };
        Response::builder().status(status).body(Body::from(if status == 200 { "12345" } else { "" })).unwrap()
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let answer =
        fixture.send_raw(raw_head("HEAD /api/v1/proxy/acme/x", API_KEY, "Connection: close\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.contains("content-length: 5\r\n"), "{answer}");
    let gone = fixture.client().delete("/api/v1/proxy/acme/gone").await.unwrap();
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
}

#[tokio::test]
async fn one_open_connection_serves_calls_in_turn_and_survives_its_end() {
    let count = Arc::new(AtomicUsize::new(0));
    let connections = Arc::clone(&count);
    let api = TestServer::accepting(move |mut stream| {
        connections.fetch_add(1, Ordering::SeqCst);
        async move {
            // Two calls a connection; then it is closed without a word.
            for _ in 0..2 {
                if read_head(&mut stream).await.is_empty() {
                    return;
                }
                send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    for call in 0..6 {
        let reply = fixture.get("/x").await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "ok"), "call {call}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_token_is_put_where_the_provider_says_and_replaces_what_the_caller_wrote() {
    let (api, fixture) = injecting("[[inject]]\nheader = 'X-Token'\nvalue = 'T ${access}'\n").await;
    let client = fixture.client().with_header("x-token", "mine");
    client.get_json("/api/v1/proxy/acme/x").await.unwrap();
    let token = fixture.access_token().await;
    let request = api.received().remove(0);
    assert_eq!(
        request.headers.get_all("x-token").iter().collect::<Vec<_>>(),
        [&format!("T {}", token.reveal())]
    );
    assert!(!request.headers.contains_key("authorization"));

    let (api, fixture) = injecting("[[inject]]\nquery = 'token'\nvalue = '${access}'\n").await;
    fixture.client().get_json("/api/v1/proxy/acme/x?a=1&token=mine").await.unwrap();
    let token = fixture.access_token().await;
    assert_eq!(api.received()[0].uri.to_string(), format!("/x?a=1&token={}", token.reveal()));

    let (api, fixture) = injecting("[[inject]]\ncookie = 'sid'\nvalue = '${access}'\n").await;
    fixture.client().with_header("cookie", "sid=mine; b=2").get_json("/api/v1/proxy/acme/x").await.unwrap();
    let token = fixture.access_token().await;
    assert_eq!(api.received()[0].headers["cookie"], format!("sid={}", token.reveal()));
}

#[tokio::test]
async fn a_token_in_the_body_joins_its_fields() {
    let (api, fixture) = injecting("[[inject]]\nbody = 'auth'\nvalue = '${access}'\n").await;
    let reply =
        fixture.client().post("/api/v1/proxy/acme/x", &json!({ "auth": "mine", "a": [1] })).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let token = fixture.access_token().await;
    let body: serde_json::Value = serde_json::from_slice(&api.received()[0].body).unwrap();
    assert_eq!(body, json!({ "a": [1], "auth": token.reveal() }));
    let reply = fixture.client().post_form("/api/v1/proxy/acme/x", &[("a", "b c")]).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(api.received()[1].body, format!("a=b+c&auth={}", token.reveal()));

    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 415), "UNSUPPORTED_MEDIA_TYPE");
    let large = json!({ "a": "x".repeat(1_100_000) });
    let reply = fixture.client().post("/api/v1/proxy/acme/x", &large).await.unwrap();
    assert_eq!(error_code(&reply, 413), "PAYLOAD_TOO_LARGE");
    assert_eq!(api.received().len(), 2);
}

#[tokio::test]
async fn a_connection_without_the_url_of_its_api_says_so() {
    let provider = own_provider("");
    let fixture = Fixture::with_emulated_api(Options { provider, ..Options::default() }).await;
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 500), "DEFINITION_UNUSABLE");
    assert!(reply.text().contains("where its API is"), "{}", reply.text());
}

/// Every character of it escaped.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| ['%', digit(byte >> 4), digit(byte & 15)];
    text.bytes().flat_map(escape).collect()
}

fn digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap().to_ascii_uppercase()
}

#[tokio::test]
async fn a_token_in_the_query_does_not_come_back_in_a_header_of_the_answer() {
    let api = TestApi::answering(|request| {
        let escaped = escaped(request.uri.query().unwrap());
        Response::builder()
            .status(302)
            .header("location", format!("/next?page=2&{}", request.uri.query().unwrap()))
            .header("content-location", format!("/x?{escaped}"))
            .header(
                "link",
                format!("</x?{}>; rel=\"next\", </y>; rel=\"prev\"", request.uri.query().unwrap()),
            )
            .header("refresh", format!("0; url=/login?to=%2Fx%3F{}", request.uri.query().unwrap()))
            .header("www-authenticate", format!("Bearer realm=\"{}\"", request.uri))
            .header("x-theirs", "a=1")
            .body(Body::empty())
            .unwrap()
    })
    .await;
    let options = Options {
        provider: provider("[[inject]]\nquery = 'token'\nvalue = '${access}'\n"),
        ..Options::default()
    };
    let fixture = Fixture::with_options(&api.base_url(), options).await;
    let reply = fixture.get("/x?a=1").await;
    assert_eq!(reply.status, 302);
    let token = fixture.access_token().await;
    assert!(api.received()[0].uri.query().unwrap().contains(token.reveal()), "the API got it");
    assert_eq!(reply.headers["location"], "/api/v1/proxy/acme/next?page=2&a=1&token=REDACTED");
    assert_eq!(reply.headers["link"], "</x?a=1&token=REDACTED>; rel=\"next\", </y>; rel=\"prev\"");
    assert_eq!(reply.headers["refresh"], "0; url=/login?to=%2Fx%3Fa=1&token=REDACTED");
    assert_eq!(reply.headers["x-theirs"], "a=1");
    let escaped = escaped(token.reveal());
    for (name, value) in &reply.headers {
        let value = value.to_str().unwrap();
        assert!(!value.contains(token.reveal()) && !value.contains(&escaped), "{name}: {value}");
    }
}

#[tokio::test]
async fn a_token_does_not_come_back_in_the_reason_phrase_of_an_answer() {
    let api = TestServer::accepting(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let token = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap();
        send(&mut stream, &format!("HTTP/1.1 400 No such token: {token}\r\nContent-Length: 0\r\n\r\n")).await;
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let answer =
        fixture.send_raw(raw_head("GET /api/v1/proxy/acme/x", API_KEY, "Connection: close\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(!answer.contains(fixture.access_token().await.reveal()));
}
