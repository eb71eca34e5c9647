use serde_json::json;

use super::super::catalogue_tests::define;
use super::super::http_types::{Method, Reply};
use super::super::{CallbackParams, Catalogue, Client, DefineError, Definition, RequestValues, Setup, Step};
use super::*;
use crate::secret::Secret;

const ISSUER: &str = "https://sso.example.com/acme";

fn document(more: &Value) -> Value {
    let mut document = json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://login.example.com/authorize",
        "token_endpoint": "https://sso.example.com/acme/token",
        "response_types_supported": ["code"],
    });
    for (name, value) in more.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

fn read(more: &Value) -> Result<ServerMetadata, String> {
    ServerMetadata::read(ISSUER, &document(more), &["keycloak".to_owned()])
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, body: body.as_bytes().to_vec().into(), ..Reply::default() }
}

fn discovering(more: &[(&str, &str)]) -> Definition {
    let vars: Vec<_> = [("issuer", ISSUER)].into_iter().chain(more.iter().copied()).collect();
    define("oauth2", &vars)
}

#[test]
fn the_metadata_of_an_issuer_with_a_path_is_at_the_urls_of_both_standards() {
    for (issuer, urls) in [
        (
            "https://sso.example.com",
            [
                "https://sso.example.com/.well-known/oauth-authorization-server",
                "https://sso.example.com/.well-known/openid-configuration",
            ],
        ),
        (
            "https://sso.example.com:8443/a/b/",
            [
                "https://sso.example.com:8443/.well-known/oauth-authorization-server/a/b",
                "https://sso.example.com:8443/a/b/.well-known/openid-configuration",
            ],
        ),
    ] {
        assert_eq!(metadata_urls(&issuer.parse().unwrap()).map(String::from), urls);
    }
    let asked = discovering(&[]).metadata_requests();
    assert_eq!(asked[0].url.path(), "/.well-known/oauth-authorization-server/acme");
    assert_eq!((asked[0].method, asked.len()), (Method::Get, 2));
}

#[test]
fn a_document_counts_only_if_it_names_the_very_issuer() {
    assert_eq!(read(&json!({})).unwrap().issuer(), ISSUER);
    for other in ["https://sso.example.com/acme/", "https://SSO.example.com/acme", "https://evil.example", ""]
    {
        let refused = read(&json!({ "issuer": other })).unwrap_err();
        assert!(refused.contains(&format!("{other:?}")), "{refused}");
    }
    assert_eq!(read(&json!({ "issuer": null })).unwrap_err(), "it names no `issuer`");
}

#[test]
fn an_endpoint_where_a_secret_must_not_go_refuses_the_document() {
    for (url, problem) in [
        ("http://sso.example.com/token", "plain http, and the issuer is https"),
        ("http://127.0.0.1:9000/token", "plain http, and the issuer is https"),
        ("https://u:p@sso.example.com/token", "user name"),
        ("https://sso.example.com/token#x", "`#` part"),
        ("ftp://sso.example.com/token", "not a scheme"),
        ("/token", "not a URL"),
        ("", "not a URL"),
    ] {
        for member in ENDPOINTS {
            let refused = read(&json!({ member.as_str(): url })).unwrap_err();
            assert!(refused.contains(problem) && refused.contains(member.as_str()), "{url}: {refused}");
        }
    }
    assert!(
        read(&json!({ "token_endpoint": "http://keycloak:8080/token" })).is_ok(),
        "the operator lists it"
    );
    let local = json!({ "issuer": "http://127.0.0.1:9", "token_endpoint": "http://127.0.0.1:9/token" });
    assert!(ServerMetadata::read("http://127.0.0.1:9", &local, &[]).is_ok());
}

#[test]
fn odd_documents_are_refused_with_the_member_that_is_wrong() {
    for (more, problem) in [
        (json!({ "token_endpoint": null }), "it names no `token_endpoint`"),
        (json!({ "token_endpoint": 5 }), "its `token_endpoint` is not a text"),
        (json!({ "revocation_endpoint": ["x"] }), "its `revocation_endpoint` is not a text"),
        (
            json!({ "token_endpoint_auth_methods_supported": "client_secret_basic" }),
            "its `token_endpoint_auth_methods_supported` is not a list of texts",
        ),
        (
            json!({ "code_challenge_methods_supported": [256] }),
            "its `code_challenge_methods_supported` is not a list of texts",
        ),
        (
            json!({ "authorization_response_iss_parameter_supported": "true" }),
            "its `authorization_response_iss_parameter_supported` is not true or false",
        ),
    ] {
        assert_eq!(read(&more).unwrap_err(), problem);
    }
    assert!(read(&json!({ "revocation_endpoint": null, "unknown": {} })).is_ok());
    let definition = discovering(&[]);
    let whole = document(&json!({})).to_string();
    assert!(definition.read_metadata(&reply(200, &format!("\u{feff}{whole}"))).is_ok(), "a byte order mark");
    for (status, body, problem) in [
        (404, whole.as_str(), "HTTP 404"),
        (302, "", "HTTP 302"),
        (200, "<html>", "HTTP 200 with no JSON object"),
        (200, "[]", "HTTP 200 with no JSON object"),
        (200, "", "HTTP 200 with no JSON object"),
    ] {
        assert_eq!(definition.read_metadata(&reply(status, body)).unwrap_err(), problem);
    }
}

#[test]
fn the_way_to_authenticate_is_the_first_of_ours_that_the_server_supports() {
    let auth = |methods: Value| read(&json!({ "token_endpoint_auth_methods_supported": methods })).unwrap();
    assert_eq!(auth(Value::Null).client_auth(), None);
    assert_eq!(auth(json!(["private_key_jwt"])).client_auth(), None);
    assert_eq!(
        auth(json!(["client_secret_post", "client_secret_basic"])).client_auth(),
        Some(ClientAuth::Basic)
    );
    let definition = discovering(&[]);
    assert_eq!(definition.client_auth(Step::Refresh), ClientAuth::Basic);
    definition.take_metadata(auth(json!(["client_secret_post", "none"])));
    assert_eq!(definition.client_auth(Step::Refresh), ClientAuth::Post);
    let own = discovering(&[("client_auth", "basic-raw")]);
    own.take_metadata(auth(json!(["client_secret_post"])));
    assert_eq!(own.client_auth(Step::Refresh), ClientAuth::BasicRaw, "the settings come first");
}

#[test]
fn an_endpoint_that_moves_to_another_host_is_found() {
    let before = read(&json!({})).unwrap();
    for (more, moved) in [
        (json!({ "token_endpoint": "https://sso.example.com/other/token" }), vec![]),
        (json!({ "revocation_endpoint": "https://sso.example.com/revoke" }), vec![]),
        (json!({ "token_endpoint": "https://evil.example/token" }), vec![MetadataMember::TokenEndpoint]),
        (json!({ "token_endpoint": "https://login.example.com/token" }), vec![MetadataMember::TokenEndpoint]),
        (
            json!({ "token_endpoint": "https://sso.example.com:8443/token" }),
            vec![MetadataMember::TokenEndpoint],
        ),
        (
            json!({ "authorization_endpoint": "https://evil.example/" }),
            vec![MetadataMember::AuthorizationEndpoint],
        ),
        (
            json!({ "introspection_endpoint": "https://evil.example/" }),
            vec![MetadataMember::IntrospectionEndpoint],
        ),
        (json!({ "authorization_endpoint": "https://sso.example.com/" }), vec![]),
    ] {
        let after = read(&more).unwrap();
        let found: Vec<_> = after.moved_endpoints(&before).into_iter().map(|(member, _)| member).collect();
        assert_eq!(found, moved, "{more}");
    }
}

#[test]
fn a_connection_that_leaves_the_token_endpoint_out_takes_its_endpoints_from_the_metadata() {
    let definition = discovering(&[]);
    assert!(definition.awaits_metadata() && definition.asks_for_consent());
    let values = RequestValues { refresh: Some(Secret::new("rt-1")), ..RequestValues::default() };
    let unread = definition.request(Step::Refresh, &values).unwrap_err().to_string();
    assert!(unread.contains("was not read yet; or set vars.token_url"), "{unread}");
    assert_eq!(definition.token_server(), "sso.example.com");
    definition
        .take_metadata(read(&json!({ "introspection_endpoint": "https://sso.example.com/i" })).unwrap());
    let request = definition.request(Step::Refresh, &values).unwrap();
    assert_eq!(request.url.as_str(), "https://sso.example.com/acme/token");
    assert!(definition.has(Step::Introspect) && !definition.has(Step::Revoke), "it names no such endpoint");
    assert_eq!(definition.check_consent(), Ok(()));
    let newer = read(&json!({ "token_endpoint": "https://sso.example.com/t2" })).unwrap();
    definition.take_metadata(newer.clone());
    definition.take_metadata(newer);
    assert_eq!(definition.request(Step::Refresh, &values).unwrap().url.path(), "/t2", "the latest counts");

    let written = discovering(&[("token_url", "https://sso.example.com/own")]);
    assert!(written.discovers().is_none() && !written.has(Step::Introspect));
    let machine = discovering(&[("grant", "client_credentials")]);
    assert!(machine.discovers().is_some() && machine.starts_itself());
}

#[test]
fn settings_that_give_neither_an_issuer_nor_the_url_or_a_wrong_issuer_are_refused() {
    let refused = |vars: &[(&str, &str)]| -> DefineError {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        let client = Client { id: Some("app".into()), secret: Some(Secret::new("hush")), redirect_uri: None };
        let provider = Catalogue::builtin();
        provider.get("oauth2").unwrap().define(Setup { vars, client, ..Setup::default() }).unwrap_err()
    };
    let neither = refused(&[]);
    assert_eq!(neither.field, "vars.token_url");
    assert!(neither.problem.ends_with("set it, or set vars.issuer, whose metadata has it"), "{neither}");
    for (issuer, problem) in [
        ("sso.example.com", "not a URL"),
        ("http://sso.example.com", "plain http"),
        ("https://sso.example.com/?x=1", "no `?` and no `#` part"),
        ("https://u@sso.example.com", "user name"),
    ] {
        let error = refused(&[("issuer", issuer)]);
        assert!(error.field == "vars.issuer" && error.problem.contains(problem), "{error}");
    }
}

#[test]
fn a_callback_names_the_issuer_where_the_metadata_says_that_it_does() {
    let callback = |iss: Option<&str>| -> CallbackParams {
        iss.map(|iss| ("iss".to_owned(), iss.to_owned())).into_iter().collect()
    };
    for sends in [false, true] {
        let definition = discovering(&[]);
        let metadata = read(&json!({ "authorization_response_iss_parameter_supported": sends })).unwrap();
        definition.take_metadata(metadata);
        assert!(definition.check_issuer(&callback(Some(ISSUER))).is_ok());
        assert!(definition.check_issuer(&callback(Some("https://sso.example.com"))).is_err());
        assert_eq!(definition.check_issuer(&callback(None)).is_err(), sends);
        assert_eq!(definition.takes_bare_code(), !sends);
    }
    let without_pkce = discovering(&[]);
    without_pkce.take_metadata(read(&json!({ "code_challenge_methods_supported": ["plain"] })).unwrap());
    assert!(!without_pkce.takes_bare_code(), "nothing would tie the code to this consent");
}
