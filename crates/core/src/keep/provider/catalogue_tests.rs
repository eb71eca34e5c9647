//! The files that are built in, each held to its own vectors.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::catalogue::BUILT_IN;
use super::vector_schema::{ExpectedOutcome, Vector};
use super::*;
use crate::secret::Secret;

/// The text of a file that is built in.
fn text_of(file: &str) -> &'static str {
    BUILT_IN.iter().find(|(name, _)| *name == file).unwrap().1
}

/// A connection of every provider, in the order of their names. Variables have the values that the file's own vectors
/// give them, so that no step is missing for want of one; those that are secret have `secret`.
pub(super) fn every_definition(secret: &str) -> Vec<Definition> {
    let catalogue = Catalogue::builtin();
    let define_one = |provider: &Arc<Provider>| {
        let open = provider.vars().filter(|var| var.default_value().is_none());
        let value = |var: &Var| {
            if var.is_secret() { Some(secret.to_owned()) } else { shown_value(provider, var) }
        };
        let vars: Vec<_> = open.filter_map(|var| Some((var.name(), value(var)?))).collect();
        let vars: Vec<_> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
        define(provider.name().as_str(), &vars)
    };
    let machine = [("grant", "client_credentials"), ("token_url", "https://sso.example.com/token")];
    catalogue.iter().map(define_one).chain([define("oauth2", &machine)]).collect()
}

/// The value that a vector of the file which is not about refusal gives a variable.
fn shown_value(provider: &Provider, var: &Var) -> Option<String> {
    let refused = |vector: &Vector| vector.expect.as_ref().is_some_and(|expect| expect.refused.is_some());
    let vectors = provider.vectors.iter().map(|(_, vector)| vector).filter(|vector| !refused(vector));
    let given = |vector: &Vector| {
        let called_back = match var.capture() {
            Some(Capture::Callback(parameter)) => {
                vector.callback.as_ref().and_then(|callback| callback.get(parameter)).map(String::as_str)
            }
            _ => None,
        };
        let captured = vector.captured.get(var.name()).map(String::as_str);
        let own = vector.vars.get(var.name()).map(Secret::reveal);
        own.or(captured).or(called_back).map(str::to_owned)
    };
    vectors.into_iter().find_map(given)
}

pub(super) fn define(name: &str, vars: &[(&str, &str)]) -> Definition {
    let setup = Setup {
        vars: vars.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect(),
        client: Client {
            id: Some("app".into()),
            secret: Some(Secret::new("hush-hush-hush-hush")),
            redirect_uri: Some("https://jeton.example.com/oauth/callback".into()),
        },
        ..Setup::default()
    };
    Catalogue::builtin().get(name).unwrap().define(setup).unwrap()
}

#[test]
fn every_provider_keeps_the_promises_of_its_own_file() {
    for provider in Catalogue::builtin().iter() {
        let results = provider.run_tests();
        let wrong: Vec<_> =
            results.iter().filter(|result| !result.passed()).map(ToString::to_string).collect();
        assert!(wrong.is_empty(), "{}:\n{}", provider.name(), wrong.join("\n"));
        assert!(results.iter().all(|result| result.line.is_some()));
    }
}

#[test]
fn every_step_that_gives_tokens_is_shown_with_its_request_and_a_reply() {
    for provider in Catalogue::builtin().iter() {
        let vectors = || provider.vectors.iter().map(|(_, vector)| vector);
        for step in provider.steps() {
            let of_step = || vectors().filter(|vector| vector.step == step.as_str());
            let asked = of_step().any(|vector| vector.request.as_ref().is_some_and(|one| one.url.is_some()));
            assert!(asked, "{}: no vector shows where `{step}` goes", provider.name());
            let tokens = |vector: &Vector| {
                vector.expect.as_ref().and_then(|expect| expect.outcome) == Some(ExpectedOutcome::Tokens)
            };
            let read = of_step().any(tokens);
            assert!(read || !step.gives_tokens(), "{}: no vector shows a reply to `{step}`", provider.name());
        }
    }
}

#[test]
fn every_class_that_a_file_knows_is_shown_by_a_vector() {
    for provider in Catalogue::builtin().iter() {
        let own = provider.steps.values().flat_map(|spec| &spec.errors);
        let known: BTreeSet<_> = own.chain(&provider.errors).map(|rule| rule.class).collect();
        let shown: BTreeSet<_> =
            provider.vectors.iter().filter_map(|(_, vector)| vector.expect.as_ref()?.class).collect();
        let silent: Vec<_> = known.difference(&shown).collect();
        assert!(silent.is_empty(), "{}: no vector shows {silent:?}", provider.name());
    }
}

#[test]
fn every_file_says_how_well_it_knows_what_becomes_of_refresh_tokens() {
    for provider in Catalogue::builtin().iter() {
        assert!(provider.confidence().contains_key("policy.rotation"), "{}", provider.name());
    }
}

#[test]
fn a_wrong_vector_says_what_came_out_differently_and_where() {
    let (before, vector) = text_of("slack.toml").split_once("the client goes into the form").unwrap();
    let vector = vector.replacen("2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z", 1).replacen(
        "client_secret = \"hush\" } }",
        "client_secret = \"hash\" } }",
        1,
    );
    let text = format!("{before}the client goes into the form{vector}");
    let provider = Arc::new(Provider::from_toml("slack.toml", &text).unwrap());
    let results = provider.run_tests();
    let wrong: Vec<_> = results.iter().filter(|result| !result.passed()).collect();
    let [wrong] = wrong[..] else { panic!("{results:?}") };
    let fields: Vec<_> = wrong.differences.iter().map(|difference| difference.field.as_str()).collect();
    assert_eq!(fields, ["request.form.client_secret", "expect.expires_at"]);
    let line = wrong.line.unwrap();
    assert_eq!(text.lines().nth(line - 1), Some("[[tests]]"));
    let shown = wrong.to_string();
    assert!(
        shown.contains("expect.expires_at: expected 2026-01-01T13:00:00Z, got 2026-01-01T12:00:00Z"),
        "{shown}"
    );
}

#[test]
fn vectors_that_promise_nothing_do_not_pass() {
    for vector in [
        "step = 'refresh'",
        "step = 'refesh'\nrequest = {}",
        "step = 'refresh'\nrequest = {}\nreply = { status = 200 }",
        "step = 'refresh'\nexpect = { outcome = 'done' }",
        "step = 'refresh'\nreply = { status = 200 }\nexpect = { class = 'unknown' }",
        "step = 'refresh'\ncaptured = { x = 'y' }\nrequest = {}",
    ] {
        let base = text_of("slack.toml").split("[[tests]]").next().unwrap();
        let client = "client = { id = 'a', secret = 'b' }\nslots = { refresh = 'c' }";
        let text = format!("{base}\n[[tests]]\nname = 'x'\n{client}\n{vector}\n");
        let provider = Arc::new(Provider::from_toml("slack.toml", &text).unwrap());
        assert!(!provider.run_tests()[0].passed(), "{vector}");
    }
}

#[test]
fn a_catalogue_names_the_nearest_provider_and_lets_files_replace_built_in_ones() {
    let mut catalogue = Catalogue::builtin();
    let names: Vec<_> = catalogue.names().map(ToString::to_string).collect();
    let files: Vec<_> = BUILT_IN.iter().filter_map(|(file, _)| file.strip_suffix(".toml")).collect();
    assert!(names.is_sorted() && names.len() == files.len(), "{names:?}");
    assert!(files.iter().all(|file| names.iter().any(|name| name == file)), "{names:?}");
    assert!(catalogue.get("amocrn").unwrap_err().to_string().ends_with("did you mean `amocrm`?"));
    let mended = text_of("amocrm.toml").replace("amoCRM / Kommo", "Mended");
    catalogue.add_file("conf.d/amocrm.toml", &mended).unwrap();
    assert_eq!(catalogue.get("amocrm").unwrap().title(), "Mended");
}

#[test]
fn a_connection_may_say_that_tokens_last_and_then_nothing_is_spent() {
    let lasting = Setup {
        vars: [("token_url".to_owned(), Secret::new("https://sso.example.com/token"))].into(),
        client: Client { id: Some("app".into()), secret: Some(Secret::new("hush")), redirect_uri: None },
        policy: PolicyOverrides { rotation: Some(Rotation::None), ..PolicyOverrides::default() },
        ..Setup::default()
    };
    let catalogue = Catalogue::builtin();
    let provider = catalogue.get("oauth2").unwrap();
    let strict = Setup { policy: PolicyOverrides::default(), ..lasting.clone() };
    assert!(provider.define(strict).unwrap().spends(Step::Refresh));
    let lasting = provider.define(lasting).unwrap();
    assert!(!lasting.spends(Step::Refresh));
    assert!(lasting.spends(Step::Exchange), "a code is spent whatever becomes of refresh tokens");
}

#[test]
fn optional_urls_decide_which_steps_a_connection_has() {
    let plain = define("oauth2", &[("token_url", "https://sso.example.com/token")]);
    assert!(plain.has(Step::Refresh) && plain.has(Step::Exchange));
    assert!(!plain.has(Step::Authorize) && !plain.has(Step::Revoke) && !plain.has(Step::Acquire));
    assert_eq!(plain.api_base(&Vars::new()).unwrap(), None);
    let full = define(
        "oauth2",
        &[
            ("token_url", "https://sso.example.com/token"),
            ("revoke_url", "https://sso.example.com/revoke"),
            ("api_base", "https://api.example.com/v2"),
        ],
    );
    assert!(full.has(Step::Revoke));
    let base = full.api_base(&Vars::new()).unwrap().unwrap();
    assert_eq!((base.url.as_str(), base.captured_host), ("https://api.example.com/v2", false));
}

#[test]
fn tokens_are_put_where_the_file_says() {
    let values = RequestValues { access: Some(Secret::new("at-1")), ..RequestValues::default() };
    let inject = |name: &str, vars: &[(&str, &str)]| define(name, vars).inject(&values).unwrap();
    assert_eq!(
        inject("zoho", &[]),
        [Injection::Header("authorization".into(), Secret::new("Zoho-oauthtoken at-1"))]
    );
    assert_eq!(inject("slack", &[]), [Injection::Header("authorization".into(), Secret::new("Bearer at-1"))]);
    assert!(define("slack", &[]).inject(&RequestValues::default()).is_err());
}

#[test]
fn dead_access_tokens_are_known_by_status_or_by_body() {
    let slack = define("slack", &[]);
    assert!(slack.api_wants_body(200) && !slack.api_wants_body(500));
    assert!(slack.api_expired(200, Some(br#"{"ok":false,"error":"token_expired"}"#)));
    assert!(!slack.api_expired(200, Some(br#"{"ok":true}"#)) && !slack.api_expired(401, None));
    let salesforce = define("salesforce", &[]);
    assert!(salesforce.api_expired(401, None) && !salesforce.api_expired(403, None));
    assert!(salesforce.api_expired(403, Some(br#"[{"errorCode":"INVALID_SESSION_ID"}]"#)));
}
