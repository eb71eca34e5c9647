//! The `OpenAPI` document: served to everyone, and true.

use jeton_testkit::matches_template;
use serde_json::{Value, json};

use crate::app::{TestEnv, TestServer};

const DOCUMENT: &str = "/openapi.json";

fn document() -> Value {
    serde_json::from_str(jeton_server::openapi()).unwrap()
}

/// Whether the document has this error for this request. What it does not mention does not exist.
pub(crate) fn describes(method: &str, path: &str, status: u16, code: &str) -> bool {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let Some((_, methods)) = paths.iter().find(|(template, _)| matches_template(path, template)) else {
        return code == "NOT_FOUND";
    };
    let Some(operation) = methods.get(method.to_ascii_lowercase()) else {
        return code == "METHOD_NOT_ALLOWED";
    };
    let problem =
        &operation["responses"][status.to_string()]["content"]["application/problem+json"]["schema"];
    let codes = &problem["allOf"][1]["properties"]["code"]["enum"];
    codes.as_array().is_some_and(|codes| codes.iter().any(|known| known == code))
}

/// The status line and headers of a response, in lower case.
async fn head_of(server: &TestServer, method: &str, path: &str) -> String {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let answer = server.raw(request).await;
    answer.split("\r\n\r\n").next().unwrap().to_ascii_lowercase()
}

#[tokio::test]
async fn the_document_is_public_and_sent_once_to_those_who_cache_it() {
    let (_env, server) = TestEnv::start(&[]).await;
    let whole = server.anonymous().get(DOCUMENT).await.unwrap();
    assert_eq!((whole.status.as_u16(), whole.text().as_str()), (200, jeton_server::openapi()));
    assert_eq!(whole.headers["content-type"], "application/json");
    assert_eq!(whole.headers["cache-control"], "public, max-age=300");
    let tag = whole.headers["etag"].to_str().unwrap().to_owned();
    for (known, status) in [
        (tag.clone(), 304),
        (format!("\"other\", W/{tag}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
        (tag.trim_matches('"').to_owned(), 200),
    ] {
        let reply = server.anonymous().with_header("if-none-match", &known).get(DOCUMENT).await.unwrap();
        assert_eq!(reply.status, status, "{known}");
        assert_eq!(reply.headers["etag"], tag.as_str(), "{known}");
        assert_eq!(reply.body.is_empty(), status == 304, "{known}");
    }
}

#[tokio::test]
async fn every_documented_url_exists() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let document = document();
    let mut routes = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let is_of_the_gateway = path.starts_with("/api/v1/proxy/");
        for (method, operation) in methods.as_object().unwrap() {
            let path = path.replace("{name}", "acme").replace("{id}", "00000000-0000-7000-8000-000000000000");
            let head = head_of(&server, &method.to_ascii_uppercase(), &path).await;
            let status = head.split(' ').nth(1).unwrap();
            // The gateway is mounted by whoever composes; the step `conformance` of the test run looks for it.
            let described = is_of_the_gateway || operation["responses"].get(status).is_some();
            assert!(described && status != "405", "{method} {path}: {head}");
            let open = operation["security"] == json!([]);
            assert!(
                is_of_the_gateway || (open != (status == "403")) || path == "/oauth/status",
                "{path}: {head}"
            );
            routes += usize::from(!is_of_the_gateway);
        }
    }
    assert_eq!(routes, 44);
}
