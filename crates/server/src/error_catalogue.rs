//! One example of every error, from which the `OpenAPI` document takes statuses and titles.

use std::collections::BTreeMap;
use std::time::Duration;

use jeton_core::access::{ServiceName, ServiceTokenId};
use jeton_core::id::{AttemptId, ConnectionName};
use jeton_core::keep::provider::ErrorClass;
use jeton_core::keep::unavailable::{EndpointFailure, UnavailableEndpoint};
use jeton_core::problem::Problem;
use jeton_core::time::Timestamp;
use jeton_issuer::{AccessError, TokenCommandError};
use jeton_keeper::TokenError;

use crate::error::{RequestError, token_problem};

/// Errors of every route that checks a service token.
pub(crate) const CREDENTIAL: &[&str] =
    &["SERVICE_TOKEN_REQUIRED", "SERVICE_TOKEN_INVALID", "TOO_MANY_WRONG_CREDENTIALS", "STORE_UNAVAILABLE"];

/// Errors of reading a connection.
pub(crate) const READ_CONNECTION: &[&str] = &["UNKNOWN_CONNECTION", "STORE_UNAVAILABLE"];

/// Errors of changing a grant.
pub(crate) const CHANGE_GRANT: &[&str] = &["UNKNOWN_CONNECTION", "NOT_CONNECTED", "STORE_UNAVAILABLE"];

/// Errors of reporting a rejected token: those of [`GET_TOKEN`], after one of its own.
pub(crate) const REJECT_TOKEN: &[&str] = &[
    "REJECTED_AGAIN",
    "UNKNOWN_CONNECTION",
    "NOT_CONNECTED",
    "REAUTHORIZATION_REQUIRED",
    "INTERRUPTED",
    "PAUSED",
    "ON_HOLD",
    "REFRESH_FAILED",
    "COOLING_DOWN",
    "PROVIDER_UNAVAILABLE",
    "WAIT_TIMEOUT",
    "BUSY",
    "STORE_UNAVAILABLE",
    "DEFINITION_UNUSABLE",
    "SHUTTING_DOWN",
];

/// Errors of getting or refreshing a token.
pub(crate) const GET_TOKEN: &[&str] = REJECT_TOKEN.split_at(1).1;

/// One example of every error, by its code.
pub(crate) fn catalogue() -> BTreeMap<&'static str, Problem> {
    let service: ServiceName = "bot1".parse().expect("it is a name");
    let id = ServiceTokenId::from_bytes([0; 16]);
    let token = token_errors().map(|error| token_problem(&error));
    let access = [
        AccessError::Missing,
        AccessError::Invalid,
        AccessError::Conflicting,
        AccessError::Insufficient { service: service.clone(), missing: "read".to_owned() },
        AccessError::WrongService { service },
        AccessError::TooManyFailures { retry_after: Duration::ZERO },
        AccessError::Unavailable,
    ];
    let commands = [TokenCommandError::Unknown { id }, TokenCommandError::HashTaken { id }];
    let requests = [
        RequestError::Query(""),
        RequestError::InvalidBody(""),
        RequestError::NotJsonContentType,
        RequestError::BodyTooLarge { limit: 0 },
        RequestError::BodyTooSlow(Duration::ZERO),
        RequestError::HeadTooLarge { bytes: 0, lines: 0 },
        RequestError::UnknownLink,
        RequestError::UnknownUrl,
        RequestError::MethodNotAllowed,
        RequestError::Internal,
    ];
    let rest = access.map(|error| error.problem()).into_iter();
    let rest = rest.chain(commands.map(|error| error.problem())).chain(requests.map(RequestError::problem));
    token.into_iter().chain(rest).map(|problem| (problem.code, problem)).collect()
}

fn token_errors() -> [TokenError; 15] {
    let name: ConnectionName = "acme".parse().expect("it is a name");
    let name = || name.clone();
    let (code, retry_after) = (|| "invalid_grant".to_owned(), Duration::from_secs(5));
    let endpoint = UnavailableEndpoint {
        client: None,
        server: String::new(),
        since: Timestamp::from_secs(0),
        next_trial: Timestamp::from_secs(0),
        last_failure: EndpointFailure::default(),
    };
    [
        TokenError::UnknownConnection { name: "acmee".to_owned(), near: Vec::new() },
        TokenError::NotConnected { name: name() },
        TokenError::Dead { name: name(), code: code(), provider_message: None },
        TokenError::Interrupted {
            name: name(),
            attempt: AttemptId::from_bytes([0; 16]),
            until: None,
            endpoint: None,
        },
        TokenError::Paused { name: name() },
        TokenError::OnHold(jeton_keeper::Hold::Copied),
        TokenError::Failed {
            name: name(),
            class: ErrorClass::RateLimited,
            code: code(),
            message: String::new(),
            provider_message: Some("Too many requests.".to_owned()),
            retry_after: Some(retry_after),
        },
        TokenError::CoolingDown { name: name(), code: code(), provider_message: None, retry_after },
        TokenError::ProviderUnavailable { name: name(), endpoint: Box::new(endpoint), retry_after },
        TokenError::WaitTimeout { name: name(), waited: Duration::ZERO },
        TokenError::RejectedAgain { name: name(), retry_after },
        TokenError::Busy { what: "callers" },
        TokenError::Store { message: String::new() },
        TokenError::Definition { name: name(), message: String::new() },
        TokenError::ShuttingDown,
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// Every code that a source file spells out.
    fn codes_in(source: &Path) -> BTreeSet<String> {
        let text = fs::read_to_string(source).unwrap();
        let is_code = |part: &&str| {
            part.len() > 3
                && part.bytes().all(|c| c.is_ascii_uppercase() || c == b'_')
                && part.starts_with(|c: char| c.is_ascii_uppercase())
        };
        text.split('"').filter(is_code).map(str::to_owned).collect()
    }

    #[test]
    fn every_code_has_its_page_and_every_page_its_code() {
        let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut codes = codes_in(&crates.join("keeper/src/error.rs"));
        assert!(codes.contains("UNKNOWN_CONNECTION"), "the codes of the keeper have moved: {codes:?}");
        codes.extend(codes_in(&crates.join("issuer/src/error.rs")));
        assert!(codes.contains("SCOPE_INSUFFICIENT"), "the codes of the issuer have moved: {codes:?}");
        codes.extend(codes_in(&crates.join("server/src/error.rs")));
        // Only the command line takes over a grant.
        let documented = catalogue().into_keys().chain(["GRANT_REFUSED"]);
        assert_eq!(codes, documented.map(str::to_owned).collect(), "the catalogue has every error");
        codes.extend(codes_in(&crates.join("gateway/src/error.rs")));

        let mut pages = BTreeSet::new();
        for entry in fs::read_dir(crates.join("../docs/errors")).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            if stem == "README" {
                continue;
            }
            assert_eq!(text.lines().next(), Some(format!("# {stem}").as_str()), "{}", path.display());
            for section in ["## What it means", "## What was spent", "## What to do"] {
                assert!(text.contains(section), "{} has no `{section}`", path.display());
            }
            pages.insert(stem);
        }
        let without_page: Vec<_> = codes.difference(&pages).collect();
        let without_code: Vec<_> = pages.difference(&codes).collect();
        assert!(without_page.is_empty(), "docs/errors lacks a page for {without_page:?}");
        assert!(without_code.is_empty(), "docs/errors has pages for unknown codes: {without_code:?}");
    }
}
