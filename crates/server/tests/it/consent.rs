//! A person consents in a browser, and a connection is alive.

use jeton_core::keep::attempt::{Act, AttemptStatus, Trigger};
use jeton_core::keep::ports::AttemptFilter;
use jeton_testkit::Client;
use serde_json::Value;

use crate::scene::{Scene, page};

/// What every answer to a browser carries.
fn leaks_nothing(reply: &jeton_testkit::Reply) {
    assert_eq!(reply.headers["referrer-policy"], "no-referrer");
    assert_eq!(reply.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn a_consent_ends_in_a_connection_that_refreshes() {
    let scene = Scene::with("oauth2", &[("authorize_url", "https://sso.example.com/authorize")]).await;
    let back = scene.consent().await;
    let reply = scene.come_back(&back).await;
    let sentence = page(&reply, 200, "Connected");
    assert!(sentence.starts_with("`acme` is connected, and jeton keeps its token alive"), "{sentence}");
    assert_eq!(scene.condition().await, "live");
    assert_eq!(scene.progress().await["state"], "done");
    let given = scene.house.client().get_json("/api/v1/connections/acme/token").await.unwrap();
    assert!(scene.emulator.accepts(given["access_token"].as_str().unwrap()));
    scene.house.vault.refresh("acme", Trigger::Forced).await.unwrap();
    let stats = scene.emulator.stats();
    assert_eq!((stats.requests, stats.accepted, stats.rotations), (2, 2, 1));
    let log = scene.house.vault.attempts(&AttemptFilter::default(), 10).await.unwrap();
    let acts: Vec<_> = log.iter().map(|attempt| (attempt.act, attempt.status)).collect();
    assert_eq!(acts, [(Act::Redeem, AttemptStatus::Success), (Act::Connect, AttemptStatus::Success)]);
}

#[tokio::test]
async fn the_browser_is_sent_on_with_a_state_a_challenge_and_a_cookie_of_its_own() {
    let scene = Scene::with("oauth2", &[("authorize_url", "https://sso.example.com/authorize")]).await;
    let opened = scene.open(&scene.link().await).await;
    assert_eq!(opened.status, 303);
    leaks_nothing(&opened);
    let cookie = opened.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Secure-jeton-"), "{cookie}");
    for part in ["; Path=/oauth", "; Max-Age=600", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    let location = opened.headers["location"].to_str().unwrap();
    for part in
        ["response_type=code", "code_challenge_method=S256", "code_challenge=", "state=", "redirect_uri="]
    {
        assert!(location.contains(part), "{part}: {location}");
    }
    assert_eq!(scene.progress().await["state"], "asked");
}

#[tokio::test]
async fn what_a_callback_captures_decides_where_the_code_goes() {
    for (provider, parameter) in [("amocrm", "referer"), ("quickbooks", "realmId"), ("zoho", "code")] {
        let scene = Scene::of(provider).await;
        let back = scene.consent().await;
        assert!(back.params.contains_key(parameter), "{provider}: {back:?}");
        page(&scene.come_back(&back).await, 200, "Connected");
        assert_eq!(scene.condition().await, "live", "{provider}");
        assert_eq!(scene.emulator.stats().accepted, 1, "{provider}");
    }
}

#[tokio::test]
async fn a_new_consent_replaces_the_grant_and_a_failed_one_leaves_it_alone() {
    let scene = Scene::of("amocrm").await;
    page(&scene.come_back(&scene.consent().await).await, 200, "Connected");
    let first = scene.house.vault.status("acme").await.unwrap();
    let refused = scene.consent().await.without("code").with("error", "access_denied");
    page(&scene.come_back(&refused).await, 403, "Consent refused");
    assert_eq!(scene.house.vault.status("acme").await.unwrap(), first);
    page(&scene.come_back(&scene.consent().await).await, 200, "Connected");
    let second = scene.house.vault.status("acme").await.unwrap();
    assert_eq!(second.generation, first.generation.next());
    assert_ne!(second.fingerprint, first.fingerprint);
}

#[tokio::test]
async fn the_state_of_consents_is_told_to_the_key_and_to_the_ticket() {
    let scene = Scene::of("amocrm").await;
    let link = scene.link().await;
    let (_, ticket) = link.split_once("ticket=").unwrap();
    let stranger: Client = scene.house.stranger();
    let asked = stranger.get(&format!("/oauth/status?ticket={ticket}")).await.unwrap();
    assert_eq!(asked.headers["cache-control"], "no-store");
    let asked: Value = asked.json().unwrap();
    assert_eq!((&asked["state"], &asked["connection"]), (&"waiting".into(), &"acme".into()));
    assert!(asked["until"].is_string());
    let all = scene.house.client().get_json("/oauth/status").await.unwrap();
    assert_eq!(all["items"][0]["connection"], "acme");
    assert_eq!(all["items"][0]["condition"], "pending");
    assert_eq!(all["items"][0]["consent"], asked);
    assert_eq!(all["next"], Value::Null);
    assert!(!all.to_string().contains(ticket));

    assert_eq!(stranger.get("/oauth/status").await.unwrap().status, 401);
    let unknown = stranger.get("/oauth/status?ticket=none").await.unwrap();
    assert_eq!((unknown.status.as_u16(), &unknown.json().unwrap()["code"]), (404, &"UNKNOWN_LINK".into()));
    assert_eq!(scene.house.client().get("/oauth/status?tiket=x").await.unwrap().status, 400);
    // A connection that nobody was asked about says so.
    scene.clock.pass(8 * 24 * 3600);
    scene.link().await;
    assert_eq!(stranger.get(&format!("/oauth/status?ticket={ticket}")).await.unwrap().status, 404);
}

#[tokio::test]
async fn consents_in_two_tabs_of_one_browser_do_not_disturb_each_other() {
    let scene = Scene::of("amocrm").await;
    let (one, two) = (scene.consent().await, scene.consent().await);
    let both = format!("{}; {}", one.cookie, two.cookie);
    page(&scene.come_back_as(&both, &two).await, 200, "Connected");
    page(&scene.come_back_as(&both, &one).await, 200, "Connected");
    assert_eq!(scene.emulator.stats().accepted, 2);
}
