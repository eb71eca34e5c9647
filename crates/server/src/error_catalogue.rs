//! One of every refusal, from which the document learns its status and what it means.

use std::collections::BTreeMap;
use std::time::Duration;

use jeton_core::access::{ServiceName, ServiceTokenId};
use jeton_core::id::{AttemptId, ConnectionName};
use jeton_core::keep::provider::ErrorClass;
use jeton_core::problem::Problem;
use jeton_issuer::{AccessError, OrderError};
use jeton_keeper::TokenError;

use crate::error::RequestError;

/// What every door that asks for a credential refuses.
pub(crate) const CREDENTIAL: &[&str] =
    &["SERVICE_TOKEN_REQUIRED", "SERVICE_TOKEN_INVALID", "STORE_UNAVAILABLE"];

/// What looking at a connection is refused with.
pub(crate) const READ_CONNECTION: &[&str] = &["UNKNOWN_CONNECTION", "STORE_UNAVAILABLE"];

/// What changing a grant is refused with.
pub(crate) const CHANGE_GRANT: &[&str] = &["UNKNOWN_CONNECTION", "NOT_CONNECTED", "STORE_UNAVAILABLE"];

/// What examining a grant is refused with.
pub(crate) const EXAMINE_GRANT: &[&str] =
    &["UNKNOWN_CONNECTION", "NOT_CONNECTED", "STORE_UNAVAILABLE", "DEFINITION_UNUSABLE"];

/// What reporting a dead token is refused with: when refreshing does not help, and as getting a living one.
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
    "WAIT_TIMEOUT",
    "BUSY",
    "STORE_UNAVAILABLE",
    "DEFINITION_UNUSABLE",
    "SHUTTING_DOWN",
];

/// What getting a living token is refused with: all of that but the first.
pub(crate) const GET_TOKEN: &[&str] = REJECT_TOKEN.split_at(1).1;

/// One of every refusal, by its code.
pub(crate) fn catalogue() -> BTreeMap<&'static str, Problem> {
    let keeper = token_errors().into_iter().map(|error| error.problem());
    let access = access_errors().into_iter().map(|error| error.problem());
    let orders = order_errors().into_iter().map(|error| error.problem());
    let state = request_errors().into_iter().map(RequestError::problem);
    keeper.chain(access).chain(orders).chain(state).map(|problem| (problem.code, problem)).collect()
}

fn token_errors() -> Vec<TokenError> {
    let name: ConnectionName = "acme".parse().expect("it is a name");
    let name = || name.clone();
    let (code, retry_after) = (|| "invalid_grant".to_owned(), Duration::from_secs(5));
    vec![
        TokenError::UnknownConnection { name: "acmee".to_owned(), near: Vec::new() },
        TokenError::NotConnected { name: name() },
        TokenError::Dead { name: name(), code: code() },
        TokenError::Interrupted { name: name(), attempt: AttemptId::from_bytes([0; 16]), until: None },
        TokenError::Paused { name: name() },
        TokenError::OnHold,
        TokenError::Failed {
            name: name(),
            class: ErrorClass::RateLimited,
            code: code(),
            message: String::new(),
            retry_after: Some(retry_after),
        },
        TokenError::CoolingDown { name: name(), code: code(), retry_after },
        TokenError::WaitTimeout { name: name(), waited: Duration::ZERO },
        TokenError::RejectedAgain { name: name(), retry_after },
        TokenError::Busy { what: "callers" },
        TokenError::Store { message: String::new() },
        TokenError::Definition { name: name(), message: String::new() },
        TokenError::ShuttingDown,
    ]
}

fn access_errors() -> Vec<AccessError> {
    let service: ServiceName = "bot1".parse().expect("it is a name");
    vec![
        AccessError::Missing,
        AccessError::Invalid,
        AccessError::Conflicting,
        AccessError::Insufficient { service: service.clone(), missing: "read".to_owned() },
        AccessError::WrongService { service },
        AccessError::Unavailable,
    ]
}

fn order_errors() -> Vec<OrderError> {
    let id = ServiceTokenId::from_bytes([0; 16]);
    vec![OrderError::Unknown { id }, OrderError::Taken { id }]
}

fn request_errors() -> Vec<RequestError> {
    vec![
        RequestError::Query(""),
        RequestError::InvalidBody(""),
        RequestError::NotJsonContentType,
        RequestError::BodyTooLarge { limit: 0 },
        RequestError::BodyTooSlow(Duration::ZERO),
        RequestError::UnknownLink,
        RequestError::UnknownUrl,
        RequestError::MethodNotAllowed,
        RequestError::Internal,
    ]
}
