//! Redirects of an API within itself, as a caller of the gateway can follow them.

use http::{HeaderMap, HeaderValue, Uri, header};
use url::{Position, Url};

use crate::proxy_request::PROXY_PREFIX;

/// Rewrites a `Location` that leads below the base of the API: to the path at the gateway that stands for it. Any other stays: it
/// leads to another host, or to where the gateway does not lead.
///
/// A caller that follows it stays at the gateway, and its credential with it.
pub(crate) fn rewrite(headers: &mut HeaderMap, connection: &str, base: &Url, target: &Uri) {
    let Some(location) = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()) else { return };
    let Some(path) = path_at_gateway(location, connection, base, target) else { return };
    if let Ok(path) = HeaderValue::from_str(&path) {
        headers.insert(header::LOCATION, path);
    }
}

fn path_at_gateway(location: &str, connection: &str, base: &Url, target: &Uri) -> Option<String> {
    let asked = base.join(&target.to_string()).ok()?;
    let to = asked.join(location).ok()?;
    let has_user = !to.username().is_empty() || to.password().is_some();
    if to.origin() != base.origin() || has_user {
        return None;
    }
    let below = to.path().strip_prefix(base.path().trim_end_matches('/'))?;
    if !below.is_empty() && !below.starts_with('/') {
        return None;
    }
    Some(format!("{PROXY_PREFIX}{connection}{below}{}", &to[Position::AfterPath..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(location: &str, base: &str) -> Option<String> {
        let (base, target) = (base.parse().unwrap(), Uri::from_static("/v2/leads?page=1"));
        path_at_gateway(location, "acme", &base, &target)
    }

    #[test]
    fn what_leads_below_the_base_leads_to_the_gateway_and_nothing_else_does() {
        let base = "https://api.example.com/v2";
        for (location, path) in [
            ("/v2/x", "/x"),
            ("/v2", ""),
            ("/v2/a%2Fb?c=%20d#e", "/a%2Fb?c=%20d#e"),
            ("https://api.example.com/v2/x", "/x"),
            ("https://api.example.com:443/v2/x", "/x"),
            ("//api.example.com/v2/x", "/x"),
            ("x", "/x"),
            ("?page=2", "/leads?page=2"),
            ("leads/7", "/leads/7"),
        ] {
            assert_eq!(rewritten(location, base), Some(format!("/api/v1/proxy/acme{path}")), "{location}");
        }
        for location in [
            "https://elsewhere.example/v2/x",
            "http://api.example.com/v2/x",
            "https://api.example.com:8443/v2/x",
            "https://user@api.example.com/v2/x",
            "/v1/x",
            "/v20/x",
            "/",
            "mailto:a@example.com",
            "https://",
        ] {
            assert_eq!(rewritten(location, base), None, "{location}");
        }
        assert_eq!(rewritten("/x", "https://api.example.com").as_deref(), Some("/api/v1/proxy/acme/x"));
    }
}
