//! What makes a consent possible, and what its callback must say.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::definition::Setup;
use super::super::request_values::Client;
use super::super::{Catalogue, Definition, Provider};
use super::*;

fn definition(provider: &str, vars: &[(&str, &str)], client: Client) -> Definition {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
    let setup = Setup { vars, client, ..Setup::default() };
    Catalogue::builtin().get(provider).unwrap().define(setup).unwrap()
}

fn client() -> Client {
    Client {
        id: Some("id-1".into()),
        secret: Some("hush".into()),
        redirect_uri: Some("http://127.0.0.1:9095/oauth/callback".into()),
    }
}

const OAUTH2: [(&str, &str); 2] =
    [("token_url", "https://sso.example.com/token"), ("authorize_url", "https://sso.example.com/auth")];

fn names(issuer: Option<&str>) -> CallbackParams {
    issuer.map(|issuer| ("iss".to_owned(), issuer.to_owned())).into_iter().collect::<BTreeMap<_, _>>()
}

#[test]
fn a_consent_needs_a_client_and_a_place_to_come_back_to() {
    definition("oauth2", &OAUTH2, client()).check_consent().unwrap();
    let without = Client { redirect_uri: None, ..client() };
    let error = definition("oauth2", &OAUTH2, without).check_consent().unwrap_err();
    assert_eq!(error.field, "client.redirect_uri");
    assert!(error.problem.contains("server.public_url"), "{error:?}");
    let no_page = definition("oauth2", &OAUTH2[..1], client());
    assert!(!no_page.asks_for_consent());
    assert!(no_page.check_consent().is_err());
}

/// A definition of a file of its own, whose exchange is given.
fn own(vars: &str, exchange: &str, set: &[(&str, &str)]) -> Definition {
    let file = format!(
        r#"
name = "own"
title = "Own"
hosts = ["sso.example.com"]
{vars}
[authorize]
url = "https://sso.example.com/auth"
query = {{ client_id = "${{client.id}}", state = "${{state}}" }}
[exchange]
url = "https://sso.example.com/token"
{exchange}
[refresh]
url = "https://sso.example.com/token"
form = {{ refresh_token = "${{refresh}}" }}
"#
    );
    let provider = Arc::new(Provider::from_toml("own.toml", &file).unwrap());
    let vars = set.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
    provider.define(Setup { vars, client: client(), ..Setup::default() }).unwrap()
}

#[test]
fn what_the_exchange_lacks_is_found_before_anybody_is_asked() {
    let form = r#"form = { code = "${code}", account = "${account}" }"#;
    // A token reply would bring it, and there has been none.
    let late = "[vars.account]\ncapture = \"take\"";
    let error = own(late, form, &[]).check_consent().unwrap_err();
    assert_eq!(error.field, "vars.account");
    assert!(error.problem.ends_with("needs it to exchange a code: set it"), "{error:?}");
    own(late, form, &[("account", "7")]).check_consent().unwrap();
    own("[vars.account]\ncapture = \"callback.account\"", form, &[]).check_consent().unwrap();
    own("[vars.account]\ncapture = \"take\"\ndefault = \"0\"", form, &[]).check_consent().unwrap();
    // A value that no header can carry.
    let header = "headers = { X-Account = \"${account}\" }\nform = { code = \"${code}\" }";
    let error = own("[vars.account]", header, &[("account", "caf\u{e9}")]).check_consent().unwrap_err();
    assert_eq!(error.field, "exchange step");
    assert!(error.problem.contains("x-account"), "{error:?}");
}

#[test]
fn a_code_alone_is_enough_where_pkce_ties_it_and_nothing_else_is_needed() {
    let scope = ("scope", "openid");
    let oauth2 = |vars: &[(&str, &str)]| definition("oauth2", &[&OAUTH2, vars].concat(), client());
    assert!(oauth2(&[scope]).takes_bare_code());
    assert!(!oauth2(&[("issuer", "https://sso.example.com")]).takes_bare_code(), "`iss` must be seen");
    for (provider, takes) in [("google", true), ("dropbox", true), ("box", false), ("amocrm", false)] {
        assert_eq!(definition(provider, &[], client()).takes_bare_code(), takes, "{provider}");
    }
    let pkce = r#"form = { code = "${code}", code_verifier = "${code_verifier}", at = "${account?}" }"#;
    let no_challenge = own("[vars.account]\noptional = true", pkce, &[]);
    assert!(!no_challenge.takes_bare_code(), "a verifier of which the provider was told nothing");
}

#[test]
fn every_built_in_provider_that_asks_for_consent_can_exchange_the_code() {
    let catalogue = Catalogue::builtin();
    let mut checked = 0;
    for name in catalogue.names() {
        let provider = catalogue.get(name.as_str()).unwrap();
        let Some(mut setup) = provider.example() else { continue };
        setup.client = client();
        let callback = |name: &String| {
            let var = provider.vars().find(|var| var.name() == name);
            var.is_some_and(|var| matches!(var.capture(), Some(Capture::Callback(_))))
        };
        let mandatory = provider.steps.get(&Step::Authorize);
        let asked = |name: &String| mandatory.is_some_and(|spec| spec.mentions(&Name::Var(name.clone())));
        setup.vars.retain(|name, _| !callback(name) || asked(name));
        let definition = provider.define(setup).unwrap();
        if definition.asks_for_consent() {
            definition.check_consent().unwrap_or_else(|error| panic!("{name}: {error}"));
            checked += 1;
        }
    }
    assert!(checked > 5, "{checked}");
}

#[test]
fn the_host_of_the_exchange_is_the_one_that_the_callback_names() {
    for (provider, parameter, value, host) in [
        ("amocrm", "referer", "acme.amocrm.ru", "acme.amocrm.ru"),
        ("kommo", "referer", "acme.kommo.com", "acme.kommo.com"),
        ("zoho", "accounts-server", "https://accounts.zoho.eu", "accounts.zoho.eu"),
        ("zoho", "accounts-server", "https://accounts.zoho.com.au", "accounts.zoho.com.au"),
        ("zoho", "other", "https://accounts.zoho.eu", "accounts.zoho.com"),
        ("quickbooks", "realmId", "4620816365", "oauth.platform.intuit.com"),
    ] {
        let setup = Catalogue::builtin().get(provider).unwrap().example().unwrap();
        let scope = setup.vars.get("scope").map(|scope| ("scope", scope.reveal()));
        let definition = definition(provider, scope.as_slice(), client());
        let callback = [("code", "c-1"), (parameter, value)];
        let callback = callback.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let captured = definition.capture(&CallbackParams::from(callback)).unwrap();
        let request =
            definition.request(Step::Exchange, &RequestValues { captured, ..placeholders() }).unwrap();
        assert_eq!(request.url.host_str(), Some(host), "{provider} {value}");
        let decides = value.contains(host);
        assert_eq!(request.captured_host, decides, "{provider} {value}");
    }
}

#[test]
fn an_issuer_that_is_known_must_be_named_exactly() {
    let mut vars = OAUTH2.to_vec();
    vars.push(("issuer", "https://sso.example.com/realm"));
    let known = definition("oauth2", &vars, client());
    known.check_issuer(&names(Some("https://sso.example.com/realm"))).unwrap();
    for wrong in ["https://sso.example.com", "https://sso.example.com/realm/", "https://evil.example"] {
        let error = known.check_issuer(&names(Some(wrong))).unwrap_err().to_string();
        assert!(error.starts_with("the callback's `iss` is refused: it names"), "{error}");
    }
    assert!(known.check_issuer(&names(None)).unwrap_err().to_string().contains("it is missing"));
}

#[test]
fn an_issuer_that_is_not_known_must_be_the_host_that_was_asked() {
    let unknown = definition("oauth2", &OAUTH2, client());
    unknown.check_issuer(&names(None)).unwrap();
    unknown.check_issuer(&names(Some("https://sso.example.com/any"))).unwrap();
    for wrong in ["https://evil.example/", "sso.example.com", ""] {
        assert!(unknown.check_issuer(&names(Some(wrong))).is_err(), "{wrong}");
    }
}

#[test]
fn every_built_in_provider_that_asks_for_consent_ties_the_callback_to_the_browser() {
    let catalogue = Catalogue::builtin();
    let with_page = catalogue.names().filter_map(|name| {
        let provider = catalogue.get(name.as_str()).ok()?;
        provider.steps.get(&Step::Authorize).map(|spec| (name.clone(), spec.mentions(&Name::State)))
    });
    let with_page: Vec<_> = with_page.collect();
    assert!(with_page.len() > 5);
    assert!(with_page.iter().all(|(_, ties)| *ties), "{with_page:?}");
}

#[test]
fn connections_share_a_token_server_by_host_and_port_or_by_provider_where_each_account_has_a_host() {
    let at = |url: &str| definition("oauth2", &[("token_url", url)], client()).token_server();
    assert_eq!(at("https://sso.example.com/token"), "sso.example.com");
    assert_eq!(at("https://sso.example.com:8443/token"), "sso.example.com:8443");
    assert_eq!(at("http://[::1]:9000/token"), "[::1]:9000");
    assert_ne!(at("http://127.0.0.1:9000/a"), at("http://127.0.0.1:9001/a"));
    for vars in [&[][..], &[("domain", "acme.amocrm.ru")], &[("domain", "other.amocrm.ru")]] {
        assert_eq!(definition("amocrm", vars, client()).token_server(), "amocrm");
    }
}
