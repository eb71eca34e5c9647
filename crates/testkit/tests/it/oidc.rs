//! The OAuth server that others wrote.

use std::time::Duration;

use jeton_testkit::{Client, OidcRig, OidcSettings, Reply};

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
