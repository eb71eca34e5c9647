use proptest::prelude::*;
use serde_json::json;

use super::super::catalogue_tests::define;
use super::*;
use crate::keep::provider::{Definition, RequestValues, Step, StepFailure, StepOutcome};
use crate::time::Timestamp;

const REFRESH: &str = "REFRESH-2c9e8d7a6b5f4e3d1c0b-2c9e8d7a6b5f";
const CLIENT_SECRET: &str = "hush-hush-hush-hush";

fn oauth2() -> Definition {
    define("oauth2", &[("token_url", "https://sso.example.com/token")])
}

fn values() -> RequestValues {
    RequestValues { refresh: Some(Secret::new(REFRESH)), ..RequestValues::default() }
}

fn failure(reply: &Reply) -> StepFailure {
    match oauth2().read(Step::Refresh, reply, Timestamp::default(), &values()) {
        StepOutcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn said_to(reply: &Reply) -> Option<String> {
    failure(reply).provider_message
}

fn said(body: &Value) -> Option<String> {
    said_to(&Reply { status: 400, body: body.to_string().into_bytes().into(), ..Reply::default() })
}

#[test]
fn the_providers_words_are_found_at_the_usual_places() {
    let found = |body: Value, expected: &str| assert_eq!(said(&body).as_deref(), Some(expected), "{body}");
    let words = "AADSTS9002327: Tokens issued for the 'Single-Page Application' client-type may only be redeemed via \
                 cross-origin requests.";
    found(json!({"error": "invalid_request", "error_description": words, "error_codes": [9_002_327]}), words);
    found(
        json!({"error": "invalid_grant", "error_description": "It is over.", "error_codes": [70008, 70043]}),
        "It is over.; 70008; 70043",
    );
    found(
        json!({"error": {"message": "The user logged out.", "type": "OAuthException", "code": 190, "error_subcode": 467}}),
        "The user logged out.; 467",
    );
    found(json!({"error": "invalid_grant", "hint": "Token has been revoked"}), "Token has been revoked");
    found(json!({"error": "invalid_grant: Token is expired."}), "invalid_grant: Token is expired.");
    found(
        json!([{"errorCode": "X", "message": "expired access/refresh token"}]),
        "expired access/refresh token",
    );
    found(
        json!({"errors": [{"errorType": "invalid_grant", "message": "Refresh token invalid"}]}),
        "Refresh token invalid",
    );
    found(
        json!({"message": "The given data was invalid.", "errors": {"code": ["The code field is required."]}}),
        "The given data was invalid.; The code field is required.",
    );
    found(
        json!({"title": "Bad Request", "detail": "The app is disabled"}),
        "The app is disabled; Bad Request",
    );
    found(json!("Something went wrong"), "Something went wrong");
    found(
        json!({"error_description": "Das Konto ist gesperrt – bitte melden."}),
        "Das Konto ist gesperrt – bitte melden.",
    );
    for silent in
        [json!({"error": "invalid_grant"}), json!({}), json!({"message": "x"}), json!({"message": true})]
    {
        assert_eq!(said(&silent), None, "{silent}");
    }
}

#[test]
fn plain_text_is_a_message_and_a_page_is_not() {
    let reply = |kind: &str, body: &str| Reply {
        status: 400,
        content_type: Some(kind.to_owned()),
        body: body.as_bytes().to_vec().into(),
        ..Reply::default()
    };
    assert_eq!(
        said_to(&reply("text/plain; charset=utf-8", "No such client.\n")).as_deref(),
        Some("No such client.")
    );
    assert_eq!(said_to(&reply("text/html", "<p>No such client.</p>")), None);
}

#[test]
fn a_redirect_is_shown_by_origin_and_path_alone() {
    let redirected = |location: &str| {
        said_to(&Reply { status: 308, location: Some(location.to_owned()), ..Reply::default() })
    };
    assert_eq!(
        redirected("https://user:hush@sso.example.com/token?refresh_token=x#y").as_deref(),
        Some("redirects to https://sso.example.com/token")
    );
    assert_eq!(redirected("/v2/token?code=x").as_deref(), Some("redirects to /v2/token"));
    assert_eq!(redirected("javascript:alert(1)"), None);
    let sent_on = redirected(&format!("https://sso.example.com/token/{REFRESH}"));
    assert_eq!(sent_on, None, "not even a piece of what was sent is shown");
    let elsewhere = Reply { status: 400, location: Some("https://x.test/".to_owned()), ..Reply::default() };
    assert_eq!(said_to(&elsewhere), None, "only a redirect leads somewhere");
}

#[test]
fn what_was_sent_and_what_came_as_a_token_is_never_shown() {
    for secret in [REFRESH, CLIENT_SECRET, &REFRESH[5..25]] {
        assert_eq!(
            said(&json!({"error_description": format!("bad value {secret} given")})),
            None,
            "{secret}"
        );
    }
    let came =
        json!({"ok": false, "new_refresh_token": "abcd-efgh-ijkl", "message": "use abcd-efgh-ijkl next"});
    assert_eq!(said(&came), None);
    let broken = format!("bad value {} {}", &REFRESH[..14], &REFRESH[14..]);
    assert_eq!(said(&json!({"message": broken})), None, "not when it is broken into two words either");
    let kind = json!({"token_type": "Bearer", "message": "Bearer tokens are not for this"});
    assert_eq!(said(&kind).as_deref(), Some("Bearer tokens are not for this"));
}

#[test]
fn what_looks_like_a_token_is_hidden_and_what_does_not_stays() {
    let shown = |text: &str| said(&json!({"message": text})).unwrap();
    let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl";
    assert_eq!(shown(&format!("the token {jwt} is over")), "the token [hidden] is over");
    assert_eq!(shown("session 0f8fad5b-d9cb-469f-a165-70867728950e is gone"), "session [hidden] is gone");
    assert_eq!(shown("card 4111111111111111 refused"), "card [hidden] refused");
    assert_eq!(
        shown("see https://docs.example.com/errors/invalid_grant?token=abc#x now"),
        "see https://docs.example.com/errors/invalid_grant now"
    );
    assert_eq!(
        shown("see https://docs.example.com/r/0f8fad5bd9cb469fa16570867728950e."),
        "see https://docs.example.com/r/[hidden]"
    );
    let plain = "AADSTS700082: expired due to inactivity, issued 2026-11-27T19:00:00Z, see application/x-www-form-urlencoded";
    assert_eq!(shown(plain), plain);
}

#[test]
fn a_message_is_one_line_without_anything_invisible_and_is_cut() {
    let shown = |text: &str| said(&json!({"message": text})).unwrap();
    assert_eq!(
        shown("one\r\n\u{1b}[31mtwo\u{202e}three \u{200b}four\u{2028}five"),
        "one [31mtwothree four five"
    );
    let long = shown(&"word ".repeat(500));
    assert_eq!(long.chars().count(), LONGEST);
    assert!(long.ends_with("word…"), "{long}");
}

#[test]
fn a_callback_says_no_more_than_its_error_in_words() {
    let callback = |description: &str| -> Option<String> {
        let params =
            [("error", "invalid_scope"), ("error_description", description), ("state", "st-0123456789ab")];
        oauth2().callback_message(&params.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    };
    assert_eq!(callback("Scope read:x\nis unknown").as_deref(), Some("Scope read:x is unknown"));
    assert_eq!(callback("state st-0123456789ab is odd"), None);
}

#[test]
fn a_hostile_reply_of_a_megabyte_is_read_as_fast_as_any() {
    let tokens: Vec<Value> = (0..300)
        .map(|number| json!({"token": format!("{number}-{}", "a b".repeat(10).replace(' ', "x"))}))
        .collect();
    let body = json!({"errors": vec!["an error "; 50_000], "more": tokens, "message": "x y".repeat(100_000)});
    let shown = said(&body).unwrap();
    assert!(shown.starts_with("an error"), "{shown}");
}

/// The message holds no run of 12 characters of a secret.
fn assert_hidden(shown: &str) {
    for secret in [REFRESH, CLIENT_SECRET] {
        for start in 0..=secret.len() - 12 {
            assert!(!shown.contains(&secret[start..start + 12]), "{shown}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_a_provider_says_nothing_secret_invisible_or_long_is_shown(
        before in "\\PC{0,40}", between in "[\\PC\\n\\u{202a}-\\u{202e}\\u{200b}]{0,3}", after in "(?s).{0,400}",
        secret in prop_oneof![Just(REFRESH), Just(CLIENT_SECRET)], cut in 0_usize..12,
        place in prop_oneof![Just("error_description"), Just("message"), Just("hint"), Just("error")],
    ) {
        let (head, tail) = secret.split_at(cut);
        let body = json!({ place: format!("{before} {head}{between}{tail} {after}") });
        let shown = said(&body).unwrap_or_default();
        prop_assert!(shown.chars().count() <= LONGEST);
        prop_assert!(!shown.chars().any(|c| c.is_control() || is_invisible(c)), "{:?}", shown);
        assert_hidden(&shown);
    }

    #[test]
    fn a_base64_token_is_hidden_wherever_it_stands(token in "[A-Za-z0-9+/_-]{24,80}", words in "[a-z ]{1,30}") {
        let characters = token.bytes().filter(u8::is_ascii_alphanumeric).count();
        prop_assume!(characters >= 16 && token.bytes().any(|c| c.is_ascii_digit()));
        prop_assume!(token.bytes().any(|c| c.is_ascii_alphabetic()));
        let shown = said(&json!({"message": format!("{words} : {token}, {words}")})).unwrap_or_default();
        prop_assert!(!shown.contains(&token), "{}", shown);
    }
}
