//! Every provider of the catalogue, emulated from its file: as strict as the file says, with replies that the file can read.

use std::time::Duration;

use jeton_core::keep::provider::{
    CallbackParams, Catalogue, Definition, Emulation, ErrorClass, OutboundRequest, Reply, RequestValues,
    Rotation, Setup, Step, StepOutcome, TokenReply,
};
use jeton_core::secret::Secret;
use jeton_core::time::{Clock as _, SystemClock};
use jeton_emulator::{Emulator, RequestOutcome as Decided, Settings};
use url::Url;

use crate::client::send;

/// An emulated provider, and the connection to it.
struct EmulatedProvider {
    emulator: Emulator,
    definition: Definition,
    settings: Settings,
}

async fn start(provider: &str) -> EmulatedProvider {
    start_with(provider, |setup| setup).await
}

/// The connection is made as `change` says; the provider knows it as it was.
async fn start_with(provider: &str, change: impl FnOnce(Setup) -> Setup) -> EmulatedProvider {
    let catalogue = Catalogue::builtin();
    let provider = catalogue.get(provider).unwrap();
    let setup = provider.example().unwrap();
    let emulation = Emulation::of(provider.define(setup.clone()).unwrap());
    let settings = Settings::for_provider(emulation, Duration::from_mins(1));
    let emulator = Emulator::start(settings.clone()).await.unwrap();
    let there = emulator.base_url().parse().unwrap();
    let definition = provider.define(change(setup)).unwrap().emulated_at(there).unwrap();
    EmulatedProvider { emulator, definition, settings }
}

fn names() -> Vec<String> {
    Catalogue::builtin().names().map(ToString::to_string).collect()
}

impl EmulatedProvider {
    async fn deliver(&self, request: &OutboundRequest) -> Reply {
        let path = &request.url[url::Position::BeforePath..];
        let body = std::str::from_utf8(&request.body).unwrap();
        let method = request.method.as_str();
        let answer = send(self.emulator.address(), method, path, &head(request), body).await.unwrap();
        Reply {
            status: answer.status,
            content_type: answer.header("content-type").map(str::to_owned),
            body: answer.body.into_bytes().into(),
            ..Reply::default()
        }
    }

    async fn ask(&self, step: Step, values: &RequestValues) -> StepOutcome {
        let request = self.definition.request(step, values).unwrap();
        let sent_at = SystemClock.now();
        let reply = self.deliver(&request).await;
        self.definition.read(step, &reply, sent_at, values)
    }

    async fn tokens(&self, step: Step, values: &RequestValues) -> TokenReply {
        match self.ask(step, values).await {
            StepOutcome::Tokens(tokens) => *tokens,
            other => panic!(
                "{} {step}: {other:?}: {:?}",
                self.definition.provider().name(),
                self.emulator.records()
            ),
        }
    }
}

fn holding(refresh: &Secret) -> RequestValues {
    let access = Some(Secret::new("the-access-token-before"));
    RequestValues { access, refresh: Some(refresh.clone()), ..RequestValues::default() }
}

fn head(request: &OutboundRequest) -> String {
    let line = |(name, value): &(String, Secret)| format!("{name}: {}\r\n", value.reveal());
    request.headers.iter().map(line).collect::<Vec<_>>().concat()
}

fn class(outcome: StepOutcome) -> ErrorClass {
    match outcome {
        StepOutcome::Failed(failure) => failure.class,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_rotates_is_spent_once_and_what_stays_stays_at_every_provider() {
    for name in names() {
        let emulated = start(&name).await;
        if !emulated.definition.has(Step::Refresh) {
            assert!(!emulated.tokens(Step::Acquire, &RequestValues::default()).await.access.is_empty());
            continue;
        }
        let first = emulated.emulator.mint(1).remove(0);
        let second = emulated.tokens(Step::Refresh, &holding(&first)).await;
        assert!(emulated.emulator.accepts(second.access.reveal()), "{name}");
        let successor = second.refresh.expect("a grant goes on");
        if emulated.settings.rotation == Rotation::None {
            assert_eq!(successor, first, "{name}");
            emulated.tokens(Step::Refresh, &holding(&first)).await;
            continue;
        }
        assert!(second.rotated && successor != first, "{name}");
        if emulated.settings.reuse_grace.is_zero() {
            let again = emulated.ask(Step::Refresh, &holding(&first)).await;
            assert_eq!(class(again), ErrorClass::DeadGrant, "{name}");
            let dead = emulated.ask(Step::Refresh, &holding(&successor)).await;
            assert_eq!(class(dead), ErrorClass::DeadGrant, "{name}: reuse kills the grant");
            assert_eq!(emulated.emulator.stats().reuse_kills, 1, "{name}");
        } else {
            let again = emulated.tokens(Step::Refresh, &holding(&first)).await;
            assert_eq!(again.refresh, Some(successor), "{name}: inside the grace the same successor comes");
        }
    }
}

#[tokio::test]
async fn a_client_that_is_not_the_right_one_is_refused_and_spends_nothing() {
    for name in names() {
        let emulated = start_with(&name, |mut setup| {
            if setup.client.secret.is_some() {
                setup.client.secret = Some(Secret::new("not-the-right-secret"));
            }
            let hidden = ["api_key", "secret_key"];
            for (_, value) in setup.vars.iter_mut().filter(|(name, _)| hidden.contains(&name.as_str())) {
                *value = Secret::new("not-the-right-secret");
            }
            setup
        })
        .await;
        // Where the secret goes along with no token request there is nothing to be wrong.
        let values = holding(&emulated.emulator.mint(1).remove(0));
        for step in [Step::Refresh, Step::Acquire].into_iter().filter(|step| emulated.definition.has(*step)) {
            let right = Emulation::clone(emulated.settings.emulation.as_ref().unwrap());
            let same = right.definition().request(step, &values).unwrap();
            let made = emulated.definition.request(step, &values).unwrap();
            if (same.headers, same.body) == (made.headers, made.body) {
                continue;
            }
            assert_eq!(class(emulated.ask(step, &values).await), ErrorClass::BadClient, "{name} {step}");
            let record = emulated.emulator.records().pop().unwrap();
            assert_eq!((record.outcome, record.accepted), (Decided::BadClient, false), "{name} {step}");
        }
        assert_eq!(emulated.emulator.stats().accepted, 0, "{name}");
    }
}

#[tokio::test]
async fn a_request_that_is_not_what_the_file_describes_is_told_what_is_wrong_with_it() {
    let emulated = start("amocrm").await;
    let values = holding(&emulated.emulator.mint(1).remove(0));
    let request = emulated.definition.request(Step::Refresh, &values).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let mut body = body.clone();
        change(body.as_object_mut().unwrap());
        OutboundRequest { body: body.to_string().into_bytes().into(), ..request.clone() }
    };
    for (wrong, why) in [
        (with(&|body| drop(body.remove("redirect_uri"))), "body redirect_uri is missing"),
        (with(&|body| drop(body.insert("scope".into(), "all".into()))), "body scope is sent"),
        (
            with(&|body| drop(body.insert("grant_type".into(), "refresh".into()))),
            "body grant_type is another",
        ),
    ] {
        let reply = emulated.deliver(&wrong).await;
        let said = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(reply.status == 400 && said.contains(why), "{said}");
        let record = emulated.emulator.records().pop().unwrap();
        assert_eq!((record.outcome, record.note.as_deref()), (Decided::BadRequest, Some(why)));
    }
    let form = OutboundRequest { body: b"a=b".to_vec().into(), ..request.clone() };
    assert_eq!(emulated.deliver(&form).await.status, 400);
    assert_eq!(emulated.emulator.stats().accepted, 0);
    emulated.tokens(Step::Refresh, &values).await;
}

#[tokio::test]
async fn a_consent_gives_a_code_that_buys_one_pair_at_every_provider_that_asks_for_consent() {
    let mut tried = 0;
    for name in names() {
        let emulated = start(&name).await;
        if !(emulated.definition.has(Step::Authorize) && emulated.definition.has(Step::Exchange)) {
            continue;
        }
        tried += 1;
        let secret = |text: &str| Some(Secret::new(text));
        let values = RequestValues {
            state: secret("state-1"),
            code_challenge: secret("ch-1"),
            ..RequestValues::default()
        };
        let page = emulated.definition.request(Step::Authorize, &values).unwrap();
        let path = &page.url[url::Position::BeforePath..];
        let answer = send(emulated.emulator.address(), "GET", path, "", "").await.unwrap();
        let back: Url =
            answer.header("location").unwrap_or_else(|| panic!("{name}: {}", answer.raw)).parse().unwrap();
        assert!(
            back.as_str().starts_with(emulated.definition.client().redirect_uri.as_deref().unwrap()),
            "{back}"
        );
        let callback: CallbackParams = back.query_pairs().into_owned().collect();
        assert_eq!(callback.get("state").map(String::as_str), Some("state-1"), "{name}");
        let captured = emulated.definition.capture(&callback).unwrap();
        let values = RequestValues {
            code: secret(&callback["code"]),
            code_verifier: secret("ve-1"),
            captured,
            ..RequestValues::default()
        };
        let tokens = emulated.tokens(Step::Exchange, &values).await;
        assert!(emulated.emulator.accepts(tokens.access.reveal()), "{name}");
        assert!(
            matches!(emulated.ask(Step::Exchange, &values).await, StepOutcome::Failed(_)),
            "{name}: a code is good once"
        );
        if let Some(refresh) = tokens.refresh {
            emulated.tokens(Step::Refresh, &holding(&refresh)).await;
        }
    }
    assert!(tried >= 10, "{tried}");
}

#[tokio::test]
async fn tokens_are_introspected_probed_and_revoked_as_the_files_say() {
    for name in names() {
        let emulated = start(&name).await;
        if !emulated.definition.has(Step::Refresh) {
            continue;
        }
        let refresh = emulated.emulator.mint(1).remove(0);
        let tokens = emulated.tokens(Step::Refresh, &holding(&refresh)).await;
        let values = RequestValues {
            access: Some(tokens.access.clone()),
            refresh: tokens.refresh.clone(),
            ..RequestValues::default()
        };
        let lost = RequestValues { access: Some(Secret::new("nobody-gave-this-one")), ..values.clone() };
        if emulated.definition.has(Step::Introspect) {
            for (values, lives) in [(&values, true), (&lost, false)] {
                match emulated.ask(Step::Introspect, values).await {
                    StepOutcome::Introspection(said) => assert_eq!(said.active, lives, "{name}"),
                    other => panic!("{name}: {other:?}"),
                }
            }
        }
        if emulated.definition.has(Step::Probe) {
            assert_eq!(emulated.ask(Step::Probe, &values).await, StepOutcome::Done, "{name}");
            assert!(matches!(emulated.ask(Step::Probe, &lost).await, StepOutcome::Failed(_)), "{name}");
        }
        if emulated.definition.has(Step::Revoke) {
            assert_eq!(emulated.ask(Step::Revoke, &values).await, StepOutcome::Done, "{name}");
            assert_eq!(emulated.emulator.stats().revocations, 1, "{name}");
            assert!(!emulated.emulator.accepts(tokens.access.reveal()), "{name}");
        }
    }
}

#[tokio::test]
async fn a_played_provider_has_its_moods_too() {
    let emulated = start("amocrm").await;
    let values = holding(&emulated.emulator.mint(1).remove(0));
    emulated
        .emulator
        .set_behaviour(jeton_emulator::Behaviour::from_queue([jeton_emulator::Fault::lose_reply()]));
    let request = emulated.definition.request(Step::Refresh, &values).unwrap();
    let path = &request.url[url::Position::BeforePath..];
    let body = std::str::from_utf8(&request.body).unwrap();
    assert!(send(emulated.emulator.address(), "POST", path, &head(&request), body).await.is_none());
    assert!(emulated.emulator.wait_until_idle(Duration::from_secs(5)).await);
    assert_eq!((emulated.emulator.stats().accepted, emulated.emulator.stats().lost), (1, 1));
}
