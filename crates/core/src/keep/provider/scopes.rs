//! Scopes of a grant: those that were asked for, and those that were given (RFC 6749, sections 3.3 and 5.1).

use std::collections::BTreeSet;

use serde_json::Value;
use url::form_urlencoded;

use super::body::Body;
use super::http_types::OutboundRequest;

/// The longest scope that is kept, and the most of one grant.
const LONGEST: usize = 256;
const MOST: usize = 128;

/// What requests call their scopes.
const NAMES: [&str; 3] = ["scope", "scopes", "user_scope"];

/// Scopes that many providers do not give back, or under other names: those of `OpenID Connect` (Core, sections
/// 5.4 and 11), which ask for facts about the person, and the ones that ask for a refresh token, which is there or not.
const NOT_COMPARED: [&str; 7] =
    ["openid", "profile", "email", "address", "phone", "offline_access", "refresh_token"];

/// The scopes of a text. Most providers separate them by spaces, some by commas.
pub fn scope_list(text: &str) -> Vec<&str> {
    let is_scope =
        |word: &&str| !word.is_empty() && word.len() <= LONGEST && word.bytes().all(|c| c.is_ascii_graphic());
    let mut seen = BTreeSet::new();
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(is_scope)
        .filter(|word| seen.insert(*word))
        .take(MOST)
        .collect()
}

/// The scopes that a request asks for.
pub(super) fn asked(request: &OutboundRequest) -> Vec<String> {
    let of_pairs = |pairs: form_urlencoded::Parse<'_>| -> Vec<String> {
        let named = pairs.filter(|(name, _)| NAMES.contains(&name.as_ref()));
        named.map(|(_, value)| value.into_owned()).collect()
    };
    let mut texts = of_pairs(request.url.query_pairs());
    texts.extend(of_pairs(form_urlencoded::parse(&request.body)));
    let json = Body::json(&request.body).value;
    let members = NAMES.into_iter().filter_map(|name| json.as_ref()?.get(name));
    texts.extend(members.filter_map(|member| match member {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        _ => None,
    }));
    scope_list(&texts.join(" ")).into_iter().map(str::to_owned).collect()
}

/// The scopes among those that were asked for which are not granted.
pub(super) fn missing(asked: Vec<String>, granted: &str) -> Vec<String> {
    let granted: BTreeSet<&str> = scope_list(granted).into_iter().collect();
    // Where writing includes reading, providers give the greater one back alone.
    let includes = |scope: &str| {
        scope.strip_prefix("read_").is_some_and(|rest| granted.contains(format!("write_{rest}").as_str()))
    };
    let is_missing = |scope: &String| {
        let scope = scope.as_str();
        !granted.contains(scope) && !NOT_COMPARED.contains(&scope) && !includes(scope)
    };
    asked.into_iter().filter(is_missing).collect()
}

#[cfg(test)]
mod tests {
    use super::super::catalogue_tests::define;
    use super::*;

    fn missing_of(asked: &str, granted: &str) -> Vec<String> {
        missing(scope_list(asked).into_iter().map(str::to_owned).collect(), granted)
    }

    #[test]
    fn scopes_are_compared_as_sets_however_they_are_separated() {
        assert_eq!(missing_of("read write", "write,read"), [""; 0]);
        assert_eq!(missing_of("read write", "read"), ["write"]);
        assert_eq!(missing_of("read", "read write"), [""; 0], "more than was asked for lacks nothing");
        assert_eq!(missing_of("a b c", ""), ["a", "b", "c"]);
        assert_eq!(missing_of("Read", "read"), ["Read"], "RFC 6749, section 3.3: case counts");
    }

    #[test]
    fn what_providers_do_not_give_back_is_not_missed() {
        assert_eq!(missing_of("openid email offline_access Mail.Read", "Mail.Read"), [""; 0]);
        assert_eq!(missing_of("read_orders,write_orders", "write_orders"), [""; 0]);
        assert_eq!(missing_of("read_orders,write_orders", "read_orders"), ["write_orders"]);
    }

    #[test]
    fn what_is_no_scope_is_not_kept() {
        let long = "x".repeat(300);
        assert_eq!(scope_list(&format!("a  b,\u{202e}c {long} a\nd")), ["a", "b", "d"]);
        let many: Vec<String> = (0..500).map(|number| number.to_string()).collect();
        assert_eq!(scope_list(&many.join(" ")).len(), MOST);
    }

    #[test]
    fn what_a_step_asks_for_is_read_from_its_request() {
        let url = ("token_url", "https://sso.example.com/token");
        let page = ("authorize_url", "https://sso.example.com/authorize");
        let oauth2 = define("oauth2", &[url, page, ("scope", "read write")]);
        assert_eq!(oauth2.asked_scopes(), ["read", "write"]);
        let silent = define("oauth2", &[url, page]);
        assert!(silent.asked_scopes().is_empty());
        let machine = define("finnotech", &[("nid", "0012345678"), ("scopes", "x:get,y:get")]);
        assert_eq!(machine.asked_scopes(), ["x:get", "y:get"]);
    }
}
