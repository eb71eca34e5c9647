//! Aliases, in the envelope of the gateway that jeton replaces.

use http::Method;
use jeton_core::keep::provider::{Alias, Catalogue};
use jeton_gateway::{CallSettings, ConnectionAlias, Settings};
use jeton_testkit::TestApi;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::fixture::{API_KEY, Fixture, Options, json_response, raw_head};

/// The body of a form that has all that it must.
fn form() -> Value {
    json!({ "source": "site", "form_name": "Callback", "lead": { "name": "A lead" }, "contact": { "phone": "+998901234567" } })
}

const UNSORTED: &str = "/api/v1/leads/unsorted";

fn presets() -> Vec<ConnectionAlias> {
    let provider = Arc::clone(Catalogue::builtin().get("amocrm").unwrap());
    let of = |alias: &Alias| ConnectionAlias { connection: "acme".parse().unwrap(), alias: alias.clone() };
    provider.aliases().iter().map(of).collect()
}

async fn amo() -> (TestApi, Fixture) {
    let api = TestApi::answering(|request| match request.uri.path() {
        "/api/v4/leads/pipelines/404" => json_response(404, &json!({ "title": "Not found", "status": 404 })),
        "/api/v4/leads/custom_fields" => json_response(204, &json!(null)),
        path => json_response(200, &json!({ "path": path, "query": request.uri.query() })),
    })
    .await;
    let fixture =
        Fixture::with_options(&api.base_url(), Options { aliases: presets(), ..Options::default() }).await;
    (api, fixture)
}

#[tokio::test]
async fn the_info_routes_answer_as_the_old_gateway_did() {
    let (_api, fixture) = amo().await;
    for (path, upstream, message) in [
        ("account", "/api/v4/account", "Account info retrieved successfully"),
        ("pipelines", "/api/v4/leads/pipelines", "Pipelines retrieved successfully"),
        ("pipelines/7", "/api/v4/leads/pipelines/7", "Pipeline retrieved successfully"),
        ("contact-fields", "/api/v4/contacts/custom_fields", "Contact fields retrieved successfully"),
    ] {
        let reply = fixture.client().get(&format!("/api/v1/info/{path}?page=2")).await.unwrap();
        assert_eq!(reply.status, 200);
        assert_eq!(reply.headers["content-type"], "application/json");
        let data = json!({ "path": upstream, "query": "page=2" });
        let expected = format!(r#"{{"success":true,"message":"{message}","data":{data}}}"#);
        assert_eq!(reply.text(), expected);
    }
    let reply = fixture.client().get("/api/v1/info/lead-fields").await.unwrap();
    assert_eq!(
        reply.text(),
        r#"{"success":true,"message":"Lead fields retrieved successfully","data":null}"#
    );
}

#[tokio::test]
async fn a_missing_or_wrong_key_is_401_with_the_exact_text() {
    let (api, fixture) = amo().await;
    let expected = r#"{"success":false,"error":"Invalid or missing API key","message":"Please provide valid X-API-KEY header"}"#;
    for client in
        [fixture.client_without_key(), fixture.client_without_key().with_header("x-api-key", "wrong")]
    {
        let reply = client.get("/api/v1/info/account").await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (401, expected));
    }
    assert!(api.received().is_empty());
}

#[tokio::test]
async fn failures_come_in_the_envelope_too() {
    let (_api, fixture) = amo().await;
    let reply = fixture.client().get("/api/v1/info/pipelines/404").await.unwrap();
    assert_eq!(reply.status, 404);
    let details = json!({ "title": "Not found", "status": 404 });
    assert_eq!(reply.json().unwrap()["success"], false);
    assert!(reply.json().unwrap()["error"].as_str().unwrap().ends_with("answered 404"));
    assert_eq!(reply.json().unwrap()["details"], details);

    let answer = fixture
        .send_raw(raw_head("GET /api/v1/info/pipelines/%2e%2e", API_KEY, "Connection: close\r\n"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(r#"{"success":false,"#), "{answer}");
    let reply = fixture.client().post("/api/v1/info/account", &json!({})).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.json().unwrap()["success"]), (405, &json!(false)));

    let options = Options { aliases: presets(), ..Options::default() };
    let fixture = Fixture::with_options("http://127.0.0.1:9", options).await;
    let bot = fixture.service("bot", "proxy:acme:GET:/api/v4/account").await;
    let reply = bot.get("/api/v1/info/pipelines").await.unwrap();
    assert_eq!(
        (reply.status.as_u16(), &reply.json().unwrap()["details"]["code"]),
        (403, &json!("SCOPE_INSUFFICIENT"))
    );
    let reply = bot.get("/api/v1/info/account").await.unwrap();
    assert_eq!(
        (reply.status.as_u16(), &reply.headers["x-jeton-error"]),
        (502, &"UPSTREAM_UNREACHABLE".parse().unwrap())
    );
    assert_eq!(reply.json().unwrap()["success"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_calls_of_an_alias_with_an_expired_token_make_one_refresh() {
    let alias: Alias =
        toml("path = '/crm/{id}'\nupstream = '/leads/{id}'\nenvelope = true\nmessage = 'Done'");
    let aliases = vec![ConnectionAlias { connection: "acme".parse().unwrap(), alias }];
    let fixture = Arc::new(Fixture::with_emulated_api(Options { aliases, ..Options::default() }).await);
    let token = fixture.access_token().await;
    fixture.emulator.revoke_access(token.reveal());
    let before = fixture.emulator.stats();
    let mut calls = tokio::task::JoinSet::new();
    for id in 0..20 {
        let fixture = Arc::clone(&fixture);
        calls.spawn(async move { fixture.client().get_json(&format!("/crm/{id}")).await.unwrap() });
    }
    for answer in calls.join_all().await {
        assert_eq!((&answer["success"], &answer["message"]), (&json!(true), &json!("Done")));
    }
    assert_eq!(fixture.emulator.stats().accepted - before.accepted, 1);
}

fn toml(text: &str) -> Alias {
    ::toml::from_str(text).unwrap()
}

#[tokio::test]
async fn aliases_may_share_a_prefix_and_the_most_specific_answers() {
    let of = |path: &str, upstream: &str| ConnectionAlias {
        connection: "acme".parse().unwrap(),
        alias: toml(&format!("path = '{path}'\nupstream = '{upstream}'")),
    };
    let aliases = vec![
        of("/crm/{id}", "/one/{id}"),
        of("/crm/{other}/notes", "/notes/{other}"),
        of("/crm/all", "/all"),
        of("/{version}x/y", "/never"),
    ];
    let aliases = aliases.into_iter().filter(|alias| alias.alias.check().is_ok()).collect();
    let api = TestApi::answering(|request| json_response(200, &json!(request.uri.to_string()))).await;
    let fixture = Fixture::with_options(&api.base_url(), Options { aliases, ..Options::default() }).await;
    for (path, upstream) in [
        ("/crm/7?a=1", "/one/7?a=1"),
        ("/crm/7/notes", "/notes/7"),
        ("/crm/all", "/all"),
        ("/crm/a%20b", "/one/a%20b"),
    ] {
        assert_eq!(fixture.client().get_json(path).await.unwrap(), json!(upstream), "{path}");
    }
}

#[tokio::test]
async fn head_and_options_work_on_an_alias_and_other_methods_are_named() {
    let (api, fixture) = amo().await;
    let get = fixture.client().get("/api/v1/info/account").await.unwrap();
    let head = fixture.client().send(Method::HEAD, "/api/v1/info/account", &[], "").await.unwrap();
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"], get.headers["content-length"]);
    assert_eq!(api.received().len(), 2);
    let options =
        fixture.client_without_key().send(Method::OPTIONS, "/api/v1/info/account", &[], "").await.unwrap();
    assert_eq!(
        (options.status.as_u16(), &options.headers["allow"]),
        (200, &"GET, HEAD, OPTIONS".parse().unwrap())
    );
    for method in [Method::DELETE, Method::TRACE] {
        let refused = fixture.client().send(method, "/api/v1/info/account", &[], "").await.unwrap();
        assert_eq!(
            (refused.status.as_u16(), &refused.headers["allow"]),
            (405, &"GET, HEAD, OPTIONS".parse().unwrap())
        );
    }
    let traced = fixture.client().send(Method::TRACE, "/api/v1/proxy/acme/x", &[], "").await.unwrap();
    assert_eq!(traced.status, 405);
    assert!(traced.headers["allow"].to_str().unwrap().contains("PATCH"), "{:?}", traced.headers);
}

#[tokio::test]
async fn a_form_becomes_an_unsorted_lead_and_the_answer_is_that_of_the_old_gateway() {
    let (api, fixture) = amo().await;
    let reply = fixture.client().post(UNSORTED, &form()).await.unwrap();
    let said = reply.json().unwrap();
    assert_eq!((reply.status.as_u16(), &said["success"]), (200, &json!(true)), "{said}");
    assert_eq!(said["message"], "Unsorted lead created successfully");
    let received = api.received();
    let sent: Value = serde_json::from_slice(&received[0].body).unwrap();
    assert_eq!(received[0].uri.path(), "/api/v4/leads/unsorted/forms");
    assert_eq!(
        (&received[0].headers["content-type"], &sent[0]["source_name"]),
        (&"application/json".parse().unwrap(), &json!("site"))
    );
    assert_eq!(received[0].headers["content-length"], received[0].body.len().to_string());
    let created = sent[0]["created_at"].as_i64().unwrap();
    assert_eq!(sent[0]["metadata"]["form_sent_at"], created);
    assert!(created > 1_700_000_000, "{sent}");

    // A client that sends it in chunks, and one that repeats it: each call has an id of its own.
    let body = form().to_string();
    let chunked = format!(
        "POST {UNSORTED} HTTP/1.1\r\nHost: x\r\nX-API-KEY: {API_KEY}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let answer = fixture.send_raw(chunked).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Unsorted lead created"), "{answer}");
    let again: Value = serde_json::from_slice(&api.received()[1].body).unwrap();
    assert_ne!(sent[0]["source_uid"], again[0]["source_uid"]);
    assert!(sent[0]["source_uid"].as_str().unwrap().starts_with("gw_"));
}

#[tokio::test]
async fn a_form_that_lacks_something_is_422_by_field_and_nothing_is_sent() {
    let (api, fixture) = amo().await;
    let reply =
        fixture.client().post(UNSORTED, &json!({ "source": "s", "lead": {}, "contact": {} })).await.unwrap();
    let expected = json!({ "success": false, "error": "Validation failed", "details": {
        "form_name": "form_name is required", "lead.name": "lead.name is required",
        "contact": "At least one contact field (name, phone, email) is required" } });
    assert_eq!((reply.status.as_u16(), reply.json().unwrap()), (422, expected));
    for body in ["", "{\"source\": \"hush\"", "nonsense"] {
        let head = format!("Connection: close\r\nContent-Length: {}\r\n", body.len());
        let answer = fixture.send_raw(raw_head(&format!("POST {UNSORTED}"), API_KEY, &head) + body).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
        assert!(
            answer.contains(
                r#"{"success":false,"error":"Invalid JSON","details":{"json_error":"invalid JSON at line 1"#
            ),
            "{answer}"
        );
        assert!(!answer.contains("hush"), "{answer}");
    }
    let refused = fixture.client_without_key().post(UNSORTED, &json!({})).await.unwrap();
    assert_eq!(refused.status, 401, "the key comes first");
    let reader = fixture.service("bot", "proxy:acme:GET").await;
    assert_eq!(reader.post(UNSORTED, &json!({})).await.unwrap().status, 403, "and then the scope");
    assert!(api.received().is_empty());
}

#[tokio::test]
async fn a_lead_that_the_api_refuses_is_500_with_its_answer_and_a_dead_token_is_replaced_first() {
    let refusal = json!({ "title": "Bad Request", "status": 400 });
    let api = TestApi::answering({
        let refusal = refusal.clone();
        move |_| json_response(400, &refusal)
    })
    .await;
    let options = Options { aliases: presets(), ..Options::default() };
    let fixture = Fixture::with_options(&api.base_url(), options).await;
    let reply = fixture.client().post(UNSORTED, &form()).await.unwrap();
    let expected = json!({ "success": false, "error": "Failed to create lead in AmoCRM",
        "details": { "amocrm_error": refusal, "http_code": 400 } });
    assert_eq!((reply.status.as_u16(), reply.json().unwrap()), (500, expected));

    let alias = toml("path = '/form'\nupstream = '/form'\nmethod = 'POST'\nbody = '{\"a\": {{ a }}}'");
    let aliases = vec![ConnectionAlias { connection: "acme".parse().unwrap(), alias }];
    let fixture = Fixture::with_emulated_api(Options { aliases, ..Options::default() }).await;
    fixture.emulator.revoke_access(fixture.access_token().await.reveal());
    let reply = fixture.client().post("/form", &json!({ "a": 1 })).await.unwrap();
    assert_eq!(reply.status, 200, "the same body was sent again: {}", reply.text());
    let reply = fixture.client().post("/form", &json!("text")).await.unwrap();
    assert_eq!(reply.status, 200, "a template may need nothing: {}", reply.text());
}

#[tokio::test]
async fn a_page_of_any_origin_may_call_the_presets_unless_origins_are_listed() {
    let (api, fixture) = amo().await;
    let preflight = "OPTIONS /api/v1/info/account HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example.com\r\n\
        Access-Control-Request-Method: GET\r\nConnection: close\r\n\r\n";
    let answer = fixture.send_raw(preflight).await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    for line in [
        "access-control-allow-origin: *\r\n",
        "access-control-allow-methods: get, post, options\r\n",
        "access-control-allow-headers: content-type, x-api-key\r\n",
    ] {
        assert!(answer.contains(line), "{line}: {answer}");
    }
    assert!(api.received().is_empty());
    // Errors can be read there, too.
    let wrong = fixture.client_without_key().get("/api/v1/info/account").await.unwrap();
    assert_eq!(
        (wrong.status.as_u16(), &wrong.headers["access-control-allow-origin"]),
        (401, &"*".parse().unwrap())
    );

    let calls = CallSettings {
        allowed_origins: vec!["https://app.example.com".to_owned()],
        ..CallSettings::default()
    };
    let settings = Settings { calls, ..Settings::default() };
    let options = Options { aliases: presets(), settings, ..Options::default() };
    let fixture = Fixture::with_options(&api.base_url(), options).await;
    for (origin, allowed) in [("https://app.example.com", true), ("https://evil.example", false)] {
        let reply = fixture.client().with_header("origin", origin).get("/api/v1/info/account").await.unwrap();
        let header = reply.headers.get("access-control-allow-origin");
        assert_eq!((reply.status.as_u16(), header.is_some_and(|value| value == origin)), (200, allowed));
    }
}
