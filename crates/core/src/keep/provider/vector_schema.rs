//! Golden vectors exactly as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::class::ErrorClass;
use super::duration::DurationText;
use super::http_types::Method;
use super::one_or_many::OneOrMany;
use super::policy::PolicyOverrides;
use super::request_values::Client;
use super::request_values::RequestValues;
use crate::secret::Secret;
use crate::time::Timestamp;

/// A golden vector.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vector {
    pub(super) name: String,
    pub(super) step: String,
    #[serde(default)]
    pub(super) vars: BTreeMap<String, Secret>,
    #[serde(default)]
    pub(super) captured: BTreeMap<String, String>,
    pub(super) callback: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) client: Client,
    #[serde(default)]
    pub(super) policy: PolicyOverrides,
    #[serde(default)]
    pub(super) slots: RequestValues,
    pub(super) sent_at: Option<Timestamp>,
    pub(super) request: Option<VectorRequest>,
    pub(super) reply: Option<VectorReply>,
    pub(super) expect: Option<Expected>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VectorRequest {
    pub(super) method: Option<Method>,
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) form: Option<BTreeMap<String, OneOrMany<String>>>,
    pub(super) json: Option<toml::Table>,
    pub(super) captured_host: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VectorReply {
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) json: Option<toml::Value>,
    pub(super) body: Option<String>,
}

/// What a vector expects; keys that are not written are not compared, except that `refused` stands alone.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    pub(super) outcome: Option<ExpectedOutcome>,
    pub(super) refused: Option<String>,
    pub(super) access: Option<String>,
    pub(super) refresh: Option<String>,
    pub(super) no_refresh: Option<bool>,
    pub(super) rotated: Option<bool>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) no_expiry: Option<bool>,
    pub(super) refresh_expires_at: Option<Timestamp>,
    pub(super) ask_introspection: Option<bool>,
    pub(super) scope: Option<String>,
    pub(super) token_type: Option<String>,
    pub(super) vars: Option<BTreeMap<String, String>>,
    pub(super) warnings: Option<usize>,
    pub(super) active: Option<bool>,
    pub(super) class: Option<ErrorClass>,
    pub(super) code: Option<String>,
    pub(super) retry_after: Option<DurationText>,
    pub(super) keep_reply: Option<bool>,
    #[serde(rename = "final")]
    pub(super) is_final: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ExpectedOutcome {
    Tokens,
    Introspection,
    Done,
    Failed,
}
