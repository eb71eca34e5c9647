//! Where a token may go: to the hosts and ports of its provider, along no redirect, and into no error or URL.

use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jeton::tower::{AuthLayer, NotSent};
use tower_layer::Layer as _;
use tower_service::Service as _;

use crate::api::Api;
use crate::clients::{LayeredClient, connected, own_provider, with_api, with_hyper, with_reqwest};
use crate::fixture::{ACME, Fixture};

#[tokio::test]
async fn a_token_goes_to_no_host_but_the_providers() {
    let (_fixture, api, vault, _) = with_api(401).await;
    let elsewhere = Api::rejecting_with(401).await;
    let by_reqwest =
        with_reqwest(&vault).get(elsewhere.url("/v1/orders")).send().await.unwrap_err().to_string();
    assert!(by_reqwest.contains("tokens of `acme` go to http://127.0.0.1"), "{by_reqwest}");
    let request = http::Request::get(elsewhere.url("/")).body(Full::default()).unwrap();
    let by_hyper = with_hyper(&vault).call(request).await.unwrap_err();
    assert!(matches!(by_hyper.downcast_ref(), Some(NotSent::WrongHost { .. })), "{by_hyper}");
    // Other hosts can be named; they must speak TLS, on the port that was named.
    let layer = AuthLayer::new(vault.clone(), ACME)
        .also_at("127.0.0.1")
        .also_at("*.Example.com")
        .also_at("files.example.org:8443");
    let mut client = layer.layer(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
    for url in [
        "http://api.example.com/",
        "https://example.com/",
        "https://evil-example.com/",
        "https://api.example.com:8443/",
        "https://files.example.org/",
        "https://files.example.org:8444/",
        "http://files.example.org:8443/",
    ] {
        let refused = client.call(http::Request::get(url).body(Full::default()).unwrap()).await.unwrap_err();
        assert!(matches!(refused.downcast_ref(), Some(NotSent::WrongHost { .. })), "{url}: {refused}");
    }
    // Those that are named get as far as this client goes, which speaks no TLS.
    for url in ["https://api.example.com/", "https://api.example.com:443/", "https://files.example.org:8443/"]
    {
        let failed = client.call(http::Request::get(url).body(Full::default()).unwrap()).await.unwrap_err();
        assert!(failed.downcast_ref::<NotSent>().is_none(), "{url}: {failed}");
    }
    assert_eq!((api.calls().len(), elsewhere.calls().len()), (0, 0));
}

#[tokio::test]
async fn a_host_of_the_provider_gets_the_token_on_the_usual_port_and_on_that_of_the_base_alone() {
    let fixture = Fixture::new().await;
    let api = "[api]\nbase = \"https://api.example.com:8443/v1\"\n";
    let builder = fixture.own_provider(r#"["127.0.0.1", "api.example.com"]"#, api);
    let (vault, _) = connected(&fixture, builder).await;
    for (url, sent) in [
        ("https://api.example.com:8443/v1/orders", true),
        ("https://api.example.com/v1/orders", true),
        ("https://api.example.com:9443/v1/orders", false),
        ("https://127.0.0.1/v1/orders", false),
    ] {
        let request = http::Request::get(url).body(Full::default()).unwrap();
        let error = with_hyper(&vault).call(request).await.unwrap_err();
        assert_eq!(error.downcast_ref::<NotSent>().is_none(), sent, "{url}: {error}");
    }
}

#[tokio::test]
async fn no_redirect_is_followed_with_a_token() {
    let inject = ["header = \"X-Token\"\nvalue = \"${access}\"", "query = \"key\"\nvalue = \"${access}\""];
    for (client, inject) in
        LayeredClient::KINDS.into_iter().flat_map(|kind| inject.map(|inject| (kind, inject)))
    {
        let (fixture, api) = (Fixture::new().await, Api::rejecting_with(401).await);
        let elsewhere = Api::rejecting_with(401).await;
        let (vault, _) = connected(&fixture, own_provider(&fixture, &api, inject, "{ status = 401 }")).await;
        for target in [elsewhere.url("/v1/orders"), api.url("/v1/orders")] {
            api.redirect_to(&target);
            assert_eq!(client(&vault).post(&api.url("/v1/moved")).await.0, 302);
        }
        assert_eq!((api.calls().len(), elsewhere.calls().len()), (2, 0));
    }
}

/// An error with all its causes, as text.
fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error}\n{error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, "\n{error}\n{error:?}").unwrap();
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn a_token_in_the_query_shows_in_no_error_and_in_no_url_of_a_reply() {
    let (fixture, api) = (Fixture::new().await, Api::rejecting_with(401).await);
    let query = "query = \"key\"\nvalue = \"${access}\"";
    let (vault, token) = connected(&fixture, own_provider(&fixture, &api, query, "{ status = 401 }")).await;
    let client = with_reqwest(&vault);
    let url = api.url("/v1/orders?page=2");
    let reply = client.get(&url).header("x-trace", "t-1").send().await.unwrap();
    assert!(api.calls()[0].uri.to_string().contains(token.access.reveal()));
    assert_eq!((reply.status().as_u16(), reply.url().as_str()), (200, url.as_str()));
    assert_eq!(
        (reply.headers()["content-length"].to_str().unwrap(), reply.version()),
        ("3", http::Version::HTTP_11)
    );
    assert_eq!(reply.text().await.unwrap(), "yes");

    // Refused, and the newer one as well.
    api.forbid("/orders");
    let refused = client.get(&url).send().await.unwrap().error_for_status().unwrap_err();
    let newer = vault.token(ACME).await.unwrap();
    let text = full_text(&refused);
    assert!(text.contains("page=2") && !text.contains("key="), "{text}");
    api.end().await;
    let unreachable = client.get(&url).send().await.unwrap_err();
    let request = http::Request::get(&url).body(Full::default()).unwrap();
    let by_hyper = with_hyper(&vault).call(request).await.unwrap_err();
    let text = text + &full_text(&unreachable) + &full_text(&*by_hyper);
    assert!(unreachable.url().is_some_and(|named| named.as_str() == url), "{unreachable}");
    for token in [token, newer] {
        assert!(!text.contains(token.access.reveal()), "{text}");
    }
}
