//! The files that are built in and five hard ones, each held to its own vectors.

use std::sync::Arc;

use super::*;
use crate::secret::Secret;

/// Providers that stretch the format.
pub(super) const EXAMPLES: [(&str, &str); 5] = [
    ("slack.toml", include_str!("examples/slack.toml")),
    ("salesforce.toml", include_str!("examples/salesforce.toml")),
    ("zoho.toml", include_str!("examples/zoho.toml")),
    ("finnotech.toml", include_str!("examples/finnotech.toml")),
    ("jibit.toml", include_str!("examples/jibit.toml")),
];

pub(super) fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::builtin();
    for (file, text) in EXAMPLES {
        catalogue.add_file(file, text).unwrap_or_else(|error| panic!("{error}"));
    }
    catalogue
}

pub(super) fn define(name: &str, vars: &[(&str, &str)]) -> Definition {
    let setup = Setup {
        vars: vars.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect(),
        client: Client {
            id: Some("app".into()),
            secret: Some(Secret::new("hush-hush-hush-hush")),
            redirect_uri: Some("https://jeton.example.com/oauth/callback".into()),
        },
        policy: PolicyOverrides::default(),
    };
    catalogue().get(name).unwrap().define(setup).unwrap()
}

#[test]
fn every_provider_keeps_the_promises_of_its_own_file() {
    for provider in catalogue().iter() {
        let results = provider.run_tests();
        assert!(results.len() >= 4, "{} has too few vectors", provider.name());
        let wrong: Vec<_> =
            results.iter().filter(|result| !result.passed()).map(ToString::to_string).collect();
        assert!(wrong.is_empty(), "{}:\n{}", provider.name(), wrong.join("\n"));
        assert!(results.iter().all(|result| result.line.is_some()));
    }
}

#[test]
fn a_wrong_vector_says_what_came_out_differently_and_where() {
    let text = EXAMPLES[0]
        .1
        .replace("2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z")
        .replace("client_secret = \"hush\" } }", "client_secret = \"hash\" } }");
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
        let base = EXAMPLES[0].1.split("[[tests]]").next().unwrap();
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
    assert_eq!(names, ["amocrm", "oauth2"]);
    assert!(catalogue.get("amocrn").unwrap_err().to_string().ends_with("did you mean `amocrm`?"));
    let mended = include_str!("../../../../../providers/amocrm.toml").replace("amoCRM / Kommo", "Mended");
    catalogue.add_file("conf.d/amocrm.toml", &mended).unwrap();
    assert_eq!(catalogue.get("amocrm").unwrap().title(), "Mended");
}

#[test]
fn a_connection_may_say_that_tokens_last_and_then_nothing_is_spent() {
    let lasting = Setup {
        vars: [("token_url".to_owned(), Secret::new("https://sso.example.com/token"))].into(),
        client: Client { id: Some("app".into()), secret: Some(Secret::new("hush")), redirect_uri: None },
        policy: PolicyOverrides { rotation: Some(Rotation::None), ..PolicyOverrides::default() },
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
    let slots = Slots { access: Some(Secret::new("at-1")), ..Slots::default() };
    let inject = |name: &str, vars: &[(&str, &str)]| define(name, vars).inject(&slots).unwrap();
    assert_eq!(
        inject("zoho", &[]),
        [Injection::Header("authorization".into(), Secret::new("Zoho-oauthtoken at-1"))]
    );
    assert_eq!(inject("slack", &[]), [Injection::Header("authorization".into(), Secret::new("Bearer at-1"))]);
    assert!(define("slack", &[]).inject(&Slots::default()).is_err());
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
