//! The rules: RFC 6749, RFC 7009, RFC 6750, and one-time refresh tokens.

use std::net::SocketAddr;
use std::time::Duration;

use jeton_core::time::{Clock as _, SystemClock};
use jeton_emulator::{Emulator, Fault, FaultKind, GrantEnd, Settings};
use tokio::net::TcpStream;

use crate::client::{FORM, basic, call, refresh, refresh_form, send, start};

#[tokio::test]
async fn a_refresh_token_buys_an_access_token_and_a_successor() {
    let (emulator, first) =
        start(Settings { access_ttl: Duration::from_millis(60_900), ..Settings::default() }).await;
    let reply = refresh(&emulator, &first).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.json()["token_type"], "Bearer");
    assert_eq!(reply.json()["expires_in"], 60, "rounded down");
    assert_ne!(reply.text("refresh_token"), first);
    assert_eq!(call(&emulator, &reply.text("access_token")).await, 200);
    assert_eq!(call(&emulator, "ema_unknown").await, 401);
    let stats = emulator.stats();
    assert_eq!((stats.rotations, stats.api_ok, stats.api_401), (1, 1, 1));
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_second_use_is_invalid_grant_and_takes_the_successor_and_the_access_token_along() {
    let (emulator, first) = start(Settings::default()).await;
    let pair = refresh(&emulator, &first).await;
    let again = refresh(&emulator, &first).await;
    assert_eq!((again.status, again.text("error").as_str()), (400, "invalid_grant"));
    assert_eq!(refresh(&emulator, &pair.text("refresh_token")).await.text("error"), "invalid_grant");
    assert_eq!(call(&emulator, &pair.text("access_token")).await, 401);
    assert!(emulator.died_with_grant(&pair.text("access_token")));
    let stats = emulator.stats();
    assert_eq!((stats.reuse_kills, stats.invalid_grant), (1, 2));
    assert_eq!(emulator.grants()[0].ended, Some(GrantEnd::Reuse));
}

#[tokio::test]
async fn inside_the_grace_the_same_pair_comes_again() {
    let (emulator, first) =
        start(Settings { reuse_grace: Duration::from_mins(1), ..Settings::default() }).await;
    let pair = refresh(&emulator, &first).await;
    let again = refresh(&emulator, &first).await;
    for member in ["access_token", "refresh_token"] {
        assert_eq!(pair.text(member), again.text(member));
    }
    let stats = emulator.stats();
    assert_eq!((stats.rotations, stats.replays, stats.reuse_kills), (1, 1, 0));
}

#[tokio::test]
async fn a_client_proves_itself_by_basic_or_by_post_but_not_by_both_or_with_a_wrong_secret() {
    let (emulator, token) = start(Settings::default()).await;
    let post = "client_id=emulated&client_secret=emulated-secret";
    let wrong = "client_id=emulated&client_secret=wrong";
    let form = refresh_form(&token);
    let (both_headers, both) = (basic(), format!("{form}&{post}"));
    let none = (FORM.to_owned(), form.clone());
    for (headers, body) in [(both_headers, both), (FORM.to_owned(), format!("{form}&{wrong}")), none] {
        let reply = send(emulator.address(), "POST", "/token", &headers, &body).await.unwrap();
        assert_eq!((reply.status, reply.text("error").as_str()), (401, "invalid_client"), "{body}");
        assert!(reply.header("www-authenticate").is_some());
    }
    assert_eq!(emulator.stats().invalid_client, 3);
    let reply = send(emulator.address(), "POST", "/token", FORM, &format!("{form}&{post}")).await.unwrap();
    assert_eq!(reply.status, 200, "the token was not spent by those who had no right to it");
}

#[tokio::test]
async fn basic_credentials_are_form_decoded() {
    let settings =
        Settings { client_id: "a b".to_owned(), client_secret: "p:+%&é".into(), ..Settings::default() };
    let (emulator, token) = start(settings).await;
    // "a+b:p%3A%2B%25%26%C3%A9"
    let headers = format!("{FORM}Authorization: Basic YStiOnAlM0ElMkIlMjUlMjYlQzMlQTk=\r\n");
    let reply = send(emulator.address(), "POST", "/token", &headers, &refresh_form(&token)).await.unwrap();
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn client_credentials_give_an_access_token_and_no_refresh_token() {
    let (emulator, _) = start(Settings::default()).await;
    let reply =
        send(emulator.address(), "POST", "/token", &basic(), "grant_type=client_credentials").await.unwrap();
    assert_eq!(reply.status, 200);
    assert!(reply.json().get("refresh_token").is_none());
    assert_eq!(call(&emulator, &reply.text("access_token")).await, 200);
}

#[tokio::test]
async fn requests_that_break_the_rules_are_told_which() {
    let (emulator, token) = start(Settings::default()).await;
    let twice = format!("{}&refresh_token={token}", refresh_form(&token));
    for (headers, body, code) in [
        (basic(), "", "invalid_request"),
        (basic(), "grant_type=refresh_token", "invalid_request"),
        (basic(), "grant_type=password&username=a", "unsupported_grant_type"),
        (basic(), twice.as_str(), "invalid_request"),
        ("Content-Type: application/json\r\n".to_owned(), "{}", "invalid_request"),
        (basic(), "grant_type=refresh_token&refresh_token=emr_unknown", "invalid_grant"),
    ] {
        let reply = send(emulator.address(), "POST", "/token", &headers, body).await.unwrap();
        assert_eq!((reply.status, reply.text("error").as_str()), (400, code), "{body}");
    }
    let get = send(emulator.address(), "GET", "/token", "", "").await.unwrap();
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    assert_eq!(send(emulator.address(), "GET", "/other", "", "").await.unwrap().status, 404);
    assert_eq!(refresh(&emulator, &token).await.status, 200, "nothing of this spent the token");
}

#[tokio::test]
async fn revoking_ends_an_access_token_alone_and_a_refresh_token_with_its_grant() {
    let (emulator, first) = start(Settings::default()).await;
    let pair = refresh(&emulator, &first).await;
    let revoke = async |token: String| {
        send(emulator.address(), "POST", "/revoke", &basic(), &format!("token={token}")).await.unwrap().status
    };
    assert_eq!(revoke(pair.text("access_token")).await, 200);
    assert_eq!(call(&emulator, &pair.text("access_token")).await, 401);
    let next = refresh(&emulator, &pair.text("refresh_token")).await;
    assert_eq!(next.status, 200, "revoking an access token does not touch the grant");
    assert_eq!(revoke(next.text("refresh_token")).await, 200);
    assert_eq!(call(&emulator, &next.text("access_token")).await, 401);
    assert_eq!(refresh(&emulator, &next.text("refresh_token")).await.text("error"), "invalid_grant");
    assert_eq!(revoke("unknown".to_owned()).await, 200);
    assert_eq!((emulator.stats().revocations, emulator.stats().reuse_kills), (2, 0));
    assert_eq!(emulator.grants()[0].ended, Some(GrantEnd::Revoked));
}

#[tokio::test]
async fn introspection_tells_the_client_how_long_a_living_token_lives_and_nothing_of_others() {
    let (emulator, first) = start(Settings::default()).await;
    let access = refresh(&emulator, &first).await.text("access_token");
    let ask = async |credentials: &str, token: &str| {
        let body = format!("token={token}");
        send(emulator.address(), "POST", "/introspect", credentials, &body).await.unwrap()
    };
    let said = ask(&basic(), &access).await;
    let left = said.json()["exp"].as_i64().unwrap() - SystemClock.now().as_secs();
    assert_eq!((said.status, &said.json()["active"]), (200, &true.into()));
    assert!((50..=60).contains(&left), "{left}");
    let unknown = ask(&basic(), "unknown").await;
    assert_eq!(unknown.json(), serde_json::json!({ "active": false }));
    assert_eq!(ask(FORM, &access).await.status, 401);
}

#[tokio::test]
async fn an_access_token_can_be_ended_early_from_within() {
    let (emulator, first) = start(Settings::default()).await;
    let access = refresh(&emulator, &first).await.text("access_token");
    assert!(emulator.accepts(&access));
    assert!(emulator.revoke_access(&access));
    assert!(!emulator.revoke_access(&access));
    assert!(!emulator.died_with_grant(&access));
    assert_eq!(call(&emulator, &access).await, 401);
}

#[tokio::test]
async fn it_never_listens_beyond_this_machine() {
    let listen: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let error = Emulator::start(Settings { listen, ..Settings::default() }).await.unwrap_err();
    assert!(error.to_string().contains("loopback only"), "{error}");
}

#[tokio::test]
async fn a_closed_port_refuses_and_an_opened_one_serves_the_same_grants() {
    let (mut emulator, token) = start(Settings::default()).await;
    emulator.refuse_connections().await;
    let refused = TcpStream::connect(emulator.address()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    emulator.accept_connections().await.unwrap();
    assert_eq!(refresh(&emulator, &token).await.status, 200);
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_refusal_may_say_nothing_or_be_untrue() {
    let (emulator, first) = start(Settings { bare_refusals: true, ..Settings::default() }).await;
    emulator.enqueue([Fault::new(FaultKind::RefuseGrant)]);
    assert_eq!(refresh(&emulator, &first).await.text("error"), "invalid_grant");
    assert_eq!(refresh(&emulator, &first).await.status, 200, "nothing was accepted before");
    let again = refresh(&emulator, &first).await;
    assert_eq!((again.status, again.body.trim()), (400, ""));
    assert_eq!(emulator.grants()[0].ended, Some(GrantEnd::Reuse));
}
