//! The form of every error; none repeats what was sent.

use jeton_emulator::{Behaviour, Fault, FaultKind};
use serde_json::Value;

use crate::app::{API_KEY, TestEnv, TestServer};
use crate::openapi::describes;

/// A secret in a wrong place.
const PLANTED: &str = "planted-secret-5f1c";

struct Case {
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
    status: u16,
    code: &'static str,
}

fn case(method: &'static str, path: &'static str, status: u16, code: &'static str) -> Case {
    Case { method, path, headers: vec![("x-api-key", API_KEY)], body: "", status, code }
}

impl Case {
    fn headers(mut self, headers: &[(&'static str, &'static str)]) -> Self {
        self.headers = headers.to_vec();
        self
    }

    fn json(mut self, body: &'static str) -> Self {
        self.headers.push(("content-type", "application/json"));
        self.body = body;
        self
    }

    async fn send(&self, server: &TestServer) -> (String, String) {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let request = format!(
            "{} {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n{}",
            self.method,
            self.path,
            headers.collect::<String>(),
            self.body.len(),
            self.body
        );
        let answer = server.raw(request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }
}

const TOKEN: &str = "/api/v1/connections/acme/token";
const REJECT: &str = "/api/v1/connections/acme/token/reject";
const REFRESH: &str = "/api/v1/connections/acme/refresh";

fn without_valid_credentials() -> Vec<Case> {
    vec![
        case("GET", TOKEN, 403, "SERVICE_TOKEN_REQUIRED").headers(&[]),
        case("GET", TOKEN, 403, "SERVICE_TOKEN_INVALID").headers(&[("x-api-key", PLANTED)]),
        case("GET", TOKEN, 403, "SERVICE_TOKEN_REQUIRED").headers(&[("x-api-key", "")]),
        case("GET", "/api/v1/connections", 403, "SERVICE_TOKEN_REQUIRED").headers(&[]),
        case("DELETE", "/api/v1/connections/acme", 403, "SERVICE_TOKEN_REQUIRED").headers(&[]),
        case("GET", TOKEN, 400, "CONFLICTING_CREDENTIALS")
            .headers(&[("x-api-key", API_KEY), ("x-api-key", PLANTED)]),
        case("GET", TOKEN, 400, "CONFLICTING_CREDENTIALS")
            .headers(&[("x-api-key", PLANTED), ("x-api-key", API_KEY)]),
        case("GET", TOKEN, 400, "CONFLICTING_CREDENTIALS")
            .headers(&[("x-api-key", API_KEY), ("authorization", "Bearer planted-secret-5f1c")]),
        case("GET", TOKEN, 400, "CONFLICTING_CREDENTIALS")
            .headers(&[("x-service-token", PLANTED), ("x-api-key", API_KEY)]),
        // The same key twice is no conflict.
        case("GET", TOKEN, 424, "NOT_CONNECTED").headers(&[("x-api-key", API_KEY), ("x-api-key", API_KEY)]),
    ]
}

fn with_an_unknown_url_or_method() -> Vec<Case> {
    vec![
        case("GET", "/planted-secret-5f1c", 404, "NOT_FOUND").headers(&[]),
        case("GET", "/api/v1/connections/", 404, "NOT_FOUND"),
        case("GET", "/api/v1/connections/acme/token/", 404, "NOT_FOUND"),
        case("GET", "/api/v1/connections/%ff/token", 404, "NOT_FOUND"),
        case("GET", "/api/v1/connections/acmee/token", 404, "UNKNOWN_CONNECTION"),
        case("GET", "/api/v1/connections/ACME", 404, "UNKNOWN_CONNECTION"),
        case("POST", "/api/v1/connections/..%2f..%2fetc/refresh", 404, "UNKNOWN_CONNECTION"),
        // The API key has every scope but `admin`.
        case("DELETE", "/api/v1/connections/acme", 403, "SCOPE_INSUFFICIENT"),
        case("GET", "/api/v1/service-tokens", 403, "SCOPE_INSUFFICIENT"),
        case("POST", TOKEN, 405, "METHOD_NOT_ALLOWED"),
        case("GET", REFRESH, 405, "METHOD_NOT_ALLOWED"),
        case("PLANTED", "/health", 405, "METHOD_NOT_ALLOWED"),
    ]
}

fn with_a_bad_query() -> Vec<Case> {
    let bad = |path| case("GET", path, 400, "BAD_REQUEST");
    vec![
        bad("/api/v1/connections/acme/token?min_ttl=planted-secret-5f1c"),
        bad("/api/v1/connections/acme/token?min_ttl=-1"),
        bad("/api/v1/connections/acme/token?wait=11m"),
        bad("/api/v1/connections/acme/token?min_tll=60"),
        bad("/api/v1/connections/acme/token?min_ttl=1&min_ttl=2"),
        bad("/api/v1/connections/acme/token?access_token=planted-secret-5f1c"),
        bad("/api/v1/connections?limit=0"),
        bad("/api/v1/connections?limit=1001"),
        bad("/api/v1/connections?limit=planted-secret-5f1c"),
        bad("/api/v1/connections?after=PLANTED"),
    ]
}

fn with_a_bad_body() -> Vec<Case> {
    let reject = |status, code, body| case("POST", REJECT, status, code).json(body);
    vec![
        reject(422, "UNPROCESSABLE_BODY", ""),
        reject(422, "UNPROCESSABLE_BODY", "{}"),
        reject(422, "UNPROCESSABLE_BODY", r#"{"fingerprint": "planted-secret-5f1c"}"#),
        reject(422, "UNPROCESSABLE_BODY", r#"{"access_token": "planted-secret-5f1c", "more": 1}"#),
        reject(422, "UNPROCESSABLE_BODY", r#"{"acces_token": "planted-secret-5f1c"}"#),
        reject(
            422,
            "UNPROCESSABLE_BODY",
            r#"{"access_token": "planted-secret-5f1c", "fingerprint": "00000000000000000000000000000000"}"#,
        ),
        reject(400, "BAD_REQUEST", r#"{"access_token": "planted-secret-5f1c"#),
        reject(400, "BAD_REQUEST", "planted-secret-5f1c"),
        case("POST", REFRESH, 422, "UNPROCESSABLE_BODY").json(r#"{"force": "planted-secret-5f1c"}"#),
        case("POST", REFRESH, 422, "UNPROCESSABLE_BODY").json("[]"),
        case("POST", REFRESH, 422, "UNPROCESSABLE_BODY").json("[true]"),
        case("POST", REFRESH, 422, "UNPROCESSABLE_BODY").json("null"),
        Case {
            body: "access_token=planted-secret-5f1c",
            ..case("POST", REJECT, 415, "UNSUPPORTED_MEDIA_TYPE")
        },
    ]
}

#[tokio::test]
async fn every_error_is_a_problem_with_its_code_and_repeats_nothing_that_was_sent() {
    let (env, server) = TestEnv::start(&["acme"]).await;
    let cases =
        [without_valid_credentials(), with_an_unknown_url_or_method(), with_a_bad_query(), with_a_bad_body()];
    for case in cases.iter().flatten() {
        let what = format!("{} {} {:?}", case.method, case.path, case.body);
        let (head, body) = case.send(&server).await;
        assert!(head.starts_with(&format!("http/1.1 {}", case.status)), "{what}: {head} {body}");
        assert!(head.contains("content-type: application/problem+json"), "{what}: {head}");
        assert!(head.contains("cache-control: no-store"), "{what}: {head}");
        assert_eq!(head.contains("www-authenticate: "), case.status == 401, "{what}: {head}");
        assert_eq!(head.contains("\r\nallow: "), case.status == 405, "{what}: {head}");
        let problem: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{what}: {body}"));
        assert_eq!(problem["code"], case.code, "{what}");
        assert_eq!(problem["status"], case.status, "{what}");
        assert_eq!(problem["type"], format!("urn:jeton:error:{}", case.code), "{what}");
        assert!(
            describes(case.method, case.path, case.status, case.code),
            "{what}: the document says otherwise"
        );
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| text.len() > 8), "{what}: {problem}");
        }
        assert!(!format!("{head}{body}").contains(PLANTED), "{what}: {head} {body}");
        assert!(!body.contains(API_KEY), "{what}");
    }
    assert_eq!(env.emulator.stats().requests, 0, "nothing was sent to the provider");
}

#[tokio::test]
async fn a_similar_name_is_suggested() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let reply = server.client().get("/api/v1/connections/acmee").await.unwrap();
    let detail = reply.json().unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("did you mean acme?"), "{detail}");
}

#[tokio::test]
async fn a_failed_refresh_reaches_the_caller_with_its_class_and_retry_after() {
    let (env, server) = TestEnv::start(&["acme"]).await;
    let refresh = server.connect(&env, "acme").await;
    env.emulator
        .set_behaviour(Behaviour::from_queue([Fault::new(FaultKind::RateLimited { retry_after_secs: 7 })]));
    let reply = server.client().get(TOKEN).await.unwrap();
    let problem = reply.json().unwrap();
    assert_eq!((reply.status.as_u16(), problem["code"].as_str()), (503, Some("REFRESH_FAILED")));
    assert_eq!(problem["class"], "rate_limited");
    let retry_after: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((7..=9).contains(&retry_after), "{retry_after}");
    assert_eq!(problem["retry_after"], retry_after);
    assert!(!reply.text().contains(refresh.reveal()));

    let reply = server.client().get(TOKEN).await.unwrap();
    assert_eq!(reply.json().unwrap()["code"], "COOLING_DOWN");
}

#[tokio::test]
async fn a_dead_grant_says_that_a_person_is_needed() {
    let (env, server) = TestEnv::start(&["acme"]).await;
    let refresh = server.connect(&env, "acme").await;
    assert!(env.emulator.revoke_grant(refresh.reveal()));
    let reply = server.client().get(TOKEN).await.unwrap();
    let problem = reply.json().unwrap();
    assert_eq!((reply.status.as_u16(), problem["code"].as_str()), (424, Some("REAUTHORIZATION_REQUIRED")));
    assert!(problem["detail"].as_str().unwrap().contains("jeton connect acme"), "{problem}");
    assert!(!reply.text().contains(refresh.reveal()));
    assert!(!reply.headers.contains_key("retry-after"));
}
