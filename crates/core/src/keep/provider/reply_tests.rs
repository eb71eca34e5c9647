//! Properties of reading replies and making requests that hold for every provider.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::catalogue::BUILT_IN;
use super::catalogue_tests::{define, every_definition};
use super::*;
use crate::secret::Secret;
use crate::time::Timestamp;

const SENT: Timestamp = Timestamp::from_secs(1_767_225_600);

/// Texts that must never be seen, long enough for every provider.
const ACCESS: &str = "ACCESS-7f3d9b2e4a1c8f6d5b0e-7f3d9b2e4a1c8f6d5b0e-7f3d9b2e4a";
const REFRESH: &str = "REFRESH-2c9e8d7a6b5f4e3d1c0b-2c9e8d7a6b5f4e3d1c0b-2c9e8d7a6b";
const CODE: &str = "CODE-91e8d7c6b5a4f3e2d1c0";
const CLIENT_SECRET: &str = "hush-hush-hush-hush";
const KEY: &str = "KEY-0a1b2c3d4e5f6a7b8c9d";

fn values() -> RequestValues {
    RequestValues {
        access: Some(Secret::new(ACCESS)),
        refresh: Some(Secret::new(REFRESH)),
        code: Some(Secret::new(CODE)),
        state: Some(Secret::new("st-1")),
        code_challenge: Some(Secret::new("ch-1")),
        code_verifier: Some(Secret::new(CODE)),
        ..RequestValues::default()
    }
}

/// Made once: loading a file compiles its regular expressions.
static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(|| every_definition(KEY));

fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, body: body.into().into(), ..Reply::default() }
}

fn assert_hidden(shown: &str) {
    for secret in [ACCESS, REFRESH, CODE, CLIENT_SECRET, KEY] {
        for piece in [secret, &secret[..16.min(secret.len())], &secret[secret.len() - 14..]] {
            assert!(!shown.contains(piece), "{piece} is shown in {shown}");
        }
    }
}

fn failure(outcome: StepOutcome) -> StepFailure {
    match outcome {
        StepOutcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_secret_is_shown_by_anything_that_can_be_printed() {
    for definition in DEFINITIONS.iter() {
        assert_hidden(&format!("{definition:?} {:?}", definition.provider()));
        for step in definition.provider().steps().filter(|step| definition.has(*step)).collect::<Vec<_>>() {
            let made = definition.request(step, &values());
            assert_hidden(&format!("{made:?} {:?}", values()));
            assert!(made.is_ok(), "{made:?}");
            let tokens = json!({
                "ok": true, "status": "DONE", "access_token": ACCESS, "refresh_token": REFRESH, "expires_in": 60,
                "accessToken": ACCESS, "refreshToken": REFRESH, "result": {"value": ACCESS, "refreshToken": REFRESH},
            });
            let granted = reply(200, tokens.to_string());
            assert_hidden(&format!("{granted:?} {:?}", definition.read(step, &granted, SENT, &values())));
            // Where no variable is secret, it is a word like any other.
            let key = Some(KEY).filter(|_| definition.vars().values().any(VarValue::is_hidden));
            for echo in [ACCESS, REFRESH, CLIENT_SECRET].into_iter().chain(key) {
                for body in [
                    json!({"error": echo}),
                    json!({"error": format!("bad token {echo}")}),
                    json!({"error": {"code": &echo[4..]}, "hint": echo}),
                    json!({"errors": [{"code": echo}]}),
                    json!({"ok": true, "status": "DONE", "access_token": "at", "token_type": echo, "scope": echo, "expires_in": echo}),
                ] {
                    for status in [200, 302, 400, 401, 500] {
                        let outcome =
                            definition.read(step, &reply(status, body.to_string()), SENT, &values());
                        assert_hidden(&format!("{outcome:?}"));
                    }
                }
            }
        }
    }
}

#[test]
fn a_request_without_what_it_needs_names_it_and_shows_nothing() {
    let definition = define("amocrm", &[]);
    let missing = definition.request(Step::Refresh, &values()).unwrap_err().to_string();
    assert!(missing.contains("`domain`") && missing.contains("`referer`"), "{missing}");
    let definition = define("oauth2", &[("token_url", "https://sso.example.com/token")]);
    let empty = definition.request(Step::Refresh, &RequestValues::default()).unwrap_err().to_string();
    assert_eq!(
        empty,
        "the `refresh` request needs `refresh`, which is not known: connect the connection first"
    );
    let absent = definition.request(Step::Probe, &values()).unwrap_err().to_string();
    assert_eq!(absent, "the provider `oauth2` has no `probe` step");
    let absent = definition.request(Step::Acquire, &values()).unwrap_err().to_string();
    let cure = "; set vars.grant to \"client_credentials\" to have one";
    assert_eq!(absent, format!("the provider `oauth2` has no `acquire` step{cure}"));
}

#[test]
fn a_token_that_could_split_a_header_is_never_put_into_one() {
    let definition = define("amocrm", &[("domain", "acme.amocrm.ru")]);
    let values = RequestValues { access: Some(Secret::new("at\r\nX-Evil: 1")), ..RequestValues::default() };
    assert!(definition.request(Step::Probe, &values).is_err());
    assert!(definition.inject(&values).is_err());
    let body = json!({"access_token": "at\r\nX-Evil: 1", "refresh_token": "r".repeat(60)});
    let read = failure(definition.read(Step::Refresh, &reply(200, body.to_string()), SENT, &self::values()));
    assert_eq!((read.class, read.keep_reply), (ErrorClass::Ambiguous, true));
}

#[test]
fn the_file_may_say_that_5xx_replies_spend_nothing() {
    let vars = [("token_url".to_owned(), Secret::new("https://sso.example.com/token"))].into();
    let setup = Setup {
        vars,
        client: Client { id: Some("app".into()), secret: Some(Secret::new("hush")), redirect_uri: None },
        policy: PolicyOverrides { ambiguous_5xx: Some(false), ..PolicyOverrides::default() },
        ..Setup::default()
    };
    let definition = Catalogue::builtin().get("oauth2").unwrap().define(setup).unwrap();
    let read = failure(definition.read(Step::Refresh, &reply(500, ""), SENT, &values()));
    assert_eq!(read.class, ErrorClass::Transient);
}

#[test]
fn a_class_follows_the_status_where_nothing_else_is_said() {
    let spending =
        define("oauth2", &[("token_url", "https://sso.example.com/token"), ("client_auth", "post")]);
    let class = |status: u16, body: &str| {
        failure(spending.read(Step::Refresh, &reply(status, body), SENT, &values())).class
    };
    for (status, body, expected) in [
        (500, r#"{"error":"invalid_grant"}"#, ErrorClass::Ambiguous),
        (429, "", ErrorClass::RateLimited),
        (408, "", ErrorClass::Transient),
        (400, r#"{"error":"invalid_grant"}"#, ErrorClass::DeadGrant),
        (200, r#"{"error":"invalid_grant"}"#, ErrorClass::DeadGrant),
        (400, r#"{"error":"unauthorized_client"}"#, ErrorClass::BadClient),
        (400, r#"{"error":"slow_down"}"#, ErrorClass::RateLimited),
        (400, r#"{"error":"server_error"}"#, ErrorClass::Ambiguous),
        (400, r#"{"error":"temporarily_unavailable"}"#, ErrorClass::Transient),
        (400, r#"{"error":"invalid_request"}"#, ErrorClass::Unknown),
        (404, "", ErrorClass::Unknown),
        (301, "", ErrorClass::Unknown),
        (200, "", ErrorClass::Ambiguous),
        (200, "{}", ErrorClass::Ambiguous),
        (200, r#"{"access_token":""}"#, ErrorClass::Ambiguous),
        (200, r#"{"access_token":7}"#, ErrorClass::Ambiguous),
        (200, r#"{"error":"strange"}"#, ErrorClass::Unknown),
        (200, r#"{"code":0,"msg":"ok","data":{"access_token":"a"}}"#, ErrorClass::Ambiguous),
        (200, r#"{"errors":[],"result":{"access_token":"a"}}"#, ErrorClass::Ambiguous),
        (204, "", ErrorClass::Ambiguous),
    ] {
        assert_eq!(class(status, body), expected, "{status} {body}");
    }
}

#[test]
fn a_short_client_secret_does_not_hide_the_words_of_the_standard() {
    let setup = Setup {
        vars: [("token_url".to_owned(), Secret::new("https://sso.example.com/token"))].into(),
        client: Client { id: Some("app".into()), secret: Some(Secret::new("grant")), redirect_uri: None },
        ..Setup::default()
    };
    let definition = Catalogue::builtin().get("oauth2").unwrap().define(setup).unwrap();
    let gone = reply(400, r#"{"error":"invalid_grant"}"#);
    let read = failure(definition.read(Step::Refresh, &gone, SENT, &values()));
    assert_eq!((read.class, read.code.as_str()), (ErrorClass::DeadGrant, "invalid_grant"));
}

#[test]
fn a_wait_is_at_most_a_day_and_may_be_a_date() {
    let definition = define("oauth2", &[("token_url", "https://sso.example.com/token")]);
    let wait = |retry_after: &str, date: Option<&str>| {
        let reply = Reply {
            status: 429,
            retry_after: Some(retry_after.to_owned()),
            date: date.map(str::to_owned),
            ..Reply::default()
        };
        failure(definition.read(Step::Refresh, &reply, SENT, &values())).retry_after
    };
    assert_eq!(wait("120", None), Some(Duration::from_mins(2)));
    assert_eq!(wait("99999999999", None), Some(Duration::from_hours(24)));
    assert_eq!(wait("Thu, 01 Jan 2026 00:01:00 GMT", None), Some(Duration::from_mins(1)));
    assert_eq!(
        wait("Thu, 01 Jan 2026 00:01:00 GMT", Some("Thu, 01 Jan 2026 00:00:30 GMT")),
        Some(Duration::from_secs(30))
    );
    assert_eq!(wait("Wed, 31 Dec 2025 00:01:00 GMT", None), Some(Duration::ZERO));
    assert_eq!(wait("-1", None), None);
    assert_eq!(wait("soon", None), None);
}

#[test]
fn a_kept_token_keeps_its_expiry_and_a_new_one_gets_that_of_the_policy() {
    let definition = define("amocrm", &[("domain", "acme.amocrm.ru")]);
    let before = SENT + Duration::from_hours(24);
    let values = RequestValues { refresh_expires_at: Some(before), ..values() };
    let read = |refresh: &str| {
        let body = json!({"access_token": "at", "refresh_token": refresh, "expires_in": 60}).to_string();
        match definition.read(Step::Refresh, &reply(200, body), SENT, &values) {
            StepOutcome::Tokens(tokens) => tokens.refresh_expires_at,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read(REFRESH), Some(before));
    assert_eq!(read(&"n".repeat(60)), Some(SENT + Duration::from_hours(24 * 90)));
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|flag| json!(flag)),
        any::<f64>().prop_map(|number| json!(number)),
        "[a-z_]{0,12}".prop_map(|text| json!(text)),
        Just(json!("invalid_grant")),
        Just(json!("DONE")),
        Just(json!(REFRESH)),
    ];
    let key = prop_oneof![
        Just("access_token"),
        Just("refresh_token"),
        Just("expires_in"),
        Just("error"),
        Just("ok"),
        Just("result"),
        Just("status"),
        Just("value"),
        Just("errors"),
        Just("code"),
        Just("hint"),
        Just("accessToken"),
        Just("refreshToken"),
        Just("scope"),
        Just("token_type"),
        Just("instance_url"),
        Just("active"),
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        let key = key.clone();
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::Array),
            proptest::collection::btree_map(key, inner, 0..7).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn every_reply_has_an_outcome_that_obeys_the_rules(body in any_json(), status in 100_u16..600, which in 0..BUILT_IN.len()) {
        let definition = &DEFINITIONS[which];
        for step in [Step::Refresh, Step::Exchange, Step::Acquire, Step::Introspect, Step::Revoke] {
            match definition.read(step, &reply(status, body.to_string()), SENT, &values()) {
                StepOutcome::Tokens(tokens) => {
                    prop_assert!(step.gives_tokens() && (200..300).contains(&status));
                    prop_assert!(!tokens.access.is_empty());
                    prop_assert!(tokens.expires_at.is_none_or(|at| at > SENT));
                    prop_assert!(tokens.refresh.is_none_or(|token| !token.is_empty()));
                }
                StepOutcome::Failed(failure) => {
                    prop_assert!((1..=64).contains(&failure.code.len()));
                    prop_assert!(!failure.keep_reply || (200..300).contains(&status));
                    prop_assert!(!failure.message.contains(REFRESH) && !failure.message.contains('\n'));
                    let lost = failure.class == ErrorClass::Transient && (200..300).contains(&status);
                    prop_assert!(!(lost && definition.spends(step) && failure.keep_reply));
                }
                StepOutcome::Introspection(_) | StepOutcome::Done => prop_assert!(!step.gives_tokens()),
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..300), status in any::<u16>()) {
        let definition = &DEFINITIONS[0];
        let outcome = definition.read(Step::Refresh, &reply(status, body), SENT, &values());
        let shown = format!("{outcome:?}");
        prop_assert!(!shown.contains(REFRESH));
    }

    #[test]
    fn no_file_makes_the_loader_panic(text in "[a-z\\[\\]{}='\"$.?\n ]{0,80}") {
        let _ = Provider::from_toml("x", &text);
    }

    #[test]
    fn no_line_left_out_or_doubled_makes_the_loader_panic(which in 0..BUILT_IN.len(), line in 0_usize..400, double in any::<bool>()) {
        let text = BUILT_IN[which].1;
        let mut lines: Vec<_> = text.lines().collect();
        let line = line % lines.len();
        if double { lines.insert(line, lines[line]); } else { lines.remove(line); }
        if let Ok(provider) = Provider::from_toml("x", &lines.join("\n")) {
            let _ = Arc::new(provider).run_tests();
        }
    }
}

#[test]
fn a_standard_code_is_found_where_servers_put_it_and_however_they_write_it() {
    let definition = define("oauth2", &[("token_url", "https://sso.example.com/token")]);
    let class = |status, body: serde_json::Value| {
        let failed =
            failure(definition.read(Step::Refresh, &reply(status, body.to_string()), SENT, &values()));
        (failed.class, failed.code)
    };
    let dead = (ErrorClass::DeadGrant, "invalid_grant".to_owned());
    for body in [
        json!({"error": "invalid_grant"}),
        json!({"error": "INVALID_GRANT"}),
        json!({"error": " invalid_grant: Token is expired or invalid."}),
        json!({"error": "invalid_grant Token is expired"}),
        json!({"error": {"type": "Invalid_Grant", "message": "over"}}),
        json!({"error": {"error": "invalid_grant"}}),
        json!({"errors": [{"errorType": "invalid_grant", "message": "Refresh token invalid: x"}], "success": false}),
        json!({"errors": ["invalid_grant"]}),
        json!({"errors": [{"type": "invalid_grant"}], "code": 400}),
        json!([{"error": "invalid_grant"}]),
        json!({"error": "Bad Request", "code": 400, "error_code": "invalid_grant"}),
        json!({"fault": {"faultstring": "over", "detail": {"errorcode": "invalid_grant"}}}),
    ] {
        for status in [400, 401, 403, 200] {
            assert_eq!(class(status, body.clone()), dead, "{status} {body}");
        }
    }
    for body in [
        json!({"error": "invalid_grants"}),
        json!({"error": "not invalid_grant"}),
        json!({"error_description": "invalid_grant"}),
        json!({"message": "invalid_grant"}),
        json!({"error": "invalid_request", "error_description": "invalid_grant"}),
    ] {
        assert_ne!(class(400, body.clone()).0, ErrorClass::DeadGrant, "{body}");
    }
    assert_eq!(class(401, json!({"errors": [{"errorType": "invalid_client"}]})).0, ErrorClass::BadClient);
}

#[test]
fn a_secret_is_sent_as_it_is_to_a_server_that_does_not_decode_it() {
    use base64::Engine as _;
    let sent = |auth: &str, id: &str| {
        let client = Client {
            id: Some(id.to_owned()),
            secret: Some(Secret::new("z/tZ9+Vw=~x$%2")),
            ..Client::default()
        };
        let vars = [("token_url", "https://sso.example.com/token"), ("client_auth", auth)];
        let vars = vars.map(|(name, value)| (name.to_owned(), Secret::new(value))).into();
        let provider = Arc::clone(Catalogue::builtin().get("oauth2").unwrap());
        let definition = provider.define(Setup { vars, client, ..Setup::default() }).unwrap();
        let request = definition.request(Step::Refresh, &values())?;
        let (_, header) = request.headers.iter().find(|(name, _)| name == "authorization").unwrap().clone();
        let pair = header.reveal().strip_prefix("Basic ").unwrap().to_owned();
        let pair = base64::engine::general_purpose::STANDARD.decode(pair).unwrap();
        Ok::<_, RequestError>(String::from_utf8(pair).unwrap())
    };
    assert_eq!(sent("basic-raw", "app-1").unwrap(), "app-1:z/tZ9+Vw=~x$%2");
    assert_eq!(sent("basic", "app-1").unwrap(), "app-1:z%2FtZ9%2BVw%3D%7Ex%24%252");
    let refused = sent("basic-raw", "app:1").unwrap_err().to_string();
    assert!(refused.contains("colon") && refused.contains("basic-raw"), "{refused}");
}
