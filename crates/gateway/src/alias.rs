//! Aliases: the connection that each calls, and the paths that no alias may have.

use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::Alias;

/// A path of this server that stands for a call to the API of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionAlias {
    /// The connection that it calls.
    pub connection: ConnectionName,
    /// The path, and the call that it stands for.
    pub alias: Alias,
}

/// The first segments of the paths that jeton itself serves, or may serve.
const RESERVED: [&[&str]; 23] = [
    // `/` itself.
    &[""],
    &["api", "v1", "audit"],
    &["api", "v1", "auth"],
    &["api", "v1", "connections"],
    &["api", "v1", "diagnostics"],
    &["api", "v1", "proxy"],
    &["api", "v1", "refresh-logs"],
    &["api", "v1", "service-tokens"],
    &["api", "v1", "sessions"],
    &["api", "v1", "stats"],
    &["api", "v1", "verify"],
    &[".well-known"],
    &["access"],
    &["assets"],
    &["favicon.ico"],
    &["health"],
    &["healthz"],
    &["metrics"],
    &["oauth"],
    &["oauth2"],
    &["openapi.json"],
    &["panel"],
    &["readyz"],
];

/// Whether jeton itself serves `path`, or may: an alias there would never be reached, or would hide an endpoint. A `{name}`
/// in the path matches any text.
pub fn is_reserved_path(path: &str) -> bool {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    RESERVED.iter().any(|reserved| {
        reserved.iter().enumerate().all(|(index, word)| {
            segments.get(index).is_some_and(|found| found == word || found.starts_with('{'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_alias_may_have_a_path_of_jeton_itself() {
        for reserved in ["/api/v1/connections/x", "/api/v1/{any}/x", "/health", "/oauth/x", "/api/{v}/proxy"]
        {
            assert!(is_reserved_path(reserved), "{reserved}");
        }
        for free in ["/api/v1/info/account", "/api/v2/connections", "/healthy", "/crm/{id}", "/api/v1"] {
            assert!(!is_reserved_path(free), "{free}");
        }
    }
}
