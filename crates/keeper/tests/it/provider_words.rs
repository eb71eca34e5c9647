//! What a provider says, which scopes it grants, and who asked: all of it is on record.

use std::sync::Arc;

use jeton_core::audit::Actor;
use jeton_core::keep::attempt::{AttemptStatus, Trigger};
use jeton_keeper::{Grant, TokenError, TokenRequest};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::fixture::{ACME, Fixture, Options};
use crate::process::{Process, operator};

/// A token endpoint that gives one answer after the other, and the last one for good.
async fn answering(answers: &[String]) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}/token", listener.local_addr().expect("it is bound"));
    let answers = Arc::new(Mutex::new(answers.iter().rev().cloned().collect::<Vec<_>>()));
    let mut server = JoinSet::new();
    server.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8192];
            if stream.read(&mut request).await.is_err() {
                continue;
            }
            let answer = {
                let mut left = answers.lock();
                if left.len() > 1 { left.pop() } else { left.last().cloned() }
            };
            drop(stream.write_all(answer.unwrap_or_default().as_bytes()).await);
        }
    });
    (url, server)
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn tokens(rest: &str) -> String {
    reply("200 OK", "", &format!("{{\"access_token\":\"an-access-token\",\"expires_in\":3600{rest}}}"))
}

/// A connection at such an endpoint.
async fn connected(answers: &[String]) -> (Fixture, Process, JoinSet<()>) {
    let (url, server) = answering(answers).await;
    let (fixture, process) = Fixture::with(Options { token_url: Some(url), ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    (fixture, process, server)
}

const SPA: &str = "AADSTS9002327: Tokens issued for the 'Single-Page Application' client-type may only be redeemed via \
                   cross-origin requests.";

#[tokio::test]
async fn what_the_provider_says_is_in_the_row_in_the_status_and_in_the_error() {
    let body = format!(
        "{{\"error\":\"invalid_request\",\"error_description\":\"{SPA}\",\"error_codes\":[9002327]}}"
    );
    let (_fixture, process, _server) = connected(&[reply("400 Bad Request", "", &body)]).await;
    let failed = process.token(ACME).await.unwrap_err();
    assert!(!failed.to_string().contains("AADSTS"), "whoever merely sees tokens is not told: {failed}");
    let TokenError::Failed { provider_message, .. } = failed else { panic!("{failed:?}") };
    assert_eq!(provider_message.as_deref(), Some(SPA));
    assert_eq!(process.last_attempt(ACME).await.provider_message.as_deref(), Some(SPA));
    assert_eq!(process.vault.status(ACME).await.unwrap().provider_message.as_deref(), Some(SPA));
}

#[tokio::test]
async fn where_a_redirect_leads_is_shown_without_its_query() {
    let location = "location: https://sso.example.com/token?refresh_token=hush\r\n";
    let (_fixture, process, _server) = connected(&[reply("308 Permanent Redirect", location, "")]).await;
    process.token(ACME).await.unwrap_err();
    let said = process.last_attempt(ACME).await.provider_message;
    assert_eq!(said.as_deref(), Some("redirects to https://sso.example.com/token"));
}

#[tokio::test]
async fn a_refresh_token_that_the_provider_repeats_is_shown_nowhere() {
    let (fixture, process) = Fixture::usual().await;
    let grant = fixture.expired_grant();
    let secret = grant.refresh.clone().unwrap();
    let body = format!("{{\"error\":\"x\",\"error_description\":\"unknown token {}\"}}", secret.reveal());
    drop((fixture, process));
    let (url, _server) = answering(&[reply("400 Bad Request", "", &body)]).await;
    let (_fixture, process) = Fixture::with(Options { token_url: Some(url), ..Options::default() }).await;
    process.connect(ACME, grant).await;
    let failed = process.token(ACME).await.unwrap_err();
    let attempt = process.last_attempt(ACME).await;
    assert_eq!((attempt.status, &attempt.provider_message), (AttemptStatus::Failed, &None));
    let shown = format!("{failed:?} {attempt:?} {:?}", process.vault.status(ACME).await.unwrap());
    assert!(!shown.contains(secret.reveal()), "{shown}");
}

const MACHINE: &str = own_provider!(
    "[acquire]\nurl = \"${token_url}\"\nform = { grant_type = \"client_credentials\", scope = \"read write\" }"
);

#[tokio::test]
async fn fewer_scopes_than_were_asked_for_are_missing_and_a_silent_reply_grants_all() {
    let answers = [tokens(",\"scope\":\"read\""), tokens("")];
    let (url, _server) = answering(&answers).await;
    let options = Options { token_url: Some(url), provider: Some(MACHINE), ..Options::default() };
    let (_fixture, process) = Fixture::with(options).await;
    process.connect(ACME, Grant::default()).await;
    process.token(ACME).await.unwrap();
    let status = process.vault.status(ACME).await.unwrap();
    assert_eq!(status.granted_scopes.as_deref(), Some(&["read".to_owned()][..]));
    assert_eq!(status.missing_scopes, ["write"]);
    process.force(ACME).await.unwrap();
    let status = process.vault.status(ACME).await.unwrap();
    assert_eq!(status.granted_scopes.as_deref(), Some(&["read".to_owned(), "write".to_owned()][..]));
    assert!(status.missing_scopes.is_empty(), "RFC 6749, section 5.1");
}

#[tokio::test]
async fn a_refresh_that_is_silent_about_scopes_leaves_them_as_they_were() {
    let answers = [tokens(",\"scope\":\"b,a\",\"refresh_token\":\"the-next-refresh-token\""), tokens("")];
    let (_fixture, process, _server) = connected(&answers).await;
    for _ in 0..2 {
        process.force(ACME).await.unwrap();
        let scope = process.row(ACME).await.tokens.unwrap().scope;
        assert_eq!(scope.as_deref(), Some("b a"), "RFC 6749, section 6");
    }
}

#[tokio::test]
async fn the_row_of_a_refresh_names_who_asked_for_it() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    let billing = Actor::parse("service:billing");
    let request = TokenRequest { by: billing.clone(), ..TokenRequest::default() };
    let token = process.vault.token(ACME, request.clone()).await.unwrap();
    let asked = process.last_attempt(ACME).await;
    assert_eq!((asked.trigger, &asked.asked_by), (Trigger::OnDemand, &billing));
    process.vault.reject(ACME, token.fingerprint, request).await.unwrap();
    let rejected = process.last_attempt(ACME).await;
    assert_eq!((rejected.trigger, &rejected.asked_by), (Trigger::Rejected, &billing));
    process.force(ACME).await.unwrap();
    let forced = process.last_attempt(ACME).await;
    assert_eq!((forced.trigger, forced.asked_by), (Trigger::Forced, Some(operator())));
}
