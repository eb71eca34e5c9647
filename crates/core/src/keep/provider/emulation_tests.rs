use std::sync::Arc;

use super::*;
use crate::keep::provider::request_values::Vars;
use crate::keep::provider::{Catalogue, Provider, Rotation, Setup};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LIFE: Duration = Duration::from_mins(30);

fn all() -> Vec<Emulation> {
    Catalogue::builtin()
        .iter()
        .map(|provider| {
            let setup =
                provider.example().unwrap_or_else(|| panic!("{} shows no connection", provider.name()));
            Emulation::of(provider.define(setup).unwrap())
        })
        .collect()
}

fn issued(emulation: &Emulation, rotates: bool) -> Issued {
    let access_expires_at = NOW + emulation.access_life(LIFE).unwrap_or(LIFE);
    let refresh_expires_at = NOW + LIFE * 10;
    let random = "0123456789abcdef".repeat(8);
    Issued {
        access: emulation.token(TokenKind::Access, &random, access_expires_at),
        access_expires_at,
        refresh: rotates.then(|| emulation.token(TokenKind::Refresh, &random, refresh_expires_at)),
        refresh_expires_at,
    }
}

#[test]
fn what_every_provider_would_reply_is_read_as_it_is_meant() {
    for emulation in all() {
        let definition = emulation.definition();
        let name = definition.provider().name();
        let sent =
            RequestValues { refresh: Some(Secret::new("the-one-that-was-sent")), ..RequestValues::default() };
        for step in
            [Step::Refresh, Step::Acquire, Step::Exchange].into_iter().filter(|step| definition.has(*step))
        {
            let rotates = definition.policy().rotation != Rotation::None && emulation.brings_refresh(step);
            let issued = issued(&emulation, rotates);
            let reply = emulation.tokens(step, &issued, NOW);
            let StepOutcome::Tokens(read) = definition.read(step, &reply, NOW, &sent) else {
                panic!("{name} {step}: {:?}", String::from_utf8_lossy(&reply.body));
            };
            assert_eq!(read.access, issued.access, "{name} {step}");
            if rotates {
                assert_eq!(read.refresh, issued.refresh, "{name} {step}");
            }
            if read.ask_introspection {
                let told = emulation.introspection(Some(issued.access_expires_at), NOW);
                let StepOutcome::Introspection(told) = definition.read(Step::Introspect, &told, NOW, &sent)
                else {
                    panic!("{name} {step}: introspection tells nothing");
                };
                assert_eq!(told.expires_at, Some(issued.access_expires_at), "{name} {step}");
            } else if emulation.access_life(LIFE).is_some() {
                assert_eq!(read.expires_at, Some(issued.access_expires_at), "{name} {step}");
            } else {
                assert_eq!(read.expires_at, None, "{name} {step}");
            }
        }
        if definition.has(Step::Introspect) {
            let live = definition.read(
                Step::Introspect,
                &emulation.introspection(Some(NOW + LIFE), NOW),
                NOW,
                &sent,
            );
            assert!(matches!(live, StepOutcome::Introspection(said) if said.active), "{name}");
            let dead = definition.read(Step::Introspect, &emulation.introspection(None, NOW), NOW, &sent);
            assert!(matches!(dead, StepOutcome::Introspection(said) if !said.active), "{name}");
        }
        for step in [Step::Revoke, Step::Probe].into_iter().filter(|step| definition.has(*step)) {
            assert_eq!(
                definition.read(step, &emulation.done(step), NOW, &sent),
                StepOutcome::Done,
                "{name} {step}"
            );
        }
    }
}

#[test]
fn every_provider_refuses_dead_grants_and_wrong_clients_in_words_that_its_file_understands() {
    for emulation in all() {
        let definition = emulation.definition();
        for class in [ErrorClass::DeadGrant, ErrorClass::BadClient, ErrorClass::RateLimited] {
            let step = if definition.has(Step::Refresh) { Step::Refresh } else { Step::Acquire };
            let reply = emulation.refusal(step, class, NOW);
            let StepOutcome::Failed(failure) = definition.read(step, &reply, NOW, &RequestValues::default())
            else {
                panic!("{}: a refusal passes for a success", definition.provider().name());
            };
            assert_eq!(failure.class, class, "{}: {reply:?}", definition.provider().name());
        }
    }
}

#[test]
fn a_file_without_vectors_is_emulated_by_its_ok_take_and_rules() {
    let text = r#"name = "bare"
title = "Bare"
hosts = ["bare.example.com"]
[client]
auth = "none"
[ok]
all = [{ path = "result.ok", eq = true }]
[take]
access = "result.tokens.0.value"
refresh = { path = "result.next", absent = "error" }
expires = [{ path = "result.until", as = "rfc3339" }, { jwt = "access.exp" }]
refresh_expires = { path = "result.next_ms", as = "ms" }
[refresh]
url = "https://bare.example.com/token"
form = { r = "${refresh}" }
[[errors]]
when = { path = "why", regex = "(?i)over" }
class = "dead_grant"
[[errors]]
when = { status = 422, path = ["fault.*.code", "code"], in = ["17", "18"] }
class = "dead_grant"
"#;
    let provider = Arc::new(Provider::from_toml("bare.toml", text).unwrap());
    assert!(provider.example().is_none(), "there is no vector");
    let emulation = Emulation::of(provider.define(Setup::default()).unwrap());
    let issued = issued(&emulation, true);
    assert_eq!(issued.access.reveal().split('.').count(), 3, "a JWT, because the file reads one");
    let reply = emulation.tokens(Step::Refresh, &issued, NOW);
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let expected = json!({ "result": {
        "ok": true,
        "tokens": [{ "value": issued.access.reveal() }],
        "next": issued.refresh.as_ref().unwrap().reveal(),
        "until": (NOW + LIFE).to_string(),
        "next_ms": 18_000_000,
    }});
    assert_eq!((reply.status, body), (200, expected));
    let refusal = emulation.refusal(Step::Refresh, ErrorClass::DeadGrant, NOW);
    let body: Value = serde_json::from_slice(&refusal.body).unwrap();
    assert_eq!((refusal.status, body), (422, json!({ "fault": [{ "code": 17 }] })));
}

#[test]
fn numbers_stay_text_where_the_provider_writes_text_and_promise_no_more_than_the_token_holds() {
    let at = NOW + Duration::from_millis(1_999);
    let sources = [
        ExpirySource::Path(JsonPath::key("expires_in"), Unit::S, None),
        ExpirySource::Path(JsonPath::key("exp"), Unit::EpochMs, None),
    ];
    let mut body = json!({ "expires_in": "3600" });
    say(&sources, &mut body, at, NOW);
    assert_eq!(body, json!({ "expires_in": "1" }), "only the form that is there");
    let mut body = json!({ "exp": 1, "expires_in": 1 });
    say(&sources, &mut body, at, NOW);
    assert_eq!(body, json!({ "exp": 1_800_000_001_999_i64, "expires_in": 1 }));
    let mut body = json!({});
    say(&sources, &mut body, at, NOW);
    assert_eq!(body, json!({ "expires_in": 1 }), "the first");
}

#[test]
fn every_request_of_an_emulated_connection_goes_to_this_machine() {
    for emulation in all() {
        let definition = emulation.definition().clone();
        let emulator: url::Url = "http://127.0.0.1:9096".parse().unwrap();
        let moved = definition.clone().emulated_at(emulator.clone()).unwrap();
        for step in Step::ALL.iter().copied() {
            let nothing = Vars::new();
            let Some(real) = definition.endpoint(step, &nothing).unwrap() else { continue };
            let there = moved.endpoint(step, &nothing).unwrap().unwrap();
            assert_eq!(there.url.origin(), emulator.origin());
            assert_eq!((there.url.path(), there.url.query()), (real.url.path(), real.url.query()));
            assert!(!there.captured_host);
        }
    }
}

#[test]
fn an_emulated_provider_that_is_not_on_this_machine_is_refused() {
    let definition = all().remove(0).definition().clone();
    for wrong in [
        "http://10.0.0.1:9096",
        "https://127.0.0.1:9096",
        "http://localhost.example.com",
        "http://127.0.0.1:9096/path",
        "http://127.0.0.1:9096/?q",
    ] {
        let error = definition.clone().emulated_at(wrong.parse().unwrap()).unwrap_err();
        assert_eq!(error.field, "emulated_at");
        assert!(error.problem.contains("http://127.0.0.1:PORT"), "{error}");
    }
}
