//! The provider's own code for what went wrong, and the codes that standards name.

use serde_json::Value;

use super::body::{JsonPath, scalar_text};
use super::class::ErrorClass;

/// Where providers put their codes, most usual first.
const CODE_PATHS: [&str; 18] = [
    "error",
    "error.code",
    "error.type",
    "error.errorType",
    "error.error",
    "error_code",
    "errorCode",
    "ErrorCode",
    "errorType",
    "error_type",
    "code",
    "errors.0",
    "errors.0.code",
    "errors.0.errorType",
    "errors.0.type",
    "errors.0.error",
    "fault.detail.errorcode",
    "hint",
];

/// The provider's own code for what went wrong: that of a standard if there is one in any of the usual places, else the first
/// that is there, as it is.
pub(super) fn provider_code(body: &Value) -> Option<String> {
    let first = if let Value::Array(items) = body { items.first()? } else { body };
    let codes: Vec<_> = CODE_PATHS
        .iter()
        .filter_map(|path| {
            let path = JsonPath::parse(path).ok()?;
            path.first(first).filter(|value| !value.is_boolean()).and_then(scalar_text)
        })
        .filter(|code| !code.trim().is_empty())
        .collect();
    codes.iter().find_map(|code| standard_code(code.trim())).or_else(|| codes.into_iter().next())
}

/// The code of a standard that a text begins with, in any letter case: some servers write an explanation after it.
fn standard_code(text: &str) -> Option<String> {
    let end = text.find(|c: char| c == ':' || c == ',' || c.is_whitespace()).unwrap_or(text.len());
    let code = text[..end].to_ascii_lowercase();
    standard(&code).is_some().then_some(code)
}

/// The class of an error that a standard names.
pub(super) fn standard(code: &str) -> Option<ErrorClass> {
    match code {
        "invalid_grant" | "interaction_required" | "login_required" | "consent_required" => {
            Some(ErrorClass::DeadGrant)
        }
        "invalid_client" | "unauthorized_client" => Some(ErrorClass::BadClient),
        "temporarily_unavailable" | "server_error" => Some(ErrorClass::Transient),
        "slow_down" => Some(ErrorClass::RateLimited),
        _ => None,
    }
}
