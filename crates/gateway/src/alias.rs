//! Aliases: which connection they call, and which paths they must leave alone.

use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::Alias;

/// A path of this server that stands for a call to the API of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasOf {
    /// The connection.
    pub connection: ConnectionName,
    /// The path and what it stands for.
    pub alias: Alias,
}

/// The beginnings of the paths that jeton itself answers.
const DOORS: [&[&str]; 21] = [
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
    &["health"],
    &["healthz"],
    &["metrics"],
    &["oauth"],
    &["oauth2"],
    &["openapi.json"],
    &["panel"],
    &["readyz"],
];

/// Whether jeton itself answers `path`, or may: an alias there could never be reached, or would shadow a door. A
/// `{name}` counts as any text.
pub fn is_a_door(path: &str) -> bool {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    DOORS.iter().any(|door| {
        door.iter().enumerate().all(|(index, word)| {
            segments.get(index).is_some_and(|found| found == word || found.starts_with('{'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_leave_the_doors_of_jeton_alone() {
        for door in ["/api/v1/connections/x", "/api/v1/{any}/x", "/health", "/oauth/x", "/api/{v}/proxy"] {
            assert!(is_a_door(door), "{door}");
        }
        for free in ["/api/v1/info/account", "/api/v2/connections", "/healthy", "/crm/{id}", "/api/v1"] {
            assert!(!is_a_door(free), "{free}");
        }
    }
}
