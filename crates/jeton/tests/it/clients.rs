//! Calls to an API through the layers for HTTP clients: what they carry, and what happens when a token is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jeton::reqwest::Auth;
use jeton::tower::{AuthLayer, Authorized};
use jeton::{Token, Vault};
use reqwest_middleware::{ClientWithMiddleware, Middleware, Next};
use tower_layer::Layer as _;
use tower_service::Service as _;

use crate::api::Api;
use crate::fixture::{ACME, Fixture};

/// A provider, an API that answers a rejected token with `status`, and a vault for both with its first token.
pub(crate) async fn with_api(status: u16) -> (Fixture, Api, Vault, Token) {
    let (fixture, api) = (Fixture::new().await, Api::rejecting_with(status).await);
    let connection = fixture.acme().var("api_base", api.url("/v1"));
    let (vault, token) = connected(&fixture, Vault::in_memory().connection(ACME, connection)).await;
    (fixture, api, vault, token)
}

pub(crate) async fn connected(fixture: &Fixture, builder: jeton::Builder) -> (Vault, Token) {
    let vault = builder.clock(fixture.clock.clone()).open().await.unwrap();
    vault.connect(ACME, fixture.refresh_token()).await.unwrap();
    let token = vault.token(ACME).await.unwrap();
    (vault, token)
}

/// A provider that wants its token as `inject` says and tells of dead ones by `expired`.
pub(crate) fn own_provider(fixture: &Fixture, api: &Api, inject: &str, expired: &str) -> jeton::Builder {
    let base = api.url("/v1");
    let api = format!("[[inject]]\n{inject}\n[api]\nbase = \"{base}\"\nexpired = [{expired}]\n");
    fixture.own_provider(r#"["127.0.0.1"]"#, &api)
}

pub(crate) fn with_reqwest(vault: &Vault) -> ClientWithMiddleware {
    Auth::new(vault.clone(), ACME).client(reqwest::Client::builder()).unwrap()
}

type Hyper = Authorized<Client<HttpConnector, Full<Bytes>>>;

pub(crate) fn with_hyper(vault: &Vault) -> Hyper {
    let client = Client::builder(TokioExecutor::new()).build_http();
    AuthLayer::new(vault.clone(), ACME).layer(client)
}

/// A client with one of the two layers.
pub(crate) enum LayeredClient {
    Hyper(Hyper),
    Reqwest(ClientWithMiddleware),
}

impl LayeredClient {
    /// One of each.
    pub(crate) const KINDS: [fn(&Vault) -> Self; 2] =
        [|vault| Self::Hyper(with_hyper(vault)), |vault| Self::Reqwest(with_reqwest(vault))];

    /// A POST with a header and a body. Returns status and text.
    pub(crate) async fn post(&self, url: &str) -> (u16, String) {
        match self {
            Self::Hyper(client) => {
                let request =
                    http::Request::post(url).header("x-trace", "t-1").body(Full::from("a=1")).unwrap();
                let reply = client.clone().call(request).await.unwrap();
                let status = reply.status().as_u16();
                let body = reply.into_body().collect().await.unwrap().to_bytes();
                (status, String::from_utf8(body.to_vec()).unwrap())
            }
            Self::Reqwest(client) => {
                let reply = client.post(url).header("x-trace", "t-1").body("a=1").send().await.unwrap();
                (reply.status().as_u16(), reply.text().await.unwrap())
            }
        }
    }
}

#[tokio::test]
async fn a_call_carries_the_token_in_place_of_what_the_caller_wrote() {
    for client in LayeredClient::KINDS {
        let (_fixture, api, vault, token) = with_api(401).await;
        assert_eq!(client(&vault).post(&api.url("/v1/orders?page=2")).await, (200, "yes".into()));
        let calls = api.calls();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].header("authorization"), format!("Bearer {}", token.access.reveal()));
        assert_eq!(
            (calls[0].method.as_str(), calls[0].uri.to_string().as_str()),
            ("POST", "/v1/orders?page=2")
        );
    }
}

#[tokio::test]
async fn a_refused_token_is_refreshed_once_and_the_call_repeated_once_with_the_same_headers_and_body() {
    for client in LayeredClient::KINDS {
        let (fixture, api, vault, token) = with_api(401).await;
        api.reject(token.access.reveal());
        assert_eq!(client(&vault).post(&api.url("/v1/orders")).await, (200, "yes".into()));
        let calls = api.calls();
        assert_eq!(calls.len(), 2);
        for call in &calls {
            let seen = (call.method.as_str(), call.uri.path(), call.header("x-trace"), &call.body[..]);
            assert_eq!(seen, ("POST", "/v1/orders", "t-1", &b"a=1"[..]));
        }
        let newer = vault.token(ACME).await.unwrap();
        assert_ne!(newer.access, token.access);
        assert_eq!(calls[1].header("authorization"), format!("Bearer {}", newer.access.reveal()));
        assert_eq!(fixture.requests(), 2);
    }
}

#[tokio::test]
async fn a_token_revoked_early_under_two_hundred_calls_costs_one_refresh_and_all_succeed() {
    for client in LayeredClient::KINDS {
        let (fixture, api, vault, token) = with_api(401).await;
        api.reject(token.access.reveal());
        let url = api.url("/v1/orders");
        let client = client(&vault);
        let answers = join_all((0..200).map(|_| client.post(&url))).await;
        assert!(answers.iter().all(|(status, _)| *status == 200));
        assert_eq!(fixture.requests(), 2);
        fixture.assert_spent_once();
    }
}

#[tokio::test]
async fn a_token_that_helped_and_dies_early_as_well_is_refreshed_again_at_once() {
    for client in LayeredClient::KINDS {
        let (fixture, api, vault, _) = with_api(401).await;
        let client = client(&vault);
        for round in 1..=4 {
            let token = vault.token(ACME).await.unwrap();
            api.reject(token.access.reveal());
            let reply = client.post(&api.url("/v1/orders")).await;
            assert_eq!((reply.0, fixture.requests()), (200, 1 + round));
        }
    }
}

#[tokio::test]
async fn a_permission_that_is_missing_is_not_cured_by_refreshing_and_the_caller_gets_the_apis_answer() {
    for client in LayeredClient::KINDS {
        let (fixture, api, vault, _) = with_api(401).await;
        api.forbid("/secret");
        let client = client(&vault);
        for round in 0..50 {
            for (path, expected) in [("/v1/orders", 200), ("/v1/secret", 401)] {
                let reply = client.post(&api.url(path)).await;
                assert_eq!(reply.0, expected, "{path} in round {round}");
            }
        }
        // The first token, and one refresh that did not help.
        assert_eq!(fixture.requests(), 2);
        assert_eq!(api.calls().len(), 101, "one call was repeated, once");
    }
}

#[tokio::test]
async fn a_403_is_a_refusal_of_the_token_only_where_the_provider_says_so() {
    for client in LayeredClient::KINDS {
        let (fixture, api, vault, token) = with_api(403).await;
        api.reject(token.access.reveal());
        assert_eq!(client(&vault).post(&api.url("/v1/orders")).await.0, 403);
        assert_eq!((fixture.requests(), api.calls().len()), (1, 1));

        let fixture = Fixture::new().await;
        let header = "header = \"X-Token\"\nvalue = \"${access}\"";
        let own = own_provider(&fixture, &api, header, "{ status = 401 }, { status = 403 }");
        let (vault, token) = connected(&fixture, own).await;
        api.reject(token.access.reveal());
        assert_eq!(client(&vault).post(&api.url("/v1/orders")).await.0, 200);
        let newer = vault.token(ACME).await.unwrap();
        assert_eq!(api.calls().last().unwrap().header("x-token"), newer.access.reveal());
        assert_eq!(fixture.requests(), 2);
    }
}

#[tokio::test]
async fn the_token_goes_where_the_provider_wants_it() {
    for client in LayeredClient::KINDS {
        let (fixture, api) = (Fixture::new().await, Api::rejecting_with(401).await);
        let query = "query = \"key\"\nvalue = \"${access}\"";
        let (vault, token) =
            connected(&fixture, own_provider(&fixture, &api, query, "{ status = 401 }")).await;
        api.reject(token.access.reveal());
        let url = api.url("/v1/orders?page=2&key=mine");
        assert_eq!(client(&vault).post(&url).await.0, 200);
        let newer = vault.token(ACME).await.unwrap();
        let target = api.calls().last().unwrap().uri.to_string();
        assert_eq!(target, format!("/v1/orders?page=2&key={}", newer.access.reveal()));

        let cookie = "cookie = \"session\"\nvalue = \"${access}\"\n[[inject]]\ncookie = \"key\"\nvalue = \"k-${access}\"";
        let (vault, token) =
            connected(&fixture, own_provider(&fixture, &api, cookie, "{ status = 401 }")).await;
        assert_eq!(client(&vault).post(&api.url("/v1/orders")).await.0, 200);
        let sent = api.calls().last().unwrap().header("cookie").to_owned();
        let token = token.access.reveal();
        assert_eq!(sent, format!("session={token}; key=k-{token}"));
    }
}

/// Counts attempts, and makes a second one of every refusal.
struct Twice(Arc<AtomicUsize>);

#[async_trait]
impl Middleware for Twice {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        self.0.fetch_add(1, Ordering::SeqCst);
        assert!(!request.headers().contains_key("authorization"), "the token is put in further inside");
        let again = request.try_clone().unwrap();
        let reply = next.clone().run(request, extensions).await?;
        if reply.status().is_success() { Ok(reply) } else { next.run(again, extensions).await }
    }
}

#[tokio::test]
async fn a_middleware_that_retries_stands_around_and_each_of_its_attempts_carries_a_token_that_lives() {
    let (fixture, api, vault, token) = with_api(401).await;
    let attempts = Arc::new(AtomicUsize::new(0));
    let auth = Auth::new(vault, ACME).around(Twice(attempts.clone()));
    let client = auth.client(reqwest::Client::builder()).unwrap();
    api.reject(token.access.reveal());
    assert_eq!(LayeredClient::Reqwest(client).post(&api.url("/v1/orders")).await.0, 200);
    assert_eq!((attempts.load(Ordering::SeqCst), fixture.requests(), api.calls().len()), (1, 2, 2));
}

#[tokio::test]
async fn a_call_for_which_there_is_no_token_is_not_sent() {
    let (fixture, api) = (Fixture::new().await, Api::rejecting_with(401).await);
    let vault = fixture.vault(Vault::in_memory()).await;
    let error = with_reqwest(&vault).get(api.url("/")).send().await.unwrap_err().to_string();
    assert!(error.contains("is defined but not connected"), "{error}");
    let request = http::Request::get("/relative").body(Full::default()).unwrap();
    vault.connect(ACME, fixture.refresh_token()).await.unwrap();
    let error = with_hyper(&vault).call(request).await.unwrap_err().to_string();
    assert!(error.contains("needs a whole URL"), "{error}");
    assert_eq!(api.calls().len(), 0);
}

#[tokio::test]
async fn a_body_that_streams_is_not_repeated_but_the_next_call_has_the_new_token() {
    let (fixture, api, vault, token) = with_api(401).await;
    api.reject(token.access.reveal());
    let client = with_reqwest(&vault);
    let stream = || {
        reqwest::Body::wrap(http_body_util::StreamBody::new(futures_util::stream::iter([Ok::<
            _,
            std::io::Error,
        >(
            hyper::body::Frame::data(Bytes::from("a=1")),
        )])))
    };
    let refused = client.post(api.url("/v1/orders")).body(stream()).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let accepted = client.post(api.url("/v1/orders")).body(stream()).send().await.unwrap();
    assert_eq!(accepted.status(), 200);
    assert_eq!((fixture.requests(), api.calls().len()), (2, 2));
}

#[tokio::test]
async fn when_the_provider_is_away_the_caller_gets_the_apis_own_answer() {
    for client in LayeredClient::KINDS {
        let (mut fixture, api, vault, token) = with_api(401).await;
        api.reject(token.access.reveal());
        fixture.provider.refuse_connections().await;
        assert_eq!(client(&vault).post(&api.url("/v1/orders")).await, (401, "no".into()));
        assert_eq!(api.calls().len(), 1);
    }
}
