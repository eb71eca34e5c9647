//! Checks of service tokens for others.

use jeton_testkit::Reply;

use crate::app::{API_KEY, TestEnv};

const VERIFY: &str = "/api/v1/verify";

fn refused(reply: &Reply) -> (u16, String) {
    assert!(!reply.headers.contains_key("x-jeton-service"));
    (reply.status.as_u16(), reply.json().unwrap()["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_good_credential_is_answered_with_its_service_and_nothing_else() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let bot = server.service("bot1", "").await;
    for (client, service) in [(bot, "bot1"), (server.client(), "api-key")] {
        let reply = client.get(VERIFY).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (204, ""));
        assert_eq!(reply.headers["x-jeton-service"], service);
    }
    assert_eq!(
        refused(&server.anonymous().get(VERIFY).await.unwrap()),
        (403, "SERVICE_TOKEN_REQUIRED".into())
    );
    let wrong = server.anonymous().with_header("x-service-token", "wrong");
    assert_eq!(refused(&wrong.get(VERIFY).await.unwrap()), (403, "SERVICE_TOKEN_INVALID".into()));
    let two = server.client().with_header("x-service-token", "wrong");
    assert_eq!(refused(&two.get(VERIFY).await.unwrap()), (403, "CONFLICTING_CREDENTIALS".into()));
}

#[tokio::test]
async fn a_check_can_demand_one_service_and_one_scope() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let bot = server.service("bot1", "token:acme proxy:acme:GET:/api/**").await;
    for (query, answer) in [
        ("service=bot1", None),
        ("service=bot1&scope=token:acme", None),
        ("scope=proxy:acme:GET:/api/v4/leads", None),
        ("service=bot2", Some((403, "WRONG_SERVICE"))),
        ("scope=token:shop", Some((403, "SCOPE_INSUFFICIENT"))),
        ("scope=proxy:acme", Some((403, "SCOPE_INSUFFICIENT"))),
        ("scope=proxy:acme:POST:/api/v4/leads", Some((403, "SCOPE_INSUFFICIENT"))),
        ("scope=proxy:acme:GET:/api/../admin", Some((403, "SCOPE_INSUFFICIENT"))),
        ("status=201", Some((400, "BAD_REQUEST"))),
        ("status=ok", Some((400, "BAD_REQUEST"))),
        ("scope=admin", Some((403, "SCOPE_INSUFFICIENT"))),
        ("scope=token:*", Some((400, "BAD_REQUEST"))),
        ("scope=", Some((400, "BAD_REQUEST"))),
        ("service=Bot", Some((400, "BAD_REQUEST"))),
        ("servce=bot1", Some((400, "BAD_REQUEST"))),
    ] {
        let reply = bot.get(&format!("{VERIFY}?{query}")).await.unwrap();
        match answer {
            None => assert_eq!(reply.status, 204, "{query}: {}", reply.text()),
            Some((status, code)) => assert_eq!(refused(&reply), (status, code.to_owned()), "{query}"),
        }
    }
    let two = server.client().get(&format!("{VERIFY}?service=api-key&scope=sessions")).await.unwrap();
    assert_eq!(two.status, 204, "{API_KEY} has that scope");
}

#[tokio::test]
async fn the_authorization_of_the_checked_request_is_its_own_affair() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let bot = server.service("bot1", "").await;
    for path in [VERIFY, "/api/v1/verify/envoy/orders/1"] {
        for theirs in ["Bearer eyJhbGciOi.theirs", "Basic YTpi", "Bearer wrong"] {
            let reply = bot.clone().with_header("authorization", theirs).get(path).await.unwrap();
            assert!(reply.status.is_success(), "{path} {theirs}: {}", reply.text());
            assert_eq!(reply.headers["x-jeton-service"], "bot1");
        }
        let alone = server.anonymous().with_header("authorization", "Bearer wrong");
        assert_eq!(refused(&alone.get(path).await.unwrap()), (403, "SERVICE_TOKEN_INVALID".into()));
    }
}

#[tokio::test]
async fn any_method_is_checked_and_the_status_is_the_one_that_is_asked_for() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let bot = server.service("bot1", "").await;
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let method: axum::http::Method = method.parse().unwrap();
        for (path, status) in [
            (VERIFY, 204),
            ("/api/v1/verify?status=204", 204),
            ("/api/v1/verify?status=200&service=bot1", 200),
            ("/api/v1/verify/envoy", 200),
            ("/api/v1/verify/envoy/", 200),
            ("/api/v1/verify/envoy/orders/1?service=theirs&x=%zz", 200),
            ("/api/v1/verify/envoy//a/../b%2Fc", 200),
        ] {
            let reply = bot.send(method.clone(), path, &[], "").await.unwrap();
            assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
            assert_eq!(reply.headers["x-jeton-service"], "bot1", "{method} {path}");
            let reply = server.anonymous().send(method.clone(), path, &[], "").await.unwrap();
            assert_eq!(reply.status, 403, "{method} {path}");
        }
    }
    for path in [VERIFY, "/api/v1/verify/envoy"] {
        let reply = bot.send(axum::http::Method::TRACE, path, &[], "").await.unwrap();
        assert_eq!(reply.status, 405, "{path}");
        assert!(reply.headers["allow"].to_str().unwrap().contains("GET"), "{path}");
    }
}
