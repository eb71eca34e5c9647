//! What a call is made with comes from one row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jeton_core::keep::provider::Injection;
use jeton_keeper::{Call, TokenRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::fixture::{ACME, Fixture, Options};

/// Each reply names the host that its token is for.
const MOVING: &str = r#"
name = "own"
title = "Moving"
hosts = ["*.example.com"]
[vars.token_url]
[vars.domain]
about = "the host of the API; token replies say it"
capture = "take"
pattern = "[a-z0-9]+.example.com"
[client]
auth = "basic"
[refresh]
url = "${token_url}"
form = { grant_type = "refresh_token", refresh_token = "${refresh}" }
[take]
vars = { domain = "domain" }
expires = { path = "expires_in", as = "s" }
[policy]
rotation = "single_use"
[api]
base = "https://${domain}"
"#;

/// A token endpoint whose tokens are each for a host of its own.
async fn moving() -> (String, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}/token", listener.local_addr().expect("it is bound"));
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move {
        for number in 0_u64.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_err() {
                continue;
            }
            let body = format!(
                "{{\"access_token\":\"access-for-h{number}\",\"token_type\":\"jwt\",\"expires_in\":3600,\
                 \"refresh_token\":\"a-refresh-token-{number}-that-is-long-enough\",\"domain\":\"h{number}.example.com\"}}"
            );
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ";
            drop(stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).await);
        }
    });
    (url, server)
}

fn assert_together(call: &Call) {
    let host = call.base.url.host_str().expect("it has one");
    let host = host.strip_suffix(".example.com").expect("it is of the provider");
    assert_eq!(call.token.access.reveal(), format!("access-for-{host}"), "a token goes where it belongs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_goes_to_the_host_that_came_with_it_however_fast_both_change() {
    let (token_url, _server) = moving().await;
    let options = Options { token_url: Some(token_url), provider: Some(MOVING), ..Options::default() };
    let (fixture, process) = Fixture::with(options).await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.force(ACME).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (over, vault) = (Arc::clone(&over), process.vault.clone());
        callers.spawn(async move {
            let mut hosts = std::collections::HashSet::new();
            while !over.load(Ordering::SeqCst) {
                let call = vault.call(ACME, TokenRequest::default()).await.unwrap();
                assert_together(&call);
                hosts.insert(call.base.url.to_string());
                tokio::task::yield_now().await;
            }
            hosts.len()
        });
    }
    for _ in 0..60 {
        process.force(ACME).await.unwrap();
    }
    over.store(true, Ordering::SeqCst);
    let seen = callers.join_all().await;
    assert!(seen.iter().all(|hosts| *hosts > 1), "it moved while they called: {seen:?}");
    let refused = process.vault.call(ACME, TokenRequest::default()).await.unwrap();
    let cured = process.vault.replace_refused(ACME, &refused, TokenRequest::default()).await.unwrap();
    assert_together(&cured);
    assert_ne!(cured.token.access, refused.token.access);
    let late = process.vault.replace_refused(ACME, &refused, TokenRequest::default()).await.unwrap();
    assert_together(&late);
    assert_eq!(late.token.access, cured.token.access, "it was there already");
}

#[tokio::test]
async fn a_call_carries_the_token_as_the_file_says_whatever_word_the_reply_calls_it_by() {
    let (token_url, _server) = moving().await;
    let options = Options { token_url: Some(token_url), provider: Some(MOVING), ..Options::default() };
    let (fixture, process) = Fixture::with(options).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let (token, injections) = process.vault.injections(ACME, TokenRequest::default()).await.unwrap();
    assert_eq!(token.token_type, "jwt");
    let bearer = format!("Bearer {}", token.access.reveal());
    assert_eq!(injections, [Injection::Header("authorization".to_owned(), bearer.into())]);
    let call = process.vault.call(ACME, TokenRequest::default()).await.unwrap();
    assert_eq!(call.injections, injections);
}
