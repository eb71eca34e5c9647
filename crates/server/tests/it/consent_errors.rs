//! Consents that fail: each bad input gets a page of its own, and no secret goes anywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use jeton_core::keep::attempt::{Act, AttemptStatus};
use jeton_core::keep::ports::AttemptFilter;
use jeton_emulator::{Fault, FaultKind};

use crate::consent_app::{Callback, ConsentApp, ORIGIN, default_settings, page, provider_url, set_cookie};

async fn with_page() -> ConsentApp {
    ConsentApp::with("oauth2", &[("authorize_url", "https://sso.example.com/authorize")]).await
}

/// The token endpoint got no request, and nothing is connected.
async fn nothing_was_sent(app: &ConsentApp) {
    assert_eq!(app.emulator.stats().requests, 0);
    assert_eq!(app.condition().await, "pending");
}

#[tokio::test]
async fn a_link_opens_once() {
    let app = with_page().await;
    let link = app.link().await;
    provider_url(&app.open(&link).await);
    let look = app.server.anonymous().get(&link).await.unwrap();
    for used in [app.open(&link).await, look] {
        let sentence = page(&used, 410, "This link was used");
        assert!(sentence.ends_with("ask whoever sent it for a new one."), "{sentence}");
    }
    let other = link.replace("ticket=", "ticket=x");
    for unknown in [other.as_str(), "/oauth/authorize"] {
        page(&app.open(unknown).await, 404, "Unknown link");
        page(&app.server.anonymous().get(unknown).await.unwrap(), 404, "Unknown link");
    }
}

#[tokio::test]
async fn a_link_expires() {
    let app = with_page().await;
    let link = app.link().await;
    app.clock.advance(Duration::from_mins(10));
    let look = app.server.anonymous().get(&link).await.unwrap();
    for late in [app.open(&link).await, look] {
        let sentence = page(&late, 410, "This link has expired");
        assert!(sentence.contains("Ask whoever sent it for a new one."), "{sentence}");
    }
    assert_eq!(app.progress().await["state"], "expired");
}

#[tokio::test]
async fn programs_that_load_links_and_answers_use_none_up() {
    let app = with_page().await;
    let link = app.link().await;
    for _ in 0..3 {
        // As scanners of mail and previews of chats do.
        page(&app.server.anonymous().get(&link).await.unwrap(), 200, "Connect an account");
    }
    let head = |path: &str| format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(app.server.raw(head(&link)).await.starts_with("HTTP/1.1 200"));
    let opened = app.open(&link).await;
    let back = app.consent_at_provider(&provider_url(&opened), set_cookie(&opened)).await;
    let own = app.server.anonymous().with_header("cookie", &back.cookie);
    let ahead = own.with_header("sec-purpose", "prefetch;prerender");
    page(&ahead.get(&back.path()).await.unwrap(), 503, "Not opened yet");
    let head = head(&back.path()).replace("Host: x", &format!("Host: x\r\nCookie: {}", back.cookie));
    assert!(app.server.raw(head).await.starts_with("HTTP/1.1 200"));
    nothing_was_sent(&app).await;
    page(&app.call_back(&back).await, 200, "Connected");
}

#[tokio::test]
async fn a_button_on_another_sites_page_opens_nothing() {
    let app = with_page().await;
    let link = app.link().await;
    let press = async |headers: &[(&str, &str)]| {
        let anonymous = app.server.anonymous();
        let from = headers.iter().fold(anonymous, |client, (name, value)| client.with_header(name, value));
        from.post_form(&link, &[]).await.unwrap()
    };
    for elsewhere in [
        &[][..],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://jeton.example.com")],
        &[("sec-fetch-site", "cross-site"), ("origin", ORIGIN)],
        &[("sec-fetch-site", "same-site"), ("origin", ORIGIN)],
        &[("sec-fetch-site", "none")],
    ] {
        let sentence = page(&press(elsewhere).await, 403, "Not from this page");
        assert!(sentence.contains("nothing was opened"), "{sentence}");
        assert_eq!(app.progress().await["state"], "waiting", "{elsewhere:?}");
    }
    provider_url(&press(&[("sec-fetch-site", "same-origin")]).await);
    assert_eq!(app.progress().await["state"], "asked");
}

#[tokio::test]
async fn a_server_with_another_definition_shows_no_button() {
    let app = with_page().await;
    let back = app.consent().await;
    let link = app.link().await;
    let unknowing = app.env().open_defining(default_settings(), BTreeMap::new()).await;
    page(&unknowing.server.anonymous().get(&link).await.unwrap(), 404, "This does not work right now");
    let other = ConsentApp::of("amocrm").await.real.clone();
    let otherwise = BTreeMap::from([("acme".parse().unwrap(), other)]);
    let otherwise = app.env().open_defining(default_settings(), otherwise).await;
    let looked = otherwise.server.anonymous().get(&link).await.unwrap();
    for reply in [looked, otherwise.open(&link).await, otherwise.call_back(&back).await] {
        let sentence = page(&reply, 409, "The connection has changed");
        assert!(sentence.contains("moved to another provider"), "{sentence}");
    }
    nothing_was_sent(&app).await;
    page(&app.call_back(&back).await, 200, "Connected");
}

#[tokio::test]
async fn an_answer_in_another_browser_is_not_taken_and_the_right_one_goes_on() {
    let app = with_page().await;
    let back = app.consent().await;
    let (name, _) = back.cookie.split_once('=').unwrap();
    for anonymous in ["x=y".to_owned(), format!("{name}=guessed"), format!("{name}=")] {
        let reply = app.call_back_with_cookie(&anonymous, &back).await;
        let sentence = page(&reply, 403, "Wrong browser");
        assert!(sentence.contains("Finish there, or ask for a new link"), "{sentence}");
    }
    nothing_was_sent(&app).await;
    page(&app.call_back(&back).await, 200, "Connected");
}

#[tokio::test]
async fn a_replayed_answer_shows_the_result_and_sends_nothing() {
    let app = with_page().await;
    let back = app.consent().await;
    page(&app.call_back(&back).await, 200, "Connected");
    for replay in [back.clone(), back.clone().with("code", "another"), back.clone().with("error", "x")] {
        page(&app.call_back(&replay).await, 200, "Connected");
    }
    page(&app.call_back_with_cookie("a=b", &back).await, 403, "Wrong browser");
    assert_eq!(app.emulator.stats().requests, 1);
}

#[tokio::test]
async fn answers_that_come_at_once_spend_the_code_once() {
    let app = with_page().await;
    let back = app.consent().await;
    let replies = futures_util::future::join_all((0..5).map(|_| app.call_back(&back))).await;
    assert_eq!(app.emulator.stats().requests, 1);
    assert!(replies.iter().any(|reply| reply.status == 200));
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        page(reply, 202, "Saving the connection");
    }
}

#[tokio::test]
async fn a_late_answer_is_not_taken() {
    let app = with_page().await;
    let back = app.consent().await;
    app.clock.advance(Duration::from_mins(10));
    let sentence = page(&app.call_back(&back).await, 410, "Too late");
    assert!(sentence.contains("it was not used"), "{sentence}");
    nothing_was_sent(&app).await;
    assert_eq!(app.progress().await["state"], "expired");
}

#[tokio::test]
async fn an_answer_to_no_consent_says_how_to_begin() {
    let app = with_page().await;
    let back = app.consent().await;
    page(&app.call_back(&back.clone().without("state")).await, 400, "Nothing to do here");
    page(&app.call_back(&back.clone().with("state", "forged")).await, 400, "Unknown sign-in");
    let twice = format!("{}&code=another", back.path());
    let reply = app.server.anonymous().with_header("cookie", &back.cookie).get(&twice).await.unwrap();
    page(&reply, 400, "Unreadable address");
    nothing_was_sent(&app).await;
    page(&app.call_back(&back).await, 200, "Connected");
}

#[tokio::test]
async fn a_refused_consent_says_so_and_keeps_everything_as_it_was() {
    let app = with_page().await;
    let back = app.consent().await.without("code");
    let denied = back.clone().with("error", "access_denied").with("error_description", "<b>call 0800</b>");
    let reply = app.call_back(&denied).await;
    let sentence = page(&reply, 403, "Consent refused");
    assert!(sentence.contains("Nothing has changed for `acme`."), "{sentence}");
    assert!(!reply.text().contains("0800"), "a page repeats nothing that anybody can write into its address");
    let progress = app.progress().await;
    assert_eq!((&progress["state"], &progress["code"]), (&"refused".into(), &"access_denied".into()));
    let other = app.consent().await.without("code").with("error", "invalid_scope");
    let reply = app.call_back(&other).await;
    page(&reply, 400, "The provider refused");
    assert!(reply.text().contains("<dd>invalid_scope</dd>"), "{}", reply.text());
    let neither = app.consent().await.without("code");
    page(&app.call_back(&neither).await, 502, "Not connected");
    nothing_was_sent(&app).await;
    let log = app.server.vault.attempts(&AttemptFilter::default(), 10).await.unwrap();
    let codes: Vec<_> = log.iter().filter_map(|attempt| attempt.code.as_deref()).collect();
    assert_eq!(codes, ["no_code", "invalid_scope", "access_denied"], "each is on record");
}

#[tokio::test]
async fn a_captured_host_that_is_not_the_providers_gets_no_secret() {
    let forge = |back: Callback, name: &str, value: &str| back.with(name, value);
    for (provider, parameter, evil) in [
        ("amocrm", "referer", "acme.amocrm.ru.evil.example"),
        ("amocrm", "referer", "evil.example"),
        ("amocrm", "referer", "acme.amocrm.ru:8443"),
        ("amocrm", "referer", "127.0.0.1"),
        ("zoho", "accounts-server", "https://accounts.zoho.com.evil.example"),
        ("zoho", "accounts-server", "http://accounts.zoho.com"),
        ("quickbooks", "realmId", "../../evil"),
    ] {
        let app = ConsentApp::of(provider).await;
        let back = forge(app.consent().await, parameter, evil);
        let sentence = page(&app.call_back(&back).await, 400, "Answer rejected");
        assert!(sentence.contains("no secret was sent"), "{sentence}");
        nothing_was_sent(&app).await;
        let progress = app.progress().await;
        assert_eq!(progress["code"], "foreign", "{provider}");
        assert!(progress["message"].as_str().unwrap().contains(parameter), "{progress}");
    }
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_not_taken() {
    let issuer = "https://sso.example.com";
    let vars = [("authorize_url", "https://sso.example.com/authorize"), ("issuer", issuer)];
    let app = ConsentApp::with("oauth2", &vars).await;
    for forged in [app.consent().await, app.consent().await.with("iss", "https://evil.example")] {
        page(&app.call_back(&forged).await, 400, "Answer rejected");
    }
    let progress = app.progress().await;
    assert!(progress["message"].as_str().unwrap().contains("`iss`"), "{progress}");
    nothing_was_sent(&app).await;
    let right = app.consent().await.with("iss", issuer);
    page(&app.call_back(&right).await, 200, "Connected");
}

#[tokio::test]
async fn a_code_that_was_sent_without_an_answer_is_never_sent_again() {
    for ending in [FaultKind::LoseReply, FaultKind::Garbage, FaultKind::FailAfter { status: 502 }] {
        let app = with_page().await;
        let back = app.consent().await;
        app.emulator.enqueue([Fault::new(ending)]);
        let sentence = page(&app.call_back(&back).await, 502, "No answer from the provider");
        assert!(sentence.contains("got no usable answer"), "{sentence}");
        assert!(sentence.contains("is never sent twice"), "{sentence}");
        page(&app.call_back(&back).await, 502, "No answer from the provider");
        assert_eq!(app.emulator.stats().requests, 1, "{ending:?}");
        assert_eq!(app.progress().await["state"], "unknown");
        let log = app.server.vault.attempts(&AttemptFilter::default(), 10).await.unwrap();
        assert_eq!((log[0].act, log[0].status), (Act::Connect, AttemptStatus::Interrupted), "{ending:?}");
        page(&app.call_back(&app.consent().await).await, 200, "Connected");
    }
}

#[tokio::test]
async fn an_exchange_that_the_provider_refuses_says_why() {
    let app = with_page().await;
    app.emulator.enqueue([Fault::new(FaultKind::WrongClient)]);
    let sentence = page(&app.call_back(&app.consent().await).await, 502, "Not connected");
    assert!(
        sentence.starts_with("`acme` was not connected: the provider did not complete the sign-in"),
        "{sentence}"
    );
    let progress = app.progress().await;
    assert_eq!((&progress["state"], &progress["code"]), (&"failed".into(), &"invalid_client".into()));
    let unknown = app.consent().await.with("code", "invented");
    page(&app.call_back(&unknown).await, 502, "Not connected");
    assert_eq!(app.condition().await, "pending");
}

#[tokio::test]
async fn no_page_and_no_log_row_repeats_a_secret_of_the_address() {
    let app = with_page().await;
    let back = app.consent().await;
    let forged = app.consent().await.with("iss", "https://evil.example");
    let mut seen = Vec::new();
    for (answer, status, title) in
        [(&back, 200, "Connected"), (&back, 200, "Connected"), (&forged, 400, "Answer rejected")]
    {
        let reply = app.call_back(answer).await;
        page(&reply, status, title);
        seen.push(reply.text());
    }
    let secrets: Vec<String> = [&back, &forged]
        .into_iter()
        .flat_map(|back| {
            let cookie = back.cookie.split_once('=').unwrap().1.to_owned();
            [back.params["code"].clone(), back.params["state"].clone(), cookie]
        })
        .collect();
    seen.push(app.call_back_with_cookie("a=b", &back).await.text());
    seen.push(app.server.client().get_json("/oauth/status").await.unwrap().to_string());
    let log = app.server.vault.attempts(&AttemptFilter::default(), 10).await.unwrap();
    seen.push(format!("{log:?}"));
    for secret in &secrets {
        assert!(seen.iter().all(|text| !text.contains(secret.as_str())), "{secret} is shown");
    }
}
