//! Wrong provider files and wrong settings: each is refused with the place and the cure.

use std::sync::Arc;

use super::*;
use crate::secret::Secret;

const RIGHT: &str = r#"name = "acme"
title = "Acme"
hosts = ["*.acme.com"]

[vars.site]
capture = "callback.site"

[vars.login]
default = "https://login.acme.com"

[vars.key]
secret = true
pattern = 'k-\d+'

[refresh]
url = "https://${site}/token"
headers = { X-Key = "${key}" }
form = { refresh_token = "${refresh}" }

[[errors]]
when = { path = "error", eq = "gone" }
class = "dead_grant"
"#;

fn refused(wrong: &str, right: &str, line: usize, key: &str, problem: &str) {
    assert!(RIGHT.contains(right), "{right}");
    let error = Provider::from_toml("acme.toml", &RIGHT.replace(right, wrong)).unwrap_err();
    assert_eq!((error.line, error.key.as_str()), (Some(line), key), "{error}");
    assert!(error.problem.contains(problem), "{error}");
    assert!(error.to_string().starts_with(&format!("acme.toml:{line}: {key}: ")), "{error}");
}

#[test]
fn the_file_that_the_others_are_made_from_is_right() {
    Provider::from_toml("acme.toml", RIGHT).unwrap();
}

#[test]
fn a_misspelt_key_is_refused_with_its_line_and_the_right_name() {
    refused("titel = \"Acme\"\ntitle = \"Acme\"", "title = \"Acme\"", 2, "titel", "did you mean `title`?");
    refused("urll = \"x\"\nurl =", "url =", 16, "refresh.urll", "did you mean `url`?");
    refused("secrte = true", "secret = true", 12, "vars.key.secrte", "did you mean `secret`?");
    refused(
        "class = \"dead_grand\"",
        "class = \"dead_grant\"",
        22,
        "errors.0.class",
        "did you mean `dead_grant`?",
    );
    refused(
        "{ pathh = \"error\", eq",
        "{ path = \"error\", eq",
        21,
        "errors.0.when.pathh",
        "did you mean `path`?",
    );
}

#[test]
fn a_wrong_value_is_refused_with_its_line_and_the_cure() {
    refused("name = \"akme\"", "name = \"acme\"", 1, "name", "must name itself `acme`");
    refused("hosts = [\"*.com\"]", "hosts = [\"*.acme.com\"]", 3, "hosts.0", "not a host name");
    refused("hosts = []", "hosts = [\"*.acme.com\"]", 3, "hosts", "list the hosts that may be");
    refused("https://${siet}/token", "https://${site}/token", 16, "refresh.url", "did you mean `site`?");
    refused(
        "https://${key}/token",
        "https://${site}/token",
        16,
        "refresh.url",
        "the path of a URL is logged",
    );
    refused(
        "https://acme.org/token",
        "https://${site}/token",
        16,
        "refresh.url",
        "`acme.org` is not among the hosts",
    );
    refused("${code}", "${refresh}", 18, "refresh.form.refresh_token", "has no value here");
    refused(
        "{ Host = \"${key}\" }",
        "{ X-Key = \"${key}\" }",
        17,
        "refresh.headers.Host",
        "made by jeton itself",
    );
    refused("'k-('", r"'k-\d+'", 13, "vars.key.pattern", "not a regular expression");
    refused("\"calback.site\"", "\"callback.site\"", 6, "vars.site.capture", "write `take`");
    refused("{ eq = \"gone\" }", "{ path = \"error\", eq = \"gone\" }", 21, "errors.0.when", "need a `path`");
    refused(
        "retry_after = \"soon\"\nclass = \"dead_grant\"",
        "class = \"dead_grant\"",
        22,
        "errors.0.retry_after",
        "is not a duration",
    );
}

#[test]
fn a_default_that_leads_off_the_listed_hosts_is_refused() {
    let text = RIGHT
        .replace("https://login.acme.com", "https://login.acme.org")
        .replace("https://${site}/token", "${login}/token");
    let error = Provider::from_toml("acme.toml", &text).unwrap_err();
    assert_eq!((error.line, error.key.as_str()), (Some(9), "vars.login.default"), "{error}");
}

#[test]
fn what_cannot_be_kept_alive_or_contradicts_itself_is_refused() {
    let problem = |text: &str| Provider::from_toml("x", text).unwrap_err().to_string();
    let head = "name = 'acme'\ntitle = 'Acme'\nhosts = ['acme.com']\n";
    assert!(problem(head).contains("needs a `refresh` or an `acquire` step"));
    let refresh = format!("{head}[refresh]\nurl = 'https://acme.com/t'\n");
    assert!(Provider::from_toml("x", &refresh).is_ok());
    for (more, expected) in [
        ("spends = []", "leave `spends` out"),
        ("spends = ['code']", "a refresh spends `refresh`"),
        ("method = 'GET'\nform = { a = 'b' }", "a GET has no body"),
        ("form = { a = 'b' }\njson = { a = 'b' }", "one body"),
        ("auth = 'digest'", "no way to authenticate"),
        ("take = { expires = 'introspect' }", "needs an `introspect` step"),
        ("take = { vars = { x = 'y' } }", "is not a variable with `capture = \"take\"`"),
        ("[policy]\non_dead = 'acquire'", "needs an `acquire` step"),
        ("[policy]\nmargin = '10m'\nearliest = '30s'", "at most that"),
        ("[policy]\nmargin = '1m'\n[confidence]\n'polcy.margin' = 'unverified'", "did you mean `policy`?"),
        ("[policy]\nmargin = '1m'\n[confidence]\n'policy.mragin' = 'unverified'", "did you mean `margin`?"),
        (
            "[[errors]]\nwhen = { status = 402 }\nclass = 'suspended'\n[confidence]\n'errors.1' = 'reported'",
            "1 entries",
        ),
        (
            "[policy]\nmargin = '1m'\n[confidence]\n'policy.margin' = 'unverifed'",
            "did you mean `unverified`?",
        ),
        ("[authorize]\nurl = 'https://acme.com/a'\nquery = { s = '${client.secret}' }", "has no value here"),
        ("[vars.access]\noptional = true", "built-in name"),
        ("[vars.a]\nenum = ['x', 'y']\ndefault = 'z'", "not one of its values"),
    ] {
        let problem = problem(&format!("{refresh}{more}\n"));
        assert!(problem.contains(expected), "{more}: {problem}");
    }
    assert!(problem("name = ").starts_with("x:1"), "{}", problem("name = "));
    assert!(problem("title = 'a'").contains("missing field `name`"));
}

#[test]
fn wrong_settings_of_a_connection_name_the_field_and_the_cure() {
    let provider = Arc::new(Provider::from_toml("acme.toml", RIGHT).unwrap());
    let refused = |vars: &[(&str, &str)], client: Client| {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        let error = provider.define(Setup { vars, client, ..Setup::default() }).unwrap_err();
        error.to_string()
    };
    let client = || Client { id: Some("a".into()), secret: Some(Secret::new("b")), redirect_uri: None };
    assert!(
        refused(&[("kee", "k-1")], client())
            .starts_with("vars.kee: the provider `acme` has no variable `kee`; did you mean `key`?")
    );
    assert!(refused(&[], client()).starts_with("vars.key: the provider `acme` cannot do without it"));
    let mismatch = refused(&[("key", "k-hunter2")], client());
    assert!(mismatch.contains("does not match the pattern") && !mismatch.contains("hunter2"), "{mismatch}");
    assert!(refused(&[("key", "")], client()).contains("is empty"));
    let site = refused(&[("key", "k-1"), ("site", "acme.com/x@evil")], client());
    assert!(site.starts_with("vars.site: not a host name"), "{site}");
    assert!(refused(&[("key", "k-1")], Client { secret: None, ..client() }).starts_with("client.secret: "));
    assert!(refused(&[("key", "k-1")], Client { id: Some(String::new()), ..client() }).contains("is empty"));
    let redirect = Client { redirect_uri: Some("/callback".into()), ..client() };
    assert!(refused(&[("key", "k-1")], redirect).starts_with("client.redirect_uri: "));
}

#[test]
fn the_operator_may_write_any_https_host_and_captured_ones_are_held_to_the_list() {
    let provider = Arc::new(Provider::from_toml("acme.toml", RIGHT).unwrap());
    let define = |site: Option<&str>| {
        let mut vars: std::collections::BTreeMap<_, _> = [("key".to_owned(), Secret::new("k-1"))].into();
        vars.extend(site.map(|site| ("site".to_owned(), Secret::new(site))));
        let client = Client { id: Some("a".into()), secret: Some(Secret::new("b")), redirect_uri: None };
        provider.define(Setup { vars, client, ..Setup::default() })
    };
    let own = define(Some("sso.corp.internal:8443")).unwrap();
    let values = RequestValues { refresh: Some(Secret::new("rt")), ..RequestValues::default() };
    assert_eq!(
        own.request(Step::Refresh, &values).unwrap().url.as_str(),
        "https://sso.corp.internal:8443/token"
    );
    let open = define(None).unwrap();
    assert!(
        open.request(Step::Refresh, &values).unwrap_err().to_string().contains("it comes with the consent")
    );
    let callback = |site: &str| open.capture(&[("site".to_owned(), site.to_owned())].into());
    assert!(callback("evil.com").unwrap_err().to_string().contains("not among the hosts"));
    let captured = callback("eu.acme.com").unwrap();
    let request = open.request(Step::Refresh, &RequestValues { captured, ..values.clone() }).unwrap();
    assert!(request.captured_host);
    // A row that was tampered with is held to the same list when the request is made.
    let captured = [("site".to_owned(), VarValue::Plain("evil.com".into()))].into();
    assert!(open.request(Step::Refresh, &RequestValues { captured, ..values }).is_err());
}

/// The keys that a table of the schema knows, as its own refusal of a wrong one lists them.
fn keys_of<T: serde::de::DeserializeOwned>() -> Vec<String> {
    let Err(error) = toml::from_str::<T>("no_such_key = 1") else { panic!("a wrong key was accepted") };
    let quoted: Vec<_> = error.message().split('`').skip(1).step_by(2).skip(1).map(str::to_owned).collect();
    assert!(!quoted.is_empty(), "{}", error.message());
    quoted
}

#[test]
fn the_reference_page_describes_every_key() {
    let page = include_str!("../../../../../docs/reference/provider-format.md");
    let keys = [
        keys_of::<schema::ProviderFile>(),
        keys_of::<schema::VarTable>(),
        keys_of::<schema::ClientTable>(),
        keys_of::<schema::StepTable>(),
        keys_of::<schema::SuccessTable>(),
        keys_of::<schema::ConditionTable>(),
        keys_of::<schema::ExtractTable>(),
        keys_of::<schema::ExtractRefresh>(),
        keys_of::<schema::RuleTable>(),
        keys_of::<schema::InjectTable>(),
        keys_of::<schema::ApiTable>(),
        keys_of::<Alias>(),
        keys_of::<PolicyOverrides>(),
        keys_of::<vector_schema::Vector>(),
        keys_of::<RequestValues>(),
        keys_of::<vector_schema::VectorRequest>(),
        keys_of::<vector_schema::VectorReply>(),
        keys_of::<vector_schema::Expected>(),
    ];
    for key in keys.iter().flatten() {
        assert!(page.contains(&format!("`{key}`")), "`{key}` is not described");
    }
}

#[test]
fn the_example_of_the_reference_page_keeps_its_promise() {
    let page = include_str!("../../../../../docs/reference/provider-format.md");
    let text = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let provider = Arc::new(Provider::from_toml("acme.toml", text).unwrap());
    let results = provider.run_tests();
    assert!(!results.is_empty() && results.iter().all(VectorResult::passed), "{results:?}");
}

/// A file with two kinds of grant.
const KINDS: &str = r#"name = "kinds"
title = "Kinds"
hosts = ["login.acme.com"]

[vars.grant]
enum = ["person", "machine"]
default = "person"

[vars.groups]
list = true
optional = true

[acquire]
where = { grant = "machine" }
url = "https://login.acme.com/token"
headers = { X-Groups = "${groups?}" }
json = { groups = "${groups?}", text = "in ${groups?}" }

[refresh]
where = { grant = "person" }
url = "https://login.acme.com/token"
form = { refresh_token = "${refresh}" }
"#;

fn of_kind(vars: &[(&str, &str)]) -> Definition {
    let provider = Arc::new(Provider::from_toml("kinds.toml", KINDS).unwrap());
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
    let client = Client { id: Some("app".into()), secret: Some(Secret::new("hush")), ..Client::default() };
    provider.define(Setup { vars, client, ..Setup::default() }).unwrap()
}

#[test]
fn a_connection_has_the_steps_and_the_policy_of_its_kind_of_grant() {
    let person = of_kind(&[]);
    assert!(person.has(Step::Refresh) && !person.has(Step::Acquire));
    assert_eq!(person.policy().on_dead, OnDead::Ask);
    assert_eq!(person.provider().policy().on_dead, OnDead::Ask, "what is said of the provider");
    let machine = of_kind(&[("grant", "machine")]);
    assert!(machine.has(Step::Acquire) && !machine.has(Step::Refresh));
    assert_eq!(
        (machine.policy().on_dead, machine.policy().on_unknown),
        (OnDead::Acquire, OnUnknown::Acquire)
    );
    let policy = PolicyOverrides { on_dead: Some(OnDead::Acquire), ..PolicyOverrides::default() };
    let refused = Arc::clone(person.provider()).define(Setup { policy, ..Setup::default() }).unwrap_err();
    assert_eq!(refused.field, "policy.on_dead");
}

#[test]
fn a_list_is_a_list_in_json_and_a_text_among_other_text() {
    let machine = of_kind(&[("grant", "machine"), ("groups", "a  b")]);
    let request = machine.request(Step::Acquire, &RequestValues::default()).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, serde_json::json!({ "groups": ["a", "b"], "text": "in a  b" }));
    let header = request.headers.iter().find(|(name, _)| name == "x-groups").unwrap();
    assert_eq!(header.1.reveal(), "a  b");
}

#[test]
fn what_decides_about_a_step_is_one_of_a_few_values_and_always_known() {
    for (right, wrong, key, problem) in [
        (
            "{ grant = \"machine\" }",
            "{ grnat = \"machine\" }",
            "acquire.where.grnat",
            "did you mean `grant`?",
        ),
        (
            "{ grant = \"machine\" }",
            "{ grant = \"machin\" }",
            "acquire.where.grant",
            "did you mean `machine`?",
        ),
        ("{ grant = \"machine\" }", "{ groups = \"a\" }", "acquire.where.groups", "needs an `enum`"),
        ("default = \"person\"", "optional = true", "acquire.where.grant", "a `default` or to be mandatory"),
    ] {
        let error = Provider::from_toml("kinds.toml", &KINDS.replacen(right, wrong, 1)).unwrap_err();
        assert_eq!(error.key, key, "{error}");
        assert!(error.problem.contains(problem), "{error}");
    }
}
