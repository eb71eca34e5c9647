//! Calls of web pages: who may call is a list of origins.

use http::Method;
use jeton_core::keep::provider::Alias;
use jeton_gateway::{CallSettings, ConnectionAlias, Settings};
use jeton_testkit::{Reply, TestApi};
use serde_json::json;

use crate::fixture::{Fixture, Options, json_response};

const PAGE: &str = "https://app.example.com";

/// A gateway whose connection `acme` pages of these origins may call, with the alias `/crm/{id}`.
async fn allowing(origins: &[&str]) -> (TestApi, Fixture) {
    let api = TestApi::answering(|request| {
        let mut answer = json_response(200, &json!({ "path": request.uri.path() }));
        answer.headers_mut().insert("access-control-allow-origin", "https://theirs.example".parse().unwrap());
        answer.headers_mut().insert("access-control-allow-credentials", "true".parse().unwrap());
        answer
    })
    .await;
    let own = CallSettings {
        allowed_origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
        ..CallSettings::default()
    };
    let settings = Settings { connections: [("acme".to_owned(), own)].into(), ..Settings::default() };
    let alias = "path = '/crm/{id}'\nupstream = '/leads/{id}'\nenvelope = true\nmessage = 'Done'";
    let alias: Alias = toml::from_str(alias).unwrap();
    let aliases = vec![ConnectionAlias { connection: "acme".parse().unwrap(), alias }];
    let options = Options { settings, aliases, ..Options::default() };
    let fixture = Fixture::with_options(&api.base_url(), options).await;
    (api, fixture)
}

async fn preflight(fixture: &Fixture, path: &str, origin: &str) -> Reply {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-api-key, content-type"),
    ];
    fixture.client_without_key().send(Method::OPTIONS, path, &headers, "").await.unwrap()
}

fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    reply.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_ask_and_call_and_another_may_not() {
    let (api, fixture) = allowing(&[PAGE]).await;
    for (path, methods) in [("/api/v1/proxy/acme/x", "PUT"), ("/crm/7", "GET, HEAD, OPTIONS")] {
        let asked = preflight(&fixture, path, PAGE).await;
        assert_eq!(
            (asked.status.as_u16(), header(&asked, "access-control-allow-origin")),
            (200, PAGE),
            "{path}"
        );
        assert_eq!(header(&asked, "access-control-allow-methods"), methods);
        assert_eq!(header(&asked, "access-control-allow-headers"), "x-api-key, content-type");
        assert_eq!(header(&asked, "vary"), "Origin");
        let other = preflight(&fixture, path, "https://evil.example").await;
        assert_eq!(header(&other, "access-control-allow-origin"), "", "{path}");
        assert!(api.received().is_empty(), "the API is not asked");
    }
    for path in ["/api/v1/proxy/acme/x", "/crm/7"] {
        for client in [fixture.client(), fixture.client_without_key()] {
            let reply = client.with_header("origin", PAGE).get(path).await.unwrap();
            assert_eq!(header(&reply, "access-control-allow-origin"), PAGE, "errors too: {}", reply.status);
            assert!(
                !reply.headers.contains_key("access-control-allow-credentials"),
                "the API's own word ends here"
            );
        }
        let reply = fixture.client().with_header("origin", "https://evil.example").get(path).await.unwrap();
        assert_eq!(
            (reply.status.as_u16(), header(&reply, "access-control-allow-origin")),
            (200, ""),
            "{path}"
        );
    }
    let asked = preflight(&fixture, "/api/v1/proxy/acne/x", PAGE).await;
    assert_eq!(header(&asked, "access-control-allow-origin"), "", "each connection has its own list");
}

#[tokio::test]
async fn a_star_lets_every_page_call_and_an_empty_list_none() {
    let (_api, fixture) = allowing(&["*"]).await;
    let asked = preflight(&fixture, "/crm/7", "https://any.example").await;
    assert_eq!((asked.status.as_u16(), header(&asked, "access-control-allow-origin")), (200, "*"));
    assert_eq!(header(&asked, "vary"), "");
    let (_api, fixture) = allowing(&[]).await;
    for path in ["/crm/7", "/api/v1/proxy/acme/x"] {
        let asked = preflight(&fixture, path, PAGE).await;
        assert_eq!(header(&asked, "access-control-allow-origin"), "", "{path}");
        let reply = fixture.client().with_header("origin", PAGE).get(path).await.unwrap();
        assert_eq!((reply.status.as_u16(), header(&reply, "access-control-allow-origin")), (200, ""));
    }
}
