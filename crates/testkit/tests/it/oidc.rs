//! The OAuth server that others wrote.

use std::time::Duration;

use jeton_testkit::{Client, OidcFault, OidcRig, OidcSettings, Reply};

async fn refresh(rig: &OidcRig, token: &str) -> anyhow::Result<Reply> {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
    // vault:vault-secret
    let client = Client::new(&rig.base_url()).with_header("authorization", "Basic dmF1bHQ6dmF1bHQtc2VjcmV0");
    client.post_form("/token", &form).await
}

#[tokio::test]
async fn it_rotates_once_and_a_second_use_kills_the_grant() {
    let rig = OidcRig::start(OidcSettings { access_ttl: Duration::from_secs(5), ..OidcSettings::default() });
    let rig = rig.await.unwrap();
    let token = rig.mint(1).await.unwrap().remove(0);
    let reply = refresh(&rig, token.reveal()).await.unwrap().json().unwrap();
    assert_eq!(reply["expires_in"], 5);
    let access = reply["access_token"].as_str().unwrap();
    assert_eq!(rig.call(access).await.unwrap(), 200);
    assert_eq!(refresh(&rig, token.reveal()).await.unwrap().status, 400);
    assert_eq!(rig.call(access).await.unwrap(), 401);
    let stats = rig.stats().await.unwrap();
    assert_eq!((stats.token_requests, stats.refresh_ok, stats.grants_revoked), (2, 1, 1));
    assert_eq!(stats.grant_errors.get("invalid_grant"), Some(&1));
}

#[tokio::test]
async fn its_faults_come_before_acceptance_or_after_it() {
    let rig = OidcRig::start(OidcSettings::default()).await.unwrap();
    let tokens = rig.mint(2).await.unwrap();
    rig.set_fault(OidcFault { fail: 1, status: 429, retry_after_secs: 3, ..OidcFault::default() })
        .await
        .unwrap();
    let limited = refresh(&rig, tokens[0].reveal()).await.unwrap();
    assert_eq!((limited.status.as_u16(), limited.headers["retry-after"].to_str().unwrap()), (429, "3"));
    assert_eq!(refresh(&rig, tokens[0].reveal()).await.unwrap().status, 200, "it was not spent");
    rig.set_fault(OidcFault { drop_after: 1, ..OidcFault::default() }).await.unwrap();
    refresh(&rig, tokens[1].reveal()).await.unwrap_err();
    let stats = rig.stats().await.unwrap();
    assert_eq!((stats.refresh_ok, stats.failed, stats.dropped), (2, 1, 1));
    rig.reset().await.unwrap();
    assert_eq!(refresh(&rig, tokens[1].reveal()).await.unwrap().status, 400, "it was spent");
}
