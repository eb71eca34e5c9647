//! One of every refusal, from which the document learns its status and what it means.

use std::collections::BTreeMap;
use std::time::Duration;

use jeton_core::access::{ServiceName, ServiceTokenId};
use jeton_core::id::{AttemptId, ConnectionName};
use jeton_core::keep::provider::ErrorClass;
use jeton_core::problem::Problem;
use jeton_issuer::{AccessError, OrderError};
use jeton_keeper::TokenError;

use crate::fault::Fault;

/// What every door that asks for a credential refuses.
pub(crate) const CREDENTIAL: &[&str] =
    &["SERVICE_TOKEN_REQUIRED", "SERVICE_TOKEN_INVALID", "STORE_UNAVAILABLE"];

/// What looking at a connection is refused with.
pub(crate) const LOOK: &[&str] = &["UNKNOWN_CONNECTION", "STORE_UNAVAILABLE"];

/// What changing a grant is refused with.
pub(crate) const GRANT: &[&str] = &["UNKNOWN_CONNECTION", "NOT_CONNECTED", "STORE_UNAVAILABLE"];

/// What examining a grant is refused with.
pub(crate) const EXAMINE: &[&str] =
    &["UNKNOWN_CONNECTION", "NOT_CONNECTED", "STORE_UNAVAILABLE", "DEFINITION_UNUSABLE"];

/// What reporting a dead token is refused with: when refreshing does not help, and as getting a living one.
pub(crate) const REJECT: &[&str] = &[
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
pub(crate) const TOKEN: &[&str] = REJECT.split_at(1).1;

/// One of every refusal, by its code.
pub(crate) fn catalogue() -> BTreeMap<&'static str, Problem> {
    let keeper = of_keeper().into_iter().map(|error| error.problem());
    let access = of_access().into_iter().map(|error| error.problem());
    let orders = of_orders().into_iter().map(|error| error.problem());
    let doors = of_doors().into_iter().map(Fault::problem);
    keeper.chain(access).chain(orders).chain(doors).map(|problem| (problem.code, problem)).collect()
}

fn of_keeper() -> Vec<TokenError> {
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
        TokenError::Braked { name: name(), retry_after },
        TokenError::Busy { what: "callers" },
        TokenError::Store { message: String::new() },
        TokenError::Definition { name: name(), message: String::new() },
        TokenError::ShuttingDown,
    ]
}

fn of_access() -> Vec<AccessError> {
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

fn of_orders() -> Vec<OrderError> {
    let id = ServiceTokenId::from_bytes([0; 16]);
    vec![OrderError::Unknown { id }, OrderError::Taken { id }]
}

fn of_doors() -> Vec<Fault> {
    vec![
        Fault::Query(""),
        Fault::BodyMisfit(""),
        Fault::NotMarkedAsJson,
        Fault::BodyTooLarge { limit: 0 },
        Fault::BodyTooSlow(Duration::ZERO),
        Fault::UnknownLink,
        Fault::NoSuchUrl,
        Fault::NoSuchMethod,
        Fault::Defect,
    ]
}
