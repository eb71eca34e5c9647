use proptest::prelude::*;

use super::*;

fn scopes(text: &str) -> Scopes {
    text.parse().unwrap()
}

fn call<'a>(connection: &'a str, method: &'a str, path: &'a str) -> Permission<'a> {
    Permission::Proxy { connection, method, path }
}

#[test]
fn a_scope_grants_what_it_names_and_nothing_beside() {
    let held = scopes("token:acme proxy:shop-* read");
    assert!(held.cover(&Permission::Token("acme")));
    assert!(!held.cover(&Permission::Token("acme2")));
    assert!(held.cover(&call("shop-eu", "DELETE", "/x")));
    assert!(!held.cover(&call("acme", "GET", "/x")), "seeing a token is not calling through");
    assert!(!held.cover(&Permission::Token("shop-eu")), "calling through is not seeing a token");
    assert!(held.cover(&Permission::Read));
    assert!(!held.cover(&Permission::Admin) && !held.cover(&Permission::Sessions));
}

#[test]
fn admin_administers_and_reads_and_sees_no_token() {
    let held = scopes("admin");
    assert!(held.cover(&Permission::Admin) && held.cover(&Permission::Read));
    assert!(held.cover(&Permission::Operate("acme")));
    assert!(
        !held.cover(&Permission::Token("acme"))
            && !held.cover(&call("acme", "GET", "/"))
            && !held.cover(&Permission::Sessions)
    );
}

#[test]
fn what_the_environment_lets_in_may_do_everything_but_administer() {
    let held = Scopes::all_but_admin();
    assert_eq!(held.to_string(), "token:* operate:* proxy:* read sessions");
    for need in [
        Permission::Token("acme"),
        Permission::Operate("acme"),
        call("acme", "PATCH", "/a/../b"),
        Permission::Read,
        Permission::Sessions,
    ] {
        assert!(held.cover(&need), "{need:?}");
    }
    assert!(!held.cover(&Permission::Admin));
}

#[test]
fn whoever_may_see_a_token_may_not_operate_its_connection_and_the_other_way_round() {
    let sees = scopes("token:* proxy:* read sessions");
    assert!(!sees.cover(&Permission::Operate("acme")));
    assert_eq!(sees.missing(&Permission::Operate("acme")).as_deref(), Some("operate:acme"));
    let operates = scopes("operate:shop-*");
    assert!(operates.cover(&Permission::Operate("shop-eu")) && !operates.cover(&Permission::Operate("acme")));
    for need in
        [Permission::Token("shop-eu"), Permission::EveryCall("shop-eu"), Permission::Read, Permission::Admin]
    {
        assert!(!operates.cover(&need), "{need:?}");
    }
    assert!(operates.name("shop-eu") && !operates.name("acme"));
}

#[test]
fn limits_of_method_and_path_hold_together() {
    let held =
        scopes("proxy:acme:GET,HEAD:/api/v4/leads/** proxy:acme:POST:/api/v4/leads proxy:shop:/public/*");
    assert!(held.cover(&call("acme", "GET", "/api/v4/leads/7/notes")));
    assert!(held.cover(&call("acme", "POST", "/api/v4/leads")));
    assert!(!held.cover(&call("acme", "POST", "/api/v4/leads/7")));
    assert!(!held.cover(&call("acme", "get", "/api/v4/leads/7")));
    assert!(!held.cover(&call("acme", "GET", "/api/v4/leads/../account")));
    assert!(!held.cover(&call("acme", "GET", "/api/v4/leads/%2e%2e/account")));
    assert!(!held.cover(&call("acme", "GET", "/api/v4/leads/%2e%2e%2faccount")));
    assert!(held.cover(&call("acme", "GET", "/api/v4/%6ceads/7")), "the same path in another spelling");
    assert!(held.cover(&call("shop", "PUT", "/public/a")));
    assert!(!held.cover(&call("shop", "PUT", "/public/a/b")));
}

#[test]
fn what_is_missing_is_named_by_the_scope_that_would_do() {
    let held = scopes("token:acme proxy:acme:GET:/a/*");
    let missing = |need| held.missing(&need);
    assert_eq!(missing(Permission::Token("acme")), None);
    assert_eq!(missing(Permission::Token("shop")).as_deref(), Some("token:shop"));
    assert_eq!(missing(call("shop", "GET", "/a/b")).as_deref(), Some("proxy:shop"));
    assert_eq!(missing(call("acme", "PUT", "/a/b")).as_deref(), Some("proxy:acme:PUT"));
    assert_eq!(missing(call("acme", "GET", "/secret")).as_deref(), Some("proxy:acme with this path"));
    assert_eq!(missing(Permission::Admin).as_deref(), Some("admin"));
}

#[test]
fn what_is_needed_is_read_from_text_and_is_no_pattern() {
    assert_eq!(Permission::parse("token:acme"), Some(Permission::Token("acme")));
    assert_eq!(Permission::parse("operate:acme"), Some(Permission::Operate("acme")));
    assert_eq!(Permission::parse("proxy:acme"), Some(Permission::EveryCall("acme")));
    assert_eq!(Permission::parse("proxy:acme:GET:/a:b/c"), Some(call("acme", "GET", "/a:b/c")));
    assert_eq!(Permission::parse("admin"), Some(Permission::Admin));
    for bad in [
        "",
        "*",
        "token:",
        "token:*",
        "operate:*",
        "operate:",
        "proxy:a*",
        "proxy:acme:GET",
        "proxy:acme:/a",
        "proxy:acme:GET:a",
        "write:a",
    ] {
        assert_eq!(Permission::parse(bad), None, "{bad}");
    }
}

#[test]
fn every_call_is_granted_by_a_scope_without_limits_alone() {
    assert!(scopes("proxy:ac*").cover(&Permission::EveryCall("acme")));
    for limited in ["proxy:acme:GET", "proxy:acme:/**", "token:acme", "admin"] {
        assert_eq!(
            scopes(limited).missing(&Permission::EveryCall("acme")).as_deref(),
            Some("proxy:acme"),
            "{limited}"
        );
    }
}

#[test]
fn only_named_connections_may_be_told_of() {
    let held = scopes("token:acme proxy:shop-*:GET sessions");
    assert!(held.name("acme") && held.name("shop-eu") && !held.name("bank"));
    assert!(scopes("read").name("bank") && scopes("admin").name("bank") && !scopes("").name("bank"));
}

#[test]
fn what_is_no_scope_is_refused_with_the_syntax() {
    for bad in [
        "*",
        "all",
        "Admin",
        "token",
        "token:",
        "token:Acme",
        "token:a/b",
        "operate",
        "operate:",
        "operate:acme:GET",
        "proxy:",
        "proxy::GET",
        "proxy:a:",
        "proxy:a:get",
        "proxy:a:GET,",
        "proxy:a:GET:",
        "proxy:a:GET:api",
        "proxy:a:/a/../b",
        "proxy:a:/a//b",
        "proxy:a:GET:/a%2Fb",
        "write:a",
        "read:a",
        &format!("token:{}", "a".repeat(260)),
    ] {
        let error = bad.parse::<Scope>().unwrap_err().to_string();
        assert!(error.contains("write token:NAME"), "{bad}: {error}");
    }
    let many: Vec<String> = (0..65).map(|number| format!("token:a{number}")).collect();
    assert!(many.join(" ").parse::<Scopes>().unwrap_err().to_string().contains("64"));
}

#[test]
fn in_json_scopes_are_a_list() {
    let held = scopes("read token:acme read");
    assert_eq!(serde_json::to_string(&held).unwrap(), r#"["token:acme","read"]"#);
    assert_eq!(serde_json::from_str::<Scopes>(r#"["read","token:acme"]"#).unwrap(), held);
    assert!(serde_json::from_str::<Scopes>(r#"["root"]"#).is_err());
}

fn any_scope() -> impl Strategy<Value = String> {
    let name = "[a-z0-9*][a-z0-9*._-]{0,6}";
    let path = "(/[a-z0-9*]{1,4}){1,3}";
    prop_oneof![
        Just("read".to_owned()),
        Just("sessions".to_owned()),
        Just("admin".to_owned()),
        name.prop_map(|name| format!("token:{name}")),
        name.prop_map(|name| format!("operate:{name}")),
        name.prop_map(|name| format!("proxy:{name}")),
        (name, "(GET|PUT|HEAD)(,(GET|POST))?").prop_map(|(name, methods)| format!("proxy:{name}:{methods}")),
        (name, path).prop_map(|(name, path)| format!("proxy:{name}:{path}")),
        (name, "(GET|PUT)", path).prop_map(|(name, method, path)| format!("proxy:{name}:{method}:{path}")),
    ]
}

proptest! {
    #[test]
    fn scopes_survive_their_text(written in proptest::collection::vec(any_scope(), 0..8)) {
        let held = scopes(&written.join(" "));
        prop_assert_eq!(scopes(&held.to_string()), held.clone());
        let json = serde_json::to_string(&held).unwrap();
        prop_assert_eq!(serde_json::from_str::<Scopes>(&json).unwrap(), held);
    }

    #[test]
    fn a_limit_only_takes_away(name in "[a-z]{1,6}", method in "(GET|PUT|POST)", path in "(/[a-z.%]{0,4}){1,4}") {
        let limited = scopes(&format!("proxy:{name}:GET,PUT:/a/**"));
        let free = scopes(&format!("proxy:{name}"));
        let need = call(&name, &method, &path);
        prop_assert!(free.cover(&need));
        let climbs = path.split('/').any(|segment| segment == "..");
        prop_assert!(!limited.cover(&need) || (method != "POST" && path.starts_with('/') && !climbs));
        prop_assert_eq!(limited.missing(&need).is_none(), limited.cover(&need));
    }

    #[test]
    fn more_scopes_never_grant_less(
        few in proptest::collection::vec(any_scope(), 0..4), more in any_scope(),
        name in "[a-z0-9]{1,5}", path in "(/[a-z0-9]{1,4}){1,3}"
    ) {
        let before = scopes(&few.join(" "));
        let after = scopes(&format!("{} {more}", few.join(" ")));
        for need in [Permission::Token(&name), Permission::Operate(&name), call(&name, "GET", &path), Permission::Read, Permission::Sessions, Permission::Admin] {
            prop_assert!(after.cover(&need) || !before.cover(&need));
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(token:|operate:|proxy:)?\\PC{0,40}") {
        let _ = text.parse::<Scope>();
        let _ = text.parse::<Scopes>();
    }
}
