//! A person consents in a browser, and the connection works.

use std::time::Duration;

use jeton_core::keep::attempt::{Act, AttemptStatus};
use jeton_core::keep::ports::AttemptFilter;
use jeton_core::keep::provider::{RequestValues, Step};
use jeton_core::time::Clock as _;
use jeton_testkit::Client;
use serde_json::{Value, json};

use crate::consent_app::{
    ConsentApp, ConsentEnv, default_settings, page, provider_url, result_path, set_cookie,
};
use crate::consent_exchange::all_slots_are_free;

#[tokio::test]
async fn a_consent_ends_in_a_connection_that_refreshes() {
    let app = ConsentApp::with("oauth2", &[("authorize_url", "https://sso.example.com/authorize")]).await;
    let back = app.consent().await;
    let reply = app.call_back(&back).await;
    let sentence = page(&reply, 200, "Connected");
    assert!(sentence.starts_with("`acme` is connected and stays connected"), "{sentence}");
    assert_eq!(app.condition().await, "live");
    assert_eq!(app.progress().await["state"], "done");
    let given = app.server.client().get_json("/api/v1/connections/acme/token").await.unwrap();
    assert!(app.emulator.accepts(given["access_token"].as_str().unwrap()));
    app.server
        .vault
        .refresh("acme", jeton_keeper::RefreshMode::ForcedByPerson, &crate::app::operator())
        .await
        .unwrap();
    let stats = app.emulator.stats();
    assert_eq!((stats.requests, stats.accepted, stats.rotations), (2, 2, 1));
    let log = app.server.vault.attempts(&AttemptFilter::default(), 10).await.unwrap();
    let acts: Vec<_> = log.iter().map(|attempt| (attempt.act, attempt.status)).collect();
    assert_eq!(acts, [(Act::Redeem, AttemptStatus::Success), (Act::Connect, AttemptStatus::Success)]);
}

#[tokio::test]
async fn a_link_shows_its_request_and_a_button_opens_it() {
    let app = ConsentApp::of("amocrm").await;
    let link = app.link().await;
    let asked = app.server.anonymous().get(&link).await.unwrap();
    let sentence = page(&asked, 200, "Connect an account");
    assert!(
        sentence.starts_with("You will now sign in at 127.0.0.1. Use the account that `acme` should access."),
        "{sentence}"
    );
    let html = asked.text();
    assert!(
        html.contains(
            "<form method=\"post\"><button type=\"submit\">Continue to amoCRM / Kommo</button></form>"
        ),
        "{html}"
    );
    assert!(!asked.headers.contains_key("set-cookie") && !asked.headers.contains_key("refresh"));
    let (_, ticket) = link.split_once("ticket=").unwrap();
    assert!(!html.contains(ticket), "{html}");
    assert_eq!(app.progress().await["state"], "waiting");
    provider_url(&app.open(&link).await);
}

#[tokio::test]
async fn the_browser_goes_to_the_provider_with_state_challenge_and_cookie() {
    let app = ConsentApp::with("oauth2", &[("authorize_url", "https://sso.example.com/authorize")]).await;
    let opened = app.open(&app.link().await).await;
    let cookie = set_cookie(&opened);
    assert!(cookie.starts_with("__Secure-jeton-"), "{cookie}");
    for part in ["; Max-Age=600", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    let location = provider_url(&opened);
    for part in
        ["response_type=code", "code_challenge_method=S256", "code_challenge=", "state=", "redirect_uri="]
    {
        assert!(location.contains(part), "{part}: {location}");
    }
    assert_eq!(app.progress().await["state"], "asked");
}

/// The folder that a browser keeps a cookie for, which came with the page at `address` (RFC 6265, section 5.1.4).
fn cookie_folder(cookie: &str, address: &str) -> String {
    let path = cookie.split("; ").find_map(|part| part.strip_prefix("Path="));
    let (folder, _) = address.split(['?', '#']).next().unwrap().rsplit_once('/').unwrap();
    path.unwrap_or(folder).to_owned()
}

#[tokio::test]
async fn the_cookie_is_cleared_in_its_folder_once_it_was_used() {
    let app = ConsentApp::of("amocrm").await;
    // A proxy takes `/tokens` away: what browsers know is not what this server sees.
    let (authorize, callback) = ("/tokens/oauth/authorize?ticket=x", "/tokens/oauth/callback?state=x");
    for (refused, title, status) in [(false, "Connected", 200), (true, "Consent refused", 403)] {
        let opened = app.open(&app.link().await).await;
        let set = set_cookie(&opened).to_owned();
        let mut back = app.consent_at_provider(&provider_url(&opened), &set).await;
        if refused {
            back = back.without("code").with("error", "access_denied");
        }
        let reply = app.send_callback(&back.cookie, &back).await;
        let result = app.server.anonymous().get(&result_path(&reply)).await.unwrap();
        page(&result, status, title);
        let gone = set_cookie(&reply);
        assert_eq!(gone.split_once('=').unwrap().0, set.split_once('=').unwrap().0, "the same name");
        assert!(gone.contains("=; Max-Age=0; HttpOnly; SameSite=Lax; Secure"), "{gone}");
        assert_eq!(cookie_folder(&set, authorize), "/tokens/oauth");
        assert_eq!(cookie_folder(gone, callback), "/tokens/oauth");
    }
    // One that has not served stays.
    let back = app.consent().await;
    let other = app.call_back_with_cookie(&format!("{}x", back.cookie), &back).await;
    page(&other, 403, "Wrong browser");
    assert!(!other.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn what_a_callback_captures_decides_where_the_code_goes() {
    for (provider, parameter, value, host) in [
        ("amocrm", "referer", None, "acme.amocrm.ru"),
        ("quickbooks", "realmId", None, "oauth.platform.intuit.com"),
        ("zoho", "accounts-server", Some("https://accounts.zoho.eu"), "accounts.zoho.eu"),
        ("zoho", "accounts-server", Some("https://accounts.zoho.in"), "accounts.zoho.in"),
    ] {
        let app = ConsentApp::of(provider).await;
        let mut back = app.consent().await;
        if let Some(value) = value {
            back = back.with(parameter, value);
        }
        assert!(back.params.contains_key(parameter), "{provider}: {back:?}");
        let captured = app.real.capture(&back.params).unwrap();
        let code = Some(back.params["code"].as_str().into());
        let request = app
            .real
            .request(Step::Exchange, &RequestValues { code, captured, ..RequestValues::default() })
            .unwrap();
        assert_eq!(request.url.host_str(), Some(host), "{provider}");
        page(&app.call_back(&back).await, 200, "Connected");
        assert_eq!(app.condition().await, "live", "{provider}");
        assert_eq!(app.emulator.stats().accepted, 1, "{provider}");
    }
}

#[tokio::test]
async fn a_new_token_lives_as_long_as_introspection_says() {
    let app = ConsentApp::of("salesforce").await;
    let before = app.clock.now();
    page(&app.call_back(&app.consent().await).await, 200, "Connected");
    let status = app.server.vault.status("acme").await.unwrap();
    let life = status.expires_at.unwrap().since(before);
    // The provider's file says an hour where introspection says nothing.
    assert!(life > Duration::from_secs(50) && life < Duration::from_secs(70), "{life:?}");
    all_slots_are_free(&app);
}

#[tokio::test]
async fn a_new_consent_replaces_the_grant_and_a_failed_one_leaves_it_alone() {
    let app = ConsentApp::of("amocrm").await;
    page(&app.call_back(&app.consent().await).await, 200, "Connected");
    let first = app.server.vault.status("acme").await.unwrap();
    let refused = app.consent().await.without("code").with("error", "access_denied");
    page(&app.call_back(&refused).await, 403, "Consent refused");
    assert_eq!(app.server.vault.status("acme").await.unwrap(), first);
    page(&app.call_back(&app.consent().await).await, 200, "Connected");
    let second = app.server.vault.status("acme").await.unwrap();
    assert_eq!(second.generation, first.generation.next());
    assert_ne!(second.fingerprint, first.fingerprint);
}

#[tokio::test]
async fn the_progress_of_consents_is_shown_to_the_api_key_and_to_the_ticket() {
    let app = ConsentApp::of("amocrm").await;
    let link = app.link().await;
    let (_, ticket) = link.split_once("ticket=").unwrap();
    let anonymous: Client = app.server.anonymous();
    let ask =
        async |ticket: &str| anonymous.post("/oauth/status", &json!({ "ticket": ticket })).await.unwrap();
    let asked = ask(ticket).await;
    assert_eq!(asked.headers["cache-control"], "no-store");
    let asked: Value = asked.json().unwrap();
    assert_eq!((&asked["state"], &asked["connection"]), (&"waiting".into(), &"acme".into()));
    assert!(asked["until"].is_string());
    let all = app.server.client().get_json("/oauth/status").await.unwrap();
    assert_eq!(all["items"][0]["connection"], "acme");
    assert_eq!(all["items"][0]["condition"], "pending");
    assert_eq!(all["items"][0]["consent"], asked);
    assert_eq!(all["next"], Value::Null);
    assert!(!all.to_string().contains(ticket));

    assert_eq!(anonymous.get("/oauth/status").await.unwrap().status, 403);
    let unknown = ask("none").await;
    assert_eq!((unknown.status.as_u16(), &unknown.json().unwrap()["code"]), (404, &"UNKNOWN_LINK".into()));
    // No proxy logs a body, and a ticket in the address is refused.
    let in_query = app.server.client().get(&format!("/oauth/status?ticket={ticket}")).await.unwrap();
    assert_eq!(in_query.status, 400);
    assert!(
        in_query.text().contains("the body of a POST") && !in_query.text().contains(ticket),
        "{}",
        in_query.text()
    );
    // A connection that nobody was asked about says so.
    app.clock.advance(Duration::from_hours(8 * 24));
    app.link().await;
    assert_eq!(ask(ticket).await.status, 404);
}

#[tokio::test]
async fn consents_in_two_tabs_of_one_browser_do_not_disturb_each_other() {
    let app = ConsentApp::of("amocrm").await;
    let (one, two) = (app.consent().await, app.consent().await);
    let both = format!("{}; {}", one.cookie, two.cookie);
    page(&app.call_back_with_cookie(&both, &two).await, 200, "Connected");
    page(&app.call_back_with_cookie(&both, &one).await, 200, "Connected");
    assert_eq!(app.emulator.stats().accepted, 2);
}

#[tokio::test]
async fn the_result_has_a_clean_address_and_may_be_loaded_again() {
    let app = ConsentApp::of("amocrm").await;
    for (refused, status, title) in [(false, 200, "Connected"), (true, 403, "Consent refused")] {
        let mut back = app.consent().await;
        if refused {
            back = back.without("code").with("error", "access_denied");
        }
        let reply = app.send_callback(&back.cookie, &back).await;
        let address = result_path(&reply);
        for secret in ["code=", "state=", &back.params["state"]] {
            assert!(!address.contains(secret), "{address}");
        }
        // The cookie is gone by then.
        for _ in 0..2 {
            page(&app.server.anonymous().get(&address).await.unwrap(), status, title);
        }
    }
    for unknown in ["", "?consent=none", "?consent=00000000000000000000000000000000"] {
        let reply = app.server.anonymous().get(&format!("/oauth/result{unknown}")).await.unwrap();
        page(&reply, 404, "Unknown result");
    }
}

#[tokio::test]
async fn a_link_says_what_access_is_requested_at_which_server_and_how_long_it_works() {
    let vars = [("authorize_url", "https://sso.example.com/authorize"), ("scope", "read calendar.write")];
    let app = ConsentApp::with("oauth2", &vars).await;
    app.clock.advance(Duration::from_secs(61));
    let link = app.link().await;
    app.clock.advance(Duration::from_secs(61));
    let html = app.server.anonymous().get(&link).await.unwrap().text();
    for (name, value) in [("Access requested", "read, calendar.write"), ("Link valid for", "9 minutes")] {
        assert!(html.contains(&format!("<dt>{name}</dt><dd>{value}</dd>")), "{html}");
    }
    assert!(!html.contains("OAuth 2.0") && html.contains("Continue to 127.0.0.1"), "{html}");
}

#[tokio::test]
async fn an_answer_that_comes_as_a_form_is_brought_again_with_the_cookie() {
    for (refused, title, status) in [(false, "Connected", 200), (true, "Consent refused", 403)] {
        let app = ConsentApp::of("amocrm").await;
        let mut back = app.consent().await.with("id_token", "a.b.c");
        if refused {
            back = back.without("code").with("error", "access_denied");
        }
        // A form of another site comes without the cookie (SameSite=Lax); the redirect that follows is a GET with it.
        let form: Vec<_> = back.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let posted = app.server.anonymous().post_form("/oauth/callback", &form).await.unwrap();
        assert_eq!(posted.status, 303, "{}", posted.text());
        let again = posted.headers["location"].to_str().unwrap();
        assert!(again.starts_with("callback?") && !again.contains("id_token"), "{again}");
        assert_eq!(app.emulator.stats().requests, 0, "nothing is used up without the cookie");
        let browser = app.server.anonymous().with_header("cookie", &back.cookie);
        let reply = browser.get(&format!("/oauth/{again}")).await.unwrap();
        page(&app.server.anonymous().get(&result_path(&reply)).await.unwrap(), status, title);
    }
}

#[tokio::test]
async fn a_form_that_is_no_answer_is_refused_with_a_page() {
    let app = ConsentApp::of("amocrm").await;
    let long = "x".repeat(20_000);
    for form in [&[("state", "a"), ("state", "b")][..], &[("code", &long)]] {
        let posted = app.server.anonymous().post_form("/oauth/callback", form).await.unwrap();
        page(&posted, 400, "Unreadable address");
    }
}

#[tokio::test]
async fn a_refusal_without_its_state_is_known_by_the_cookie() {
    let app = ConsentApp::of("amocrm").await;
    let back = app.consent().await;
    let refusal = back.clone().without("code").without("state").with("error", "access_denied");
    let two = format!("{}; jeton-another=1", back.cookie);
    page(&app.call_back_with_cookie(&two, &refusal).await, 400, "Nothing to do here");
    page(&app.call_back_with_cookie("a=1", &refusal).await, 400, "Nothing to do here");
    page(&app.call_back(&back.clone().without("state")).await, 400, "Nothing to do here");
    assert_eq!(app.progress().await["state"], "asked", "a code without its state is never taken");
    page(&app.call_back(&refusal).await, 403, "Consent refused");
    assert_eq!(app.progress().await["state"], "refused");
}

#[tokio::test]
async fn a_grant_of_fewer_scopes_than_were_asked_for_is_shown_to_the_person_and_to_operators() {
    let page_url = [("authorize_url", "https://sso.example.com/authorize"), ("scope", "read write")];
    let env = ConsentEnv::with("oauth2", &page_url).await;
    let mut setup = env.real.provider().example().unwrap();
    setup.client.redirect_uri.clone_from(&env.real.client().redirect_uri);
    setup.vars.insert("authorize_url".into(), "https://sso.example.com/authorize".into());
    setup.vars.insert("scope".into(), "read write delete".into());
    let definition = env.real.provider().define(setup).unwrap();
    let definition = definition.emulated_at(env.emulator.base_url().parse().unwrap()).unwrap();
    let app = env.open_defining(default_settings(), [("acme".parse().unwrap(), definition)].into()).await;
    let opened = app.open(&app.link().await).await;
    // The person allows less on the provider's page than the link asks for.
    let there = provider_url(&opened).replace("scope=read+write+delete", "scope=read+write");
    let reply = app.call_back(&app.consent_at_provider(&there, set_cookie(&opened)).await).await;
    let sentence = page(&reply, 200, "Connected with less access");
    assert!(sentence.contains("with less access than was asked for"), "{sentence}");
    let html = reply.text();
    assert!(
        html.contains("read, write") && html.contains("Access missing") && html.contains("delete"),
        "{html}"
    );
    let state = app.server.client().get_json("/api/v1/connections/acme").await.unwrap();
    assert_eq!(state["granted_scopes"], serde_json::json!(["read", "write"]), "{state}");
    assert_eq!(state["missing_scopes"], serde_json::json!(["delete"]), "{state}");
}

#[tokio::test]
async fn what_the_provider_says_in_a_callback_is_for_operators_and_not_for_the_person() {
    let app = ConsentApp::with("oauth2", &[("authorize_url", "https://sso.example.com/authorize")]).await;
    let link = app.link().await;
    let (_, ticket) = link.split_once("ticket=").unwrap();
    let opened = app.open(&link).await;
    let back = app.consent_at_provider(&provider_url(&opened), set_cookie(&opened)).await;
    let words = "The scope read:x is not allowed.";
    let refused = back.without("code").with("error", "invalid_scope").with("error_description", words);
    let reply = app.call_back(&refused).await;
    page(&reply, 400, "The provider refused");
    assert!(!reply.text().contains("read:x"), "anybody could have put it into the address: {}", reply.text());
    let holder = app.server.anonymous().post("/oauth/status", &json!({ "ticket": ticket })).await.unwrap();
    let holder = holder.json().unwrap();
    assert_eq!((&holder["code"], &holder["provider_message"]), (&"invalid_scope".into(), &Value::Null));
    assert_eq!(app.progress().await["provider_message"], words);
    let log = app.server.vault.attempts(&AttemptFilter::default(), 1).await.unwrap();
    assert_eq!(log[0].provider_message.as_deref(), Some(words));
    assert!(matches!(log[0].asked_by, Some(jeton_core::audit::Actor::Consent(_))), "{:?}", log[0]);
}
